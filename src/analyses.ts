// The paper's analyses as library functions. Portable.
export {
  type FeatureReuse,
  featureReuse,
  featureReuseSection,
  type ReuseBlock,
  type ReuseColumn,
  type ReuseNormalisation,
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
export { type AnalysisPage, type AnalysisSection, renderAnalyses } from "./analyze/report/analysisPage.ts";
