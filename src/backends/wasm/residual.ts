// backends/wasm: the end of a residual unit: y = [relu](scale·gate(normalize(x)) + shortcut), and its gradient.
//
// Shapes: x, y, dy, dx [N, C, H, W] views; the shortcut [N, C', H', W'] with C' ≤ C and H = ⌈H'/stride⌉.
// Parallel: threads share the N·C planes; only the sums of a batch norm's gradient are reduced across threads.
// Traffic: reads x and the shortcut, writes y; backward reads dy, y and x, writes dx and the shortcut's gradient.
// Where a shortcut subsamples or pads, its plane, or its gradient's, is made in scratch: two or three planes of a net.
import type { Gate, ShortcutSize } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  f32x4,
  i32,
  i32x4,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import {
  clearedSums,
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeValues,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import { mix, randomKey } from "./elementwise.ts";
import { type CompiledKernel, type Emit, forEachPlane, namedFunction, partialsOf, phase } from "./kernel.ts";
import { clear, forEachStretch } from "./run.ts";
import type { Target } from "./target.ts";
import { multiplyAdd } from "./vector.ts";

const roundUp = (bytes: number): number => Math.ceil(bytes / 64) * 64;

/** The bits of a number as f32: splat as integers they are the number in every lane. */
const bitsOf = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0];

const gateValues = (gate: Gate | undefined, scalars: number) => ({
  stream: gate?.stream ?? 0,
  threshold: gate ? Math.ceil((1 - gate.keepProbability) * 2 ** 24) : 0,
  scalars,
});

/** The key of this run's gates, as gateMask takes it; 0 where there are none. */
const gateKey = (
  f: FunctionBuilder,
  gate: Gate | undefined,
  o: { readonly scalars: Expression; readonly stream: Expression },
): Expression => (gate ? randomKey(f, o.scalars, o.stream) : i32.const(0));

/** All ones where the gate of an image is open, else 0: −1 or 0. */
function gateMask(
  f: FunctionBuilder,
  gate: Gate | undefined,
  key: Expression,
  threshold: Expression,
  image: Expression,
): Expression {
  if (!gate) return i32.const(-1);
  const hash = mix(f, gate.per === "image" ? i32.xor(image, key) : key);
  return i32.sub(0, i32.geS(i32.shrU(hash, 8), threshold));
}

/** Of the shortcut beside a plane of the branch: absent, as it is, or made in scratch (subsampled, or zeros). */
type ShortcutPlane = "none" | "same" | "changed";

const shortcutPlaneOf = (
  shortcut: (ShortcutSize & { readonly channels: number }) | undefined,
  channels: number,
): ShortcutPlane => {
  if (!shortcut) return "none";
  return shortcut.stride === 1 && shortcut.channels === channels ? "same" : "changed";
};

/** residualRow(x, shortcut, y, bytes, coefficients, mask, scale): one plane. Scale is the bits of an f32. */
function residualRow(
  module: ModuleBuilder,
  target: Target,
  has: { normalize: boolean; gate: boolean; scale: boolean; shortcut: boolean; relu: boolean },
): FunctionSignature {
  return namedFunction(
    module,
    `residualRow ${JSON.stringify(has)}`,
    ["x", "shortcut", "y", "bytes", "coefficients", "mask", "scale"],
    (f, o) => {
      const affine = has.normalize && {
        scale: f.let(v128.load32Splat(o.coefficients, 0)).get,
        shift: f.let(v128.load32Splat(o.coefficients, 4)).get,
      };
      const mask = has.gate && f.let(i32x4.splat(o.mask)).get;
      const factor = has.scale && f.let(i32x4.splat(o.scale)).get;
      forEachStretch(f, o.bytes, (offset, stretch) => {
        const [x, shortcut, y] = [o.x, o.shortcut, o.y].map((base) => f.let(i32.add(base, offset)).get);
        const results = stretch.vectors.map((v) => {
          let value = stretch.load(x, v);
          if (affine) value = multiplyAdd(target, value, affine.scale, affine.shift);
          if (mask) value = v128.and(value, mask);
          if (factor) value = f32x4.mul(value, factor);
          if (has.shortcut) value = f32x4.add(value, stretch.load(shortcut, v));
          return f.let(has.relu ? f32x4.max(v128.zero, value) : value).get;
        });
        stretch.vectors.forEach((v, index) => {
          stretch.store(y, v, results[index]);
        });
      });
    },
  );
}

