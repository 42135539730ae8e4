// backends/wasm: the composite function BN → ReLU where a convolution loads its operand, and its gradient where the
// operand's gradient is stored. What a channel needs is four numbers, computed anew by every thread (C square roots are
// cheaper than a barrier).
import type { Composite, CompositeGrad } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  f32x4,
  i32,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import { type Addresses, namedFunction, type Phase, partialBytes, phase, threadSlice, type Worker } from "./kernel.ts";
import { clear, forEachStretch } from "./run.ts";
import type { Target } from "./target.ts";
import { laneSum, multiplyAdd } from "./vector.ts";

/** Bytes of a channel's coefficients: scale = γ·rstd, shift = β − mean·scale, mean, rstd. */
export const coefficientBytes = 16;
/** Bytes of a channel's sums in the backward pass: Σg, Σg·x̂. */
export const sumBytes = 8;

/** Where the operands of a composite lie, for a phase that may have none. */
export function compositeValues(composite: Composite | undefined, at: Addresses) {
  return {
    mean: composite ? at.view(composite.mean) : 0,
    variance: composite ? at.view(composite.variance) : 0,
    gamma: composite ? at.buffer(composite.gamma) : 0,
    beta: composite ? at.buffer(composite.beta) : 0,
  };
}

/** coefficients(mean, variance, gamma, beta, channels, out): out [C][scale, shift, mean, rstd]. */
export function coefficients(module: ModuleBuilder, eps: number): FunctionSignature {
  return namedFunction(
    module,
    `coefficients eps=${eps}`,
    ["mean", "variance", "gamma", "beta", "channels", "out"],
    (f, o) => {
      const out = f.let(o.out);
      f.loop(0, i32.shl(o.channels, 2), 4, (c) => {
        const at = (base: Expression): Expression => f32.load(i32.add(base, c.get));
        const m = f.let(at(o.mean)).get;
        const rstd = f.let(f32.div(f32.const(1), f32.sqrt(f32.add(at(o.variance), f32.const(eps))))).get;
        const scale = f.let(f32.mul(at(o.gamma), rstd)).get;
        f.store(out.get, scale, 0);
        f.store(out.get, f32.sub(at(o.beta), f32.mul(m, scale)), 4);
        f.store(out.get, m, 8);
        f.store(out.get, rstd, 12);
        f.advance(out, coefficientBytes);
      });
    },
  );
}

/** Loads a channel's coefficients at `address` once; the result maps a loaded vector to relu(scale·x + shift). */
export function compositeOf(f: FunctionBuilder, target: Target, address: Expression): (x: Expression) => Expression {
  const scale = f.let(v128.load32Splat(address, 0)).get;
  const shift = f.let(v128.load32Splat(address, 4)).get;
  return (x) => f32x4.max(v128.zero, multiplyAdd(target, x, scale, shift));
}

/**
 * compositeGradRow(g, x, dx, bytes, coefficients, partials): one run of a channel. g is the gradient after ReLU. With m
 * = [scale·x + shift > 0]: dx (= or +=) scale·m·g; partials += m·g (eight lanes), m·g·(x − mean)·rstd (eight lanes).
 * With `keep`, g is replaced by the activated x, relu(scale·x + shift).
 * Traffic: reads g, x (and dx when it accumulates), writes dx (and g).
 * Measured: V8 packs pairs only where it finds pairs of stores and no load between them: with loads first, and partial
 * sums that end in memory, 0.29 → 0.20 ns a float with `keep`, 0.17 → 0.13 without (one Zen 5 core, L1, 2026-11).
 */
