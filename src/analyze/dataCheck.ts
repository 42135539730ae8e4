// analyze: what is wrong, or odd, with a folder of labelled images, before a network learns it. Portable: who reads the
// files says what they are.
import type { Fingerprint } from "./duplicates.ts";
import { nearDuplicates } from "./duplicates.ts";
import { formatInteger } from "./format.ts";

/** An image that decodes. */
export interface CheckedImage {
  /** Below the folder, with slashes. */
  readonly file: string;
  readonly split: string;
  /** Name of its class. */
  readonly label: string;
  readonly width: number;
  readonly height: number;
  /** Hash of the file's bytes. */
  readonly digest: string;
  /** What the content is, and what the name's extension says; the same as a rule. */
  readonly format: string;
  readonly extension: string;
  readonly print: Fingerprint;
}

/** A folder of labelled images, every one of which was read. */
export interface CheckedFolder {
  readonly dir: string;
  /** In their order, "train" first; "all" where the folder has no splits. */
  readonly splits: readonly string[];
  /** Of each split, the classes that have a folder. */
  readonly classes: ReadonlyMap<string, readonly string[]>;
  readonly images: readonly CheckedImage[];
  /** Files that do not decode, each with a sentence that begins with the file. */
  readonly broken: readonly {
    readonly file: string;
    readonly label: string;
    readonly split: string;
    readonly reason: string;
  }[];
  /** Of files that were passed over: what they are → how many. */
  readonly leftOut: ReadonlyMap<string, number>;
}

/** error: training refuses it, or its measure would be wrong. warning: look at it. note: good to know. */
export type Grade = "error" | "warning" | "note";

export interface DataFinding {
  readonly kind: string;
  readonly grade: Grade;
  /** What was found, with its number. */
  readonly title: string;
  /** What it means and what to do. */
  readonly advice: string;
  /** Files that belong together, or each on its own. */
  readonly groups: readonly { readonly files: readonly string[]; readonly note?: string }[];
}

/** A class with its images, by split. */
export interface ClassCount {
  readonly name: string;
  readonly counts: Readonly<Record<string, number>>;
}

export function classCounts({ splits, classes, images }: CheckedFolder): ClassCount[] {
  const names = [...new Set(splits.flatMap((split) => classes.get(split) ?? []))].sort();
  const found = new Map<string, Record<string, number>>(
    names.map((name) => [name, Object.fromEntries(splits.map((split) => [split, 0]))]),
  );
  for (const { label, split } of images) {
    const counts = found.get(label);
    if (counts !== undefined) counts[split] = (counts[split] ?? 0) + 1;
  }
  return names.map((name) => ({ name, counts: found.get(name) ?? {} }));
}

/** A class with fewer images to learn from is hardly learned. */
const FEW = 10;
const UNEVEN = 3;
const VERY_UNEVEN = 10;
/** Shorter side in pixels, and as a share of the median. */
const TINY_SIDE = 16;
const TINY_SHARE = 0.25;
/** Pixels, and as a multiple of the median. */
const HUGE_PIXELS = 24e6;
const HUGE_SHARE = 16;
/** Longer side over shorter side: of the centre crop less than a third is left. */
const NARROW = 3;

/** Everything found, errors first. */
export function checkData(folder: CheckedFolder): DataFinding[] {
  const findings = [
    ...brokenFiles(folder),
    ...duplicates(folder),
    ...classFindings(folder),
    ...sizes(folder),
    ...odd(folder),
  ];
  const order: readonly Grade[] = ["error", "warning", "note"];
  return findings.sort((a, b) => order.indexOf(a.grade) - order.indexOf(b.grade));
}

function brokenFiles({ broken }: CheckedFolder): DataFinding[] {
  if (broken.length === 0) return [];
  return [
    {
      kind: "broken",
      grade: "error",
      title: `${counted(broken.length, "file")} cannot be read as ${broken.length === 1 ? "an image" : "images"}`,
      advice: "Training refuses the folder: repair or remove them, or leave them out with --skip-bad.",
      groups: broken.map(({ file, reason }) => ({ files: [file], note: reason })),
    },
  ];
}

function duplicates({ images }: CheckedFolder): DataFinding[] {
  const exact = groupsBy(images, ({ digest }) => digest);
  const near = nearDuplicates(images.map(({ print }) => print))
    .map((group) => group.map((index) => images[index] as CheckedImage))
    .filter((group) => new Set(group.map(({ digest }) => digest)).size > 1);
  return [...duplicateFindings(exact, true), ...duplicateFindings(near, false)];
}

