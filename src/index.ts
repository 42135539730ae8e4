// densenet: everything portable, in Node and in browsers. `densenet/node` adds files, image decoders and folders; the
// other subpaths are parts of this one for pages that load no more than they use.

export * from "./analyses.ts";

export {
  type Calibrated,
  calibrate,
  type LabelledLogits,
  type Reliability,
  type ReliabilityBin,
  reliability,
} from "./analyze/calibration.ts";
export { type ClassScore, classScores } from "./analyze/classScores.ts";

export { type Neighbour, nearestNeighbours } from "./analyze/neighbours.ts";
export { type Summary, type SummaryLayer, summarize } from "./analyze/summary.ts";
export { type BackendOptions, createBackend } from "./backends/create.ts";
export {
  createReferenceBackend,
  type ReferenceBackend,
  type ReferenceExecutable,
} from "./backends/reference/backend.ts";
export type { ReferenceMemory } from "./backends/reference/memory.ts";
export { centreBox } from "./data/fitImage.ts";
export { differentiate, differentiateLogits } from "./graph/differentiate.ts";
export type { Graph, GraphNode, GraphTensor, NodeId, PersistentTensor, TensorId } from "./graph/graph.ts";
export type { ClassMap } from "./infer/classActivation.ts";
export { type Embedding, embed } from "./infer/embed.ts";
export {
  createExplainer,
  type Explainer,
  type ExplainerOptions,
  type ExplainMethod,
  type Explanation,
  explainMethods,
} from "./infer/explainer.ts";
export {
  createNodeReader,
  LAST_MAPS,
  type NodeGradient,
  type NodeReader,
  type NodeReaderOptions,
  type NodeTensor,
  type NodeValues,
} from "./infer/nodeReader.ts";
export { pyramidNodes } from "./infer/nodes.ts";
export { overlay, peakBox } from "./infer/overlay.ts";
export * from "./infer.ts";
export { requireUsable } from "./model/check.ts";
export { exportStateDict, type ImportedModel, type ImportOptions, importStateDict } from "./model/stateDict.ts";
export type { Tensor } from "./model/tensor.ts";
export type { LayerKind } from "./networks/architecture.ts";
export {
  type Architecture,
  architecture,
  type Block,
  type BuildOptions,
  buildGraph,
  defineSpec,
  type ImageSize,
  type Layer,
  macs,
  parameterCount,
} from "./networks/registry.ts";
export type { Precision, Real, Shape, Tensor as OpTensor } from "./ops/op.ts";
export type {
  BufferName,
  BufferRole,
  Composite,
  CompositeBackward,
  CompositeGrad,
  Dtype,
  Gate,
  KernelCall,
  KernelName,
  KernelTable,
  Plan,
  PlanBuffer,
  PoolSize,
  RunningEntry,
  ShortcutSize,
  View,
  WindowSize,
  Write,
} from "./plan/plan.ts";
export {
  type AdamWSettings,
  type OptimizerSettings,
  planInference,
  planTraining,
  type SgdSettings,
  type TrainingOptions,
} from "./plan/planners.ts";
export { printPlan } from "./plan/print.ts";
export * from "./train.ts";
export * from "./wasm.ts";
export * from "./webgpu.ts";