/** subsample(from, to): every stride-th pixel of a plane. */
function subsample(
  module: ModuleBuilder,
  { height, width, stride }: ShortcutSize,
  out: { readonly height: number; readonly width: number },
): FunctionSignature {
  return namedFunction(module, `subsample ${height}x${width} stride=${stride}`, ["from", "to"], (f, o) => {
    f.loop(0, out.height, 1, (row) => {
      const from = f.let(i32.add(o.from, i32.mul(row.get, stride * width * 4))).get;
      const to = f.let(i32.add(o.to, i32.mul(row.get, out.width * 4))).get;
      f.loop(0, out.width * 4, 4, (byte) =>
        f.store(i32.add(to, byte.get), f32.load(i32.add(from, i32.mul(byte.get, stride)))),
      );
    });
  });
}

/** scatter(from, to): its adjoint, or added to what is there. */
function scatter(
  module: ModuleBuilder,
  { height, width, stride }: ShortcutSize,
  out: { readonly height: number; readonly width: number },
  accumulate: boolean,
): FunctionSignature {
  const key = `scatter ${height}x${width} stride=${stride} accumulate=${accumulate}`;
  return namedFunction(module, key, ["from", "to"], (f, o) => {
    if (!accumulate) clear(f, o.to, height * width * 4);
    f.loop(0, out.height, 1, (row) => {
      const from = f.let(i32.add(o.from, i32.mul(row.get, out.width * 4))).get;
      const to = f.let(i32.add(o.to, i32.mul(row.get, stride * width * 4))).get;
      f.loop(0, out.width * 4, 4, (byte) => {
        const sink = f.let(i32.add(to, i32.mul(byte.get, stride))).get;
        const value = f32.load(i32.add(from, byte.get));
        f.store(sink, accumulate ? f32.add(f32.load(sink), value) : value);
      });
    });
  });
}

export const emitResidualAdd: Emit<"residualAdd"> = (module, target, args, at): CompiledKernel => {
  const { x, normalize, gate, scale, shortcut, relu, y, batch, height, width } = args;
  const channels = x.channels;
  const plane = height * width * 4;
  const kind = shortcutPlaneOf(shortcut && { ...shortcut, channels: shortcut.x.channels }, channels);
  const shortcutPlane = shortcut ? shortcut.height * shortcut.width * 4 : 0;
  const tableBytes = normalize ? roundUp(channels * coefficientBytes) : 0;
  const has = {
    normalize: normalize !== undefined,
    gate: gate !== undefined,
    scale: scale !== 1,
    shortcut: shortcut !== undefined,
    relu,
  };
  const run = phase(
    module,
    `residualAdd ${height}x${width} ${JSON.stringify(has)} eps=${normalize?.eps} per=${gate?.per} plane=${kind} ` +
      `of ${shortcut?.height}x${shortcut?.width} stride=${shortcut?.stride}`,
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      y: at.view(y),
      yStride: at.batchStride(y),
      shortcut: shortcut ? at.view(shortcut.x) : 0,
      shortcutStride: shortcut ? at.batchStride(shortcut.x) : 0,
      shortcutChannels: shortcut?.x.channels ?? 0,
      ...compositeValues(normalize, at),
      ...gateValues(gate, at.scalars),
      scale: bitsOf(scale),
      batch,
      channels,
      planeAt: tableBytes,
    },
    (f, o, worker) => {
      if (normalize) {
        f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      }
      const zeros = f.let(i32.add(worker.scratch, o.planeAt)).get;
      const sampled = f.let(i32.add(zeros, roundUp(plane))).get;
      if (kind === "changed") clear(f, zeros, plane);
      const key = gateKey(f, gate, o);
      forEachPlane(f, o, worker, (channel, image) => {
        const from = i32.add(i32.add(o.shortcut, i32.mul(image, o.shortcutStride)), i32.mul(channel, shortcutPlane));
        const beside = f.let(kind === "changed" ? zeros : from);
        if (shortcut && kind === "changed") {
          f.if(i32.ltU(channel, o.shortcutChannels), () => {
            f.set(beside, sampled);
            f.call(subsample(module, shortcut, { height, width }), [from, sampled]);
          });
        }
        f.call(residualRow(module, target, has), [
          i32.add(i32.add(o.x, i32.mul(image, o.xStride)), i32.mul(channel, plane)),
          beside.get,
          i32.add(i32.add(o.y, i32.mul(image, o.yStride)), i32.mul(channel, plane)),
          plane,
          i32.add(worker.scratch, i32.mul(channel, coefficientBytes)),
          gateMask(f, gate, key, o.threshold, image),
          o.scale,
        ]);
      });
    },
  );
  return {
    phases: [run],
    scratchBytes: tableBytes + (kind === "changed" ? 2 * roundUp(plane) : 0),
    sharedBytes: 0,
  };
};