/** Of groups of duplicates: those with two labels, of the others those in two splits, the rest. */
function duplicateFindings(groups: readonly (readonly CheckedImage[])[], exact: boolean): DataFinding[] {
  const several = (group: readonly CheckedImage[], key: "label" | "split"): boolean =>
    new Set(group.map((image) => image[key])).size > 1;
  const conflicts = groups.filter((group) => several(group, "label"));
  const leaks = groups.filter((group) => !several(group, "label") && several(group, "split"));
  const others = groups.filter((group) => !several(group, "label") && !several(group, "split"));
  const prefix = exact ? "exact" : "near";
  const finding = (
    kind: string,
    grade: Grade,
    of: readonly (readonly CheckedImage[])[],
    where: string,
    advice: string,
  ): DataFinding[] =>
    of.length === 0
      ? []
      : [
          {
            kind: `${prefix}-${kind}`,
            grade,
            title: `${counted(of.length, "image")} ${of.length === 1 ? "has" : "have"} ${exact ? "identical" : "near-identical"} copies ${where}`,
            advice,
            groups: of.map((group) => ({ files: group.map(({ file }) => file) })),
          },
        ];
  return [
    ...finding(
      "conflict",
      exact ? "error" : "warning",
      conflicts,
      "in different classes",
      "At most one of the labels is right: keep that one.",
    ),
    ...finding(
      "leak",
      exact ? "error" : "warning",
      leaks,
      "in different splits",
      "The network is measured on what it was trained on, so its error looks lower than it is: remove one.",
    ),
    ...finding(
      "duplicate",
      exact ? "warning" : "note",
      others,
      "in one class",
      "They weigh more than others, and held-out images (--val-split) may be among those trained on: keep one of each.",
    ),
  ];
}

function classFindings(folder: CheckedFolder): DataFinding[] {
  const { splits, classes } = folder;
  const found: DataFinding[] = [];
  const [first = ""] = splits;
  const within = first === "all" ? "" : ` in ${first}`;
  const add = (kind: string, grade: Grade, title: string, advice: string): void => {
    found.push({ kind, grade, title, advice, groups: [] });
  };
  const expected = classes.get(first) ?? [];
  if (expected.length < 2) {
    add(
      "classes",
      "error",
      `${counted(expected.length, "class folder")}${within}`,
      "Expected at least two, one folder of images for each class.",
    );
  }
  for (const split of splits.slice(1)) {
    const own = classes.get(split) ?? [];
    const missing = expected.filter((name) => !own.includes(name));
    const extra = own.filter((name) => !expected.includes(name));
    if (missing.length > 0) {
      add(
        "classes",
        "error",
        `${split} has no folder for ${quoted(missing)}`,
        `Training refuses splits whose classes differ; ${first} has them.`,
      );
    }
    if (extra.length > 0) {
      add(
        "classes",
        "error",
        `${split} has ${quoted(extra)}, which ${first} has not`,
        "Training refuses splits whose classes differ.",
      );
    }
  }
  const counts = classCounts(folder).map(({ name, counts: of }) => ({ name, count: of[first] ?? 0 }));
  const empty = counts.filter(({ name, count }) => count === 0 && expected.includes(name)).map(({ name }) => name);
  if (empty.length > 0) {
    add(
      "classes",
      "error",
      `${quoted(empty)} ${empty.length === 1 ? "has" : "have"} no image${within}`,
      "Training refuses a class without images.",
    );
  }
  const filled = counts.filter(({ count }) => count > 0).sort((a, b) => b.count - a.count);
  const [most, least] = [filled[0], filled.at(-1)];
  if (most === undefined || least === undefined) return found;
  const few = filled.filter(({ count }) => count < FEW);
  if (few.length > 0) {
    add(
      "few",
      "warning",
      `${few.map(({ name, count }) => `"${name}" has ${counted(count, "image")}`).join(", ")}${within}`,
      `Fewer than ${FEW} are hardly enough to learn a class from.`,
    );
  }
  const ratio = most.count / least.count;
  if (ratio >= UNEVEN) {
    add(
      "uneven",
      ratio >= VERY_UNEVEN ? "warning" : "note",
      `"${most.name}" has ${ratio.toFixed(1)} times as many images as "${least.name}" (${formatInteger(most.count)} and ${formatInteger(least.count)})`,
      "The total error hides rare classes: look at the mean of classes, and at the recall of each, in eval and the report.",
    );
  }
  return found;
}

