// networks/densenet: densely connected networks, for the registry.
import { smallestSide } from "../architecture.ts";
import type { Family } from "../family.ts";
import { denseNetAnatomy } from "./anatomy.ts";
import { denseNetArchitecture } from "./architecture.ts";
import { buildDenseNet } from "./build.ts";
import { defineDenseNet } from "./define.ts";
import { type DenseNetSpec, denseNetRules } from "./spec.ts";
import { currentDenseNetPath, recognizeDenseNet } from "./stateDict.ts";
import { densenetPattern, densenetSpellings, densenetVariants, normaliseDenseNet } from "./variants.ts";

export const densenet: Family<DenseNetSpec> = {
  family: "densenet",
  label: "DenseNet",
  description: "densely connected network",
  citation: "Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, CVPR 2017",
  fields: denseNetRules,
  variants: densenetVariants,
  spellings: densenetSpellings,
  pattern: densenetPattern,
  normalise: normaliseDenseNet,
  title: (variant) => `DenseNet-${variant}`,
  define: defineDenseNet,
  smallestInput: ({ stem, blockConfig }) => smallestSide(stem, blockConfig.length - 1),
  usualInput: ({ stem }) => (stem === "imagenet" ? 224 : 32),
  architecture: denseNetArchitecture,
  build: buildDenseNet,
  currentPath: currentDenseNetPath,
  recognize: recognizeDenseNet,
  anatomy: denseNetAnatomy,
};
