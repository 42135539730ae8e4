// Test support: a trainer of the tiny net whose checkpoints lie in the folder of a run.
import type { Backend } from "../../src/backends/backend.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import { loadBatches } from "../../src/data/loader.node.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { CheckpointSink, Trainer } from "../../src/train/trainer.ts";
import { tinyDataset, tinyModel } from "./tiny.ts";

interface OnDisk {
  readonly config: TrainConfig;
  readonly backend: Backend;
  /** Where checkpoints go; without it nothing is saved. */
  readonly runDir?: string;
}

function options({ config, backend, runDir }: OnDisk) {
  const save: CheckpointSink | undefined =
    runDir === undefined
      ? undefined
      : (checkpoint, about) => saveCheckpoint(runDir, checkpoint, { ...about, keep: config.keepCheckpoints });
  return { config, backend, dataset: tinyDataset(), loadBatches, ...(save === undefined ? {} : { save }) };
}

export function startOnDisk(given: OnDisk): Trainer {
  return createTrainer({ ...options(given), model: tinyModel(given.config) });
}

/** From the last checkpoint in `runDir`. */
export async function resumeOnDisk(given: OnDisk & { readonly runDir: string }): Promise<Trainer> {
  const { trained, training } = await loadCheckpoint(given.runDir);
  if (training === undefined) throw new Error("the checkpoint has no training state");
  return createTrainer({ ...options(given), model: trained.model, resume: training });
}
