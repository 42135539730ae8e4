// networks/densenet: spec → forward graph of a DenseNet (paper, sections 3 and 4), with torchvision's module paths.
//
// One idea: batch norm is factored. `channelStatistics` stands once behind whatever makes new feature maps, and every consumer's mean and
// variance is the concatenation of those parts, like the features themselves. Statistics of a concatenation never occur.
import { UsageError } from "../../errors.ts";
import { GraphBuilder } from "../../graph/builder.ts";
import type { Graph, TensorId } from "../../graph/graph.ts";
import { avgPool2d } from "../../ops/avgPool2d.ts";
import { channelStatistics } from "../../ops/channelStatistics.ts";
import { concat } from "../../ops/concat.ts";
import { conv2d } from "../../ops/conv2d.ts";
import { dropout } from "../../ops/dropout.ts";
import { globalAvgPool } from "../../ops/globalAvgPool.ts";
import { linear } from "../../ops/linear.ts";
import { maxPool2d } from "../../ops/maxPool2d.ts";
import { normalize } from "../../ops/normalize.ts";
import { relu } from "../../ops/relu.ts";
import { softmaxCrossEntropy } from "../../ops/softmaxCrossEntropy.ts";
import { updateRunning } from "../../ops/updateRunning.ts";
import { compressedMaps } from "./define.ts";
import { requireImageSize } from "./imageSize.ts";
import type { DenseNetSpec } from "./spec.ts";

export interface BuildOptions {
  /** Images per step. */
  readonly batch: number;
  /** Image height in pixels. */
  readonly height: number;
  readonly width: number;
  /** `training`: batch statistics, running statistics updated, dropout, a loss. `inference`: running statistics, logits. */
  readonly mode: "training" | "inference";
  /** Whether labels and a loss belong to the graph. Default: in training. In inference it serves evaluation. */
  readonly loss?: boolean;
}

/** Added to variances, as in the official code and torchvision. */
const EPS = 1e-5;
/** Weight of the newest batch in running statistics. */
const STATISTICS_MOMENTUM = 0.1;

/** Feature maps [N,C,H,W] and, in training, the batch statistics [C] of the same channels. */
interface Features {
  readonly maps: TensorId;
  readonly statistics?: { readonly mean: TensorId; readonly variance: TensorId };
}

/**
 * The network as a graph: images [N,inChannels,height,width] → logits [N,numClasses], and loss [] with labels [N].
 * @throws UsageError if the images are too small for the network, or if a batch norm would see one value per channel in training.
 */
