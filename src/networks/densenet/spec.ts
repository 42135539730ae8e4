// networks/densenet: what network. The first station of the line; everything after it is a function of this frozen
// value.
import type { CommonSpec } from "../family.ts";
import { blocksRule, commonRules, type FieldRule, type Stem, stemRule } from "../fields.ts";

/**
 * A densely connected convolutional network (Huang et al., CVPR 2017, section 3). Section 4.2 drops 0.2 without
 * augmentation.
 */
export interface DenseNetSpec extends CommonSpec {
  readonly family: "densenet";
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
  readonly stem: Stem;
}

export const denseNetRules = {
  growthRate: { kind: "count", most: 4096 },
  blockConfig: blocksRule,
  numInitFeatures: { kind: "count", most: 65_536 },
  bottleneck: { kind: "flag" },
  bottleneckFactor: { kind: "count", most: 1024 },
  compression: { kind: "fraction" },
  stem: stemRule,
  ...commonRules,
} as const satisfies Record<Exclude<keyof DenseNetSpec, "family">, FieldRule>;

/** ⌊θ·m⌋ in double arithmetic, as the authors' code and torchvision compute it (section 3, "Compression"). */
export function compressedMaps(compression: number, maps: number): number {
  return Math.floor(compression * maps);
}

/** Maps of the 1×1 convolution before each 3×3, where there is one. */
export function bottleneckMaps({ bottleneck, bottleneckFactor, growthRate }: DenseNetSpec): number | undefined {
  return bottleneck ? bottleneckFactor * growthRate : undefined;
}
