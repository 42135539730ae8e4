// data: a folder of images per class — train/<class>/… with val/<class>/…, or only one of classes, split by a seed. PNG, JPEG, WebP.
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import sharp from "sharp";
import { InputError, UsageError } from "../errors.ts";
import type { Dataset, FilesDescription } from "./dataset.ts";
import { filesSplit, withCache } from "./filesSplit.node.ts";
import { stratifiedSplit } from "./holdOut.ts";
import { type ImageFormat, imageExtensions, readImage } from "./image.node.ts";
import { computeMeanStd } from "./normalization.ts";

export interface ImageFolderOptions {
  /** Height and width in pixels. Default: the shorter side of the first image, at most 64. */
  readonly imageSize?: number | undefined;
  /** 1 decodes to grey levels. Default 3. */
  readonly channels?: 1 | 3 | undefined;
  /**
   * Training images held out for validation, chosen by `seed`. Below 1: that fraction of every class. From 1 on: about so many in all, as
   * the same fraction of every class, rounded. Absent or 0: none with a val folder, 0.1 without one.
   */
  readonly valSplit?: number | undefined;
  /** Decides which images are held out. Default 0. */
  readonly seed?: number | undefined;
}

const DEFAULT_LARGEST_SIZE = 64;
const DEFAULT_VAL_SPLIT = 0.1;
const VAL_FOLDERS = ["val", "valid", "validation", "test"];
/** Mean and deviation of a few hundred images are those of all to within a percent; decoding all could take minutes. */
const NORMALIZATION_IMAGES = 512;

interface Listing {
  readonly classes: readonly string[];
  readonly files: readonly string[];
  readonly labels: Uint16Array;
}

/** Whether any folder in `dir`, or in its train folder, holds an image. @throws InputError when one of them cannot be read. */
export async function looksLikeImageFolder(dir: string): Promise<boolean> {
  const parts = await partsOf(dir);
  for (const name of await subfolders(parts.train)) {
    if ((await imagesIn(join(parts.train, name))).length > 0) return true;
  }
  return false;
}

/**
 * Opens a folder of images. Folders of classes in train and in val, valid, validation or test, whatever the case of these names, are the
 * two parts; otherwise every folder is a class. Classes are the folder names in code-unit order; images of a class are found at any depth and stand in the
 * order of their paths. Mean and deviation are measured on up to 512 training images. Nothing else is decoded before it is asked for.
 * @throws InputError for no images, fewer than two classes, an empty class, or a val folder whose classes differ.
 * @throws UsageError for an impossible size or held-out part.
 */