export function buildGraph(spec: DenseNetSpec, options: BuildOptions): Graph {
  const { batch, height, width, mode, loss: withLoss = mode === "training" } = options;
  const training = mode === "training";
  requireImageSize(spec, height, width);

  const graph = new GraphBuilder();
  let streams = 0;
  const channelsOf = (id: TensorId) => graph.shape(id)[1];

  function convolve(path: string, x: TensorId, outChannels: number, kernel: number, stride = 1): TensorId {
    const weight = graph.tensor(`${path}.weight`, [outChannels, channelsOf(x), kernel, kernel], "parameter");
    return graph.emit(conv2d, [x, weight], { stride, padding: (kernel - 1) / 2 }, { path })[0];
  }

  function drop(path: string, x: TensorId): TensorId {
    if (!training || spec.dropRate === 0) return x;
    return graph.emit(dropout, [x], { rate: spec.dropRate, stream: streams++ }, { path })[0];
  }

  function withStatistics(path: string, maps: TensorId): Features {
    if (!training) return { maps };
    const [mean, variance] = graph.emit(channelStatistics, [maps], {}, { path });
    return { maps, statistics: { mean, variance } };
  }

  /** [a, b] along channels: maps and statistics alike. `label` numbers the feature state of the block. */
  function join(path: string, label: number, a: Features, b: Features): Features {
    const both = (name: string, left: TensorId, right: TensorId) =>
      graph.emit(concat, [left, right], {}, { path, names: [`${path}:${name}${label}`] })[0];
    const maps = both("features", a.maps, b.maps);
    if (!a.statistics || !b.statistics) return { maps };
    const mean = both("mean", a.statistics.mean, b.statistics.mean);
    const variance = both("variance", a.statistics.variance, b.statistics.variance);
    return { maps, statistics: { mean, variance } };
  }

  /** Batch norm and ReLU. In training with batch statistics, which also move the running ones. */
  function normalizeRelu(path: string, reluPath: string, features: Features): TensorId {
    const [, channels, mapHeight, mapWidth] = graph.shape(features.maps);
    const gamma = graph.tensor(`${path}.weight`, [channels], "parameter");
    const beta = graph.tensor(`${path}.bias`, [channels], "parameter");
    const runningMean = graph.tensor(`${path}.running_mean`, [channels], "state");
    const runningVariance = graph.tensor(`${path}.running_var`, [channels], "state");
    const { mean, variance } = features.statistics ?? { mean: runningMean, variance: runningVariance };
    const y = graph.emit(normalize, [features.maps, mean, variance, gamma, beta], { eps: EPS }, { path })[0];
    if (features.statistics) {
      const count = batch * mapHeight * mapWidth;
      if (count < 2) {
        const problem = `${path}: batch norm needs more than one value per channel in training`;
        throw new UsageError(`${problem}; a batch of ${batch} with ${mapHeight}×${mapWidth} feature maps has ${count}`);
      }
      const states = [mean, variance, runningMean, runningVariance];
      graph.emit(updateRunning, states, { momentum: STATISTICS_MOMENTUM, count }, { path });
    }
    return graph.emit(relu, [y], {}, { path: reluPath })[0];
  }

  function stem(images: TensorId): Features {
    if (spec.stem === "cifar") {
      const path = "features.conv0";
      return withStatistics(path, convolve(path, images, spec.numInitFeatures, 3));
    }
    const conv0 = withStatistics("features.conv0", convolve("features.conv0", images, spec.numInitFeatures, 7, 2));
    const activated = normalizeRelu("features.norm0", "features.relu0", conv0);
    const path = "features.pool0";
    return withStatistics(path, graph.emit(maxPool2d, [activated], { kernel: 3, stride: 2, padding: 1 }, { path })[0]);
  }

  /** The composite function H: its k new maps with their statistics. */
  function denseLayer(path: string, input: Features): Features {
    const { bottleneck, bottleneckFactor, growthRate } = spec;
    const activated = normalizeRelu(`${path}.norm1`, `${path}.relu1`, input);
    if (!bottleneck) {
      const maps = drop(`${path}.conv1`, convolve(`${path}.conv1`, activated, growthRate, 3));
      return withStatistics(`${path}.conv1`, maps);
    }
    const narrow = drop(`${path}.conv1`, convolve(`${path}.conv1`, activated, bottleneckFactor * growthRate, 1));
    const inner = withStatistics(`${path}.conv1`, narrow);
    const activatedInner = normalizeRelu(`${path}.norm2`, `${path}.relu2`, inner);
    const maps = drop(`${path}.conv2`, convolve(`${path}.conv2`, activatedInner, growthRate, 3));
    return withStatistics(`${path}.conv2`, maps);
  }

  function denseBlock(path: string, input: Features, layers: number): Features {
    let features = input;
    for (let layer = 1; layer <= layers; layer++) {
      features = join(path, layer, features, denseLayer(`${path}.denselayer${layer}`, features));
    }
    return features;
  }

  function transition(path: string, input: Features): Features {
    const activated = normalizeRelu(`${path}.norm`, `${path}.relu`, input);
    const outChannels = compressedMaps(spec.compression, channelsOf(input.maps));
    const mixed = drop(`${path}.conv`, convolve(`${path}.conv`, activated, outChannels, 1));
    const pooled = graph.emit(avgPool2d, [mixed], { window: [2, 2] }, { path: `${path}.pool` })[0];
    return withStatistics(`${path}.pool`, pooled);
  }

  function classifier(input: Features): TensorId {
    const activated = normalizeRelu("features.norm5", "features.relu5", input);
    const pooled = graph.emit(globalAvgPool, [activated], {}, { path: "features.pool5" })[0];
    const weight = graph.tensor("classifier.weight", [spec.numClasses, channelsOf(pooled)], "parameter");
    const bias = graph.tensor("classifier.bias", [spec.numClasses], "parameter");
    return graph.emit(linear, [pooled, weight, bias], {}, { path: "classifier" })[0];
  }

  const images = graph.tensor("images", [batch, spec.inChannels, height, width], "input");
  let features = stem(images);
  spec.blockConfig.forEach((layers, index) => {
    if (index > 0) features = transition(`features.transition${index}`, features);
    features = denseBlock(`features.denseblock${index + 1}`, features, layers);
  });
  const logits = classifier(features);
  const forward = { tensors: graph.tensors, nodes: graph.nodes, batch, mode, images, logits, gradients: new Map() };
  if (!withLoss) return forward;
  const labels = graph.tensor("labels", [batch], "input");
  const [loss] = graph.emit(softmaxCrossEntropy, [logits, labels], {}, { path: "loss", names: ["loss"] });
  return { ...forward, labels, loss };
}
