// networks: the modules that families compose, as nodes of a growing graph, with torchvision's module paths.
//
// One idea: batch norm is factored. `channelStatistics` stands once behind whatever makes new feature maps, and every
// consumer's mean and variance is the concatenation of theirs, like the features themselves. Statistics of a
// concatenation never occur.
import { UsageError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, TensorId } from "../graph/graph.ts";
import { add } from "../ops/add.ts";
import { avgPool2d } from "../ops/avgPool2d.ts";
import { channelStatistics } from "../ops/channelStatistics.ts";
import { concat } from "../ops/concat.ts";
import { conv2d } from "../ops/conv2d.ts";
import { dropout } from "../ops/dropout.ts";
import { globalAvgPool } from "../ops/globalAvgPool.ts";
import { identityShortcut } from "../ops/identityShortcut.ts";
import { linear } from "../ops/linear.ts";
import { maxPool2d } from "../ops/maxPool2d.ts";
import { normalize } from "../ops/normalize.ts";
import { relu } from "../ops/relu.ts";
import { expectedGate, type GateScope, sampleGate } from "../ops/sampleGate.ts";
import { softmaxCrossEntropy } from "../ops/softmaxCrossEntropy.ts";
import { updateRunning } from "../ops/updateRunning.ts";
import type { BuildOptions, CommonSpec } from "./family.ts";
import type { Stem } from "./fields.ts";

/** Added to variances, as in the official code and torchvision. */
export const EPS = 1e-5;
/** Weight of the newest batch in running statistics. */
const STATISTICS_MOMENTUM = 0.1;

/**
 * Feature maps [N,C,H,W] and, in training, the batch statistics [C] of the same channels, where they were taken when
 * the maps were made, because more than one batch norm reads these.
 */
export interface Features {
  readonly maps: TensorId;
  readonly statistics?: { readonly mean: TensorId; readonly variance: TensorId };
}

/** A network's graph as it grows, module by module, from images to logits. */
export class NetworkBuilder {
  readonly images: TensorId;
  readonly #graph = new GraphBuilder();
  readonly #spec: CommonSpec;
  readonly #options: BuildOptions;
  /** Dropout and gate nodes so far: each draws from a stream of its own. */
  #streams = 0;

  constructor(spec: CommonSpec, options: BuildOptions) {
    this.#spec = spec;
    this.#options = options;
    const { batch, height, width } = options;
    this.images = this.#graph.tensor("images", [batch, spec.inChannels, height, width], "input");
  }

  stem(kind: Stem, outChannels: number): Features {
    const path = "features.conv0";
    if (kind === "cifar") return this.#withStatistics(path, this.#convolve(path, this.images, outChannels, 3));
    const conv0 = this.#withStatistics(path, this.#convolve(path, this.images, outChannels, 7, 2));
    const activated = this.#normalizeRelu("features.norm0", "features.relu0", conv0);
    const window = { kernel: 3, stride: 2, padding: 1 };
    const [pooled] = this.#graph.emit(maxPool2d, [activated], window, { path: "features.pool0" });
    return this.#withStatistics("features.pool0", pooled);
  }

  /**
   * The composite function H (section 3): batch norm, ReLU and a 3×3 convolution to `outChannels` new maps, behind a
   * 1×1 convolution of the same kind to `bottleneck` maps where there is one.
   */
  compositeFunction(path: string, input: Features, outChannels: number, bottleneck: number | undefined): Features {
    const activated = this.#normalizeRelu(`${path}.norm1`, `${path}.relu1`, input);
    if (bottleneck === undefined) return this.#newMaps(`${path}.conv1`, activated, outChannels, 3);
    const narrow = this.#newMaps(`${path}.conv1`, activated, bottleneck, 1);
    const activatedNarrow = this.#normalizeRelu(`${path}.norm2`, `${path}.relu2`, narrow);
    return this.#newMaps(`${path}.conv2`, activatedNarrow, outChannels, 3);
  }

  /** [a, b] along channels: maps and statistics alike. `label` numbers the feature state of the block. */
  join(path: string, label: number, a: Features, b: Features): Features {
    const both = (name: string, left: TensorId, right: TensorId) =>
      this.#graph.emit(concat, [left, right], {}, { path, names: [`${path}:${name}${label}`] })[0];
    const maps = both("features", a.maps, b.maps);
    if (!a.statistics || !b.statistics) return { maps };
    const mean = both("mean", a.statistics.mean, b.statistics.mean);
    const variance = both("variance", a.statistics.variance, b.statistics.variance);
    return { maps, statistics: { mean, variance } };
  }

  /** Batch norm, ReLU, a 1×1 convolution to `outChannels` and a 2×2 average pool. */
  transition(path: string, input: Features, outChannels: number): Features {
    const activated = this.#normalizeRelu(`${path}.norm`, `${path}.relu`, input);
    const mixed = this.#drop(`${path}.conv`, this.#convolve(`${path}.conv`, activated, outChannels, 1));
    const [pooled] = this.#graph.emit(avgPool2d, [mixed], { window: [2, 2] }, { path: `${path}.pool` });
    return this.#withStatistics(`${path}.pool`, pooled);
  }

  channels({ maps }: Features): number {
    return this.#graph.shape(maps)[1];
  }

