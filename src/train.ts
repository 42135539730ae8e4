// densenet/train: the training loop with what it needs beside a backend: settings, data in memory, checkpoints as
// bytes. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export {
  type Checkpoint,
  decodeModel,
  decodeTraining,
  type EncodeOptions,
  encodeModel,
  encodeTraining,
  type Preprocessing,
  type TrainedModel,
  type TrainingState,
} from "./checkpoint/checkpoint.ts";
export type { Box } from "./data/augment.ts";
export type { Augment } from "./data/batch.ts";
export {
  type Batch,
  type BytesDescription,
  bytesSplit,
  type Dataset,
  type FilesDescription,
  type HoldOutSource,
  type LabelKind,
  labelKinds,
  type Split,
  type SplitDescription,
} from "./data/dataset.ts";
export { type EpochOptions, makeBatches } from "./data/epoch.ts";
export {
  cifar10Normalization,
  cifar100Normalization,
  imagenetNormalization,
  type Normalization,
} from "./data/normalization.ts";
export type { ParameterRole, StatisticRole, TensorRole } from "./graph/graph.ts";
export { type EvaluateOptions, evaluate } from "./infer/evaluate.ts";
export { createNetwork } from "./model/create.ts";
export type { InitializeOptions } from "./model/initialize.ts";
export type { Model, ModelTensor, StateDict, StateTensor } from "./model/model.ts";
export * from "./settings.ts";
export { createTrainer } from "./train/createTrainer.ts";
export type { Evaluation, Guess } from "./train/evaluation.ts";
export type {
  CheckpointEvent,
  EndEvent,
  EpochEvent,
  EpochMetrics,
  InterruptedEvent,
  MemoryUse,
  RecoveredEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
} from "./train/events.ts";
export { type RangeTestOptions, type RatePoint, rangeTest, suggestRate } from "./train/rangeTest.ts";
export type { GradientReduction } from "./train/reduction.ts";
export type { BatchLoader, CheckpointSink, Trainer, TrainerOptions } from "./train/trainer.ts";