interface GradRow {
  readonly relu: boolean;
  readonly normalize: boolean;
  readonly gate: boolean;
  readonly accumulate: boolean;
  /** What becomes of the shortcut's gradient. */
  readonly shortcut: "none" | "overwrite" | "accumulate";
}

/**
 * residualGradRow(dy, y, x, dx, shortcut, bytes, coefficients, partials, mask): one plane. g = dy where not y ≤ 0; the
 * shortcut gets g, the branch g where the mask is set: h. dx = h, or scale·h with Σh and Σh·(x − mean)·rstd added to
 * the partial sums.
 */
function residualGradRow(module: ModuleBuilder, target: Target, has: GradRow): FunctionSignature {
  return namedFunction(
    module,
    `residualGradRow ${JSON.stringify(has)}`,
    ["dy", "y", "x", "dx", "shortcut", "bytes", "coefficients", "partials", "mask"],
    (f, o) => {
      const coefficient = (offset: number): Expression => f.let(v128.load32Splat(o.coefficients, offset)).get;
      const norm = has.normalize && { scale: coefficient(0), mean: coefficient(8), rstd: coefficient(12) };
      const sums = norm ? [0, 32].map((at) => [0, 16].map((half) => f.let(v128.load(o.partials, at + half)))) : [];
      const mask = has.gate && f.let(i32x4.splat(o.mask)).get;
      forEachStretch(f, o.bytes, (offset, stretch) => {
        const [dy, y, x, dx, shortcut] = [o.dy, o.y, o.x, o.dx, o.shortcut].map(
          (base) => f.let(i32.add(base, offset)).get,
        );
        const results = stretch.vectors.map((v) => {
          const all = stretch.load(dy, v);
          const g = f.let(has.relu ? v128.andNot(all, f32x4.le(stretch.load(y, v), v128.zero)) : all).get;
          const h = mask ? f.let(v128.and(g, mask)).get : g;
          const xs = norm ? f.let(stretch.load(x, v)).get : h;
          const scaled = norm ? f32x4.mul(h, norm.scale) : h;
          const branch = has.accumulate ? f32x4.add(stretch.load(dx, v), scaled) : scaled;
          const beside = has.shortcut === "accumulate" ? f32x4.add(stretch.load(shortcut, v), g) : g;
          return { v, h, xs, dx: f.let(branch).get, shortcut: f.let(beside).get };
        });
        if (norm) {
          const [sumH, sumHx] = sums;
          for (const { v, h, xs } of results) {
            const [one, other] = [sumH?.[v], sumHx?.[v]];
            if (!one || !other) continue;
            f.set(one, f32x4.add(one.get, h));
            f.set(other, multiplyAdd(target, h, f32x4.mul(f32x4.sub(xs, norm.mean), norm.rstd), other.get));
          }
        }
        for (const result of results) stretch.store(dx, result.v, result.dx);
        if (has.shortcut !== "none") {
          for (const result of results) stretch.store(shortcut, result.v, result.shortcut);
        }
      });
      for (const [index, part] of sums.flat().entries()) f.store(o.partials, part.get, index * 16);
    },
  );
}

