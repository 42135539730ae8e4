// data: a folder of images per class — train/<class>/… with val/<class>/…, or only one of classes, split by a seed.
import { basename } from "node:path";
import { InputError, UsageError } from "../errors.ts";
import { type BadImage, badImages, findBad, findUndecodable, listOfBad } from "./checkImages.node.ts";
import type { Dataset, FilesDescription, FolderFacts } from "./dataset.ts";
import { filesSplit, withCache } from "./filesSplit.node.ts";
import { stratifiedSplit } from "./holdOut.ts";
import { readFileHeader } from "./image.node.ts";
import { DEFAULT_MAX_PIXELS, READABLE } from "./imageFormats.ts";
import { computeMeanStd } from "./normalization.ts";
import {
  imagesBelow,
  imagesBeside,
  type LeftOut,
  leftOutText,
  type Scan,
  type Subfolder,
  subfolders,
} from "./scanFolder.node.ts";
import { classNames } from "./wordNet.node.ts";

export interface ImageFolderOptions {
  /** Height and width in pixels. Default: the shorter side of the first image, at most 64. */
  readonly imageSize?: number | undefined;
  /** 1 decodes to grey levels. Default 3. */
  readonly channels?: 1 | 3 | undefined;
  /**
   * Training images held out for validation, chosen by `seed`. Below 1: that fraction of every class. From 1 on: about
   * so many in all, as the same fraction of every class, rounded. Absent or 0: none with a val folder, 0.1 without one.
   */
  readonly valSplit?: number | undefined;
  /** Decides which images are held out. Default 0. */
  readonly seed?: number | undefined;
  /** An image of more pixels is refused. Default 64 million. */
  readonly maxPixels?: number | undefined;
  /**
   * Decodes every image when the folder is opened and leaves out those that do not decode, in place of refusing the
   * folder. In training the next image of the class stands in for one that is left out, so that counts, order and
   * held-out images stay what they are and a run can be resumed so; in validation it is not counted. Default false:
   * then headers are checked, and an image whose pixels turn out to be damaged later rejects where it is asked for.
   */
  readonly skipBad?: boolean | undefined;
  /** Receives sentences for people: what was left out, and how far a long check is. */
  readonly report?: ((line: string) => void) | undefined;
}

const DEFAULT_LARGEST_SIZE = 64;
const DEFAULT_VAL_SPLIT = 0.1;
const VAL_FOLDERS = ["val", "valid", "validation", "test"];
/** Mean and deviation of a few hundred images are those of all to within a percent; decoding all could take minutes. */
const NORMALIZATION_IMAGES = 512;
/** Labels have 16 bits. */
const MAX_CLASSES = 65_535;

interface Listing {
  readonly classes: readonly string[];
  readonly files: readonly string[];
  readonly labels: Uint16Array;
}

/** Whether there are folders in `dir` that could be classes. @throws InputError when it cannot be read. */
export async function looksLikeImageFolder(dir: string): Promise<boolean> {
  return (await subfolders(dir)).length > 0;
}

/**
 * Opens a folder of images. Folders of classes in train and in val, valid, validation or test, whatever the case of
 * these names, are the two splits; otherwise every folder is a class. Classes are the folder names, in Unicode's
 * composed form and code-unit order, those of ImageNet by their words (tench for n01440764); images of a class are
 * found at any depth, through links too, and stand in the order of their paths. Hidden folders and what systems leave
 * behind are passed over. The header of every image is read; mean and deviation are measured on up to 512 training
 * images; nothing else is decoded before it is asked for, unless `skipBad` is set.
 * @throws InputError for no images, fewer than two classes, an empty class, a val folder whose classes differ, a link
 *   that leads back, and for images that cannot be read: the first 20 and how many there are.
 * @throws UsageError for an impossible size or held-out split.
 */
