// Test support: how far an f32 backend may be from the f64 reference, derived for each kernel, not fitted.
//
// u = 2⁻²⁴ is the largest relative error of one rounded operation. Two rules:
//  - A sum of n products, in any order, with or without FMA: 8u·Σ|terms|. Terms of random sign and size t have partial
//    sums of about √k·t, which are rounded by u/√3 of themselves (root mean square); over the chain that is u·t·√(Σk/3)
//    ≈ 0.4u·n·t, or 0.4u·Σ|terms| whatever n is. The rest is room for terms that are not random. (The worst case,
//    n·u·Σ|terms|, would prove nothing.) Σ|terms| is the reference op on absolute values.
//  - A short expression of n rounded operations: n·u times the sum of the absolute values of its terms, constants that
//    are rounded to f32 (1 − momentum, 1/count, …) and the rounding of intermediate sums counted as operations.
// Errors of operands go through linearly. Second-order terms (u²) are below everything else and left out.
//
// ReLU and max pooling have jumps in their gradients. Where rounding decides (a pre-activation closer to 0 than its
// error, two maxima closer than theirs) either side is right, so the bound there grows by the whole term. Such elements
// are counted as `undecided`.

import type { RunScalars } from "../../src/backends/backend.ts";
import { gather, type ReferenceMemory } from "../../src/backends/reference/memory.ts";
import { gradWinogradPays } from "../../src/backends/wasm/convGradWeightWinograd.ts";
import { winogradPays } from "../../src/backends/wasm/winograd.ts";
import { avgPool2d, avgPool2dGrad } from "../../src/ops/avgPool2d.ts";
import { conv2d, conv2dGradInput, conv2dGradWeight } from "../../src/ops/conv2d.ts";
import { identityShortcut, identityShortcutGrad } from "../../src/ops/identityShortcut.ts";
import { linear, linearGrad } from "../../src/ops/linear.ts";
import { maxPool2d } from "../../src/ops/maxPool2d.ts";
import { applyOp, magnitude, sizeOf, type Tensor } from "../../src/ops/op.ts";
import { reluGrad } from "../../src/ops/relu.ts";
import { sampleGate } from "../../src/ops/sampleGate.ts";
import type {
  Composite,
  CompositeBackward,
  Gate,
  KernelName,
  KernelTable,
  PoolSize,
  View,
  WindowSize,
  Write,
} from "../../src/plan/plan.ts";
import type { Region } from "./case.ts";
import { winogradGradMagnitude, winogradMagnitude } from "./winograd.ts";

const u = 2 ** -24;

/** Allowed errors of one output, in the order of its region; `undecided` of its elements may jump. */
export interface Bound {
  readonly at: Region;
  readonly error: ArrayLike<number>;
  readonly undecided?: number;
}

/**
 * How an engine sums a 3×3 convolution: term by term, or, where the wasm backend finds that it pays, by Winograd's
 * F(4×4, 3×3), whose rounding is larger. Only an engine that has Winograd's kernels is allowed their error.
 */
export type ConvolutionSums = "direct" | "winograd";

export type KernelBounds = {
  readonly [K in KernelName]: {
    /** What a passing test has shown, for its name. */
    readonly claim: string;
    readonly of: (
      args: Readonly<KernelTable[K]>,
      before: ReferenceMemory,
      scalars: RunScalars,
      sums: ConvolutionSums,
    ) => readonly Bound[];
  };
};

type Dense = Tensor & { readonly data: Float32Array | Float64Array };
const dense = (shape: readonly number[], data: Float64Array): Dense => ({ shape, data });
function mapped(size: number, value: (i: number) => number): Float64Array {
  const values = new Float64Array(size);
  for (let i = 0; i < size; i++) values[i] = value(i);
  return values;
}
const isZero = ({ data }: Dense): boolean => data.every((value) => value === 0);

const maps = (memory: ReferenceMemory, view: View, { batch, height, width }: WindowSize | PoolSize): Dense =>
  gather(memory, view, [batch, view.channels, height, width]);
const outMaps = (memory: ReferenceMemory, view: View, { batch, outHeight, outWidth }: WindowSize | PoolSize): Dense =>
  gather(memory, view, [batch, view.channels, outHeight, outWidth]);

/** relu(pre) of an operand with the error of each element. */
interface Loaded {
  readonly value: Dense;
  readonly error: Dense;
  /** pre-activations; what is loaded is exact where there are none. */
  readonly pre?: Dense;
}

