// backends/wasm: kernels that touch each float once: dropout, sums of gradients, the optimizer.
import { type Expression, type FunctionBuilder, f32, f32x4, i32, i32x4, v128 } from "./assembler.ts";
import { type CompiledKernel, type Emit, phase, threadSlice, type Worker } from "./kernel.ts";
import { forEachStretch, type Stretch } from "./run.ts";
import { multiplyAdd } from "./vector.ts";

/** Byte offsets of the run scalars. */
export const scalarOffsets = { learningRate: 0, seed: 4, step: 8, corrections: 12, bytes: 64 } as const;

/** The hash of ops/random.ts on one u32. */
export function mix(f: FunctionBuilder, value: Expression): Expression {
  const x = f.let(value);
  const fold = (bits: number): void => f.set(x, i32.xor(x.get, i32.shrU(x.get, bits)));
  fold(16);
  f.set(x, i32.mul(x.get, 0x7feb352d));
  fold(15);
  f.set(x, i32.mul(x.get, 0x846ca68b | 0));
  fold(16);
  return x.get;
}

/** The key of a random op in this run (ops/random.ts). `scalars`: the address of the run scalars. */
export function randomKey(f: FunctionBuilder, scalars: Expression, stream: Expression): Expression {
  const seed = i32.load(scalars, scalarOffsets.seed);
  const step = i32.load(scalars, scalarOffsets.step);
  return mix(f, i32.xor(seed, mix(f, i32.xor(step, mix(f, i32.add(stream, 0x9e3779b9 | 0))))));
}

/** The hash on four. */
function mixVector(f: FunctionBuilder, value: Expression): Expression {
  const x = f.let(value);
  const fold = (bits: number): void => f.set(x, v128.xor(x.get, i32x4.shrU(x.get, bits)));
  const times = (factor: number): void => f.set(x, i32x4.mul(x.get, i32x4.splat(i32.const(factor))));
  fold(16);
  times(0x7feb352d);
  fold(15);
  times(0x846ca68b | 0);
  fold(16);
  return x.get;
}

/**
 * Parallel: images. The mask is a function of (seed, step, stream, index) only, so the backward pass calls the same
 * kernel.
 */
