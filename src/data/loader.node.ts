// data: the batches of an epoch (epoch.ts), made in a thread of their own a few ahead of the one that trains.
import { Worker } from "node:worker_threads";
import type { Batch, Dataset } from "./dataset.ts";
import { batchIndices, type EpochOptions, recipeOf, requireWhole } from "./epoch.ts";
import { type BatchReply, type BatchRequest, type LoaderTask, receiveError } from "./loaderMessages.ts";

/** As EpochOptions, for batches that are made ahead. */
export interface LoadOptions extends EpochOptions {
  /** Batches made ahead; default 3. */
  readonly prefetch?: number;
}

/**
 * The batches of one epoch. The thread ends with the generator, also when it is left early.
 * @throws UsageError for impossible options; InputError naming an image that does not decode.
 */
export async function* loadBatches(
  dataset: Dataset,
  split: "train" | "val",
  options: LoadOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { startBatch = 0, prefetch = 3, padTo } = options;
  requireWhole("prefetch", prefetch, 1);
  const batches = batchIndices(dataset[split].length, options);
  if (startBatch >= batches.length) return;

  const task: LoaderTask = { split: dataset[split].describe(), recipe: recipeOf(dataset, options), padTo };
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
    broken ??= new Error(`the loader's thread ended with code ${code}`);
    wake?.();
  });
  let asked = startBatch;
  const askUpTo = (end: number): void => {
    for (; asked < Math.min(end, batches.length); asked++) {
      worker.postMessage({ number: asked, indices: batches[asked] } satisfies BatchRequest);
    }
  };
  try {
    for (let number = startBatch; number < batches.length; number++) {
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