function sizes({ images }: CheckedFolder): DataFinding[] {
  const shorter = (image: CheckedImage): number => Math.min(image.width, image.height);
  const pixels = (image: CheckedImage): number => image.width * image.height;
  const medianSide = median(images.map(shorter));
  const medianPixels = median(images.map(pixels));
  const named = (of: readonly CheckedImage[]): DataFinding["groups"] =>
    of.map(({ file, width, height }) => ({ files: [file], note: `${width}×${height}` }));
  const tiny = images.filter((image) => shorter(image) < TINY_SIDE || shorter(image) < TINY_SHARE * medianSide);
  const huge = images.filter(
    (image) => pixels(image) > HUGE_PIXELS || pixels(image) > Math.max(4e6, HUGE_SHARE * medianPixels),
  );
  const narrow = images.filter(({ width, height }) => Math.max(width, height) > NARROW * Math.min(width, height));
  const finding = (
    kind: string,
    grade: Grade,
    of: readonly CheckedImage[],
    what: string,
    advice: string,
  ): DataFinding[] =>
    of.length === 0
      ? []
      : [{ kind, grade, title: `${counted(of.length, "image")} ${what}`, advice, groups: named(of) }];
  return [
    ...finding(
      "tiny",
      "warning",
      tiny,
      `with a shorter side below ${Math.max(TINY_SIDE, Math.ceil(TINY_SHARE * medianSide))} pixels`,
      "They are enlarged to the network's input; a thumbnail may stand where the image should.",
    ),
    ...finding(
      "huge",
      "note",
      huge,
      "much larger than the others",
      "They are decoded anew in every epoch: smaller copies train faster and give the same input.",
    ),
    ...finding(
      "narrow",
      "note",
      narrow,
      `more than ${NARROW} times as long as wide`,
      "Of these the centre crop leaves less than a third.",
    ),
  ];
}

/** Extensions by format. */
const EXTENSIONS: Readonly<Record<string, readonly string[]>> = {
  PNG: [".png"],
  JPEG: [".jpg", ".jpeg", ".jpe", ".jfif"],
  WebP: [".webp"],
  GIF: [".gif"],
  TIFF: [".tif", ".tiff"],
  AVIF: [".avif"],
};

function odd({ images, leftOut }: CheckedFolder): DataFinding[] {
  const found: DataFinding[] = [];
  const renamed = images.filter(({ format, extension }) => !EXTENSIONS[format]?.includes(extension));
  if (renamed.length > 0) {
    found.push({
      kind: "renamed",
      grade: "note",
      title: `${counted(renamed.length, "file")} of another format than the name says`,
      advice: "They are read by their content; other tools may go by the name.",
      groups: renamed.map(({ file, format }) => ({ files: [file], note: `is ${format}` })),
    });
  }
  const blank = images.filter(({ print }) => print.thumb.every((value) => value === 0));
  if (blank.length > 0) {
    found.push({
      kind: "blank",
      grade: "warning",
      title: `${counted(blank.length, "image")} of one colour`,
      advice: "There is nothing in them to learn from.",
      groups: blank.map(({ file }) => ({ files: [file] })),
    });
  }
  if (leftOut.size > 0) {
    const unread = [...leftOut].map(([what, count]) => `${formatInteger(count)} ${what}`).join(", ");
    const total = [...leftOut.values()].reduce((a, b) => a + b, 0);
    found.push({
      kind: "left-out",
      grade: [...leftOut.keys()].some((what) => UNREAD.has(what)) ? "warning" : "note",
      title: `${counted(total, "file")} passed over: ${unread}`,
      advice: "Expected PNG, JPEG, WebP, GIF, TIFF or AVIF images; convert those that are images.",
      groups: [],
    });
  }
  return found;
}

/** Images that are not decoded, so that a class may have fewer than its folder shows. */
const UNREAD: ReadonlySet<string> = new Set([
  ".bmp",
  ".heic",
  ".heif",
  ".jxl",
  ".jp2",
  ".svg",
  ".psd",
  ".cr2",
  ".nef",
  ".dng",
  "broken link",
]);

function groupsBy(images: readonly CheckedImage[], key: (image: CheckedImage) => string): CheckedImage[][] {
  const groups = new Map<string, CheckedImage[]>();
  for (const image of images) {
    const group = groups.get(key(image));
    if (group === undefined) groups.set(key(image), [image]);
    else group.push(image);
  }
  return [...groups.values()].filter(({ length }) => length > 1);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function counted(count: number, what: string): string {
  return `${formatInteger(count)} ${what}${count === 1 ? "" : "s"}`;
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}
