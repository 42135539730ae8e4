// Test support: what cases of feature-map kernels have in common: views inside wider buffers, and batch norm's
// operands.
import type { Composite, CompositeBackward, View, Write } from "../../src/plan/plan.ts";
import type { CaseBuffer, Fill, Input } from "./case.ts";

/** A view with room: `offset` channels before it and, if there are any, three behind it. */
export interface Placed {
  readonly view: View;
  readonly all: number;
}

export function placed(buffer: string, channels: number, offset = 0): Placed {
  return { view: { buffer, offset, channels }, all: offset === 0 ? channels : offset + channels + 3 };
}

export type Buffers = Readonly<Record<string, CaseBuffer>>;

/** Features around 0.3 with σ = 1, or around 30 with σ = 1, where one-pass variances and E[x²] fail. */
export type Level = "usual" | "far from 0";

export const sigma1 = Math.sqrt(12);
const centerOf = (level: Level): number => (level === "far from 0" ? 30 : 0.3);
export const features = (level: Level): Fill => ({ center: centerOf(level), width: sigma1 });

/** Statistics that fit such features, γ of both signs, β around 0.1. */
export function compositeFor(
  { view, all }: Placed,
  level: Level,
): { composite: Composite; buffers: Buffers; inputs: readonly Input[] } {
  const statistic = (buffer: string): View => ({ ...view, buffer });
  return {
    composite: { mean: statistic("mean"), variance: statistic("variance"), gamma: "gamma", beta: "beta", eps: 1e-5 },
    buffers: {
      mean: { shape: [all] },
      variance: { shape: [all] },
      gamma: { shape: [view.channels] },
      beta: { shape: [view.channels] },
    },
    inputs: [
      { at: statistic("mean"), fill: { center: centerOf(level), width: 0.6 } },
      { at: statistic("variance"), fill: { center: 1, width: 1.6 } },
      { at: { buffer: "gamma" }, fill: { center: 0.2, width: 2.4 } },
      { at: { buffer: "beta" }, fill: { center: 0.1, width: 1 } },
    ],
  };
}

/** The backward pass of a composite at the same channels as `at`; x stands in a buffer of its own. */
export function compositeBackwardFor(
  at: Placed,
  level: Level,
  write: Write,
  shape: readonly number[],
): { composite: CompositeBackward; buffers: Buffers; inputs: readonly Input[] } {
  const forward = compositeFor(at, level);
  const x = { ...at.view, buffer: "x" };
  const [dMean, dVariance] = ["dMean", "dVariance"].map((buffer) => ({ ...at.view, buffer }));
  const earlier: readonly Input[] = [dMean, dVariance].map((view) => ({ at: view, fill: { center: 0, width: 4 } }));
  return {
    composite: { x, normalize: forward.composite, grad: { dGamma: "dGamma", dBeta: "dBeta", dMean, dVariance, write } },
    buffers: {
      ...forward.buffers,
      x: { shape },
      dGamma: { shape: [at.view.channels] },
      dBeta: { shape: [at.view.channels] },
      dMean: { shape: [at.all] },
      dVariance: { shape: [at.all] },
    },
    inputs: [...forward.inputs, { at: x, fill: features(level) }, ...(write === "accumulate" ? earlier : [])],
  };
}

/** " x(offset 8)" for a view inside a wider buffer. */
export const showOffset = (buffer: string, offset: number | undefined): string =>
  offset ? ` ${buffer}(offset ${offset})` : "";