export async function openImageFolder(dir: string, options: ImageFolderOptions = {}): Promise<Dataset> {
  const { imageSize, channels = 3, seed = 0, maxPixels = DEFAULT_MAX_PIXELS, skipBad = false, report } = options;
  requirePixels("imageSize", imageSize, 4096);
  requirePixels("maxPixels", maxPixels, 2 ** 31);
  const folders = await splitFolders(dir, report);
  const leftOut: LeftOut = new Map();
  const all = await list(folders.train, leftOut);
  const ownVal = folders.val === undefined ? undefined : await list(folders.val, leftOut, all.classes);
  const passedOver = leftOutText(leftOut);
  if (passedOver !== undefined) report?.(`${dir}: left out ${passedOver}; expected ${READABLE}`);

  const files = [...all.files, ...(ownVal?.files ?? [])];
  const bad = await findBad(files.length, (index) => readFileHeader(files[index], maxPixels), report);
  if (bad.length > 0 && !skipBad) throw badImages(dir, bad, files.length);
  const unreadable = new Set(bad.map(({ index }) => files[index]));

  const count = all.files.length;
  const asked = options.valSplit ?? 0;
  if (!(asked >= 0 && (asked < 1 || (Number.isInteger(asked) && asked < count)))) {
    throw new UsageError(
      `valSplit: got ${asked}, expected a fraction below 1 or a whole number of images below the ${count} of ` +
        `${folders.train}`,
      { field: "valSplit", value: asked },
    );
  }
  let train = all;
  let val: Listing;
  if (asked > 0 || ownVal === undefined) {
    const fraction = (asked < 1 ? asked : asked / count) || DEFAULT_VAL_SPLIT;
    const chosen = stratifiedSplit(all.labels, all.classes, fraction, seed);
    train = pick(all, chosen.train);
    val = pick(all, chosen.val);
  } else {
    val = ownVal;
  }
  const side = imageSize ?? (await defaultSize(files.find((file) => !unreadable.has(file)) ?? files[0], maxPixels));
  const format = { channels, height: side, width: side, maxPixels };
  const describe = ({ files, labels }: Listing): FilesDescription =>
    withCache({ kind: "files", files, labels, ...format });
  let trainFiles = describe(train);
  let valFiles = describe(val);
  if (skipBad) {
    const inTrain = await findUndecodable(trainFiles, report);
    const inVal = await findUndecodable(valFiles, report);
    const everywhere = [...inTrain, ...inVal];
    if (everywhere.length > 0) {
      report?.(`${dir}: left out ${everywhere.length} of ${files.length} images:${listOfBad(everywhere)}`);
      trainFiles = { ...trainFiles, files: replaced(train, inTrain) };
      valFiles = describe(without(val, inVal));
    }
  }
  const trainSplit = filesSplit(trainFiles);
  return {
    name: basename(dir),
    classes: Object.freeze(await classNames(all.classes, report)),
    channels,
    height: side,
    width: side,
    ...(await computeMeanStd(trainSplit, format, NORMALIZATION_IMAGES)),
    train: trainSplit,
    val: filesSplit(valFiles),
    ...(val === ownVal && basename(folders.val ?? "").toLowerCase() === "test" ? { valIsTest: true } : {}),
  };
}

/** Headers that are read to know the usual size. */
const SURVEYED = 256;

/**
 * How many training images each class of a folder has and how large they are, from the headers of up to 256 of them.
 * @throws InputError as openImageFolder does, but not for single images that cannot be read
 */
export async function surveyImageFolder(dir: string, maxPixels = DEFAULT_MAX_PIXELS): Promise<FolderFacts> {
  const { train } = await splitFolders(dir);
  const { classes, files, labels } = await list(train, new Map());
  const counts = classes.map(() => 0);
  for (const label of labels) counts[label]++;
  const stride = Math.max(1, files.length / SURVEYED);
  const sides: number[] = [];
  for (let at = 0; at < files.length; at += stride) {
    // openImageFolder names those that cannot be read.
    const header = await readFileHeader(files[Math.floor(at)], maxPixels).catch(() => undefined);
    if (header !== undefined) sides.push(Math.min(header.width, header.height));
  }
  sides.sort((a, b) => a - b);
  return { counts, side: sides[Math.floor(sides.length / 2)] ?? DEFAULT_LARGEST_SIZE };
}

function requirePixels(field: string, value: number | undefined, most: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) return;
  throw new UsageError(`${field}: got ${value}, expected a whole number of pixels from 1 to ${most}`, { field, value });
}

