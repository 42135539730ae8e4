// densenet/settings: what a training run can be asked for: presets, defaults and checks, as a form or a server needs
// them. No backend. Portable.
export { type BackendName, backendNames } from "./backends/names.ts";
export type { FolderFacts } from "./data/dataset.ts";
export * from "./errors.ts";
export type { Stem } from "./networks/fields.ts";
export { type NetworkSpec, namedSpec, type SpecFields, variantNames } from "./networks/registry.ts";
export type { ActivationDtype } from "./plan/plan.ts";
export type { RecomputePolicy } from "./plan/recompute.ts";
export {
  type Choice,
  chooseSettings,
  chosenConfig,
  epochsWithin,
  type MeasuredSpeed,
} from "./train/choose.ts";
export { defaultTrainConfig, type TrainConfig } from "./train/config.ts";
export { type PresetName, presetNames } from "./train/presets.ts";
export {
  type ConfigInput,
  type ConfigSource,
  configuredSpec,
  type FlagValue,
  type PartialTrainConfig,
  type ResolvedConfig,
  resolveConfig,
} from "./train/resolveConfig.ts";
