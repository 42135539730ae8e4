// run: reads every image of a folder of classes for a check of the data (analyze/dataCheck.ts).
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import sharp from "sharp";
import type { CheckedFolder, CheckedImage } from "../analyze/dataCheck.ts";
import { FINGERPRINT_SIDE, fingerprint } from "../analyze/duplicates.ts";
import { findBad } from "../data/checkImages.node.ts";
import { decodeImage, readHeader, readImage } from "../data/image.node.ts";
import { DEFAULT_MAX_PIXELS, READABLE } from "../data/imageFormats.ts";
import { imagesBelow, imagesBeside, type LeftOut, subfolders } from "../data/scanFolder.node.ts";
import { InputError } from "../errors.ts";

export interface ReadForCheckOptions {
  /** An image of more pixels counts as broken. Default 64 million. */
  readonly maxPixels?: number | undefined;
  /** Receives sentences for people: how far it is. */
  readonly report?: ((line: string) => void) | undefined;
}

const SPLITS = ["train", "val", "valid", "validation", "test"];

interface Listed {
  readonly path: string;
  readonly file: string;
  readonly split: string;
  readonly label: string;
}

/**
 * Reads and decodes every image in the folders of classes in `dir`, or in those of each of its splits.
 * @throws InputError when it is no folder, or holds neither folders nor images
 */
export async function readForCheck(dir: string, options: ReadForCheckOptions = {}): Promise<CheckedFolder> {
  const { maxPixels = DEFAULT_MAX_PIXELS, report } = options;
  const found = await stat(dir).catch((cause: unknown) => {
    throw new InputError(`${dir || '""'}: does not exist, expected a folder of images`, { dir }, { cause });
  });
  if (!found.isDirectory()) throw new InputError(`${dir}: is a file, expected a folder of images`, { dir });
  const splits = await splitsOf(dir);
  const leftOut: LeftOut = new Map();
  const listed: Listed[] = [];
  const classes = new Map<string, readonly string[]>();
  for (const [split, path] of splits) {
    const folders = await subfolders(path);
    classes.set(
      split,
      folders.map(({ name }) => name),
    );
    const beside = await imagesBeside(path);
    if (beside > 0)
      leftOut.set(
        "images beside the folders of classes",
        beside + (leftOut.get("images beside the folders of classes") ?? 0),
      );
    const scan = { folders: new Map<string, string>(), leftOut };
    for (const folder of folders) {
      for (const image of await imagesBelow(folder, scan)) {
        const file = relative(dir, image).replaceAll(sep, "/");
        listed.push({ path: image, file, split, label: folder.name });
      }
    }
  }
  if (listed.length === 0) {
    throw new InputError(`${dir}: holds no image in a folder of its class, expected ${READABLE}`, { dir });
  }
  const read = new Map<number, CheckedImage>();
  const bad = await findBad(
    listed.length,
    async (index) => {
      read.set(index, await readOne(listed[index], maxPixels));
    },
    report,
  );
  return {
    dir,
    splits: [...splits.keys()],
    classes,
    // In the order of the list, whichever came first.
    images: listed.flatMap((_, index) => read.get(index) ?? []),
    broken: bad.map(({ index, message }) => {
      const { file, label, split } = listed[index];
      return { file, label, split, reason: message };
    }),
    leftOut,
  };
}

/** Name → folder: the splits that hold folders of classes, "train" first, or the folder itself as "all". */
async function splitsOf(dir: string): Promise<Map<string, string>> {
  const folders = await subfolders(dir);
  const splits = new Map<string, string>();
  for (const wanted of SPLITS) {
    for (const { name, path } of folders) {
      if (name.toLowerCase() === wanted && (await subfolders(path)).length > 0) splits.set(name, path);
    }
  }
  const hasTrain = [...splits.keys()].some((name) => name.toLowerCase() === "train");
  return hasTrain ? splits : new Map([["all", dir]]);
}

async function readOne({ path, file, split, label }: Listed, maxPixels: number): Promise<CheckedImage> {
  const bytes = await readImage(path);
  const { width, height, format } = await readHeader(bytes, file, maxPixels);
  const size = { channels: 3, height: FINGERPRINT_SIDE, width: FINGERPRINT_SIDE } as const;
  const whole = (w: number, h: number) => ({ left: 0, top: 0, width: w, height: h });
  const planar = await decodeImage(bytes, size, { name: file, maxPixels, crop: whole });
  return {
    ...{ file, split, label, width, height, format },
    extension: extname(file).toLowerCase(),
    digest: createHash("sha256").update(bytes).digest("hex"),
    print: fingerprint(planar),
  };
}

/** Longer side of the images on the page, pixels. */
const SHOWN_SIDE = 144;

/** Of files below `dir`: a small copy each as a data URI. */
export async function thumbnails(dir: string, files: Iterable<string>): Promise<Map<string, string>> {
  const shown = new Map<string, string>();
  for (const file of files) {
    const small = sharp(await readImage(join(dir, file)), { limitInputPixels: false })
      .autoOrient()
      .flatten({ background: "white" })
      .resize(SHOWN_SIDE, SHOWN_SIDE, { fit: "inside", withoutEnlargement: true });
    shown.set(file, `data:image/jpeg;base64,${(await small.jpeg({ quality: 82 }).toBuffer()).toString("base64")}`);
  }
  return shown;
}
