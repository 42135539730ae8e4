// train: the recipes of the paper by name (sections 4.1 and 4.2), and a quick one for a first run. Data, so they can be
// printed.
import type { PartialTrainConfig } from "./resolveConfig.ts";

/**
 * Section 4.2: SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 64, rate 0.1 divided by 10 after 50 % and 75 %
 * of the epochs.
 */
const paperRecipe: PartialTrainConfig = {
  model: { variant: "BC-100-12" },
  batchSize: 64,
  lr: 0.1,
  schedule: "multistep",
  milestones: [0.5, 0.75],
  gamma: 0.1,
  momentum: 0.9,
  nesterov: true,
  weightDecay: 1e-4,
  initFan: "out",
  dropRate: 0,
};

/** Where the images are not augmented, dropout 0.2 stands after each convolution but the first. */
const plainCifar: PartialTrainConfig = { ...paperRecipe, epochs: 300, dropRate: 0.2, data: { augment: "none" } };
const augmentedCifar: PartialTrainConfig = { ...paperRecipe, epochs: 300, data: { augment: "standard" } };

const presets = {
  "paper-cifar10": plainCifar,
  "paper-cifar10-plus": augmentedCifar,
  "paper-cifar100": plainCifar,
  "paper-cifar100-plus": augmentedCifar,
  "paper-svhn": { ...paperRecipe, epochs: 40, dropRate: 0.2, data: { augment: "none", valSplit: 6000 } },
  "paper-imagenet": {
    ...paperRecipe,
    model: { variant: "121" },
    epochs: 90,
    batchSize: 256,
    milestones: [30 / 90, 60 / 90],
    data: { augment: "imagenet", imageSize: 224 },
  },
  /** A minute on two cores, on the images that come with the package. Not a recipe of the paper. */
  quick: {
    model: { variant: "BC-28-12" },
    data: { dir: "embedded", augment: "standard" },
    epochs: 5,
    batchSize: 32,
    lr: 0.1,
    schedule: "cosine",
    warmupEpochs: 0.5,
  },
} as const satisfies Record<string, PartialTrainConfig>;

/** An entry of `presetNames`. */
export type PresetName = keyof typeof presets;

/** The paper's recipes, and `quick`, a minute on two cores. */
export const presetNames: readonly PresetName[] = Object.keys(presets) as PresetName[];

export function isPresetName(name: string): name is PresetName {
  return Object.hasOwn(presets, name);
}

/** What the preset says; settings it leaves open keep their default. */
export function presetConfig(name: PresetName): PartialTrainConfig {
  return presets[name];
}
