// The paper's analyses as library functions. Portable.
export {
  type Compactness,
  type CompactPoint,
  compactness,
  compactnessSection,
} from "./analyze/compactness.ts";
export {
  deepSupervisionSection,
  type LayerDistance,
  type LinearProbes,
  linearProbes,
  lossDistances,
  type NetworkSupervision,
  type Probe,
  supervisionFindings,
} from "./analyze/deepSupervision.ts";
export type { PooledMapsOptions } from "./analyze/featureMaps.ts";
export {
  type DepthMemory,
  type FeatureMemory,
  featureMemory,
  featureMemorySection,
  type MemoryStrategy,
  memoryFindings,
  memoryStrategies,
} from "./analyze/featureMemory.ts";
export {
  type FeatureReuse,
  featureReuse,
  featureReuseSection,
  type ReuseBlock,
  type ReuseColumn,
  type ReuseNormalisation,
  reuseNormalisations,
} from "./analyze/featureReuse.ts";
export type { Finding } from "./analyze/finding.ts";
export {
  type GradientFlow,
  type GradientFlowOptions,
  type GradientMoment,
  gradientFindings,
  gradientFlow,
  gradientFlowSection,
  type LayerGradient,
  type NetworkGradients,
} from "./analyze/gradientFlow.ts";
export {
  type Channels,
  type DroppedLayer,
  importanceFindings,
  type LayerImportance,
  type LayerImportanceOptions,
  layerImportance,
  layerImportanceSection,
  type NetworkImportance,
  redundancy,
} from "./analyze/layerImportance.ts";
export { type AnalysisPage, type AnalysisSection, renderAnalyses } from "./analyze/report/analysisPage.ts";
export type { Html } from "./analyze/report/html.ts";
export {
  type ConnectedStage,
  connectionFindings,
  connectionProbabilities,
  stochasticConnections,
  stochasticConnectionsSection,
} from "./analyze/stochasticConnections.ts";
