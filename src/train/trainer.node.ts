// train: a run in Node, from a configuration to a run folder: opens the data, makes the backend and the network, saves checkpoints.
import type { Backend } from "../backends/backend.ts";
import { createBackend } from "../backends/create.ts";
import { loadCheckpoint, saveCheckpoint } from "../checkpoint/store.node.ts";
import type { Dataset } from "../data/dataset.ts";
import { loadBatches } from "../data/loader.node.ts";
import { openDataset } from "../data/open.node.ts";
import { InputError, UsageError } from "../errors.ts";
import { createNetwork } from "../model/create.ts";
import type { TrainConfig } from "./config.ts";
import { createTrainer } from "./createTrainer.ts";
import { configuredSpec } from "./resolveConfig.ts";
import { parseRunState } from "./runState.ts";
import type { Trainer, TrainerOptions } from "./trainer.ts";

/** The data set of a configuration. @throws UsageError when it names none. */
export async function openConfiguredDataset({ data, seed }: Pick<TrainConfig, "data" | "seed">): Promise<Dataset> {
  if (data.dir === null) {
    throw new UsageError('data.dir: not given, expected a folder of pictures or "embedded"', { field: "data.dir" });
  }
  return openDataset({ dir: data.dir, valSplit: data.valSplit, seed, imageSize: data.imageSize ?? undefined });
}

/** What of a configuration decides its backend. */
export type DeviceChoice = Pick<TrainConfig, "device" | "activationDtype" | "threads">;

/** The backend of a configuration; the caller disposes of it. */
export async function createConfiguredBackend({ device, activationDtype, threads }: DeviceChoice): Promise<Backend> {
  return createBackend(device, { storage: activationDtype, ...(threads === null ? {} : { threads }) });
}

export interface RunOptions {
  readonly config: TrainConfig;
  readonly dataset: Dataset;
  readonly backend: Backend;
  /** Where checkpoints go; without it nothing is saved. */
  readonly runDir?: string;
  /** As the trainer's: another backend when the device is lost. */
  readonly reopen?: NonNullable<TrainerOptions["reopen"]>;
}

/** A trainer of a new network. */
export function startRun(options: RunOptions): Trainer {
  const { config, dataset } = options;
  const spec = configuredSpec(config, { classes: dataset.classes.length, channels: dataset.channels });
  const model = createNetwork(spec, { seed: config.seed, fan: config.initFan });
  return createTrainer({ model, ...trainerOptions(options) });
}

/** The configuration that the run of a checkpoint was started with. @throws InputError when the checkpoint cannot be continued. */
export async function savedConfig(checkpoint: string): Promise<TrainConfig> {
  const { training } = await loadCheckpoint(checkpoint);
  if (training === undefined) throw notResumable(checkpoint);
  return parseRunState(training.run, checkpoint).config;
}

/**
 * A trainer that goes on where the checkpoint was saved: a run's folder (its last checkpoint) or a checkpoint's.
 * @throws UsageError when `config` or `dataset` would make it another run.
 */
export async function resumeRun(checkpoint: string, options: RunOptions): Promise<Trainer> {
  const { trained, training } = await loadCheckpoint(checkpoint);
  if (training === undefined) throw notResumable(checkpoint);
  return createTrainer({ model: trained.model, resume: training, ...trainerOptions(options) });
}

function trainerOptions({ runDir, ...rest }: RunOptions): Omit<TrainerOptions, "model"> {
  const common = { ...rest, loadBatches };
  if (runDir === undefined) return common;
  const { keepCheckpoints: keep } = rest.config;
  return { ...common, save: (checkpoint, about) => saveCheckpoint(runDir, checkpoint, { ...about, keep }) };
}

function notResumable(checkpoint: string): InputError {
  return new InputError(
    `${checkpoint}: holds a model without its training state, expected the folder of a run or of a checkpoint`,
    {
      path: checkpoint,
    },
  );
}
