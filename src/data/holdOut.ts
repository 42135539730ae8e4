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
    // The images with the smallest random words; ties, which 2³² words all but exclude, fall to the earlier one.
    const keyed = members.map((index) => ({ index, word: randomWord(seed, 0, index, draws.split) }));
    keyed.sort((a, b) => a.word - b.word || a.index - b.index);
    for (const { index } of keyed.slice(0, count)) held.add(index);
  }
  const every = Array.from(labels.keys());
  return {
    train: Int32Array.from(every.filter((index) => !held.has(index))),
    val: Int32Array.from(every.filter((index) => held.has(index))),
  };
}

/**
 * The data set with part of its training split as the validation split; its own validation split is left out. Pixels
 * are shared with the original. `amount` below 1: that fraction of every class, chosen by `seed`. From 1 on: the last
 * `amount` images in file order.
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
  if (amount < 1) {
    const { train, val } = stratifiedSplit(dataset.train.labels, dataset.classes, amount, seed);
    return { ...dataset, train: selected(dataset.train, train), val: selected(dataset.train, val) };
  }
  const every = Int32Array.from({ length }, (_, index) => index);
  return {
    ...dataset,
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
