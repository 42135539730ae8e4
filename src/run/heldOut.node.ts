// run: the images that a checkpoint is measured on, and how to call them. Of a run's own images those that it held out,
// or some would have been trained on; of others all.
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { findCifar } from "../data/cifar.node.ts";
import type { Dataset, LabelKind } from "../data/dataset.ts";
import { type FolderSplit, type LabelledFolder, openLabelledFolder } from "../data/labelledFolder.node.ts";
import { openDataset } from "../data/open.node.ts";
import { findSvhn } from "../data/svhn.node.ts";
import { DenseNetError, InputError, UsageError } from "../errors.ts";
import type { LoadedNetwork } from "../formats/network.node.ts";
import { parseRunState, type RunState } from "../train/runState.ts";
import { dataDigest } from "./data.node.ts";
import { readOrigin } from "./folder.node.ts";
import { runOf } from "./start.node.ts";

export type MeasuredSplit = FolderSplit | "all";

export interface HeldOutOptions {
  /** Other images than the run's. */
  readonly dataDir?: string | undefined;
  /** Default: what the run was validated with; of other images their val or test split, or all. */
  readonly split?: MeasuredSplit | undefined;
  /** Of CIFAR-100. Default: the run's. */
  readonly labels?: LabelKind | undefined;
  /** Holds out of the training images, as in training. Default: the run's, for its own images. */
  readonly valSplit?: number | undefined;
  /** That chose them. */
  readonly seed?: number | undefined;
  /** As of the settings `data.maxPixels` and `data.skipBad`. Default: the run's, for its own images. */
  readonly maxPixels?: number | undefined;
  readonly skipBad?: boolean | undefined;
  readonly report?: ((line: string) => void) | undefined;
}

export interface HeldOut {
  readonly dataset: Dataset;
  /** Which of its splits is meant. */
  readonly split: "train" | "val";
  /** What these images are: the run's validation images, or a split of a folder or data set. */
  readonly which: "validation" | MeasuredSplit;
  /** The same in words, for "12 images: …". */
  readonly words: string;
}

/**
 * The images to measure `network`, which was loaded from `checkpoint`, on. Images in another place than the run's are
 * its own, moved, if names, sizes and labels are the same.
 * @throws InputError when they cannot be opened, or are not those of the run any more, so that nobody knows what it
 * held out
 * @throws UsageError when nobody says where they are, or the split does not fit the data
 */
export async function openHeldOut(
  network: Pick<LoadedNetwork, "trained" | "training" | "namesClasses">,
  checkpoint: string,
  options: HeldOutOptions,
): Promise<HeldOut> {
  const { dataDir, split, report } = options;
  const { training } = network;
  const run = training && parseRunState(training.run, checkpoint);
  if (run === undefined) return await openOthers(network, dataDir ?? "embedded", options);
  const saved = await savedDigest(checkpoint);
  const { data } = run.config;
  const isOwnPlace = dataDir === undefined || resolve(dataDir) === data.dir;
  const dir = isOwnPlace ? data.dir : dataDir;
  if (dir === null) {
    throw new UsageError("--data-dir: not given, and the run does not say in what folder its images are", {
      flag: "--data-dir",
    });
  }
  const asRun = { ...options, labels: options.labels ?? data.labels };
  if (split === "all" || split === "test") return await openOthers(network, dir, asRun);
  const isSaid = options.valSplit !== undefined || options.seed !== undefined;
  if (isOwnPlace || isSaid) {
    const own = await openAsInRun(network.trained, run, dir, options).catch((error: unknown) => {
      if (!(error instanceof InputError) || dataDir !== undefined) throw error;
      const message = `the run's images cannot be opened, say with --data-dir where they are: ${error.message}`;
      throw new InputError(message, error.details, { cause: error });
    });
    if (!isSaid) await requireUnchanged(own, run, dir, saved);
    return ownSplit(own, split ?? "val", options);
  }
  const moved = await openAsInRun(network.trained, run, dir, options).catch((error: unknown) => {
    // The run's split need not fit other images. What else is wrong with them shows below.
    if (!(error instanceof DenseNetError)) throw error;
    return undefined;
  });
  if (moved !== undefined && (await isOfRun(moved, run, dir, saved))) {
    if (saved === undefined) {
      report?.(
        `${dir}: as many images as the run had, so they are taken for the run's own; it was saved without names`,
      );
    }
    return ownSplit(moved, split ?? "val", options);
  }
  if (split === undefined) report?.(`${dir}: not the images of the run, so none are held out of them`);
  return await openOthers(network, dir, asRun);
}

