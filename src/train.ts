// densenet/train: the training loop with what it needs beside a backend: settings, data in memory, checkpoints as bytes. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export {
  type Checkpoint,
  decodeModel,
  decodeTraining,
  encodeModel,
  encodeTraining,
  type TrainedModel,
  type TrainingState,
} from "./checkpoint/checkpoint.ts";
export { type Batch, bytesSplit, type Dataset, type Split } from "./data/dataset.ts";
export { type EpochOptions, makeBatches } from "./data/epoch.ts";
export { cifar10Normalization, cifar100Normalization, imagenetNormalization } from "./data/normalization.ts";
export { type EvaluateOptions, evaluate } from "./infer/evaluate.ts";
export { createNetwork } from "./model/create.ts";
export type { Model, ModelTensor, StateDict, StateTensor } from "./model/model.ts";
export * from "./settings.ts";
export { createTrainer } from "./train/createTrainer.ts";
export type { Evaluation, Guess } from "./train/evaluation.ts";
export type { TrainEvent } from "./train/events.ts";
export type { GradientReduction } from "./train/reduction.ts";
export type { BatchLoader, CheckpointSink, Trainer, TrainerOptions } from "./train/trainer.ts";