async function splitFolders(
  dir: string,
  report?: (line: string) => void,
): Promise<{ readonly train: string; readonly val?: string | undefined }> {
  const folders = await subfolders(dir);
  // A split holds folders of classes. What holds images at once is a class that happens to be called train, or images
  // without labels.
  const split = async (wanted: string): Promise<string | undefined> => {
    for (const { name, path } of folders) {
      if (name.toLowerCase() === wanted && (await subfolders(path)).length > 0) return path;
    }
    return undefined;
  };
  const train = await split("train");
  if (train === undefined) return { train: dir };
  for (const wanted of VAL_FOLDERS) {
    const val = await split(wanted);
    if (val !== undefined) return { train, val };
  }
  for (const { name, path } of folders) {
    // As ImageNet's validation images are published.
    if (!VAL_FOLDERS.includes(name.toLowerCase()) || (await imagesBeside(path)) === 0) continue;
    report?.(`${path}: its images are in no folders of classes, so they are not used`);
  }
  return { train };
}

/** The images of every class folder in `dir`; with `expected`, its classes must be exactly those. */
async function list(dir: string, leftOut: LeftOut, expected?: readonly string[]): Promise<Listing> {
  const folders = await subfolders(dir);
  const classes = folders.map(({ name }) => name);
  if (expected !== undefined) requireSameClasses(dir, folders, expected);
  if (classes.length < 2 || classes.length > MAX_CLASSES) {
    const found =
      classes.length === 0
        ? "no class folder"
        : classes.length === 1
          ? `one class folder, ${classes[0]}`
          : `${classes.length} class folders`;
    const beside = await imagesBeside(dir);
    throw new InputError(
      `${dir}: has ${found}${beside === 0 ? "" : ` and ${beside} images in none`}, expected at least two, ${
        classes.length > MAX_CLASSES ? `at most ${MAX_CLASSES}, ` : ""
      }each with images of one class (${READABLE})`,
      { dir, found: classes.length },
    );
  }
  // A folder may serve both splits, but only one class of each.
  const seen: Scan["folders"] = new Map();
  const files: string[] = [];
  const labels: number[] = [];
  for (const [label, folder] of folders.entries()) {
    const own: LeftOut = new Map();
    const images = await imagesBelow(folder, { folders: seen, leftOut: own });
    for (const [what, number] of own) leftOut.set(what, (leftOut.get(what) ?? 0) + number);
    if (images.length === 0) {
      const instead = leftOutText(own);
      throw new InputError(
        `${folder.path}: class "${folder.name}" has no image${instead === undefined ? "" : ` (it has ${instead})`}, ` +
          `expected ${READABLE}`,
        { dir, class: folder.name },
      );
    }
    for (const file of images) {
      files.push(file);
      labels.push(label);
    }
  }
  return { classes, files, labels: Uint16Array.from(labels) };
}

function requireSameClasses(dir: string, folders: readonly Subfolder[], expected: readonly string[]): void {
  const missing = expected.find((wanted) => !folders.some(({ name }) => name === wanted));
  if (missing !== undefined) {
    throw new InputError(`${dir}: has no folder for the class "${missing}" of the training images`, {
      dir,
      class: missing,
    });
  }
  const unknown = folders.find(({ name }) => !expected.includes(name));
  if (unknown !== undefined) {
    throw new InputError(`${unknown.path}: the training images have no class "${unknown.name}"`, {
      dir,
      class: unknown.name,
    });
  }
}

function pick(listing: Listing, positions: Int32Array): Listing {
  return {
    classes: listing.classes,
    files: Array.from(positions, (position) => listing.files[position]),
    labels: Uint16Array.from(positions, (position) => listing.labels[position]),
  };
}

/** The files of `listing` with the next good one of the same class in the place of each bad one. */
function replaced({ classes, files, labels }: Listing, bad: readonly BadImage[]): string[] {
  const positions = new Set(bad.map(({ index }) => index));
  return files.map((file, position) => {
    if (!positions.has(position)) return file;
    for (let step = 1; step < files.length; step++) {
      const other = (position + step) % files.length;
      if (labels[other] === labels[position] && !positions.has(other)) return files[other];
    }
    const name = classes[labels[position]];
    throw new InputError(`class "${name}": none of its training images decodes:${listOfBad(bad)}`, { class: name });
  });
}

function without(listing: Listing, bad: readonly BadImage[]): Listing {
  const positions = new Set(bad.map(({ index }) => index));
  return pick(
    listing,
    Int32Array.from(listing.files.keys()).filter((position) => !positions.has(position)),
  );
}

async function defaultSize(file: string, maxPixels: number): Promise<number> {
  const { width, height } = await readFileHeader(file, maxPixels);
  return Math.min(DEFAULT_LARGEST_SIZE, width, height);
}
