// densenet/settings: what a training run can be asked for: presets, defaults and checks, as a form or a server needs them. No backend. Portable.
export * from "./errors.ts";
export { namedSpec, variantNames } from "./networks/registry.ts";
export type { TrainConfig } from "./train/config.ts";
export { presetNames } from "./train/presets.ts";
export { configuredSpec, resolveConfig } from "./train/resolveConfig.ts";
