// data: what a path holds → a Dataset. The one door that the command and the trainer use.
import { stat } from "node:fs/promises";
import { InputError, UsageError } from "../errors.ts";
import { findCifar, readCifar } from "./cifar.node.ts";
import type { Dataset, FolderFacts, LabelKind } from "./dataset.ts";
import { readEmbedded } from "./embedded.node.ts";
import { holdOut } from "./holdOut.ts";
import {
  type ImageFolderOptions,
  looksLikeImageFolder,
  openImageFolder,
  surveyImageFolder,
} from "./imageFolder.node.ts";
import { findSvhn, readSvhn, readSvhnTest } from "./svhn.node.ts";

/** A kind of data set that `openDataset` recognises by its files. */
export type DatasetKind = "cifar10" | "cifar100" | "svhn" | "folder" | "embedded";

/** Where a data set is and how it is split. */
export interface OpenOptions extends ImageFolderOptions {
  /** A folder or a .tar.gz. Absent or "embedded": the images that come with the package. */
  readonly dir?: string | undefined;
  /** What must be found there. Default: whatever is. */
  readonly kind?: DatasetKind | undefined;
  /**
   * Below 1: that fraction of every class of the training images becomes the validation split, chosen by `seed`. From 1
   * on: the last so many images (the paper's 5 000 of CIFAR); of SVHN as many of every class, two thirds of them from
   * the training images and one from the extra ones (the paper's 6 000), chosen by `seed`; of a folder, whose last ones
   * are all of one class, about so many, spread over the classes. Absent or 0: the data set's own test or val split; of
   * a folder without one 0.1.
   */
  readonly valSplit?: number | undefined;
  /**
   * Only the `val` split will be used, and nothing is held out: what is large (SVHN's training images) need not be
   * read. Default false.
   */
  readonly testOnly?: boolean | undefined;
  /** Which labels of CIFAR-100: its 100 classes or their 20 superclasses. Default "fine". */
  readonly labels?: LabelKind | undefined;
}

const EXPECTED =
  "expected the binary version of CIFAR-10 or CIFAR-100 (its folder or original .tar.gz), a folder with SVHN's " +
  "train_32x32.mat, test_32x32.mat and extra_32x32.mat, or a folder with train/<class>/ and val/<class>/ or one folder " +
  "of images per class";

/**
 * Opens the data set at `dir`.
 * @throws InputError when nothing is there, it is none of the known kinds, or its content is damaged.
 * @throws UsageError when an option does not fit what was found.
 */
export async function openDataset(options: OpenOptions = {}): Promise<Dataset> {
  const { dir, kind, valSplit, seed = 0 } = options;
  const dataset = await openWhole(options);
  if (kind !== "folder" && dataset.train.describe().kind === "bytes") {
    if (options.imageSize !== undefined && options.imageSize !== dataset.height) {
      throw new UsageError(
        `imageSize: got ${options.imageSize}, expected ${dataset.height}, the size of the images of ` +
          `${dataset.name}${dir === undefined ? "" : ` in ${dir}`}`,
        { field: "imageSize", value: options.imageSize },
      );
    }
    if (valSplit !== undefined && valSplit !== 0) return holdOut(dataset, valSplit, seed);
  }
  return dataset;
}

/**
 * Facts about the folder of images at `dir`; undefined where something else is there, or nothing.
 * @throws InputError for a folder that cannot be opened as one of images
 */
export async function surveyFolder(dir: string, maxPixels?: number): Promise<FolderFacts | undefined> {
  const found = await stat(dir).catch(() => undefined);
  if (!found?.isDirectory() || (await findCifar(dir)) !== undefined || (await findSvhn(dir)) !== undefined) return;
  return (await looksLikeImageFolder(dir)) ? surveyImageFolder(dir, maxPixels) : undefined;
}

async function openWhole(options: OpenOptions): Promise<Dataset> {
  const { dir, kind, labels = "fine" } = options;
  if (dir === undefined || dir === "embedded" || kind === "embedded") {
    if (kind !== undefined && kind !== "embedded") {
      throw new UsageError(`data: ${kind} needs a folder, expected its path`, { field: "dir" });
    }
    if (dir !== undefined && dir !== "embedded") {
      throw new UsageError(`data: the embedded images have no folder, got ${dir}`, { field: "dir", value: dir });
    }
    requireFine(labels, "the images that come with the package");
    return await readEmbedded();
  }
  const found = await stat(dir).catch((cause: unknown) => {
    const why =
      cause instanceof Error && "code" in cause && cause.code === "ENOENT" ? "does not exist" : "cannot be read";
    throw new InputError(`${dir}: ${why}; ${EXPECTED}`, { dir }, { cause });
  });
  if (kind !== "folder") {
    const source = await findCifar(dir);
    if (source !== undefined && kind !== undefined && source.kind !== kind) {
      throw new InputError(`${dir}: holds ${source.kind}, expected ${kind}`, {
        dir,
        found: source.kind,
        expected: kind,
      });
    }
    if (source !== undefined) return await readCifar(source, labels);
  }
  requireFine(labels, dir);
  if (kind === undefined || kind === "svhn") {
    const source = await findSvhn(dir);
    if (source !== undefined) return await (options.testOnly ? readSvhnTest : readSvhn)(source, options.report);
  }
  if (found.isDirectory() && (kind === "folder" || (kind === undefined && (await looksLikeImageFolder(dir))))) {
    return await openImageFolder(dir, options);
  }
  throw new InputError(
    `${dir}: holds no data set of a known kind; ${kind === undefined ? EXPECTED : `expected ${kind}`}`,
    { dir, kind },
  );
}

function requireFine(labels: LabelKind, place: string): void {
  if (labels === "fine") return;
  throw new UsageError(`labels: got ${labels}, which only CIFAR-100 has, for ${place}`, {
    field: "labels",
    value: labels,
  });
}