/**
 * pre = x·scale + (β − mean·scale), scale = γ·rstd, rstd = 1/√(variance + eps), in whichever way a backend orders it.
 * Roundings on the way of each term: variance + eps ½ (halved by the root), root 1, division 1, ·γ 1: scale has 3.5.
 * Then ·x 1 and the last sum 1: 5.5 of x·scale; ·mean 1, the sum with β 1 and the last 1: 6.5 of mean·scale; 2 of β.
 * Hence error ≤ 8u·(|x·scale| + |mean·scale| + |β|); (x − mean)·scale + β does better. The error of relu(pre) is not
 * larger.
 */
function load(memory: ReferenceMemory, x: Dense, composite: Composite | undefined): Loaded {
  const size = x.data.length;
  if (!composite) return { value: x, error: dense(x.shape, new Float64Array(size)) };
  const [, channels] = x.shape;
  const plane = sizeOf(x.shape.slice(2));
  const [mean, variance] = [composite.mean, composite.variance].map((view) => gather(memory, view, [channels]).data);
  const gamma = memory.tensor(composite.gamma).data;
  const beta = memory.tensor(composite.beta).data;
  const channelOf = (i: number): number => Math.floor(i / plane) % channels;
  const scale = mapped(channels, (c) => gamma[c] / Math.sqrt(variance[c] + composite.eps));
  const pre = mapped(size, (i) => (x.data[i] - mean[channelOf(i)]) * scale[channelOf(i)] + beta[channelOf(i)]);
  const error = mapped(size, (i) => {
    const c = channelOf(i);
    return 8 * u * (Math.abs(x.data[i] * scale[c]) + Math.abs(mean[c] * scale[c]) + Math.abs(beta[c]));
  });
  const value = mapped(size, (i) => Math.max(pre[i], 0));
  return { value: dense(x.shape, value), error: dense(x.shape, error), pre: dense(x.shape, pre) };
}

/** dy with what reaches it through the statistics of y, and the error of that. */
function withStatistics(
  memory: ReferenceMemory,
  dy: Dense,
  statistics: KernelTable["convGrad"]["dyStatistics"],
): { value: Dense; error: Dense } {
  if (!statistics) return { value: dy, error: dense(dy.shape, new Float64Array(dy.data.length)) };
  const [batch, channels] = dy.shape;
  const plane = sizeOf(dy.shape.slice(2));
  const count = batch * plane;
  const y = gather(memory, statistics.y, dy.shape).data;
  const [mean, dMean, dVariance] = [statistics.mean, statistics.dMean, statistics.dVariance].map(
    (view) => gather(memory, view, [channels]).data,
  );
  const terms = (i: number): readonly number[] => {
    const c = Math.floor(i / plane) % channels;
    return [dy.data[i], dMean[c] / count, (2 * (y[i] - mean[c]) * dVariance[c]) / count];
  };
  const total = (numbers: readonly number[]): number => numbers.reduce((sum, number) => sum + number, 0);
  return {
    value: dense(
      dy.shape,
      mapped(dy.data.length, (i) => total(terms(i))),
    ),
    error: dense(
      dy.shape,
      mapped(dy.data.length, (i) => 6 * u * total(terms(i).map(Math.abs))),
    ),
  };
}

/**
 * 8u·Σ|terms| of a contraction whose first operand was loaded through a composite, and its operand's error carried
 * through.
 */
function contracted(loaded: Loaded, sumOfTerms: (operand: Dense) => readonly Dense[]): Float64Array {
  const [terms] = sumOfTerms(loaded.value);
  const carried = isZero(loaded.error) ? undefined : sumOfTerms(loaded.error)[0];
  return mapped(terms.data.length, (i) => 8 * u * terms.data[i] + (carried?.data[i] ?? 0));
}

/**
 * Back through relu(normalize(x)), g being the gradient that arrives and e its error. m = [pre > 0], x̂ = (x −
 * mean)·rstd, S = scale.  dx = S·m·g (+ dx before): S 3.5 roundings, product 1, sum 1 → 8u·|terms| + |S|·m·e.
 *  dBeta = Σ m·g: 8u·Σ|m·g| + Σ m·e. dGamma = Σ m·g·x̂: x̂ has 1 + 2.5 + 1 roundings, so 8u + 5u; carried |x̂|·e.
 *  dMean = −S·dBeta (+ before): |S|·error(dBeta) + 8u·|terms|. dVariance = −½·S·rstd·dGamma: S·rstd has 3.5 + 2.5 + 1,
 *  its product and sum one each: 10u·|terms|.
 * Where |pre| is within its error, m is undecided: every term above may be there or not. Without a ReLU m is 1.
 */
