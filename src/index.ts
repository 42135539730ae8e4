// densenet: everything portable, in Node and in browsers. `densenet/node` adds files, image decoders and folders; the other subpaths are parts of
// this one for pages that load no more than they use.
export { summarize } from "./analyze/summary.ts";
export { type BackendOptions, createBackend } from "./backends/create.ts";
export { type BackendName, backendNames } from "./backends/names.ts";
export { createReferenceBackend } from "./backends/reference/backend.ts";
export { differentiate } from "./graph/differentiate.ts";
export type { Graph } from "./graph/graph.ts";
export * from "./infer.ts";
export { requireUsable } from "./model/check.ts";
export { exportStateDict, type ImportedModel, type ImportOptions, importStateDict } from "./model/stateDict.ts";
export {
  architecture,
  type BuildOptions,
  buildGraph,
  defineSpec,
  macs,
  parameterCount,
  type SpecFields,
} from "./networks/registry.ts";
export type { Plan } from "./plan/plan.ts";
export { planInference, planTraining, type TrainingOptions } from "./plan/planners.ts";
export { printPlan } from "./plan/print.ts";
export type { RecomputePolicy } from "./plan/recompute.ts";
export * from "./train.ts";
export * from "./wasm.ts";
export * from "./webgpu.ts";
