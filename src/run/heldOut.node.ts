// run: the images that a checkpoint is measured on, so that none of them was trained on.
import { resolve } from "node:path";
import type { Dataset } from "../data/dataset.ts";
import { openDataset } from "../data/open.node.ts";
import { DenseNetError, InputError, UsageError } from "../errors.ts";
import type { RunState } from "../train/runState.ts";

export interface HeldOutOptions {
  readonly dataDir?: string | undefined;
  readonly valSplit?: number | undefined;
  readonly seed?: number | undefined;
}

export interface HeldOut {
  readonly dataset: Dataset;
  /** What the person may not expect of it. */
  readonly note?: string;
}

/**
 * The pictures to measure on: of --data-dir, else the run's, else the embedded ones. What a run held out of its training pictures must be the
 * same part again, or it would hold pictures that were trained on. Pictures in another place than the run's are its own, moved, if that leaves
 * as many to train on; if not, they are others and have a val split of their own. What the user says of the split holds in any case.
 */
export async function openHeldOut(
  { dataDir, valSplit, seed }: HeldOutOptions,
  imageSize: number,
  run: RunState | undefined,
): Promise<HeldOut> {
  if (run === undefined) return { dataset: await openDataset({ dir: dataDir, imageSize, valSplit, seed }) };
  const { data, seed: runSeed } = run.config;
  const asInRun = (dir: string): Promise<Dataset> =>
    openDataset({ dir, imageSize, valSplit: valSplit ?? data.valSplit, seed: seed ?? runSeed });
  const isSaid = valSplit !== undefined || seed !== undefined;

  if (dataDir === undefined || resolve(dataDir) === data.dir) {
    if (data.dir === null) {
      throw new UsageError("--data-dir: not given, and the run does not say in what folder its pictures are", {
        flag: "--data-dir",
      });
    }
    const own = await asInRun(data.dir).catch((error: unknown) => {
      if (!(error instanceof InputError)) throw error;
      const message = `the run's pictures cannot be opened, say with --data-dir where they are: ${error.message}`;
      throw new InputError(message, error.details, { cause: error });
    });
    if (isSaid || own.train.length === run.trainCount) return { dataset: own };
    throw new InputError(
      `${data.dir}: leaves ${own.train.length} pictures to train on, the run had ${run.trainCount}, so what it held out cannot be told any more; expected the pictures as they were, or --val-split for a part that the run may have seen`,
      { dir: data.dir, count: own.train.length, expected: run.trainCount },
    );
  }

  if (isSaid) return { dataset: await asInRun(dataDir) };
  const moved = await asInRun(dataDir).catch((error: unknown) => {
    // The run's split need not fit other pictures. What else is wrong with them shows below.
    if (!(error instanceof DenseNetError)) throw error;
    return undefined;
  });
  if (moved?.train.length === run.trainCount) return { dataset: moved };
  return {
    dataset: await openDataset({ dir: dataDir, imageSize }),
    note: `${dataDir}: not the pictures of the run, so their own split is used; --val-split and --seed choose another`,
  };
}
