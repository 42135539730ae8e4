// The library: everything portable, in Node and in browsers. `densenet/node` adds files, pictures and folders.

export { summarize } from "./analyze/summary.ts";
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export { type BackendOptions, createBackend } from "./backends/create.ts";
export { type BackendName, backendNames } from "./backends/names.ts";
export { createReferenceBackend } from "./backends/reference/backend.ts";
export { createWasmBackend, type WasmBackend, type WasmOptions } from "./backends/wasm/wasm.ts";
export { createWebgpuBackend, type WebgpuBackend, type WebgpuOptions } from "./backends/webgpu/webgpu.ts";
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
export type { Image } from "./data/fitImage.ts";
export { cifar10Normalization, cifar100Normalization, imagenetNormalization } from "./data/normalization.ts";
export * from "./errors.ts";
export { differentiate } from "./graph/differentiate.ts";
export type { Graph } from "./graph/graph.ts";
export { type EvaluateOptions, evaluate } from "./infer/evaluate.ts";
export { createPredictor, type PredictOptions, type Predictor, type PredictorOptions } from "./infer/predictor.ts";
export type { Prediction } from "./infer/scores.ts";
export { requireUsable } from "./model/check.ts";
export { createNetwork } from "./model/create.ts";
export type { Model, ModelTensor, StateDict, StateTensor } from "./model/model.ts";
export { exportStateDict, type ImportedModel, type ImportOptions, importStateDict } from "./model/stateDict.ts";
export {
  architecture,
  type BuildOptions,
  buildGraph,
  defineSpec,
  macs,
  type NetworkSpec,
  namedSpec,
  parameterCount,
  type SpecFields,
  variantNames,
} from "./networks/registry.ts";
export { planInference, planTraining, type TrainingOptions } from "./plan/lower.ts";
export type { Plan } from "./plan/plan.ts";
export { printPlan } from "./plan/print.ts";
export type { RecomputePolicy } from "./plan/recompute.ts";
export type { TrainConfig } from "./train/config.ts";
export { createTrainer } from "./train/createTrainer.ts";
export type { Evaluation, Guess } from "./train/evaluation.ts";
export type { TrainEvent } from "./train/events.ts";
export { presetNames } from "./train/presets.ts";
export type { GradientReduction } from "./train/reduction.ts";
export { configuredSpec, resolveConfig } from "./train/resolveConfig.ts";
export type { BatchLoader, CheckpointSink, Trainer, TrainerOptions } from "./train/trainer.ts";
