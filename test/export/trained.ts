// Test support: small networks of every family with values of a trained net's size everywhere, so that a mistaken
// statistic or a swapped channel shows.
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { createNetwork } from "../../src/model/create.ts";
import type { ModelTensor } from "../../src/model/model.ts";
import { defineSpec, type SpecFields, smallestInput } from "../../src/networks/registry.ts";

export const smallNets: Readonly<Record<string, SpecFields>> = {
  "densenet, 3×3 stem": { growthRate: 4, blockConfig: [2, 3], numInitFeatures: 8, stem: "cifar", numClasses: 5 },
  "densenet without bottlenecks": {
    growthRate: 3,
    blockConfig: [2, 2],
    numInitFeatures: 6,
    bottleneck: false,
    compression: 1,
    stem: "cifar",
    numClasses: 3,
  },
  "densenet, 7×7 stem": { growthRate: 4, blockConfig: [2, 1, 2], numInitFeatures: 8, stem: "imagenet", numClasses: 7 },
  "densenet, 7×7 stem, one channel": {
    growthRate: 4,
    blockConfig: [1, 2],
    numInitFeatures: 8,
    stem: "imagenet",
    inChannels: 1,
    numClasses: 4,
  },
  "resnet with padded shortcuts": { family: "resnet", blockConfig: [1, 2], widths: [4, 7], numClasses: 4 },
  "resnet with stochastic depth": {
    family: "resnet",
    blockConfig: [1, 2],
    widths: [4, 7],
    stochasticDepth: 0.6,
    numClasses: 4,
  },
  "pre-activation resnet": {
    family: "resnet",
    blockConfig: [1, 2],
    widths: [4, 6],
    preActivation: true,
    numClasses: 3,
  },
  "plain chain": {
    family: "plain",
    widths: [6, 8],
    numInitFeatures: 6,
    blockConfig: [2, 2],
    stem: "cifar",
    numClasses: 5,
  },
};

export function smallTrained(fields: SpecFields, more: Partial<TrainedModel> = {}): TrainedModel {
  const spec = defineSpec(fields);
  const { state } = createNetwork(spec, { seed: 3 });
  const values = new Map<string, ModelTensor>();
  let count = 0;
  for (const [path, tensor] of state) {
    const { role } = tensor;
    const isWeight = role === "convWeight" || role === "linearWeight";
    const around = { scale: 1, variance: 1, shift: 0, mean: 0, convWeight: 0, linearWeight: 0 }[role];
    // Weights of variance 1/fan-in, or the maps of a deep net, whose statistics are not its own, would leave f16.
    const [outputs, inputs] = tensor.shape;
    const data = isWeight
      ? tensor.data.map((value) => value * Math.sqrt(outputs / (2 * inputs)))
      : tensor.data.map(() => around + 0.4 * Math.sin(12.9898 * count++));
    values.set(path, { ...tensor, data });
  }
  const side = Math.max(18, smallestInput(spec) + 5);
  const channels = spec.inChannels;
  return {
    model: { spec, state: values, batchesTracked: 41 },
    preprocessing: {
      height: side,
      width: side + 3,
      mean: [0.48, 0.45, 0.4].slice(0, channels),
      std: [0.22, 0.24, 0.26].slice(0, channels),
    },
    classes: Array.from({ length: spec.numClasses }, (_, i) => `label "${i}" <ü>`),
    dataset: "made up | for <tests>",
    ...more,
  };
}
