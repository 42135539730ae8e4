// train: everything that decides a run, as plain JSON. Checked here, resolved in resolveConfig.ts, saved with the run.

import * as z from "zod";
import { backendNames } from "../backends/create.ts";
import { activationDtypes } from "../plan/plan.ts";
import { modelFieldSchemas } from "./modelSettings.ts";

const modelSchema = z.strictObject({
  /** Named net of src/networks, e.g. "BC-100-12" or "121"; the other fields change it. Number of classes and channels come from the data. */
  variant: z.string(),
  ...modelFieldSchemas,
});

const dataSchema = z.strictObject({
  /** A folder or archive of pictures, "embedded" for the CIFAR-10 subset that comes with the package, null while unknown. */
  dir: z.string().min(1).nullable(),
  /** Training pictures held out for validation, a number or below 1 a fraction; 0: the data's own test or val split. */
  valSplit: z.number().gte(0),
  /** standard: the paper's "+" (section 4.1), shifts and mirrors. imagenet: random parts of the pictures of a folder. */
  augment: z.enum(["none", "standard", "imagenet"]),
  /** Side of the square that pictures of a folder are cropped to; null: what the data set has (32 for CIFAR). */
  imageSize: z.int().positive().nullable(),
});

/** Schema of TrainConfig; unknown keys are errors. */
export const trainConfigSchema = z.strictObject({
  model: modelSchema,
  data: dataSchema,
  epochs: z.int().positive(),
  /** Pictures per weight update. */
  batchSize: z.int().positive(),
  /** The batch goes through the net in this many equal parts; batch norm then sees each part by itself. */
  accumulationSteps: z.int().positive(),
  /** Learning rate before the schedule lowers it. */
  lr: z.number().positive(),
  schedule: z.enum(["multistep", "cosine", "constant"]),
  /** multistep: fractions of the epochs after which the rate is multiplied by gamma. */
  milestones: z.array(z.number().gt(0).lt(1)),
  gamma: z.number().gt(0).lte(1),
  /** The rate rises linearly over this many epochs; fractions allowed. */
  warmupEpochs: z.number().gte(0),
  momentum: z.number().gte(0).lt(1),
  nesterov: z.boolean(),
  /** On every parameter, batch norm's and biases included. */
  weightDecay: z.number().gte(0),
  /** He initialisation by outputs (the official code) or by inputs (torchvision). */
  initFan: z.enum(["out", "in"]),
  dropRate: z.number().gte(0).lt(1),
  /** Decides initial weights, order and augmentation of pictures, dropout and the held-out split. Unsigned 32 bit. */
  seed: z.int().gte(0).lte(0xffffffff),
  /** Saves memory for time; results are the same. */
  recompute: z.enum(["none", "bottleneck"]),
  /** `auto`: the GPU if there is one, else wasm. */
  device: z.enum(backendNames),
  /** How webgpu keeps feature maps, see WebgpuOptions. Runs that were saved before there was a choice have f32. */
  storage: z.enum(activationDtypes).default("f32"),
  /** Compute threads, 1 to 64; null: one per processor. */
  threads: z.int().positive().nullable(),
  /** Save also in the middle of an epoch, every so many updates; 0: at the end of epochs only. */
  checkpointEverySteps: z.int().gte(0),
  /** Checkpoints kept beside the best one. */
  keepCheckpoints: z.int().positive(),
});

/** All settings of a training run, resolved. */
export type TrainConfig = z.infer<typeof trainConfigSchema>;

/** Paper settings where the paper has one (section 4.2), otherwise the plainest choice. */
export const defaultTrainConfig: TrainConfig = {
  model: { variant: "BC-40-12" },
  data: { dir: null, valSplit: 0, augment: "none", imageSize: null },
  epochs: 300,
  batchSize: 64,
  accumulationSteps: 1,
  lr: 0.1,
  schedule: "multistep",
  milestones: [0.5, 0.75],
  gamma: 0.1,
  warmupEpochs: 0,
  momentum: 0.9,
  nesterov: true,
  weightDecay: 1e-4,
  initFan: "out",
  dropRate: 0,
  seed: 0,
  recompute: "none",
  device: "wasm",
  storage: "f32",
  threads: null,
  checkpointEverySteps: 0,
  keepCheckpoints: 2,
};
