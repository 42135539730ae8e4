// data: which images each batch of an epoch holds, and the batches themselves. Functions of (seed, epoch, batch number)
// alone, never of timing, so a resumed epoch goes on with exactly the batches that were left. Portable.
import { UsageError } from "../errors.ts";
import { type Augment, type BatchRecipe, makeBatch } from "./batch.ts";
import type { Batch, Dataset } from "./dataset.ts";
import { normalizationTable } from "./normalization.ts";
import { permutation } from "./shuffle.ts";

/** Which batches an epoch has and how their images are augmented. */
export interface EpochOptions {
  readonly batchSize: number;
  /** Decides order and augmentation together with `epoch`. Unsigned 32 bit. */
  readonly seed: number;
  /** 0-based. */
  readonly epoch: number;
  readonly shuffle: boolean;
  readonly augment: Augment;
  /** Probability that a rectangle of an image is erased (random erasing). Default 0. */
  readonly erase?: number;
  /** Ten crops of each image in its place (of full-size images in files). Default false. */
  readonly tenCrop?: boolean;
  /** First batch to make, counted from 0; those before it are skipped at no cost. */
  readonly startBatch?: number;
  /** Only these images, in this order unless shuffled. */
  readonly indices?: readonly number[] | Int32Array;
  /** Fills a smaller last batch with zero images up to this size. */
  readonly padTo?: number;
}

/** The images as they are and in their order, in batches of one size: to measure on. */
export function inOrder(batchSize: number): EpochOptions {
  return { batchSize, padTo: batchSize, seed: 0, epoch: 0, shuffle: false, augment: "none" };
}

/**
 * The positions in a split of `length` images that each batch of the epoch holds, from the first batch on; the last one
 * may be smaller.
 * @throws UsageError for impossible options
 */
export function batchIndices(length: number, options: EpochOptions): Int32Array[] {
  const { batchSize, seed, epoch, shuffle, startBatch = 0, padTo } = options;
  requireWhole("batchSize", batchSize, 1);
  requireWhole("startBatch", startBatch, 0);
  if (padTo !== undefined) requireWhole("padTo", padTo, batchSize);
  const chosen =
    options.indices === undefined ? Int32Array.from({ length }, (_, i) => i) : Int32Array.from(options.indices);
  const wrong = chosen.find((index) => index < 0 || index >= length);
  if (wrong !== undefined) {
    throw new UsageError(`indices: got ${wrong}, expected 0 to ${length - 1}`, { field: "indices", value: wrong });
  }
  const order = shuffle ? permutation(chosen.length, seed, epoch).map((position) => chosen[position]) : chosen;
  // Copies: posting a view to a thread would post the whole order.
  return Array.from({ length: Math.ceil(order.length / batchSize) }, (_, batch) =>
    order.slice(batch * batchSize, (batch + 1) * batchSize),
  );
}

/** What makeBatch needs beside a batch's images. */
export function recipeOf(
  dataset: Dataset,
  { augment, erase = 0, tenCrop = false, seed, epoch }: EpochOptions,
): BatchRecipe {
  const { channels, height, width, mean, std } = dataset;
  const normalization = { mean, std };
  return {
    channels,
    height,
    width,
    augment,
    erase,
    tenCrop,
    seed,
    epoch,
    normalization,
    table: normalizationTable(normalization),
  };
}

/**
 * The batches of one epoch, each made by the calling thread when it is asked for. In Node `loadBatches` makes the same
 * ones ahead, in a thread of its own.
 * @throws UsageError for impossible options, InputError naming an image that does not decode
 */
export async function* makeBatches(
  dataset: Dataset,
  split: "train" | "val",
  options: EpochOptions,
): AsyncGenerator<Batch, void, undefined> {
  const recipe = recipeOf(dataset, options);
  for (const indices of batchIndices(dataset[split].length, options).slice(options.startBatch)) {
    yield await makeBatch(dataset[split], indices, recipe, options.padTo);
  }
}

/** @throws UsageError naming `field` */
export function requireWhole(field: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new UsageError(`${field}: got ${value}, expected a whole number of at least ${least}`, { field, value });
  }
}
