// The library's Node part: data sets, image files, run folders. Includes everything portable.
export type { ConstantGuess } from "./analyze/classErrors.ts";
export {
  type LoadedCheckpoint,
  loadCheckpoint,
  type Pointer,
  type SaveOptions,
  saveCheckpoint,
} from "./checkpoint/store.node.ts";
export { type DecodeOptions, decodeImage, type ImageFormat } from "./data/image.node.ts";
export { type LoadOptions, loadBatches } from "./data/loader.node.ts";
export { type DatasetKind, type OpenOptions, openDataset, surveyFolder } from "./data/open.node.ts";
export type { Provenance } from "./export/card.ts";
export type { ExportCheck } from "./export/check.node.ts";
export type { CalibrationData, Int8Check } from "./export/checkInt8.node.ts";
export { type ExportFormatName, type ExportOptions, exportFormatNames } from "./export/export.ts";
export type { ActivationRanges } from "./export/onnx/quantize.ts";
export { type OnnxDtype, onnxDtypeNames, type WeightDtype, weightDtypes } from "./export/onnx/write.ts";
export { type ExportNetworkOptions, exportNetwork, type WrittenExport } from "./export/write.node.ts";
export { type LoadedNetwork, loadNetwork } from "./formats/network.node.ts";
export type { PreprocessingChoice } from "./formats/preprocessing.ts";
export * from "./index.ts";
export { embedFiles, type FileEmbedding } from "./infer/embedFiles.node.ts";
export {
  classifyFiles,
  type FileAnswer,
  type FileOptions,
  type LoadPredictorOptions,
  loadPredictor,
  predictFiles,
} from "./infer/files.node.ts";
export { type FinishedEvent, type OpenedEvent, type RunEvent, type RunOptions, runTraining } from "./run/run.node.ts";
export { savedConfig } from "./run/start.node.ts";
export { type TuneOptions, type Tuning, tuneRun } from "./run/tune.node.ts";
