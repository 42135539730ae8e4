// data: part of a training split held out as the validation split (the paper tunes on 5 000 of CIFAR's 50 000, section
// 4.1). Portable.
import { InputError, UsageError } from "../errors.ts";
import { bytesSplit, type Dataset, type Split } from "./dataset.ts";
import { draws, randomWord } from "./draw.ts";

/**
 * Positions of a seeded split that takes about the same fraction of every class, at least one image and never all of a
 * class. Both lists are ascending.
 * @throws InputError naming a class that has fewer than two images.
 */
export function stratifiedSplit(
  labels: Uint16Array,
  classes: readonly string[],
  fraction: number,
  seed: number,
): { readonly train: Int32Array; readonly val: Int32Array } {
  if (!(fraction > 0 && fraction < 1)) {
    throw new UsageError(`valSplit: got ${fraction}, expected a fraction above 0 and below 1`, {
      field: "valSplit",
      value: fraction,
    });
  }
  const held = new Set<number>();
  for (const [label, name] of classes.entries()) {
    const members: number[] = [];
    for (const [index, own] of labels.entries()) if (own === label) members.push(index);
    if (members.length < 2) {
      throw new InputError(
        `class "${name}" has ${members.length} training image${members.length === 1 ? "" : "s"}, expected at least ` +
          "2 to hold one out for validation",
        { class: name, count: members.length },
      );
    }
    const count = Math.min(members.length - 1, Math.max(1, Math.round(fraction * members.length)));
    for (const index of smallestWords(members, count, seed)) held.add(index);
  }
  return sides(labels.length, held);
}

/**
 * As stratifiedSplit, for a number of images: from each of the ranges `sources` its share, as many of every class; what
 * does not divide evenly goes to the first classes.
 * @throws InputError naming a class that has no more images than are asked of it
 */
function evenSplit(
  labels: Uint16Array,
  { classes, holdOutFrom: sources = [] }: Pick<Dataset, "classes" | "holdOutFrom">,
  amount: number,
  seed: number,
): { readonly train: Int32Array; readonly val: Int32Array } {
  const held = new Set<number>();
  let left = amount;
  for (const [order, { from, to, share }] of sources.entries()) {
    const wanted = order === sources.length - 1 ? left : Math.round(amount * share);
    left -= wanted;
    for (const [label, name] of classes.entries()) {
      const count = Math.floor(wanted / classes.length) + (label < wanted % classes.length ? 1 : 0);
      const members: number[] = [];
      for (let index = from; index < to; index++) if (labels[index] === label) members.push(index);
      if (count > 0 && members.length <= count) {
        throw new InputError(
          `class "${name}" has ${members.length} of the training images ${from} to ${to - 1}, expected more than the ` +
            `${count} to hold out`,
          { class: name, count: members.length },
        );
      }
      for (const index of smallestWords(members, count, seed)) held.add(index);
    }
  }
  return sides(labels.length, held);
}

/**
 * The `count` of `members` with the smallest random words; ties, which 2³² words all but exclude, fall to the earlier.
 */
function smallestWords(members: readonly number[], count: number, seed: number): number[] {
  const keyed = members.map((index) => ({ index, word: randomWord(seed, 0, index, draws.split) }));
  keyed.sort((a, b) => a.word - b.word || a.index - b.index);
  return keyed.slice(0, count).map(({ index }) => index);
}

function sides(length: number, held: ReadonlySet<number>): { readonly train: Int32Array; readonly val: Int32Array } {
  const every = Int32Array.from({ length }, (_, index) => index);
  return { train: every.filter((index) => !held.has(index)), val: every.filter((index) => held.has(index)) };
}

/**
 * The data set with part of its training split as the validation split; its own validation split is left out. Pixels
 * are shared with the original. `amount` below 1: that fraction of every class, chosen by `seed`. From 1 on: the last
 * `amount` images in file order, or as the data set's `holdOutFrom` says, chosen by `seed`.
 * @throws UsageError when either side would be empty or the images are files (openImageFolder splits those).
 */
export function holdOut(dataset: Dataset, amount: number, seed: number): Dataset {
  const length = dataset.train.length;
  if (!(amount > 0 && (amount < 1 || Number.isInteger(amount)) && amount < length)) {
    throw new UsageError(
      `valSplit: got ${amount}, expected a fraction below 1 or a whole number of images below the ${length} of ` +
        `${dataset.name}'s training split`,
      { field: "valSplit", value: amount },
    );
  }
  const { valIsTest: _, ...same } = dataset;
  if (amount < 1 || dataset.holdOutFrom !== undefined) {
    const { labels } = dataset.train;
    const { train, val } =
      amount < 1 ? stratifiedSplit(labels, dataset.classes, amount, seed) : evenSplit(labels, dataset, amount, seed);
    return { ...same, train: selected(dataset.train, train), val: selected(dataset.train, val) };
  }
  const every = Int32Array.from({ length }, (_, index) => index);
  return {
    ...same,
    train: selected(dataset.train, every.subarray(0, length - amount)),
    val: selected(dataset.train, every.subarray(length - amount)),
  };
}

function selected(split: Split, positions: Int32Array): Split {
  const whole = split.describe();
  if (whole.kind !== "bytes") {
    throw new UsageError("valSplit: images in files are held out when their folder is opened", { field: "valSplit" });
  }
  return bytesSplit({
    ...whole,
    labels: Uint16Array.from(positions, (position) => whole.labels[position]),
    rows: positions.map((position) => (whole.rows === undefined ? position : whole.rows[position])),
  });
}
