// backends/wasm: both gradients of a 1×1 convolution behind a composite, in one pass over its input.
//
// Shapes: x [N, C, H, W] view, dy [N, O, H, W] view, w [O, C], dx [N, C, H, W] view, dWeight [O, C], overwritten.
// Parallel: threads share the units of N·H (signal.ts); each has its own sums for the composite and its own partial
// dWeightᵀ [C][O], which the finishing phases add in thread order.
// Traffic: a unit's dy is staged twice in L2, as rows [O][P] and turned [P][O]; then x and dx pass once, a tile of
// channels at a time: g = wᵀ·dy, dx and the sums from g and x, and while the activated x is still in L1, its product
// with the turned dy.
// Numerics: every g is a chain of O multiply-adds, every dWeight one of at most 256 pixels, then of the thread's units,
// then of the threads.
// Measured: BC-100-12, batch 64, two Zen threads, 2026-11: with the statistics' gradient of dy from 705 to 460 ms a
// step (were three kernels with three passes over dy and two over x).
import {
  type Expression,
  type FunctionSignature,
  f32,
  f32x4,
  i32,
  lanes32,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import {
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeGradRow,
  compositeValues,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import { type CompiledKernel, type Emit, namedFunction, type Phase, partialsOf, phase, threadSlice } from "./kernel.ts";
import { pack } from "./product.ts";
import { clear, forEachStretch } from "./run.ts";
import { cutUnits, forEachRun, forEachUnit, signalShape, signalStep, tileBytes, usedSignalBytes } from "./signal.ts";
import type { Target } from "./target.ts";
import { addTile, forEachTile, outerTile, productTile, rowTiles } from "./tile.ts";
import { multiplyAdd } from "./vector.ts";

/** Floats of a unit's dy: a quarter of a megabyte, staged twice. */
const stagedFloats = 64 * 1024;
/**
 * Bytes of a tile's rows that one product with the turned dy goes over: short enough for L1 and for the chain of its
 * sums.
 */
const chunkBytes = 1024;

/** Bytes of an output channel's statistics coefficients: mean, level = dMean/count, slope = 2·dVariance/count. */
const statisticsBytes = 12;

/**
 * stageRows(dy, dyStride, x, xStride, rows, step, outputs, coefficients, images, bytes): dy, or dy + level + (x −
 * mean)·slope, one row a channel, zeros behind it.
 */
function stageGradient(
  module: ModuleBuilder,
  target: Target,
  planeBytes: number,
  withStatistics: boolean,
): FunctionSignature {
  return namedFunction(
    module,
    `stageGradient plane=${planeBytes} statistics=${withStatistics}`,
    ["dy", "dyStride", "x", "xStride", "rows", "step", "outputs", "coefficients", "images", "bytes"],
    (f, o) => {
      const dy = f.let(o.dy);
      const x = f.let(o.x);
      const row = f.let(o.rows);
      const coefficient = f.let(o.coefficients);
      f.loop(0, o.outputs, 1, () => {
        const number = (offset: number): Expression => f.let(v128.load32Splat(coefficient.get, offset)).get;
        const [mean, level, slope] = withStatistics ? [number(0), number(4), number(8)] : [];
        const from = f.let(dy.get);
        const source = f.let(x.get);
        const to = f.let(row.get);
        f.loop(0, o.images, 1, () => {
          forEachStretch(f, o.bytes, (offset, stretch) => {
            const dyAt = f.let(i32.add(from.get, offset)).get;
            const xAt = f.let(i32.add(source.get, offset)).get;
            const toAt = f.let(i32.add(to.get, offset)).get;
            for (const v of stretch.vectors) {
              const plain = stretch.load(dyAt, v);
              stretch.store(
                toAt,
                v,
                mean && level && slope
                  ? f32x4.add(plain, multiplyAdd(target, f32x4.sub(stretch.load(xAt, v), mean), slope, level))
                  : plain,
              );
            }
          });
          f.advance(from, o.dyStride);
          f.advance(source, o.xStride);
          f.advance(to, o.bytes);
        });
        for (let v = 0; v < 8; v++) f.store(to.get, v128.zero, v * 16);
        f.advance(dy, planeBytes);
        f.advance(x, planeBytes);
        f.advance(row, o.step);
        if (withStatistics) f.advance(coefficient, statisticsBytes);
      });
    },
  );
}

/**
 * turn(rows, step, turned, outputs, bytes): turned[p][o] = rows[o][p], four by four; outputs is a multiple of 4, bytes
 * of 16.
 */
function turn(module: ModuleBuilder): FunctionSignature {
  return namedFunction(module, "turn", ["rows", "step", "turned", "outputs", "bytes"], (f, o) => {
    const turnedStep = f.let(i32.shl(o.outputs, 2)).get;
    const rows = f.let(o.rows);
    const column = f.let(o.turned);
    f.loop(0, o.outputs, 4, () => {
      const to = f.let(column.get);
      f.loop(0, o.bytes, 16, (p) => {
        const from = f.let(i32.add(rows.get, p.get)).get;
        const [a, b, c, d] = [0, 1, 2, 3].map((i) => f.let(v128.load(i32.add(from, i32.mul(o.step, i)))).get);
        const pairs = (x: Expression, y: Expression, lanes: readonly number[]): Expression =>
          f.let(v128.shuffle(x, y, lanes32(lanes))).get;
        const [low, high] = [
          [0, 4, 1, 5],
          [2, 6, 3, 7],
        ];
        const [ab01, ab23, cd01, cd23] = [pairs(a, b, low), pairs(a, b, high), pairs(c, d, low), pairs(c, d, high)];
        for (const [first, second] of [
          [ab01, cd01],
          [ab23, cd23],
        ]) {
          for (const lanes of [
            [0, 1, 4, 5],
            [2, 3, 6, 7],
          ]) {
            f.store(to.get, v128.shuffle(first, second, lanes32(lanes)));
            f.advance(to, turnedStep);
          }
        }
      });
      f.advance(rows, i32.shl(o.step, 2));
      f.advance(column, 16);
    });
  });
}

export const emitConvGrad: Emit<"convGrad"> = (module, target, args, at): CompiledKernel => {
  const { dy, dyStatistics, dx, size, composite } = args;
  if (size.kernel !== 1 || size.stride !== 1 || size.padding !== 0) {
    throw new RangeError(
      "convGrad takes 1×1 convolutions of stride 1; the gradients of others are convGradInput and convGradWeight",
    );
  }
  const { normalize, grad, x } = composite;
  const channels = dx.channels;
  const outputs = dy.channels;
  const vectorBytes = tileBytes(target);
  const paddedOutputs = Math.ceil((outputs * 4) / vectorBytes) * (vectorBytes / 4);
  const shape = signalShape(outputs, size);
  const cut = cutUnits(shape, size.batch, Math.floor(stagedFloats / outputs), at.threads);
  const step = signalStep(cut);
  const tiles = rowTiles(channels, target);
  const roundUp = (bytes: number): number => Math.ceil(bytes / 64) * 64;
  const sumTileAt = roundUp(channels * coefficientBytes);
  const statisticsAt = sumTileAt + roundUp(tiles.height * vectorBytes);
  const packedAt = statisticsAt + roundUp(outputs * statisticsBytes);
  const rowsAt = packedAt + roundUp(channels * outputs * 4);
  const turnedAt = rowsAt + paddedOutputs * step;
  const resultsAt = turnedAt + roundUp((cut.signalFloats + vectorBytes) * paddedOutputs * 4);
  const scratchBytes = resultsAt + tiles.height * step;
  const plane = size.height * size.width * 4;
  const accumulate = args.write === "accumulate";
  const sumsBytes = roundUp(at.threads * channels * sumBytes);
  const partialBytes = channels * paddedOutputs * 4;
  const run = phase(
    module,
    `convGrad ${size.height}x${size.width} composite=${normalize.eps} accumulate=${accumulate} ` +
      `statistics=${dyStatistics !== undefined} tile=${tiles.height}`,
    {
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      output: dyStatistics ? at.view(dyStatistics.y) : 0,
      outputStride: dyStatistics ? at.batchStride(dyStatistics.y) : 0,
      outputMean: dyStatistics ? at.view(dyStatistics.mean) : 0,
      dMean: dyStatistics ? at.view(dyStatistics.dMean) : 0,
      dVariance: dyStatistics ? at.view(dyStatistics.dVariance) : 0,
      x: at.view(x),
      xStride: at.batchStride(x),
      weights: at.buffer(args.weight),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      ...compositeValues(normalize, at),
      channels,
      outputs,
      paddedOutputs,
      tall: tiles.tall,
      low: tiles.low,
      batch: size.batch,
      rows: cut.rows,
      bands: cut.bands,
      images: cut.images,
      units: cut.units,
      step,
      sumTileAt,
      statisticsAt,
      packedAt,
      rowsAt,
      turnedAt,
      resultsAt,
      sumsBytes,
    },
    (f, o, worker) => {
      const within = (offset: Expression): Expression => f.let(i32.add(worker.scratch, offset)).get;
      const [sumTile, statistics, packed, rows, turned, results] = [
        within(o.sumTileAt),
        within(o.statisticsAt),
        within(o.packedAt),
        within(o.rowsAt),
        within(o.turnedAt),
        within(o.resultsAt),
      ];
      f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      if (dyStatistics) {
        const perFloat = f.let(f32.div(f32.const(1), f32.fromI32U(i32.mul(o.batch, size.height * size.width)))).get;
        f.loop(0, o.outputs, 1, (channel) => {
          const entry = f.let(i32.shl(channel.get, 2)).get;
          const to = f.let(i32.add(statistics, i32.mul(channel.get, statisticsBytes))).get;
          f.store(to, f32.load(i32.add(o.outputMean, entry)), 0);
          f.store(to, f32.mul(f32.load(i32.add(o.dMean, entry)), perFloat), 4);
          f.store(to, f32.mul(f32.mul(f32.const(2), f32.load(i32.add(o.dVariance, entry))), perFloat), 8);
        });
      }
      f.call(pack(module, 1, tiles.height, true), [o.weights, packed, o.outputs, o.channels, o.tall, o.low]);
      const turnedStep = f.let(i32.shl(o.paddedOutputs, 2)).get;
      const sums = f.let(i32.add(worker.shared, i32.mul(worker.thread, i32.mul(o.channels, sumBytes)))).get;
      const partial = f.let(
        i32.add(i32.add(worker.shared, o.sumsBytes), i32.mul(worker.thread, i32.mul(o.channels, turnedStep))),
      ).get;
      clear(f, sums, i32.mul(o.channels, sumBytes));
      clear(f, partial, i32.mul(o.channels, turnedStep));
      clear(
        f,
        f.let(i32.add(rows, i32.mul(o.outputs, o.step))).get,
        i32.mul(i32.sub(o.paddedOutputs, o.outputs), o.step),
      );
      const stage = stageGradient(module, target, plane, dyStatistics !== undefined);
      const gradRow = compositeGradRow(module, target, accumulate, true);
      forEachUnit(f, shape, o, threadSlice(f, o.units, worker), (unit) => {
        const firstByte = f.let(i32.mul(unit.firstRow, size.width * 4)).get;
        const image = (base: Expression, stride: Expression): Expression =>
          i32.add(i32.add(base, i32.mul(unit.firstImage, stride)), firstByte);
        f.call(stage, [
          image(o.dy, o.dyStride),
          o.dyStride,
          image(o.output, o.outputStride),
          o.outputStride,
          rows,
          o.step,
          o.outputs,
          statistics,
          unit.images,
          i32.mul(unit.rows, size.width * 4),
        ]);
        const used = usedSignalBytes(f, shape, unit, vectorBytes);
        f.call(turn(module), [rows, o.step, turned, o.paddedOutputs, used]);
        const source = f.let(i32.add(o.x, i32.mul(unit.firstImage, o.xStride))).get;
        const sink = f.let(i32.add(o.dx, i32.mul(unit.firstImage, o.dxStride))).get;
        forEachTile(f, tiles.height, o.tall, o.low, (height, first) => {
          const weights = f.let(i32.add(packed, i32.mul(first, i32.shl(o.outputs, 2)))).get;
          f.loop(0, used, vectorBytes, (p) => {
            f.call(productTile(module, target, height, [0]), [
              weights,
              i32.add(rows, p.get),
              i32.add(results, p.get),
              o.outputs,
              o.step,
              o.step,
            ]);
          });
          f.loop(0, height, 1, (row) => {
            const channel = f.let(i32.add(first, row.get)).get;
            const g = f.let(i32.add(results, i32.mul(row.get, o.step))).get;
            const planeAt = f.let(i32.mul(channel, plane)).get;
            forEachRun(f, shape, unit, (planeByte, signalByte, imageNumber, bytes) => {
              const offset = f.let(i32.add(planeAt, planeByte)).get;
              f.call(gradRow, [
                i32.add(g, signalByte),
                i32.add(i32.add(source, i32.mul(imageNumber, o.xStride)), offset),
                i32.add(i32.add(sink, i32.mul(imageNumber, o.dxStride)), offset),
                bytes,
                i32.add(worker.scratch, i32.mul(channel, coefficientBytes)),
                partialsOf(worker),
              ]);
            });
            f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(channel, sumBytes))]);
          });
          const partialTile = f.let(i32.add(partial, i32.mul(first, turnedStep))).get;
          f.loop(0, used, chunkBytes, (chunk) => {
            const length = f.let(f.minimum(chunkBytes, i32.sub(used, chunk.get))).get;
            const from = f.let(i32.add(turned, i32.mul(i32.shrU(chunk.get, 2), turnedStep))).get;
            f.loop(0, turnedStep, vectorBytes, (column) => {
              f.call(outerTile(module, target, height), [
                i32.add(results, chunk.get),
                o.step,
                i32.add(from, column.get),
                turnedStep,
                sumTile,
                vectorBytes,
                length,
              ]);
              f.call(addTile(module, target, height), [sumTile, i32.add(partialTile, column.get), turnedStep]);
            });
          });
        });
      });
    },
  );
  return {
    phases: [
      run,
      addTurnedPartials(module, at.buffer(args.dWeight), channels, outputs, paddedOutputs, sumsBytes),
      compositeGradFinish(module, normalize, grad, at),
    ],
    scratchBytes,
    sharedBytes: sumsBytes + at.threads * partialBytes,
  };
};

