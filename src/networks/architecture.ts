// networks: the sizes that a spec implies, as plain data: every module's channels, map size, parameters and
// multiply-adds.
import type { Stem } from "./fields.ts";

/** Pixels of an input image. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

/** What a module of the network computes. `projection`: the 1×1 convolution of a shortcut, which adds no depth. */
export type LayerKind =
  | "convolution"
  | "projection"
  | "batchNorm"
  | "maxPool"
  | "averagePool"
  | "globalAveragePool"
  | "linear";

/**
 * One module of the network. `params`: learned numbers. `macs`: multiply-adds per image, of convolutions and the
 * classifier only.
 */
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

/** A run of layers on feature maps of one size, between two transitions. */
export interface Block {
  readonly path: string;
  /** For people: "Dense block 1". */
  readonly title: string;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  /** Layers as the family counts them: one composite function each. */
  readonly layers: number;
  /**
   * How many of the block's input and the layers before it each layer reads, the nearest ones: all of them in a dense
   * block, 1 in a chain.
   */
  readonly reach: number;
}

/** A network's modules, blocks and facts at one image size. */
export interface Architecture {
  /** Every module from the image to the logits, in order. */
  readonly layers: readonly Layer[];
  readonly blocks: readonly Block[];
  /** How layers are connected within a block, for people. */
  readonly wiring: string;
  /** What else there is to say, by name, for people. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** Numbers per image that a framework copies to hand them to a module, beside the modules' own outputs. */
  readonly copiedNumbers: number;
}

/** Σ min(ℓ, reach) over the block's layers. */
export function connectionsIn({ layers, reach }: Block): number {
  const most = Math.min(layers, reach);
  return (most * (most + 1)) / 2 + (layers - most) * most;
}

/** Convolutions and the classifier: the number in the network's name. */
export function depthOf({ layers }: Architecture): number {
  return layers.filter(({ kind }) => kind === "convolution" || kind === "linear").length;
}

/**
 * Smallest height and width that leave a pixel after the last of so many transitions. 29 for the ImageNet stem and
 * three.
 */
export function smallestSide(stem: Stem, transitions: number): number {
  const afterStem = 2 ** transitions;
  // Two windows of stride 2, each with out = ⌊(in − 1)/2⌋ + 1, so in ≥ 2·out − 1.
  return stem === "cifar" ? afterStem : 4 * afterStem - 3;
}

/** Shape of the feature maps between two modules. */
export interface Maps {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** The rows of an architecture as they grow, module by module. `at` is what the next one reads. */
export class LayerRows {
  readonly rows: Layer[] = [];
  at: Maps;

  constructor(images: Maps) {
    this.at = images;
  }

  stem(kind: Stem, outChannels: number): void {
    if (kind === "cifar") {
      this.convolution("features.conv0", outChannels, 3);
      return;
    }
    this.convolution("features.conv0", outChannels, 7, 2);
    this.batchNorm("features.norm0");
    this.#add(windowed("features.pool0", "maxPool", this.at, 3, 2, 1));
  }

  /**
   * Batch norm, ReLU and a 3×3 convolution to `outChannels`, behind a 1×1 convolution of the same kind to `bottleneck`
   * maps where there is one.
   */
  compositeFunction(path: string, outChannels: number, bottleneck: number | undefined): void {
    this.batchNorm(`${path}.norm1`);
    if (bottleneck === undefined) {
      this.convolution(`${path}.conv1`, outChannels, 3);
      return;
    }
    this.convolution(`${path}.conv1`, bottleneck, 1);
    this.batchNorm(`${path}.norm2`);
    this.convolution(`${path}.conv2`, outChannels, 3);
  }

  transition(path: string, outChannels: number): void {
    this.batchNorm(`${path}.norm`);
    this.convolution(`${path}.conv`, outChannels, 1);
    this.#add(windowed(`${path}.pool`, "averagePool", this.at, 2, 2, 0));
  }

  /** Batch norm, ReLU, global average pool and classifier. */
  head(classes: number): void {
    this.batchNorm("features.norm5");
    this.classifier(classes);
  }

  /** Global average pool and classifier. */
  classifier(classes: number): void {
    const { channels } = this.at;
    this.#add({ ...windowed("pool", "globalAveragePool", this.at, 1, 1, 0), height: 1, width: 1 });
    this.#add({
      ...windowed("classifier", "linear", this.at, 1, 1, 0),
      outChannels: classes,
      params: channels * classes + classes,
      macs: channels * classes,
    });
  }

  batchNorm(path: string): void {
    this.#add({ ...windowed(path, "batchNorm", this.at, 1, 1, 0), params: 2 * this.at.channels });
  }

  convolution(path: string, outChannels: number, kernel: number, stride = 1): void {
    this.#convolve("convolution", path, outChannels, kernel, stride);
  }

  /** The shortcut's 1×1 convolution, from the maps that are at hand where it is called. */
  projection(path: string, outChannels: number, stride: number): void {
    this.#convolve("projection", path, outChannels, 1, stride);
  }

  /** Padded so that stride 1 keeps the size. */
  #convolve(kind: LayerKind, path: string, outChannels: number, kernel: number, stride: number): void {
    const row = windowed(path, kind, this.at, kernel, stride, (kernel - 1) / 2);
    const params = this.at.channels * outChannels * kernel * kernel;
    this.#add({ ...row, outChannels, params, macs: params * row.height * row.width });
  }

  #add(row: Layer): void {
    this.rows.push(row);
    this.at = { channels: row.outChannels, height: row.height, width: row.width };
  }
}

function windowed(path: string, kind: LayerKind, at: Maps, kernel: number, stride: number, padding: number): Layer {
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