  /** A convolution that keeps the size but for its stride, and the dropout behind it. */
  convolution(path: string, { maps }: Features, outChannels: number, kernel: number, stride = 1): Features {
    return { maps: this.#drop(path, this.#convolve(path, maps, outChannels, kernel, stride)) };
  }

  /** Batch norm alone. */
  normalize(path: string, features: Features): Features {
    return { maps: this.#normalize(path, features) };
  }

  relu(path: string, { maps }: Features): Features {
    return { maps: this.#relu(path, maps) };
  }

  /** Stochastic depth: in training the maps or zeros, each image's or all together, in inference their expectation. */
  gate(path: string, { maps }: Features, keepProbability: number, per: GateScope): Features {
    if (keepProbability === 1) return { maps };
    if (this.#options.mode === "inference") {
      return { maps: this.#graph.emit(expectedGate, [maps], { keepProbability }, { path })[0] };
    }
    const attrs = { keepProbability, per, stream: this.#streams++ };
    return { maps: this.#graph.emit(sampleGate, [maps], attrs, { path })[0] };
  }

  /** What a residual unit adds its branch to: the input, subsampled and with channels of zeros where shapes differ. */
  identityShortcut(path: string, input: Features, channels: number, stride: number): Features {
    if (stride === 1 && channels === this.channels(input)) return input;
    return { maps: this.#graph.emit(identityShortcut, [input.maps], { stride, channels }, { path })[0] };
  }

  add(path: string, branch: Features, shortcut: Features): Features {
    return { maps: this.#graph.emit(add, [branch.maps, shortcut.maps], {}, { path })[0] };
  }

  /** The network that ends with these features: batch norm, ReLU and what `classify` adds. */
  finish(features: Features): Graph {
    return this.classify({ maps: this.#normalizeRelu("features.norm5", "features.relu5", features) });
  }

  /**
   * The network that ends with these activated features: global average pool, classifier, and the loss where it is
   * wanted.
   */
  classify(activated: Features): Graph {
    const { batch, mode, loss: withLoss = mode === "training", labelSmoothing: smoothing = 0 } = this.#options;
    const graph = this.#graph;
    const [pooled] = graph.emit(globalAvgPool, [activated.maps], {}, { path: "features.pool5" });
    const { numClasses } = this.#spec;
    const weight = graph.parameter("classifier.weight", [numClasses, graph.shape(pooled)[1]], "linearWeight");
    const bias = graph.parameter("classifier.bias", [numClasses], "shift");
    const [logits] = graph.emit(linear, [pooled, weight, bias], {}, { path: "classifier" });
    const { tensors, nodes } = graph;
    const forward = { tensors, nodes, batch, mode, images: this.images, logits, gradients: new Map() };
    if (!withLoss) return forward;
    const labels = graph.tensor("labels", [batch], "input");
    const [loss] = graph.emit(softmaxCrossEntropy, [logits, labels], { smoothing }, { path: "loss", names: ["loss"] });
    return { ...forward, labels, loss };
  }

  #convolve(path: string, x: TensorId, outChannels: number, kernel: number, stride = 1): TensorId {
    const shape = [outChannels, this.#graph.shape(x)[1], kernel, kernel];
    const weight = this.#graph.parameter(`${path}.weight`, shape, "convWeight");
    return this.#graph.emit(conv2d, [x, weight], { stride, padding: (kernel - 1) / 2 }, { path })[0];
  }

  #drop(path: string, x: TensorId): TensorId {
    const { dropRate } = this.#spec;
    if (this.#options.mode !== "training" || dropRate === 0) return x;
    return this.#graph.emit(dropout, [x], { rate: dropRate, stream: this.#streams++ }, { path })[0];
  }

  #newMaps(path: string, x: TensorId, outChannels: number, kernel: number): Features {
    return this.#withStatistics(path, this.#drop(path, this.#convolve(path, x, outChannels, kernel)));
  }

  #withStatistics(path: string, maps: TensorId): Features {
    if (this.#options.mode !== "training") return { maps };
    const [mean, variance] = this.#graph.emit(channelStatistics, [maps], {}, { path });
    return { maps, statistics: { mean, variance } };
  }

  #normalizeRelu(path: string, reluPath: string, features: Features): TensorId {
    return this.#relu(reluPath, this.#normalize(path, features));
  }

  #relu(path: string, x: TensorId): TensorId {
    return this.#graph.emit(relu, [x], {}, { path })[0];
  }

  /** Batch norm. In training with batch statistics, which also move the running ones. */
  #normalize(path: string, given: Features): TensorId {
    const features = given.statistics ? given : this.#withStatistics(path, given.maps);
    const graph = this.#graph;
    const [, channels, mapHeight, mapWidth] = graph.shape(features.maps);
    const gamma = graph.parameter(`${path}.weight`, [channels], "scale");
    const beta = graph.parameter(`${path}.bias`, [channels], "shift");
    const runningMean = graph.statistic(`${path}.running_mean`, [channels], "mean");
    const runningVariance = graph.statistic(`${path}.running_var`, [channels], "variance");
    const { mean, variance } = features.statistics ?? { mean: runningMean, variance: runningVariance };
    const y = graph.emit(normalize, [features.maps, mean, variance, gamma, beta], { eps: EPS }, { path })[0];
    if (features.statistics) {
      const { batch } = this.#options;
      const count = batch * mapHeight * mapWidth;
      if (count < 2) {
        const problem = `${path}: batch norm needs more than one value per channel in training`;
        throw new UsageError(`${problem}; a batch of ${batch} with ${mapHeight}×${mapWidth} feature maps has ${count}`);
      }
      const states = [mean, variance, runningMean, runningVariance];
      graph.emit(updateRunning, states, { momentum: STATISTICS_MOMENTUM, count }, { path });
    }
    return y;
  }
}
