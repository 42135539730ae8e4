// networks/densenet: the sizes a spec implies — every module's channels, map size, parameters and multiply-adds, as plain data (section 3, table 1).
import { UsageError } from "../../errors.ts";
import { compressedMaps } from "./define.ts";
import type { DenseNetSpec } from "./spec.ts";

/** Pixels of an input picture. */
export interface PictureSize {
  readonly height: number;
  readonly width: number;
}

export type LayerKind = "convolution" | "batchNorm" | "maxPool" | "averagePool" | "globalAveragePool" | "linear";

/** One module of the network. `params`: learned numbers. `macs`: multiply-adds per picture, of convolutions and the classifier only. */
export interface Layer {
  /** Module path, torchvision's: `features.denseblock1.denselayer1.conv1`. */
  readonly path: string;
  readonly kind: LayerKind;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly inHeight: number;
  readonly inWidth: number;
  /** Of the output. */
  readonly height: number;
  readonly width: number;
  /** Square window; 1 for batch norm and the classifier. */
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly params: number;
  readonly macs: number;
}

export interface DenseLayerShape {
  readonly path: string;
  /** k₀ + k·(ℓ − 1) */
  readonly inChannels: number;
  /** k */
  readonly outChannels: number;
  readonly layers: readonly Layer[];
}

export interface DenseBlockShape {
  readonly path: string;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  /** L(L + 1)/2: layer ℓ reads the block's input and the ℓ − 1 layers before it. */
  readonly connections: number;
  readonly denseLayers: readonly DenseLayerShape[];
}

export interface TransitionShape {
  readonly path: string;
  readonly inChannels: number;
  /** ⌊θ·inChannels⌋ */
  readonly outChannels: number;
  readonly inHeight: number;
  readonly inWidth: number;
  /** After pooling. */
  readonly height: number;
  readonly width: number;
  readonly layers: readonly Layer[];
}

export interface Architecture {
  readonly stem: {
    readonly outChannels: number;
    readonly height: number;
    readonly width: number;
    readonly layers: readonly Layer[];
  };
  readonly blocks: readonly DenseBlockShape[];
  /** One after each block but the last. */
  readonly transitions: readonly TransitionShape[];
  readonly head: {
    /** What the classifier reads. */
    readonly features: number;
    readonly classes: number;
    /** Map size under the global average pool. */
    readonly height: number;
    readonly width: number;
    readonly layers: readonly Layer[];
  };
  readonly connectionsPerBlock: readonly number[];
  readonly connections: number;
  /** Convolutions and the classifier: the number in the network's name. */
  readonly depth: number;
}

/** Smallest height and width that leave one pixel after the last transition. 29 for the four-block ImageNet nets. */
export function smallestInput(spec: DenseNetSpec): number {
  const afterStem = 2 ** (spec.blockConfig.length - 1);
  // Two windows of stride 2, each with out = ⌊(in − 1)/2⌋ + 1, so in ≥ 2·out − 1.
  return spec.stem === "cifar" ? afterStem : 4 * afterStem - 3;
}

/** @throws UsageError when the picture is too small for the network or its size is not whole. */
export function architecture(spec: DenseNetSpec, size: PictureSize): Architecture {
  const smallest = smallestInput(spec);
  for (const side of ["height", "width"] as const) {
    if (!Number.isInteger(size[side]) || size[side] < smallest) {
      throw new UsageError(
        `${side}: got ${size[side]}, expected a whole number of at least ${smallest} pixels for a network with ${spec.blockConfig.length} blocks and the ${spec.stem} stem`,
        { field: side, value: size[side], smallest },
      );
    }
  }
  let at: At = { channels: spec.inChannels, height: size.height, width: size.width };

  const stemLayers: Layer[] = [];
  if (spec.stem === "cifar") {
    stemLayers.push(convolution("features.conv0", at, spec.numInitFeatures, 3, 1, 1));
  } else {
    const conv = convolution("features.conv0", at, spec.numInitFeatures, 7, 2, 3);
    const norm = batchNorm("features.norm0", after(conv));
    stemLayers.push(conv, norm, pool("features.pool0", "maxPool", after(norm), 3, 2, 1));
  }
  at = after(stemLayers[stemLayers.length - 1]);
  const stem = { outChannels: at.channels, height: at.height, width: at.width, layers: stemLayers };

  const blocks: DenseBlockShape[] = [];
  const transitions: TransitionShape[] = [];
  spec.blockConfig.forEach((count, index) => {
    const block = denseBlock(spec, `features.denseblock${index + 1}`, at, count);
    blocks.push(block);
    at = { ...at, channels: block.outChannels };
    if (index + 1 < spec.blockConfig.length) {
      const path = `features.transition${index + 1}`;
      const norm = batchNorm(`${path}.norm`, at);
      const conv = convolution(`${path}.conv`, at, compressedMaps(spec.compression, at.channels), 1, 1, 0);
      const pooled = pool(`${path}.pool`, "averagePool", after(conv), 2, 2, 0);
      transitions.push({
        path,
        inChannels: at.channels,
        outChannels: pooled.outChannels,
        inHeight: at.height,
        inWidth: at.width,
        height: pooled.height,
        width: pooled.width,
        layers: [norm, conv, pooled],
      });
      at = after(pooled);
    }
  });

  const headLayers: Layer[] = [
    batchNorm("features.norm5", at),
    { ...pool("pool", "globalAveragePool", at, 1, 1, 0), height: 1, width: 1 },
    {
      ...pool("classifier", "linear", { channels: at.channels, height: 1, width: 1 }, 1, 1, 0),
      outChannels: spec.numClasses,
      params: at.channels * spec.numClasses + spec.numClasses,
      macs: at.channels * spec.numClasses,
    },
  ];
  const connectionsPerBlock = blocks.map((block) => block.connections);
  const shape = {
    stem,
    blocks,
    transitions,
    head: { features: at.channels, classes: spec.numClasses, height: at.height, width: at.width, layers: headLayers },
    connectionsPerBlock,
    connections: connectionsPerBlock.reduce((sum, connections) => sum + connections, 0),
  };
  const depth = layersOf(shape).filter((layer) => layer.kind === "convolution" || layer.kind === "linear").length;
  return { ...shape, depth };
}