function backThroughComposite(
  memory: ReferenceMemory,
  g: Dense,
  e: Float64Array,
  composite: CompositeBackward | undefined,
  dx: View,
  write: Write,
  rectified = true,
): readonly Bound[] {
  const before = write === "accumulate" ? gather(memory, dx, g.shape).data : new Float64Array(g.data.length);
  if (!composite) {
    return [
      { at: dx, error: mapped(g.data.length, (i) => e[i] + 2 * u * (Math.abs(g.data[i]) + Math.abs(before[i]))) },
    ];
  }
  const { normalize, grad } = composite;
  const x = gather(memory, composite.x, g.shape);
  const { pre, error } = load(memory, x, normalize);
  const [, channels] = g.shape;
  const plane = sizeOf(g.shape.slice(2));
  const [mean, variance] = [normalize.mean, normalize.variance].map((view) => gather(memory, view, [channels]).data);
  const gamma = memory.tensor(normalize.gamma).data;
  const rstd = mapped(channels, (c) => 1 / Math.sqrt(variance[c] + normalize.eps));
  const scale = mapped(channels, (c) => Math.abs(gamma[c] * rstd[c]));
  const sums = { g: new Float64Array(channels), gx: new Float64Array(channels) };
  const betaError = new Float64Array(channels);
  const gammaError = new Float64Array(channels);
  let undecided = 0;
  const dxError = mapped(g.data.length, (i) => {
    const c = Math.floor(i / plane) % channels;
    const p = (rectified ? pre?.data[i] : undefined) ?? 1;
    const open = rectified && Math.abs(p) <= error.data[i];
    const old = 8 * u * Math.abs(before[i]);
    if (p <= 0 && !open) return old;
    const xHat = (x.data[i] - mean[c]) * rstd[c];
    const term = Math.abs(g.data[i]);
    if (open) undecided++;
    const uncertainty = e[i] + (open ? term : 0);
    if (p > 0) {
      sums.g[c] += g.data[i];
      sums.gx[c] += g.data[i] * xHat;
    }
    betaError[c] += uncertainty + 8 * u * term;
    gammaError[c] += (uncertainty + 13 * u * term) * Math.abs(xHat);
    return old + scale[c] * (uncertainty + 8 * u * term);
  });
  const [oldMean, oldVariance] = [grad.dMean, grad.dVariance].map((view) =>
    grad.write === "accumulate" ? gather(memory, view, [channels]).data : new Float64Array(channels),
  );
  const meanError = mapped(
    channels,
    (c) => scale[c] * betaError[c] + 8 * u * (scale[c] * Math.abs(sums.g[c]) + Math.abs(oldMean[c])),
  );
  const varianceError = mapped(channels, (c) => {
    const factor = 0.5 * scale[c] * rstd[c];
    return factor * gammaError[c] + 10 * u * (factor * Math.abs(sums.gx[c]) + Math.abs(oldVariance[c]));
  });
  return [
    { at: dx, error: dxError, undecided },
    { at: { buffer: grad.dGamma }, error: gammaError },
    { at: { buffer: grad.dBeta }, error: betaError },
    { at: grad.dMean, error: meanError },
    { at: grad.dVariance, error: varianceError },
  ];
}

/**
 * Gradient that max pooling sends to its input, with its error: 8u·Σ|dy| of what arrives at an element, and the whole
 * dy at each candidate of an undecided window. A tie is decided when it is exact in every backend: equal x of one
 * channel, or zeros that are surely zeros.
 */
