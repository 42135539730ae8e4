// backends/wasm: the classifier and the loss. Small beside the convolutions: plain loops, vectors along the features.
import { type Expression, type FunctionBuilder, f32, f32x4, i32, v128 } from "./assembler.ts";
import { type CompiledKernel, type Emit, phase, threadSlice } from "./kernel.ts";
import { forEachStretch } from "./run.ts";
import { expF32, logF32 } from "./scalarMath.ts";
import { laneSum, multiplyAdd } from "./vector.ts";

/** y[n, k] = Σ_f x[n, f]·w[k, f] + b[k]. Parallel: threads share the N·K outputs. */
export const emitLinear: Emit<"linear"> = (module, target, args, at): CompiledKernel => {
  const { x, batch, classes } = args;
  const run = phase(
    module,
    "linear",
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      weight: at.buffer(args.weight),
      bias: at.buffer(args.bias),
      y: at.buffer(args.y),
      featureBytes: x.channels * 4,
      batch,
      classes,
    },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, i32.mul(o.batch, o.classes), worker);
      f.loop(start, end, 1, (output) => {
        const image = f.let(i32.divU(output.get, o.classes)).get;
        const label = f.let(i32.sub(output.get, i32.mul(image, o.classes))).get;
        const features = f.let(i32.add(o.x, i32.mul(image, o.xStride))).get;
        const weights = f.let(i32.add(o.weight, i32.mul(label, o.featureBytes))).get;
        const sums = [f.let(v128.zero), f.let(v128.zero)] as const;
        forEachStretch(f, o.featureBytes, (offset, stretch) => {
          const a = f.let(i32.add(features, offset)).get;
          const b = f.let(i32.add(weights, offset)).get;
          for (const v of stretch.vectors)
            f.set(sums[v], multiplyAdd(target, stretch.load(a, v), stretch.load(b, v), sums[v].get));
        });
        const bias = f32.load(i32.add(o.bias, i32.shl(label, 2)));
        const total = f32.add(laneSum(f, f32x4.add(sums[0].get, sums[1].get)), bias);
        f.store(i32.add(o.y, i32.shl(output.get, 2)), total);
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** dx = dy·w (threads share images), then dW = dyᵀ·x and db = Σ dy (threads share classes; images in order). */
export const emitLinearGrad: Emit<"linearGrad"> = (module, target, args, at): CompiledKernel => {
  const { x, dx, batch, classes } = args;
  const values = {
    x: at.view(x),
    xStride: at.batchStride(x),
    dx: at.view(dx),
    dxStride: at.batchStride(dx),
    weight: at.buffer(args.weight),
    dy: at.buffer(args.dy),
    dWeight: at.buffer(args.dWeight),
    dBias: at.buffer(args.dBias),
    featureBytes: x.channels * 4,
    batch,
    classes,
  };
  /** row[f] (= or +=) factor·source[f] */
  const axpy = (
    f: FunctionBuilder,
    row: Expression,
    source: Expression,
    factor: Expression,
    bytes: Expression,
    first: Expression,
  ): void => {
    const scale = f.let(f32x4.splat(factor)).get;
    const rowAddress = f.let(row).get;
    const sourceAddress = f.let(source).get;
    f.if(
      first,
      () =>
        forEachStretch(f, bytes, (offset, stretch) => {
          const [to, from] = [f.let(i32.add(rowAddress, offset)).get, f.let(i32.add(sourceAddress, offset)).get];
          for (const v of stretch.vectors) stretch.store(to, v, f32x4.mul(scale, stretch.load(from, v)));
        }),
      () =>
        forEachStretch(f, bytes, (offset, stretch) => {
          const [to, from] = [f.let(i32.add(rowAddress, offset)).get, f.let(i32.add(sourceAddress, offset)).get];
          for (const v of stretch.vectors)
            stretch.store(to, v, multiplyAdd(target, scale, stretch.load(from, v), stretch.load(to, v)));
        }),
    );
  };
  const run = phase(module, "linearGrad", values, (f, o, worker) => {
    const gradientAt = (image: Expression, label: Expression): Expression =>
      f32.load(i32.add(o.dy, i32.shl(i32.add(i32.mul(image, o.classes), label), 2)));
    const images = threadSlice(f, o.batch, worker);
    f.loop(images.start, images.end, 1, (image) => {
      const row = f.let(i32.add(o.dx, i32.mul(image.get, o.dxStride))).get;
      f.loop(0, o.classes, 1, (label) =>
        axpy(
          f,
          row,
          i32.add(o.weight, i32.mul(label.get, o.featureBytes)),
          gradientAt(image.get, label.get),
          o.featureBytes,
          i32.eq(label.get, 0),
        ),
      );
    });
    const labels = threadSlice(f, o.classes, worker);
    f.loop(labels.start, labels.end, 1, (label) => {
      const row = f.let(i32.add(o.dWeight, i32.mul(label.get, o.featureBytes))).get;
      const bias = f.let(f32.const(0));
      f.loop(0, o.batch, 1, (image) => {
        const gradient = f.let(gradientAt(image.get, label.get)).get;
        axpy(f, row, i32.add(o.x, i32.mul(image.get, o.xStride)), gradient, o.featureBytes, i32.eq(image.get, 0));
        f.set(bias, f32.add(bias.get, gradient));
      });
      f.store(i32.add(o.dBias, i32.shl(label.get, 2)), bias.get);
    });
  });
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};

/** Parallel: threads share the images. Logits are shifted by their maximum; exp and log are scalarMath's. */
export const emitSoftmaxCrossEntropy: Emit<"softmaxCrossEntropy"> = (module, _target, args, at): CompiledKernel => {
  const { batch, classes, scale, smoothing, dLogits } = args;
  const run = phase(
    module,
    `softmaxCrossEntropy scale=${scale} smoothing=${smoothing} gradient=${dLogits !== undefined}`,
    {
      logits: at.buffer(args.logits),
      labels: at.buffer(args.labels),
      sampleLoss: at.buffer(args.sampleLoss),
      sampleRank: at.buffer(args.sampleRank),
      dLogits: dLogits === undefined ? 0 : at.buffer(dLogits),
      batch,
      classes,
    },
    (f, o, worker) => {
      const { start, end } = threadSlice(f, o.batch, worker);
      const exp = expF32(module);
      const log = logF32(module);
      f.loop(start, end, 1, (image) => {
        const row = f.let(i32.add(o.logits, i32.shl(i32.mul(image.get, o.classes), 2))).get;
        const label = f.let(i32.load(i32.add(o.labels, i32.shl(image.get, 2)))).get;
        const labelLogit = f.let(f32.load(i32.add(row, i32.shl(label, 2)))).get;
        const logit = (k: Expression): Expression => f32.load(i32.add(row, i32.shl(k, 2)));
        const maximum = f.let(f32.const(Number.NEGATIVE_INFINITY));
        const rank = f.let(0);
        const broken = f.let(0);
        f.loop(0, o.classes, 1, (k) => {
          const value = f.let(logit(k.get)).get;
          f.set(maximum, f32.max(maximum.get, value));
          const before = i32.or(f32.gt(value, labelLogit), i32.and(f32.eq(value, labelLogit), i32.ltS(k.get, label)));
          f.advance(rank, before);
          f.set(broken, i32.or(broken.get, f32.ne(value, value)));
        });
        const total = f.let(f32.const(0));
        const distances = f.let(f32.const(0)); // Σ_k maximum − logit_k
        f.loop(0, o.classes, 1, (k) => {
          f.set(total, f32.add(total.get, exp(f, f32.sub(logit(k.get), maximum.get))));
          if (smoothing > 0) f.set(distances, f32.add(distances.get, f32.sub(maximum.get, logit(k.get))));
        });
        const distance = f32.sub(maximum.get, labelLogit);
        const smoothed =
          smoothing === 0
            ? distance
            : f32.add(
                f32.mul(f32.const(1 - smoothing), distance),
                f32.mul(f32.const(smoothing / classes), distances.get),
              );
        f.store(i32.add(o.sampleLoss, i32.shl(image.get, 2)), f32.add(log(f, total.get), smoothed));
        const place = f.select(broken.get, i32.sub(o.classes, 1), rank.get);
        f.store(i32.add(o.sampleRank, i32.shl(image.get, 2)), f32.fromI32U(place));
        if (dLogits !== undefined) {
          const out = f.let(i32.add(o.dLogits, i32.shl(i32.mul(image.get, o.classes), 2))).get;
          f.loop(0, o.classes, 1, (k) => {
            const share = f.let(f32.div(exp(f, f32.sub(logit(k.get), maximum.get)), total.get)).get;
            const hit = f.select(
              i32.eq(k.get, label),
              f32.const(1 - smoothing + smoothing / classes),
              f32.const(smoothing / classes),
            );
            f.store(i32.add(out, i32.shl(k.get, 2)), f32.mul(f32.const(scale), f32.sub(share, hit)));
          });
        }
      });
    },
  );
  return { phases: [run], scratchBytes: 0, sharedBytes: 0 };
};