export function compositeGradRow(
  module: ModuleBuilder,
  target: Target,
  accumulate: boolean,
  keep: boolean,
): FunctionSignature {
  return namedFunction(
    module,
    `compositeGradRow accumulate=${accumulate} keep=${keep}`,
    ["g", "x", "dx", "bytes", "coefficients", "partials"],
    (f, o) => {
      const coefficient = (offset: number): Expression => f.let(v128.load32Splat(o.coefficients, offset)).get;
      const [scale, shift, mean, rstd] = [coefficient(0), coefficient(4), coefficient(8), coefficient(12)];
      const [sumG, sumGx] = [0, 32].map((at) => [0, 16].map((half) => f.let(v128.load(o.partials, at + half))));
      forEachStretch(f, o.bytes, (offset, stretch) => {
        const gAt = f.let(i32.add(o.g, offset)).get;
        const xAt = f.let(i32.add(o.x, offset)).get;
        const dxAt = f.let(i32.add(o.dx, offset)).get;
        const results = stretch.vectors.map((v) => {
          const xs = f.let(stretch.load(xAt, v)).get;
          const normalized = f.let(multiplyAdd(target, xs, scale, shift)).get;
          const masked = f.let(v128.and(stretch.load(gAt, v), f32x4.gt(normalized, v128.zero))).get;
          const dx = accumulate ? multiplyAdd(target, masked, scale, stretch.load(dxAt, v)) : f32x4.mul(masked, scale);
          return { v, xs, normalized, masked, dx: f.let(dx).get };
        });
        for (const { v, xs, masked } of results) {
          f.set(sumG[v], f32x4.add(sumG[v].get, masked));
          f.set(sumGx[v], multiplyAdd(target, masked, f32x4.mul(f32x4.sub(xs, mean), rstd), sumGx[v].get));
        }
        for (const { v, dx } of results) stretch.store(dxAt, v, dx);
        if (keep) for (const { v, normalized } of results) stretch.store(gAt, v, f32x4.max(v128.zero, normalized));
      });
      for (const [index, part] of [...sumG, ...sumGx].entries()) f.store(o.partials, part.get, index * 16);
    },
  );
}

/** The thread's sums [C][2] for `compositeGradFinish`, cleared. */
export function clearedSums(f: FunctionBuilder, worker: Worker, channels: Expression): Expression {
  const sums = f.let(i32.add(worker.shared, i32.mul(worker.thread, i32.mul(channels, sumBytes)))).get;
  clear(f, sums, i32.mul(channels, sumBytes));
  return sums;
}

/** foldPartials(partials, sums): adds the lanes of a channel's partial sums to sums[0] and sums[1] and clears them. */
export function foldPartials(module: ModuleBuilder): FunctionSignature {
  return namedFunction(module, "foldPartials", ["partials", "sums"], (f, o) => {
    for (const [index, first] of [0, 32].entries()) {
      const total = laneSum(f, f32x4.add(v128.load(o.partials, first), v128.load(o.partials, first + 16)));
      f.store(o.sums, f32.add(f32.load(o.sums, index * 4), total), index * 4);
    }
    for (let offset = 0; offset < partialBytes; offset += 16) f.store(o.partials, v128.zero, offset);
  });
}

/**
 * Second phase of every kernel with a composite backward pass: adds the threads' sums [threads][C][2] in order and
 * turns them into dBeta = Σg, dGamma = Σg·x̂, dMean (= or +=) −scale·Σg, dVariance (= or +=) −½·scale·rstd·Σg·x̂.
 */
export function compositeGradFinish(
  module: ModuleBuilder,
  normalize: Composite,
  grad: CompositeGrad,
  at: Addresses,
): Phase {
  const accumulate = grad.write === "accumulate";
  return phase(
    module,
    `compositeGradFinish eps=${normalize.eps} accumulate=${accumulate}`,
    {
      variance: at.view(normalize.variance),
      gamma: at.buffer(normalize.gamma),
      dGamma: at.buffer(grad.dGamma),
      dBeta: at.buffer(grad.dBeta),
      dMean: at.view(grad.dMean),
      dVariance: at.view(grad.dVariance),
      channels: normalize.mean.channels,
    },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, o.channels, worker);
      const partBytes = f.let(i32.mul(o.channels, sumBytes)).get;
      f.loop(start, end, 1, (c) => {
        const sumG = f.let(f32.const(0));
        const sumGx = f.let(f32.const(0));
        const part = f.let(i32.add(worker.shared, i32.mul(c.get, sumBytes)));
        f.loop(0, worker.threads, 1, () => {
          f.set(sumG, f32.add(sumG.get, f32.load(part.get, 0)));
          f.set(sumGx, f32.add(sumGx.get, f32.load(part.get, 4)));
          f.advance(part, partBytes);
        });
        const byte = f.let(i32.shl(c.get, 2)).get;
        const entry = (base: Expression): Expression => i32.add(base, byte);
        const rstd = f.let(
          f32.div(f32.const(1), f32.sqrt(f32.add(f32.load(entry(o.variance)), f32.const(normalize.eps)))),
        ).get;
        const scale = f.let(f32.mul(f32.load(entry(o.gamma)), rstd)).get;
        f.store(entry(o.dGamma), sumGx.get);
        f.store(entry(o.dBeta), sumG.get);
        const put = (address: Expression, value: Expression): void =>
          f.store(address, accumulate ? f32.add(f32.load(address), value) : value);
        put(entry(o.dMean), f32.neg(f32.mul(scale, sumG.get)));
        put(entry(o.dVariance), f32.mul(f32.const(-0.5), f32.mul(scale, f32.mul(rstd, sumGx.get))));
      });
    },
  );
}
