// networks/plain: what network. A chain of the composite functions that DenseNets are made of, without any skip
// connection.
import type { CommonSpec } from "../family.ts";
import { blocksRule, commonRules, type FieldRule, type Stem, stemRule } from "../fields.ts";

/**
 * A DenseNet without its connections: the same stem, composite functions, transitions and classifier, but every layer
 * reads only what the layer before it made. What dense connections are worth is the difference between the two.
 */
export interface PlainSpec extends CommonSpec {
  readonly family: "plain";
  /** Layers of each block; between two blocks stands a transition. */
  readonly blockConfig: readonly number[];
  /**
   * Feature maps that each layer of a block makes, block by block. A transition turns one block's into the next one's.
   */
  readonly widths: readonly number[];
  /** Feature maps of the stem convolution. */
  readonly numInitFeatures: number;
  /** A 1×1 convolution to bottleneckFactor·width maps before each 3×3. */
  readonly bottleneck: boolean;
  /** Used only with `bottleneck`. */
  readonly bottleneckFactor: number;
  readonly stem: Stem;
}

export const plainRules = {
  blockConfig: blocksRule,
  widths: { kind: "counts", items: "numbers of feature maps, such as [16, 32, 64]", most: 65_536, longest: 16 },
  numInitFeatures: { kind: "count", most: 65_536 },
  bottleneck: { kind: "flag" },
  bottleneckFactor: { kind: "count", most: 1024 },
  stem: stemRule,
  ...commonRules,
} as const satisfies Record<Exclude<keyof PlainSpec, "family">, FieldRule>;

/** Maps of the 1×1 convolution before each 3×3 of a block, where there is one. */
export function bottleneckMaps({ bottleneck, bottleneckFactor, widths }: PlainSpec, block: number): number | undefined {
  return bottleneck ? bottleneckFactor * widths[block] : undefined;
}
