// networks: where the layers of a network lie in its graph and in its state dict, for analyses, which know no family.
// Names of tensors hold for graphs without dropout.

/** One layer as its family counts them: the composite function of a dense block, the residual block of a ResNet. */
export interface AnatomyLayer {
  /** Module path. */
  readonly path: string;
  /** 0-based number of the block. */
  readonly block: number;
  /** Place in the block, from 1; 0 is what enters the block. */
  readonly index: number;
  /**
   * Name of the graph's tensor [N, C, H, W] that holds x_ℓ of the paper's equations 1 and 2: the new maps of a dense
   * layer, the sum of a residual unit.
   */
  readonly maps: string;
  /** Name of the tensor that the next layer of the block reads: in a dense block all maps so far. */
  readonly state: string;
  /** Parameters which, set to zero, leave the network as if the layer had made nothing. */
  readonly silencedBy: readonly string[];
  /** Of layers under stochastic depth: the probability that the layer counts in a training step. */
  readonly keepProbability?: number;
}

/** A run of maps, as a later module reads it. */
export interface AnatomySource {
  /** Place in the block of the layer that made the maps; 0 for what enters the block. */
  readonly index: number;
  readonly channels: number;
}

/** A weight whose input maps are those of several layers, one after the other. */
export interface AnatomyReader {
  /** State-dict path of a weight [O, C, k, k] or [O, C]; C is the sum of the sources' channels. */
  readonly weight: string;
  readonly kind: "layer" | "transition" | "classifier";
  /** 0-based number of the block that it reads. */
  readonly block: number;
  /** Place in the block of the layer it belongs to; transitions and the classifier stand one behind the last layer. */
  readonly index: number;
  readonly sources: readonly AnatomySource[];
}

export interface Anatomy {
  readonly layers: readonly AnatomyLayer[];
  /** What enters each block: the name of the tensor. */
  readonly blockInputs: readonly string[];
  /** Every weight that reads the maps of a block; empty for families whose layers do not read concatenations. */
  readonly readers: readonly AnatomyReader[];
}