function openAsInRun(
  { preprocessing }: TrainedModel,
  { config }: RunState,
  dir: string,
  options: HeldOutOptions,
): Promise<Dataset> {
  const { data, seed } = config;
  return openDataset({
    dir,
    imageSize: preprocessing.height,
    labels: options.labels ?? data.labels,
    valSplit: options.valSplit ?? data.valSplit,
    seed: options.seed ?? seed,
    maxPixels: options.maxPixels ?? data.maxPixels,
    skipBad: options.skipBad ?? data.skipBad,
    report: options.report,
  });
}

async function isOfRun(found: Dataset, run: RunState, dir: string, saved: string | undefined): Promise<boolean> {
  if (found.train.length !== run.trainCount) return false;
  return saved === undefined || saved === (await dataDigest(found, dir));
}

async function requireUnchanged(own: Dataset, run: RunState, dir: string, saved: string | undefined): Promise<void> {
  if (await isOfRun(own, run, dir, saved)) return;
  const { length } = own.train;
  const what =
    length === run.trainCount
      ? "names or sizes of its images are not those that the run began with"
      : `leaves ${length} images to train on, the run had ${run.trainCount}`;
  throw new InputError(
    `${dir}: ${what}, so nobody knows any more what it held out; expected the images as they were, --val-split for ` +
      "images that the run may have seen, or --split all",
    { dir, count: length, expected: run.trainCount },
  );
}

/** A split of the run's own images. */
function ownSplit(own: Dataset, split: "train" | "val", options: HeldOutOptions): HeldOut {
  if (split === "train") {
    return { dataset: own, split, which: "train", words: `those of ${own.name} that the run was trained on` };
  }
  const said = options.valSplit !== undefined || options.seed !== undefined;
  return said
    ? { dataset: own, split, which: "val", words: `held out of ${own.name} as asked; the run may have seen some` }
    : { dataset: own, split, which: "validation", words: `those of ${own.name} that the run was validated with` };
}

/** Images that no run held anything out of. */
async function openOthers(
  { trained, namesClasses }: Pick<LoadedNetwork, "trained" | "namesClasses">,
  dir: string,
  { labels, split, valSplit, seed, maxPixels, skipBad, report }: HeldOutOptions,
): Promise<HeldOut> {
  const { mean: _, std: __, ...size } = trained.preprocessing;
  if (split === "test" && valSplit !== undefined) {
    throw new UsageError(
      `--val-split ${valSplit}: holds images out of the training images, which --split test does not measure; ` +
        "expected one of the two",
      { flag: "--val-split" },
    );
  }
  if (valSplit === undefined && (await isFolderOfImages(dir))) {
    const channels = trained.model.spec.inChannels;
    if (channels !== 1 && channels !== 3) {
      throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
    }
    const classes = namesClasses ? trained.classes : undefined;
    const reading = { maxPixels, skipBad, report };
    const found = await openLabelledFolder(dir, { ...size, channels, classes, split, ...reading });
    return { dataset: asDataset(found, trained), split: "val", which: found.which, words: wordsOf(found, dir) };
  }
  if (split === "all") {
    throw new UsageError(`--split all: is for folders of images, expected val or train for ${dir}`, {
      flag: "--split",
    });
  }
  const testOnly = valSplit === undefined && split !== "train";
  const dataset = await openDataset({
    dir,
    testOnly,
    imageSize: size.height,
    labels,
    valSplit,
    seed,
    maxPixels,
    skipBad,
    report,
  });
  const which = split === "train" ? "train" : "val";
  return { dataset, split: which, which: split ?? which, words: `the ${split ?? which} split of ${dataset.name}` };
}

function asDataset(
  { name, classes, images }: LabelledFolder,
  { preprocessing, model }: LoadedNetwork["trained"],
): Dataset {
  const { height, width, mean, std } = preprocessing;
  return { name, classes, channels: model.spec.inChannels, height, width, mean, std, train: images, val: images };
}

function wordsOf({ which, name }: LabelledFolder, dir: string): string {
  return which === "all" ? `all of ${dir}` : `the ${which} split of ${name}`;
}

async function isFolderOfImages(dir: string): Promise<boolean> {
  if (dir === "embedded") return false;
  const found = await stat(dir).catch(() => undefined);
  if (found?.isDirectory() !== true) return false;
  return (await findCifar(dir)) === undefined && (await findSvhn(dir)) === undefined;
}

/** Of the run that a checkpoint is from, if it says. */
async function savedDigest(checkpoint: string): Promise<string | undefined> {
  const isFolder = (await stat(checkpoint)).isDirectory();
  return (await readOrigin(runOf(isFolder ? checkpoint : dirname(checkpoint)))).dataDigest;
}