export async function openImageFolder(dir: string, options: ImageFolderOptions = {}): Promise<Dataset> {
  const { imageSize, channels = 3, seed = 0 } = options;
  if (imageSize !== undefined && !(Number.isInteger(imageSize) && imageSize >= 1 && imageSize <= 4096)) {
    throw new UsageError(`imageSize: got ${imageSize}, expected a whole number of pixels from 1 to 4096`, {
      field: "imageSize",
      value: imageSize,
    });
  }
  const parts = await partsOf(dir);
  const all = await list(parts.train);
  const ownVal = parts.val === undefined ? undefined : await list(parts.val, all.classes);
  const count = all.files.length;
  const asked = options.valSplit ?? 0;
  if (!(asked >= 0 && (asked < 1 || (Number.isInteger(asked) && asked < count)))) {
    throw new UsageError(
      `valSplit: got ${asked}, expected a fraction below 1 or a whole number of images below the ${count} of ${parts.train}`,
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
  const side = imageSize ?? (await defaultSize(all.files[0]));
  const format: ImageFormat = { channels, height: side, width: side };
  const describe = ({ files, labels }: Listing): FilesDescription =>
    withCache({ kind: "files", files, labels, ...format });
  const trainSplit = filesSplit(describe(train));
  return {
    name: basename(dir),
    classes: Object.freeze(all.classes),
    ...format,
    ...(await computeMeanStd(trainSplit, format, NORMALIZATION_IMAGES)),
    train: trainSplit,
    val: filesSplit(describe(val)),
  };
}

async function partsOf(dir: string): Promise<{ readonly train: string; readonly val?: string | undefined }> {
  const names = await subfolders(dir);
  // A part holds folders of classes. What holds images at once is a class that happens to be called train, or images without labels.
  const part = async (wanted: string): Promise<string | undefined> => {
    for (const name of names) {
      if (name.toLowerCase() !== wanted) continue;
      const path = join(dir, name);
      if ((await subfolders(path)).length > 0) return path;
    }
    return undefined;
  };
  const train = await part("train");
  if (train === undefined) return { train: dir };
  for (const wanted of VAL_FOLDERS) {
    const val = await part(wanted);
    if (val !== undefined) return { train, val };
  }
  return { train };
}

/** Names of the folders in `dir`, hidden ones left out, in code-unit order: the same on every machine. */
async function subfolders(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(unreadableFolder(dir));
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map((entry) => entry.name)
    .sort();
}

async function imagesIn(dir: string): Promise<string[]> {
  const names = await readdir(dir, { recursive: true }).catch(unreadableFolder(dir));
  return names
    .filter((name) => imageExtensions.includes(extname(name).toLowerCase()) && !basename(name).startsWith("."))
    .sort()
    .map((name) => join(dir, name));
}

/** Names the folder that failed, which with a recursive listing may lie below `dir`. */
function unreadableFolder(dir: string): (cause: unknown) => never {
  return (cause) => {
    const { path = dir, code } = cause as NodeJS.ErrnoException;
    throw new InputError(`${path}: the folder cannot be read (${code})`, { dir: path, code }, { cause });
  };
}

/** The images of every class folder in `dir`; with `expected`, its classes must be exactly those. */
async function list(dir: string, expected?: readonly string[]): Promise<Listing> {
  const classes = await subfolders(dir);
  if (expected !== undefined) {
    const missing = expected.find((name) => !classes.includes(name));
    if (missing !== undefined) {
      throw new InputError(`${dir}: has no folder for the class "${missing}" of the training images`, {
        dir,
        class: missing,
      });
    }
    const unknown = classes.find((name) => !expected.includes(name));
    if (unknown !== undefined) {
      throw new InputError(`${join(dir, unknown)}: the training images have no class "${unknown}"`, {
        dir,
        class: unknown,
      });
    }
  }
  if (classes.length < 2) {
    throw new InputError(
      `${dir}: has ${classes.length === 0 ? "no class folder" : `one class folder, ${classes[0]}`}, expected at least two with PNG, JPEG or WebP images`,
      { dir, found: classes.length },
    );
  }
  const files: string[] = [];
  const labels: number[] = [];
  for (const [label, name] of classes.entries()) {
    const own = await imagesIn(join(dir, name));
    if (own.length === 0) {
      throw new InputError(`${join(dir, name)}: class "${name}" has no PNG, JPEG or WebP image`, {
        dir,
        class: name,
      });
    }
    for (const file of own) {
      files.push(file);
      labels.push(label);
    }
  }
  return { classes, files, labels: Uint16Array.from(labels) };
}

function pick(listing: Listing, positions: Int32Array): Listing {
  return {
    classes: listing.classes,
    files: Array.from(positions, (position) => listing.files[position]),
    labels: Uint16Array.from(positions, (position) => listing.labels[position]),
  };
}

async function defaultSize(file: string): Promise<number> {
  const encoded = await readImage(file);
  try {
    const { autoOrient } = await sharp(encoded).metadata();
    return Math.min(DEFAULT_LARGEST_SIZE, autoOrient.width, autoOrient.height);
  } catch (cause) {
    throw new InputError(`${file}: does not decode as a PNG, JPEG or WebP image`, { file }, { cause });
  }
}
