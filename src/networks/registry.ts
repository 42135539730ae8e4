// networks: the families of networks, and what everything after them may ask of a network of any family.
export {
  type Architecture,
  architecture,
  layersOf,
  macs,
  type PictureSize,
  parameterCount,
  runningStatisticsCount,
  smallestInput,
} from "./densenet/architecture.ts";
export { type BuildOptions, buildGraph } from "./densenet/build.ts";
export { defineSpec, type SpecFields } from "./densenet/define.ts";
export type { DenseNetSpec as NetworkSpec } from "./densenet/spec.ts";
export { canonicalName, namedSpec, variantName, variantNames } from "./densenet/variants.ts";