function routed(
  x: Dense,
  { value, error, pre }: Loaded,
  dy: Dense,
  size: WindowSize,
): { g: Dense; e: Float64Array; undecided: number } {
  const { height, width, outHeight, outWidth, kernel, stride, padding } = size;
  const g = new Float64Array(x.data.length);
  const e = new Float64Array(x.data.length);
  let undecided = 0;
  /** Surely 0 after ReLU: the value has no error. */
  const spread = (i: number): number => ((pre?.data[i] ?? 0) < -error.data[i] ? 0 : error.data[i]);
  for (let image = 0; image < x.shape[0] * x.shape[1]; image++) {
    for (let out = 0; out < outHeight * outWidth; out++) {
      const top = Math.floor(out / outWidth) * stride - padding;
      const left = (out % outWidth) * stride - padding;
      const window: number[] = [];
      for (let iy = Math.max(0, top); iy < Math.min(height, top + kernel); iy++) {
        for (let ix = Math.max(0, left); ix < Math.min(width, left + kernel); ix++)
          window.push((image * height + iy) * width + ix);
      }
      const winner = window.reduce((best, i) =>
        value.data[i] > value.data[best] || Number.isNaN(value.data[i]) ? i : best,
      );
      const d = dy.data[image * outHeight * outWidth + out];
      g[winner] += d;
      e[winner] += 8 * u * Math.abs(d);
      const rivals = window.filter((i) => {
        const sameInput = x.data[i] === x.data[winner];
        const bothZero = spread(i) === 0 && spread(winner) === 0;
        return (
          i !== winner && !sameInput && !bothZero && value.data[i] + spread(i) >= value.data[winner] - spread(winner)
        );
      });
      if (rivals.length === 0) continue;
      undecided++;
      for (const i of [winner, ...rivals]) e[i] += Math.abs(d);
    }
  }
  return { g: dense(x.shape, g), e, undecided };
}

function gated(x: Dense, gate: Gate | undefined, { seed = 0, step = 0 }: RunScalars): Dense {
  return gate ? applyOp(sampleGate, [x], { ...gate }, "f64", { seed, step })[0] : x;
}

/** What a shortcut adds to a branch of so many channels. */
function passedOn(
  memory: ReferenceMemory,
  channels: number,
  batch: number,
  { x, height, width, stride }: NonNullable<KernelTable["residualAdd"]["shortcut"]>,
): Dense {
  const source = gather(memory, x, [batch, x.channels, height, width]);
  return applyOp(identityShortcut, [source], { stride, channels }, "f64")[0];
}

/** Σ_k p_k·|l_k − max|, the maximum, p and log Σ exp(l − max) of a row of logits. */
function softmax(logits: ArrayLike<number>) {
  const row = Array.from(logits);
  const maximum = Math.max(...row);
  const powers = row.map((logit) => Math.exp(logit - maximum));
  const total = powers.reduce((sum, power) => sum + power, 0);
  const shares = powers.map((power) => power / total);
  const drift = shares.reduce((sum, share, k) => (share === 0 ? sum : sum + share * (maximum - row[k])), 0);
  return { maximum, shares, drift, logTotal: Math.log(total) };
}