/** dWeight[o][c] = Σ_t partial[t][c][o], t ascending; threads share c. */
function addTurnedPartials(
  module: ModuleBuilder,
  dWeight: number,
  channels: number,
  outputs: number,
  paddedOutputs: number,
  partialAt: number,
): Phase {
  const values = { dWeight, channels, outputs, paddedOutputs, partialAt };
  return phase(module, "addTurnedPartials", values, (f, o, worker) => {
    const { start, end } = threadSlice(f, o.channels, worker);
    const threadBytes = f.let(i32.shl(i32.mul(o.channels, o.paddedOutputs), 2)).get;
    const rowBytes = f.let(i32.shl(o.channels, 2)).get;
    f.loop(start, end, 1, (c) => {
      const part = f.let(i32.add(i32.add(worker.shared, o.partialAt), i32.shl(i32.mul(c.get, o.paddedOutputs), 2)));
      const sink = f.let(i32.add(o.dWeight, i32.shl(c.get, 2)));
      f.loop(0, o.outputs, 1, () => {
        const sum = f.let(f32.const(0));
        const term = f.let(part.get);
        f.loop(0, worker.threads, 1, () => {
          f.set(sum, f32.add(sum.get, f32.load(term.get)));
          f.advance(term, threadBytes);
        });
        f.store(sink.get, sum.get);
        f.advance(part, 4);
        f.advance(sink, rowBytes);
      });
    });
  });
}
