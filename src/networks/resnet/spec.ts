// networks/resnet: what network. The residual nets for small images that the paper compares DenseNets with (table 2).
import { type GateScope, gateScopes } from "../../ops/sampleGate.ts";
import type { CommonSpec } from "../family.ts";
import { commonRules, type FieldRule } from "../fields.ts";

/**
 * A residual net for 32×32 images: a 3×3 convolution, stages of residual units, each with half the side and, as a rule,
 * twice the maps of the one before, and a classifier.
 *
 * As first published (He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2): a unit is two
 * 3×3 convolutions, batch norm behind each, ReLU behind the first and behind the sum; where the shape of the maps
 * changes, the shortcut takes every second pixel and appends zeros (type A), so that it has no parameters.
 *
 * With `preActivation` (He et al., Identity Mappings in Deep Residual Networks, ECCV 2016): batch norm and ReLU stand
 * before each of a 1×1, a 3×3 and a 1×1 convolution, the last to four times the maps; where the number of maps changes,
 * the shortcut is a 1×1 convolution of the same activated input, as in the authors' code.
 */
export interface ResNetSpec extends CommonSpec {
  readonly family: "resnet";
  /** Residual units of each stage. */
  readonly blockConfig: readonly number[];
  /** Feature maps of each stage's 3×3 convolutions; the first also of the convolution before the stages. */
  readonly widths: readonly number[];
  readonly preActivation: boolean;
  /**
   * Stochastic depth (Huang et al., Deep Networks with Stochastic Depth, ECCV 2016): probability that the last unit's
   * branch counts in a training step, p_L. Unit ℓ of L has 1 − ℓ/L·(1 − p_L). 1: every branch always counts.
   */
  readonly stochasticDepth: number;
  /** What shares one draw: each image on its own, or all images that are computed together, as the authors did. */
  readonly gatePer: GateScope;
}

export const resnetRules = {
  blockConfig: { kind: "counts", items: "numbers of residual units, such as [18, 18, 18]", most: 1000, longest: 16 },
  widths: { kind: "counts", items: "numbers of feature maps, such as [16, 32, 64]", most: 65_536, longest: 16 },
  preActivation: { kind: "flag" },
  stochasticDepth: { kind: "fraction" },
  gatePer: { kind: "choice", of: gateScopes },
  ...commonRules,
} as const satisfies Record<Exclude<keyof ResNetSpec, "family">, FieldRule>;

/** A pre-activation unit makes so many times the maps of its 3×3 convolution. */
const EXPANSION = 4;

/** Where a residual unit stands and what it makes. */
export interface Unit {
  readonly stage: number;
  readonly path: string;
  /** Maps of its 3×3 convolutions. */
  readonly width: number;
  /** Maps that it makes. */
  readonly outChannels: number;
  readonly stride: number;
  /** Probability that its branch counts in a training step. */
  readonly keepProbability: number;
}

/** All units, the first one first. */
export function unitsOf({ blockConfig, widths, preActivation, stochasticDepth }: ResNetSpec): readonly Unit[] {
  const total = blockConfig.reduce((sum, units) => sum + units, 0);
  let before = 0;
  return blockConfig.flatMap((units, stage) =>
    Array.from({ length: units }, (_, index): Unit => {
      before++;
      return {
        stage,
        path: `features.stage${stage + 1}.unit${index + 1}`,
        width: widths[stage],
        outChannels: preActivation ? EXPANSION * widths[stage] : widths[stage],
        stride: stage > 0 && index === 0 ? 2 : 1,
        keepProbability: 1 - (before / total) * (1 - stochasticDepth),
      };
    }),
  );
}
