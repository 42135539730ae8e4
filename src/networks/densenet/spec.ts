// networks/densenet: what network. The first station of the line; everything after it is a function of this frozen value.

/** A densely connected convolutional network (Huang et al., CVPR 2017, section 3). Frozen plain data, JSON both ways. */
export interface DenseNetSpec {
  /** k: feature maps each dense layer adds. */
  readonly growthRate: number;
  /** Dense layers per dense block. */
  readonly blockConfig: readonly number[];
  /** k₀: feature maps of the stem convolution. */
  readonly numInitFeatures: number;
  /** DenseNet-B: a 1×1 convolution to bottleneckFactor·k maps before each 3×3. */
  readonly bottleneck: boolean;
  /** 4 in the paper; used only with `bottleneck`. */
  readonly bottleneckFactor: number;
  /** θ in (0, 1]: a transition turns m maps into ⌊θ·m⌋. θ < 1 is DenseNet-C. */
  readonly compression: number;
  /** Dropout probability in [0, 1) after each convolution but the first (section 4.2: 0.2 without augmentation). */
  readonly dropRate: number;
  /** `cifar`: one 3×3 convolution. `imagenet`: 7×7 stride 2, batch norm, ReLU, 3×3 max pool stride 2. */
  readonly stem: "cifar" | "imagenet";
  readonly inChannels: number;
  readonly numClasses: number;
}