/** Every module from the picture to the logits, in order. */
export function layersOf(shape: Pick<Architecture, "stem" | "blocks" | "transitions" | "head">): Layer[] {
  return [
    ...shape.stem.layers,
    ...shape.blocks.flatMap((block, index) => [
      ...block.denseLayers.flatMap((layer) => layer.layers),
      ...(shape.transitions[index]?.layers ?? []),
    ]),
    ...shape.head.layers,
  ];
}

/** Learned numbers: convolution weights, γ and β, the classifier's weight and bias. Running statistics are not among them. */
export function parameterCount(spec: DenseNetSpec): number {
  return sum(anySize(spec), (layer) => layer.params);
}

/** Running means and variances: two numbers per channel of every batch norm. */
export function runningStatisticsCount(spec: DenseNetSpec): number {
  return sum(anySize(spec), (layer) => (layer.kind === "batchNorm" ? 2 * layer.outChannels : 0));
}

/** Multiply-adds per picture of the convolutions and the classifier, the transition convolution at its size before pooling, as the paper counts. */
export function macs(spec: DenseNetSpec, size: PictureSize): number {
  return sum(layersOf(architecture(spec, size)), (layer) => layer.macs);
}

function denseBlock(spec: DenseNetSpec, path: string, input: At, count: number): DenseBlockShape {
  const denseLayers = Array.from({ length: count }, (_, index): DenseLayerShape => {
    const layerPath = `${path}.denselayer${index + 1}`;
    const at: At = { ...input, channels: input.channels + index * spec.growthRate };
    const layers: Layer[] = [batchNorm(`${layerPath}.norm1`, at)];
    if (spec.bottleneck) {
      const narrow = convolution(`${layerPath}.conv1`, at, spec.bottleneckFactor * spec.growthRate, 1, 1, 0);
      const norm = batchNorm(`${layerPath}.norm2`, after(narrow));
      layers.push(narrow, norm, convolution(`${layerPath}.conv2`, after(norm), spec.growthRate, 3, 1, 1));
    } else {
      layers.push(convolution(`${layerPath}.conv1`, at, spec.growthRate, 3, 1, 1));
    }
    return { path: layerPath, inChannels: at.channels, outChannels: spec.growthRate, layers };
  });
  return {
    path,
    inChannels: input.channels,
    outChannels: input.channels + count * spec.growthRate,
    height: input.height,
    width: input.width,
    connections: (count * (count + 1)) / 2,
    denseLayers,
  };
}

/** Shape of the feature maps between two modules. */
interface At {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

function after(layer: Layer): At {
  return { channels: layer.outChannels, height: layer.height, width: layer.width };
}

function pool(path: string, kind: LayerKind, at: At, kernel: number, stride: number, padding: number): Layer {
  return {
    path,
    kind,
    inChannels: at.channels,
    outChannels: at.channels,
    inHeight: at.height,
    inWidth: at.width,
    height: Math.floor((at.height + 2 * padding - kernel) / stride) + 1,
    width: Math.floor((at.width + 2 * padding - kernel) / stride) + 1,
    kernel,
    stride,
    padding,
    params: 0,
    macs: 0,
  };
}

function batchNorm(path: string, at: At): Layer {
  return { ...pool(path, "batchNorm", at, 1, 1, 0), params: 2 * at.channels };
}

function convolution(
  path: string,
  at: At,
  outChannels: number,
  kernel: number,
  stride: number,
  padding: number,
): Layer {
  const window = pool(path, "convolution", at, kernel, stride, padding);
  const params = at.channels * outChannels * kernel * kernel;
  return { ...window, outChannels, params, macs: params * window.height * window.width };
}

function anySize(spec: DenseNetSpec): Layer[] {
  const side = smallestInput(spec);
  return layersOf(architecture(spec, { height: side, width: side }));
}

function sum(layers: readonly Layer[], of: (layer: Layer) => number): number {
  return layers.reduce((total, layer) => total + of(layer), 0);
}
