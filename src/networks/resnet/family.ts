// networks/resnet: residual nets for small images, for the registry.
import type { Family } from "../family.ts";
import { resnetAnatomy } from "./anatomy.ts";
import { resnetArchitecture } from "./architecture.ts";
import { buildResNet } from "./build.ts";
import { defineResNet } from "./define.ts";
import { recognizeResNet } from "./recognize.ts";
import { type ResNetSpec, resnetRules } from "./spec.ts";
import { normaliseResNet, resnetPattern, resnetSpellings, resnetVariants } from "./variants.ts";

export const resnet: Family<ResNetSpec> = {
  family: "resnet",
  label: "ResNet",
  description: "residual network",
  citation:
    "He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, CVPR 2016, and Identity Mappings in Deep " +
    "Residual Networks, ECCV 2016; Huang, Sun, Liu, Sedra, Weinberger, Deep Networks with Stochastic Depth, ECCV 2016",
  fields: resnetRules,
  variants: resnetVariants,
  spellings: resnetSpellings,
  pattern: resnetPattern,
  normalise: normaliseResNet,
  title: (variant) => variant.replace("preresnet", "Pre-activation ResNet").replace("resnet", "ResNet"),
  trainedWith: ({ stochasticDepth }) =>
    stochasticDepth < 1
      ? { words: "with stochastic depth", without: { stochasticDepth: 1, gatePer: "batch" } }
      : undefined,
  define: defineResNet,
  smallestInput: () => 1,
  usualInput: () => 32,
  architecture: resnetArchitecture,
  build: buildResNet,
  currentPath: (path) => path,
  recognize: recognizeResNet,
  anatomy: resnetAnatomy,
};