export const emitDropout: Emit<"dropout"> = (module, _target, args, at): CompiledKernel => {
  const { x, rate, stream, batch, plane } = args;
  const imageBytes = x.channels * plane * 4;
  const run = phase(
    module,
    `dropout rate=${rate}`,
    { x: at.view(x), xStride: at.batchStride(x), imageBytes, batch, stream, scalars: at.scalars },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, o.batch, worker);
      const keys = f.let(i32x4.splat(randomKey(f, o.scalars, o.stream))).get;
      const threshold = f.let(i32x4.splat(i32.const(Math.ceil(rate * 2 ** 24)))).get;
      const scale = f.let(f32x4.splat(f32.const(1 / (1 - rate)))).get;
      f.loop(start, end, 1, (image) => {
        const address = f.let(i32.add(o.x, i32.mul(image.get, o.xStride))).get;
        const first = f.let(i32.shrU(i32.mul(image.get, o.imageBytes), 2)).get;
        forEachStretch(f, o.imageBytes, (offset, stretch) => {
          const at4 = f.let(i32.add(address, offset)).get;
          const base = f.let(i32.add(first, i32.shrU(offset, 2))).get;
          for (const v of stretch.vectors) {
            const index = i32x4.add(i32x4.splat(base), i32x4.const([0, 1, 2, 3].map((lane) => lane + v * 4)));
            const hash = mixVector(f, v128.xor(index, keys));
            const keep = i32x4.geS(i32x4.shrU(hash, 8), threshold);
            stretch.store(at4, v, v128.and(keep, f32x4.mul(stretch.load(at4, v), scale)));
          }
        });
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** body over this thread's share of `bytes` bytes: byte offset and stretch. */
function forEachShare(
  f: FunctionBuilder,
  bytes: Expression,
  worker: Worker,
  body: (offset: Expression, stretch: Stretch) => void,
): void {
  const { start, end } = threadSlice(f, i32.shrU(bytes, 2), worker);
  const first = f.let(i32.shl(start, 2)).get;
  forEachStretch(f, i32.shl(i32.sub(end, start), 2), (offset, stretch) =>
    body(f.let(i32.add(first, offset)).get, stretch),
  );
}

export const emitAccumulateGradients: Emit<"accumulateGradients"> = (module, _target, args, at): CompiledKernel => {
  const { address: gradients, bytes } = at.role("gradient");
  const run = phase(
    module,
    `accumulateGradients ${args.mode}`,
    { gradients, sums: at.role("gradientSum").address, bytes },
    (f, o, worker) =>
      forEachShare(f, o.bytes, worker, (offset, stretch) => {
        const from = f.let(i32.add(o.gradients, offset)).get;
        const to = f.let(i32.add(o.sums, offset)).get;
        for (const v of stretch.vectors) {
          const gradient = stretch.load(from, v);
          stretch.store(to, v, args.mode === "add" ? f32x4.add(stretch.load(to, v), gradient) : gradient);
        }
      }),
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** SGD as PyTorch states it: g += weightDecay·w; v = momentum·v + g; w −= rate·(nesterov ? g + momentum·v : v). */
export const emitSgd: Emit<"sgd"> = (module, target, args, at): CompiledKernel => {
  const { momentum, nesterov, weightDecay, gradientScale, source } = args;
  const { address: parameters, bytes } = at.role("parameter");
  const run = phase(
    module,
    `sgd momentum=${momentum} nesterov=${nesterov} weightDecay=${weightDecay} scale=${gradientScale}`,
    {
      parameters,
      gradients: at.role(source).address,
      momenta: at.role("momentum").address,
      bytes,
      scalars: at.scalars,
    },
    (f, o, worker) => {
      const constant = (value: number): Expression => f.let(f32x4.splat(f32.const(value))).get;
      const rate = f.let(f32x4.splat(f32.neg(f32.load(o.scalars, scalarOffsets.learningRate)))).get;
      const [decay, scale, keep] = [constant(weightDecay), constant(gradientScale), constant(momentum)];
      forEachShare(f, o.bytes, worker, (offset, stretch) => {
        const w = f.let(i32.add(o.parameters, offset)).get;
        const v = f.let(i32.add(o.momenta, offset)).get;
        const g = f.let(i32.add(o.gradients, offset)).get;
        for (const part of stretch.vectors) {
          const weight = f.let(stretch.load(w, part)).get;
          const gradient = f.let(multiplyAdd(target, weight, decay, f32x4.mul(stretch.load(g, part), scale))).get;
          const velocity = f.let(multiplyAdd(target, stretch.load(v, part), keep, gradient)).get;
          const direction = nesterov ? multiplyAdd(target, velocity, keep, gradient) : velocity;
          stretch.store(v, part, velocity);
          stretch.store(w, part, multiplyAdd(target, direction, rate, weight));
        }
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** AdamW as PyTorch states it, with the corrections of the moments taken from the run's scalars. */
export const emitAdamw: Emit<"adamw"> = (module, target, args, at): CompiledKernel => {
  const { betas, epsilon, weightDecay, gradientScale, source } = args;
  const { address: parameters, bytes } = at.role("parameter");
  const run = phase(
    module,
    `adamw betas=${betas.join()} epsilon=${epsilon} weightDecay=${weightDecay} scale=${gradientScale}`,
    {
      parameters,
      gradients: at.role(source).address,
      first: at.role("momentum").address,
      second: at.role("secondMoment").address,
      bytes,
      scalars: at.scalars,
    },
    (f, o, worker) => {
      const splat = (value: Expression): Expression => f.let(f32x4.splat(value)).get;
      const constant = (value: number): Expression => splat(f32.const(value));
      const rate = f.let(f32.load(o.scalars, scalarOffsets.learningRate)).get;
      const correction = (at: number): Expression => f32.load(o.scalars, scalarOffsets.corrections + 4 * at);
      const kept = splat(f32.sub(f32.const(1), f32.mul(rate, f32.const(weightDecay))));
      const stepSize = splat(f32.neg(f32.div(rate, correction(0))));
      const spread = splat(f32.div(f32.const(1), correction(1)));
      const [keepFirst, addFirst] = [constant(betas[0]), constant(1 - betas[0])];
      const [keepSecond, addSecond] = [constant(betas[1]), constant(1 - betas[1])];
      const [scale, least] = [constant(gradientScale), constant(epsilon)];
      forEachShare(f, o.bytes, worker, (offset, stretch) => {
        const w = f.let(i32.add(o.parameters, offset)).get;
        const m = f.let(i32.add(o.first, offset)).get;
        const v = f.let(i32.add(o.second, offset)).get;
        const g = f.let(i32.add(o.gradients, offset)).get;
        for (const part of stretch.vectors) {
          const gradient = f.let(f32x4.mul(stretch.load(g, part), scale)).get;
          const first = f.let(multiplyAdd(target, stretch.load(m, part), keepFirst, f32x4.mul(gradient, addFirst))).get;
          const square = f32x4.mul(f32x4.mul(gradient, gradient), addSecond);
          const second = f.let(multiplyAdd(target, stretch.load(v, part), keepSecond, square)).get;
          const root = f32x4.add(f32x4.sqrt(f32x4.mul(second, spread)), least);
          const direction = f32x4.div(first, root);
          stretch.store(m, part, first);
          stretch.store(v, part, second);
          stretch.store(w, part, multiplyAdd(target, direction, stepSize, f32x4.mul(stretch.load(w, part), kept)));
        }
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};
