// densenet/infer: a trained network as a function from images to labels, without trainer, settings and backends.
// Portable. With densenet/wasm or densenet/webgpu this is all that a page which classifies loads.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export type { AnswerThreshold, Calibration, OperatingPoint } from "./checkpoint/calibration.ts";
export { decodeModel, type Preprocessing, type TrainedModel } from "./checkpoint/checkpoint.ts";
export { fitImage, type Image, type InputSize } from "./data/fitImage.ts";
export * from "./errors.ts";
export {
  loadModelCard,
  loadPretrained,
  type Measured,
  type ModelCard,
  type PretrainedName,
  type PretrainedOptions,
  pretrainedNames,
} from "./formats/pretrained.ts";
export type { ParameterRole, StatisticRole, TensorRole } from "./graph/graph.ts";
export { createPredictor, type PredictOptions, type Predictor, type PredictorOptions } from "./infer/predictor.ts";
export type { Prediction } from "./infer/scores.ts";
export type { Model, ModelTensor, StateDict, StateTensor } from "./model/model.ts";
export type { NetworkSpec } from "./networks/registry.ts";