export const emitResidualAddGrad: Emit<"residualAddGrad"> = (module, target, args, at): CompiledKernel => {
  const { dy, y, gate, dx, write, normalize: composite, shortcut, batch, height, width } = args;
  const normalize = composite?.normalize;
  const channels = dx.channels;
  const plane = height * width * 4;
  const kind = shortcutPlaneOf(shortcut && { ...shortcut, channels: shortcut.dx.channels }, channels);
  const shortcutPlane = shortcut ? shortcut.height * shortcut.width * 4 : 0;
  const tableBytes = normalize ? roundUp(channels * coefficientBytes) : 0;
  const accumulates = shortcut?.write === "accumulate";
  const has: GradRow = {
    relu: y !== undefined,
    normalize: normalize !== undefined,
    gate: gate !== undefined,
    accumulate: write === "accumulate",
    shortcut: kind === "none" ? "none" : kind === "same" && accumulates ? "accumulate" : "overwrite",
  };
  const run = phase(
    module,
    `residualAddGrad ${height}x${width} ${JSON.stringify(has)} eps=${normalize?.eps} per=${gate?.per} plane=${kind} ` +
      `of ${shortcut?.height}x${shortcut?.width} stride=${shortcut?.stride} ${shortcut?.write}`,
    {
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      y: y ? at.view(y) : 0,
      yStride: y ? at.batchStride(y) : 0,
      x: composite ? at.view(composite.x) : 0,
      xStride: composite ? at.batchStride(composite.x) : 0,
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      shortcut: shortcut ? at.view(shortcut.dx) : 0,
      shortcutStride: shortcut ? at.batchStride(shortcut.dx) : 0,
      shortcutChannels: shortcut?.dx.channels ?? 0,
      ...compositeValues(normalize, at),
      ...gateValues(gate, at.scalars),
      batch,
      channels,
      planeAt: tableBytes,
    },
    (f, o, worker) => {
      if (normalize)
        f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      const sums = normalize && clearedSums(f, worker, o.channels);
      const made = f.let(i32.add(worker.scratch, o.planeAt)).get;
      const key = gateKey(f, gate, o);
      forEachPlane(f, o, worker, (channel, image) => {
        const at = (base: Expression, stride: Expression, bytes: number): Expression =>
          i32.add(i32.add(base, i32.mul(image, stride)), i32.mul(channel, bytes));
        const beside = f.let(at(o.shortcut, o.shortcutStride, shortcutPlane)).get;
        f.call(residualGradRow(module, target, has), [
          at(o.dy, o.dyStride, plane),
          at(o.y, o.yStride, plane),
          at(o.x, o.xStride, plane),
          at(o.dx, o.dxStride, plane),
          kind === "changed" ? made : beside,
          plane,
          i32.add(worker.scratch, i32.mul(channel, coefficientBytes)),
          partialsOf(worker),
          gateMask(f, gate, key, o.threshold, image),
        ]);
        if (sums) f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(channel, sumBytes))]);
        if (shortcut && kind === "changed") {
          f.if(i32.ltU(channel, o.shortcutChannels), () =>
            f.call(scatter(module, shortcut, { height, width }, accumulates), [made, beside]),
          );
        }
      });
    },
  );
  return {
    phases: composite ? [run, compositeGradFinish(module, composite.normalize, composite.grad, at)] : [run],
    scratchBytes: tableBytes + (kind === "changed" ? roundUp(plane) : 0),
    sharedBytes: normalize ? at.threads * channels * sumBytes : 0,
  };
};