export const kernelBounds: KernelBounds = {
  /** The bound of a plain contraction; where the engine uses Winograd for this shape, its rounding is added. */
  conv: {
    claim: "within 8u·Σ|terms|",
    of: ({ x, composite, weight, y, size: { stride, padding }, size }, before, _scalars, sums) => {
      const weights = memoryTensor(before, weight);
      const loaded = load(before, maps(before, x, size), composite);
      const error = contracted(loaded, (operand) => magnitude(conv2d, [operand, weights], { stride, padding }));
      if (sums === "direct" || !winogradPays(size, x.channels, y.channels)) return [{ at: y, error }];
      const nine = (first: number) => Array.from(weights.data.subarray(first, first + 9));
      const terms = winogradMagnitude(loaded.value, y.channels, (o, c) => nine((o * x.channels + c) * 9));
      return [{ at: y, error: mapped(error.length, (i) => error[i] + 8 * u * terms[i]) }];
    },
  },

  convGradWeight: {
    claim: "within 8u·Σ|terms|",
    of: ({ x, composite, dy, dWeight, size: { stride, padding, kernel }, size }, before, _scalars, sums) => {
      const upstream = outMaps(before, dy, size);
      const loaded = load(before, maps(before, x, size), composite);
      const error = contracted(loaded, (operand) =>
        magnitude(conv2dGradWeight, [operand, upstream], { stride, padding, kernel }),
      );
      if (sums === "winograd" && gradWinogradPays(size, x.channels, dy.channels)) {
        winogradGradMagnitude(loaded.value, upstream).forEach((value, i) => {
          error[i] += 8 * u * value;
        });
      }
      return [{ at: { buffer: dWeight }, error }];
    },
  },

  convGradInput: {
    claim: "within 8u·Σ|terms|",
    of: (
      { dy, weight, dx, write, composite, size: { stride, padding, height, width }, size },
      before,
      _scalars,
      sums,
    ) => {
      const operands = [outMaps(before, dy, size), memoryTensor(before, weight)];
      const attrs = { stride, padding, height, width };
      const [g] = applyOp(conv2dGradInput, operands, attrs, "f64");
      const [terms] = magnitude(conv2dGradInput, operands, attrs);
      const error = mapped(terms.data.length, (i) => 8 * u * terms.data[i]);
      if (sums === "winograd" && winogradPays(size, dy.channels, dx.channels)) {
        const [upstream, weights] = operands;
        const turned = (first: number) => Array.from(weights.data.subarray(first, first + 9)).reverse();
        const own = winogradMagnitude(upstream, dx.channels, (o, c) => turned((c * dx.channels + o) * 9));
        own.forEach((value, i) => {
          error[i] += 8 * u * value;
        });
      }
      return backThroughComposite(before, g, error, composite, dx, write);
    },
  },

  /**
   * dy + (level + (x − mean)·slope): slope 2 roundings, the difference, the product and two sums one each: 6u of its
   * terms, carried through both contractions.
   */
  convGrad: {
    claim: "within 8u·Σ|terms|",
    of: ({ dy, dyStatistics, weight, dWeight, dx, write, composite, size }, before) => {
      const { stride, padding, kernel, height, width } = size;
      const { value: upstream, error: upstreamError } = withStatistics(before, outMaps(before, dy, size), dyStatistics);
      const weights = memoryTensor(before, weight);
      const attrs = { stride, padding, height, width };
      const [g] = applyOp(conv2dGradInput, [upstream, weights], attrs, "f64");
      const [terms] = magnitude(conv2dGradInput, [upstream, weights], attrs);
      const [carried] = magnitude(conv2dGradInput, [upstreamError, weights], attrs);
      const gError = mapped(g.data.length, (i) => 8 * u * terms.data[i] + carried.data[i]);
      const loaded = load(before, maps(before, composite.x, size), composite.normalize);
      const windows = { stride, padding, kernel };
      const own = contracted(loaded, (operand) => magnitude(conv2dGradWeight, [operand, upstream], windows));
      const [passedOn] = magnitude(conv2dGradWeight, [loaded.value, upstreamError], windows);
      return [
        { at: { buffer: dWeight }, error: mapped(own.length, (i) => own[i] + passedOn.data[i]) },
        ...backThroughComposite(before, g, gError, composite, dx, write),
      ];
    },
  },

  avgPool: {
    claim: "within 8u·Σ|terms|",
    of: ({ x, composite, y, size }, before) => {
      const window = [size.windowHeight, size.windowWidth];
      const loaded = load(before, maps(before, x, size), composite);
      return [{ at: y, error: contracted(loaded, (operand) => magnitude(avgPool2d, [operand], { window })) }];
    },
  },

  /** The maximum of values that are each off by their error is off by at most the largest of these errors. */
  maxPool: {
    claim: "within the error of its operand",
    of: ({ x, composite, y, size: { kernel, stride, padding }, size }, before) => {
      const { error } = load(before, maps(before, x, size), composite);
      const finite = dense(
        error.shape,
        mapped(error.data.length, (i) => (Number.isNaN(error.data[i]) ? 0 : error.data[i])),
      );
      return [{ at: y, error: applyOp(maxPool2d, [finite], { kernel, stride, padding }, "f64")[0].data }];
    },
  },

  /** dy/(h·w): the rounded share and the product, 2u. */
  avgPoolGrad: {
    claim: "within the rounding of its operations",
    of: ({ dy, dx, write, composite, size }, before) => {
      const attrs = { window: [size.windowHeight, size.windowWidth], height: size.height, width: size.width };
      const [g] = applyOp(avgPool2dGrad, [outMaps(before, dy, size)], attrs, "f64");
      return backThroughComposite(
        before,
        g,
        mapped(g.data.length, (i) => 2 * u * Math.abs(g.data[i])),
        composite,
        dx,
        write,
      );
    },
  },

  maxPoolGrad: {
    claim: "within 8u·Σ|terms|",
    of: ({ dy, dx, write, composite, size }, before) => {
      const x = maps(before, composite.x, size);
      const { g, e, undecided } = routed(x, load(before, x, composite.normalize), outMaps(before, dy, size), size);
      const [first, ...rest] = backThroughComposite(before, g, e, composite, dx, write);
      return [{ ...first, undecided: (first.undecided ?? 0) + undecided }, ...rest];
    },
  },

  /**
   * scale·b + s: the rounded scale, its product and the sum: 3u → 4u of both terms, and the error of b carried through.
   * A ReLU adds none.
   */
  residualAdd: {
    claim: "within 4u·Σ|terms| and the error of its operand",
    of: ({ x, normalize, gate, scale, shortcut, y, batch, height, width }, before, scalars) => {
      const { value, error, pre } = load(before, gather(before, x, [batch, x.channels, height, width]), normalize);
      const branch = gated(pre ?? value, gate, scalars);
      const carried = gated(error, gate, scalars);
      const beside = shortcut && passedOn(before, x.channels, batch, shortcut);
      const bound = mapped(branch.data.length, (i) => {
        const terms = Math.abs(scale * branch.data[i]) + Math.abs(beside?.data[i] ?? 0);
        return scale * carried.data[i] + 4 * u * terms;
      });
      return [{ at: y, error: bound }];
    },
  },

  /** The mask is decided by y as it was stored, so what arrives is exact. */
  residualAddGrad: {
    claim: "within 8u·Σ|terms|",
    of: ({ dy, y, gate, dx, write, normalize, shortcut, batch, height, width }, before, scalars) => {
      const shape = [batch, dy.channels, height, width];
      const upstream = gather(before, dy, shape);
      const [g] = y ? applyOp(reluGrad, [gather(before, y, shape), upstream], {}, "f64") : [upstream];
      const branch = gated(g, gate, scalars);
      const exact = new Float64Array(g.data.length);
      const bounds = backThroughComposite(before, branch, exact, normalize, dx, write, false);
      if (!shortcut) return bounds;
      const { dx: dShortcut, write: how, ...size } = shortcut;
      const [own] = applyOp(identityShortcutGrad, [g], { ...size, channels: dShortcut.channels }, "f64");
      return [
        ...bounds,
        ...backThroughComposite(before, own, new Float64Array(own.data.length), undefined, dShortcut, how),
      ];
    },
  },

  linear: {
    claim: "within 8u·Σ|terms|",
    of: ({ x, weight, bias, y, batch }, before) => {
      const operands = [
        gather(before, x, [batch, x.channels]),
        memoryTensor(before, weight),
        memoryTensor(before, bias),
      ];
      return [{ at: { buffer: y }, error: scaled(magnitude(linear, operands, {})[0], 8 * u) }];
    },
  },

  linearGrad: {
    claim: "within 8u·Σ|terms|",
    of: ({ x, weight, dy, dx, dWeight, dBias, batch }, before) => {
      const operands = [gather(before, x, [batch, x.channels]), memoryTensor(before, weight), memoryTensor(before, dy)];
      const [dInput, dW, dB] = magnitude(linearGrad, operands, {});
      return [
        { at: dx, error: scaled(dInput, 8 * u) },
        { at: { buffer: dWeight }, error: scaled(dW, 8 * u) },
        { at: { buffer: dBias }, error: scaled(dB, 8 * u) },
      ];
    },
  },

  /**
   * mean: a sum, 8u·Σ|x|/M =: ε. variance = mean of (x − c)² around centres c that are themselves rounded by up to ε,
   * one for the channel or one for each image c_n whose spread is then added, Σ(c_n − mean)²/N: the sum 8u, difference
   * and square 3u, the division and the last rounding 2u, moved centres 2ε·(mean of |c_n − mean|) + ε². E[x²] − E[x]²
   * loses u·mean² and does not pass once |mean| ≫ σ.
   */
  channelStatistics: {
    claim: "mean within 8u·Σ|x|/M, variance as two passes",
    of: ({ x, mean, variance, batch, plane }, before) => {
      const { data } = gather(before, x, [batch, x.channels, 1, plane]);
      const meanError = new Float64Array(x.channels);
      const varianceError = new Float64Array(x.channels);
      for (let c = 0; c < x.channels; c++) {
        const images = Array.from({ length: batch }, (_, n) =>
          data.subarray((n * x.channels + c) * plane, (n * x.channels + c + 1) * plane),
        );
        const average = (values: readonly number[]): number =>
          values.reduce((sum, value) => sum + value, 0) / values.length;
        const centers = images.map((image) => average(Array.from(image)));
        const center = average(centers);
        const epsilon = 8 * u * average(images.map((image) => average(Array.from(image, Math.abs))));
        const squares = average(images.map((image) => average(Array.from(image, (value) => (value - center) ** 2))));
        meanError[c] = epsilon;
        varianceError[c] =
          13 * u * squares + 2 * epsilon * average(centers.map((own) => Math.abs(own - center))) + epsilon ** 2;
      }
      return [
        { at: mean, error: meanError },
        { at: variance, error: varianceError },
      ];
    },
  },

  /**
   * dx + dMean/count + 2·(x − mean)·dVariance/count: the last term has 1/count, its product, the difference, the
   * product, two sums: 6u → 8u.
   */
  statisticsGrad: {
    claim: "within 8u·Σ|terms|",
    of: ({ dx, x, mean, dMean, dVariance, batch, plane }, before) => {
      const shape = [batch, x.channels, 1, plane];
      const old = gather(before, dx, shape).data;
      const { data } = gather(before, x, shape);
      const [center, level, slope] = [mean, dMean, dVariance].map((view) => gather(before, view, [x.channels]).data);
      const error = mapped(data.length, (i) => {
        const c = Math.floor(i / plane) % x.channels;
        const added = (Math.abs(level[c]) + 2 * Math.abs((data[i] - center[c]) * slope[c])) / (batch * plane);
        return 8 * u * (Math.abs(old[i]) + added);
      });
      return [{ at: dx, error }];
    },
  },

  /**
   * x·(1/(1 − rate)): the rounded factor and the product, 2u → 3u of a kept value. A dropped one is 0 exactly, which
   * the mask decides, not rounding.
   */
  dropout: {
    claim: "the reference's mask, kept values within 3u",
    of: ({ x, rate, batch, plane }, before) => {
      const { data } = gather(before, x, [batch, x.channels, 1, plane]);
      // A dropped value has the same bound: |x| is far above it, so a wrong mask shows.
      return [{ at: x, error: mapped(data.length, (i) => (3 * u * Math.abs(data[i])) / (1 - rate)) }];
    },
  },

  /**
   * d_k = l_k − max is rounded, which moves exp(d_k) by u·|d_k| relative; exp itself and the chain of K sums of
   * positive numbers: (K + 1)·u at worst. So log Σ exp is off by u·(Σ p·|d| + K + 1) + u·|log Σ|; the difference max −
   * label and the last sum add their roundings. dLogits: p_k off by u·(|d_k| + Σ p·|d| + K + 4) relative, then the
   * difference and two factors: 3u·|p_k − q_k|. Smoothing s adds to the loss the sum of K distances, off by (K + 1)·u
   * relative, three factors and a sum, and to the gradient the rounding of q_k. The rank is exact. Below e⁻⁸⁷ a power
   * may be 0.
   */
  softmaxCrossEntropy: {
    claim: "loss and gradient within the rounding of their operations, rank exact",
    of: ({ logits, labels, sampleLoss, sampleRank, dLogits, scale, smoothing, batch, classes }, before) => {
      const lossError = new Float64Array(batch);
      const gradientError = new Float64Array(batch * classes);
      for (let n = 0; n < batch; n++) {
        const row = memoryTensor(before, logits).data.subarray(n * classes, (n + 1) * classes);
        const label = before.integers(labels).data[n];
        const { maximum, shares, drift, logTotal } = softmax(row);
        const distances = Array.from(row, (logit) => maximum - logit).reduce((sum, distance) => sum + distance, 0);
        const smoothed = smoothing * ((classes + 4) / classes) * distances + 4 * smoothing * (maximum - row[label]);
        lossError[n] = u * (drift + classes + 1 + 2 * logTotal + 2 * (maximum - row[label]) + smoothed) + 1e-37;
        shares.forEach((share, k) => {
          const relative = (share === 0 ? 0 : maximum - row[k]) + drift + classes + 4;
          const wanted = (k === label ? 1 - smoothing : 0) + smoothing / classes;
          const rounded = smoothing === 0 ? 0 : wanted;
          const difference = Math.abs(share - wanted);
          gradientError[n * classes + k] = scale * (u * (share * relative + 3 * difference + rounded) + 1e-37);
        });
      }
      return [
        { at: { buffer: sampleLoss }, error: lossError },
        { at: { buffer: sampleRank }, error: new Float64Array(batch) },
        ...(dLogits === undefined ? [] : [{ at: { buffer: dLogits }, error: gradientError }]),
      ];
    },
  },

  /** Factor, product and sum, and for the variance count/(count − 1) and its product: 5u → 6u of the terms. */
  updateRunningStatistics: {
    claim: "within 6u·Σ|terms|",
    of: ({ entries, momentum, count }, before) =>
      entries.flatMap(({ mean, variance, runningMean, runningVariance }) => {
        const blended = (running: string, view: View, factor: number): Bound => {
          const { data: old } = memoryTensor(before, running);
          const { data: batch } = gather(before, view, [view.channels]);
          const error = mapped(
            old.length,
            (c) => 6 * u * (Math.abs((1 - momentum) * old[c]) + Math.abs(momentum * factor * batch[c])),
          );
          return { at: { buffer: running }, error };
        };
        return [blended(runningMean, mean, 1), blended(runningVariance, variance, count / (count - 1))];
      }),
  },

  /** One sum, rounded once. */
  accumulateGradients: {
    claim: "rounded once",
    of: ({ mode }, before) => {
      const gradients = before.role("gradient");
      const sums = before.role("gradientSum");
      return everyBuffer(before, "gradientSum", (i) => (mode === "add" ? u * Math.abs(gradients[i] + sums[i]) : 0));
    },
  },

  /**
   * g' = scale·g + decay·w: 3 roundings of each term. v = momentum·v + g': 1 more of g', 3 of momentum·v. Then
   * momentum·v 2, the sum 1, the rate 2 and the last sum 1: 10 of the longest chain → 12u of the terms' absolute
   * values.
   */
  sgd: {
    claim: "within 12u·Σ|terms|",
    of: ({ momentum, nesterov, weightDecay, gradientScale, source }, before, { learningRate = 0 }) => {
      const [weights, velocities, gradients] = [before.role("parameter"), before.role("momentum"), before.role(source)];
      const gradient = (i: number): number =>
        Math.abs(gradients[i] * gradientScale) + Math.abs(weightDecay * weights[i]);
      const velocity = (i: number): number => Math.abs(momentum * velocities[i]) + gradient(i);
      const direction = (i: number): number => (nesterov ? gradient(i) + momentum * velocity(i) : velocity(i));
      return [
        ...everyBuffer(before, "momentum", (i) => 12 * u * velocity(i)),
        ...everyBuffer(before, "parameter", (i) => 12 * u * (Math.abs(weights[i]) + learningRate * direction(i))),
      ];
    },
  },

  /**
   * g' = scale·g: 1 rounding, and 1 of (1 − β). m: 5 of each term. v = β₂·v + (1 − β₂)·g'²: 8. Its corrected root: 4 more
   * by halves, WGSL's √ 4, the sum 1. A quotient and two products 5, the rate 2, the sum 1: under 40u of the terms'
   * absolute values.
   */
  adamw: {
    claim: "within 40u·Σ|terms|",
    of: ({ betas, epsilon, weightDecay, gradientScale, source }, before, scalars) => {
      const { learningRate = 0, corrections = [1, 1] } = scalars;
      const [weights, gradients] = [before.role("parameter"), before.role(source)];
      const [firsts, seconds] = [before.role("momentum"), before.role("secondMoment")];
      const gradient = (i: number): number => Math.abs(gradients[i] * gradientScale);
      const first = (i: number): number => betas[0] * Math.abs(firsts[i]) + (1 - betas[0]) * gradient(i);
      const second = (i: number): number => betas[1] * seconds[i] + (1 - betas[1]) * gradient(i) ** 2;
      const direction = (i: number): number =>
        first(i) / corrections[0] / (Math.sqrt(second(i) / corrections[1]) + epsilon);
      const weight = (i: number): number =>
        Math.abs(weights[i]) * (1 + learningRate * weightDecay) + learningRate * direction(i);
      return [
        ...everyBuffer(before, "momentum", (i) => 40 * u * first(i)),
        ...everyBuffer(before, "secondMoment", (i) => 40 * u * second(i)),
        ...everyBuffer(before, "parameter", (i) => 40 * u * weight(i)),
      ];
    },
  },
};

const memoryTensor = (memory: ReferenceMemory, buffer: string): Dense => memory.tensor(buffer);
const scaled = ({ data }: Dense, factor: number): Float64Array => mapped(data.length, (i) => factor * data[i]);

/** Bounds of all buffers of a role by the element's place in the role. */
function everyBuffer(
  memory: ReferenceMemory,
  role: "gradientSum" | "momentum" | "secondMoment" | "parameter",
  error: (i: number) => number,
): readonly Bound[] {
  return [...memory.buffers.values()]
    .filter((buffer) => buffer.role === role)
    .map(({ name, shape, offset }) => ({
      at: { buffer: name },
      error: mapped(sizeOf(shape), (i) => error(offset / 4 + i)),
    }));
}
