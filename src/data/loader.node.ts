// data: the batches of an epoch, made in a thread of their own a few ahead of the one that trains. Which batch holds what depends on
// (seed, epoch, batch number) alone, never on timing, so a resumed epoch continues with exactly the batches that were left.
import { Worker } from "node:worker_threads";
import { UsageError } from "../errors.ts";
import type { Augment } from "./batch.ts";
import type { Batch, Dataset } from "./dataset.ts";
import { type BatchReply, type BatchRequest, type LoaderTask, receiveError } from "./loaderMessages.ts";
import { normalizationTable } from "./normalization.ts";
import { permutation } from "./shuffle.ts";

export interface LoadOptions {
  readonly batchSize: number;
  /** Decides order and augmentation together with `epoch`. Unsigned 32 bit. */
  readonly seed: number;
  readonly epoch: number;
  readonly shuffle: boolean;
  readonly augment: Augment;
  /** First batch to make, counted from 0; those before it are skipped at no cost. */
  readonly startBatch?: number;
  /** Only these pictures, in this order unless shuffled. */
  readonly indices?: readonly number[] | Int32Array;
  /** Batches made ahead; default 3. */
  readonly prefetch?: number;
  /** Fills a smaller last batch with zero pictures up to this size. */
  readonly padTo?: number;
}

/** Number of batches of an epoch; the last one may be smaller. */
export function batchCount(pictures: number, batchSize: number): number {
  return Math.ceil(pictures / batchSize);
}

/** The pictures of an epoch in the order in which they are trained on. */
export function epochOrder(
  length: number,
  options: Pick<LoadOptions, "seed" | "epoch" | "shuffle" | "indices">,
): Int32Array {
  const chosen =
    options.indices === undefined ? Int32Array.from({ length }, (_, i) => i) : Int32Array.from(options.indices);
  if (!options.shuffle) return chosen;
  return permutation(chosen.length, options.seed, options.epoch).map((position) => chosen[position]);
}

/**
 * The batches of one epoch. The thread ends with the generator, also when it is left early.
 * @throws UsageError for impossible options; InputError naming a picture that does not decode.
 */
export async function* loadBatches(
  dataset: Dataset,
  split: "train" | "val",
  options: LoadOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { batchSize, seed, epoch, augment, startBatch = 0, prefetch = 3, padTo } = options;
  whole("batchSize", batchSize, 1);
  whole("startBatch", startBatch, 0);
  whole("prefetch", prefetch, 1);
  if (padTo !== undefined) whole("padTo", padTo, batchSize);
  const order = epochOrder(dataset[split].length, options);
  const wrong = order.find((index) => index < 0 || index >= dataset[split].length);
  if (wrong !== undefined) {
    throw new UsageError(`indices: got ${wrong}, expected 0 to ${dataset[split].length - 1}`, {
      field: "indices",
      value: wrong,
    });
  }
  const batches = batchCount(order.length, batchSize);
  if (startBatch >= batches) return;

  const { channels, height, width, mean, std } = dataset;
  const task: LoaderTask = {
    split: dataset[split].describe(),
    recipe: { channels, height, width, augment, seed, epoch, table: normalizationTable({ mean, std }) },
    padTo,
  };
  // Run from sources this file is .ts, from the package .js; so is its neighbour.
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const worker = new Worker(new URL(`./loaderWorker.node${extension}`, import.meta.url), { workerData: task });
  const replies: BatchReply[] = [];
  let broken: Error | undefined;
  let wake: (() => void) | undefined;
  worker.on("message", (reply: BatchReply) => {
    replies.push(reply);
    wake?.();
  });
  worker.on("error", (error: unknown) => {
    broken = error instanceof Error ? error : new Error(String(error));
    wake?.();
  });
  worker.on("exit", (code) => {
    broken ??= new Error(`the loader's thread ended by itself with code ${code}`);
    wake?.();
  });
  let asked = startBatch;
  const askUpTo = (end: number): void => {
    for (; asked < Math.min(end, batches); asked++) {
      // A copy: posting a view would post the whole order.
      const indices = order.slice(asked * batchSize, (asked + 1) * batchSize);
      worker.postMessage({ number: asked, indices } satisfies BatchRequest);
    }
  };
  try {
    for (let number = startBatch; number < batches; number++) {
      askUpTo(number + 1 + prefetch);
      while (replies.length === 0) {
        if (broken !== undefined) throw broken;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
      const reply = replies.shift() as BatchReply;
      if ("error" in reply) throw receiveError(reply.error);
      yield reply.batch;
    }
  } finally {
    await worker.terminate();
  }
}

function whole(field: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new UsageError(`${field}: got ${value}, expected a whole number of at least ${least}`, { field, value });
  }
}
