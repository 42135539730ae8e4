// backends/wasm: dWeight[o, c, tap] = Σ over n, p of dy[n, o, p] · composite(x)[n, c, p + tap].
//
// Shapes: x [N, C, H, W] view, dy [N, O, H', W'] view, dWeight [O, C, k, k], overwritten.
// Parallel: threads share the units of N·H, each into its own partial dWeight; a second phase adds the partials in
// thread order.
// Traffic: a unit's dy is staged once (L2); x is staged a few channels at a time (L1) and met with all of dy.
// Numerics: a dot over a unit, then a chain over the thread's units, then over the threads.
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32x4,
  i32,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import { coefficientBytes, coefficients, compositeValues } from "./composite.ts";
import { emitWinogradGradWeight, gradWinogradPays } from "./convGradWeightWinograd.ts";
import { type CompiledKernel, type Emit, namedFunction, type Phase, phase, threadSlice } from "./kernel.ts";
import { clear, copyRow, forEachStretch } from "./run.ts";
import {
  cutUnits,
  forEachRun,
  forEachUnit,
  type SignalShape,
  signalShape,
  signalStep,
  stage,
  type Unit,
  usedSignalBytes,
} from "./signal.ts";
import type { Target } from "./target.ts";
import { dotSide, dotSpillBytes, dotTile } from "./tile.ts";

/** Floats of staged dy: a quarter of a megabyte, half of an L2. */
const stagedFloats = 64 * 1024;

/** Rows of dy against the staged signals of a few channels of x: all dot tiles of one stretch of dWeight columns. */
function dotRows(
  module: ModuleBuilder,
  target: Target,
  columns: number,
  tapBytes: readonly number[] | undefined,
): FunctionSignature {
  return namedFunction(
    module,
    `dotRows columns=${columns} taps=${tapBytes ?? "none"}`,
    ["dy", "dyStep", "x", "xStep", "bytes", "outputs", "dWeight", "rowBytes", "spill"],
    (f, o) => {
      const whole = f.let(i32.sub(o.outputs, i32.remU(o.outputs, dotSide))).get;
      const tile = (height: number, row: Expression): void =>
        f.call(dotTile(module, target, height, columns, tapBytes), [
          i32.add(o.dy, i32.mul(row, o.dyStep)),
          o.x,
          o.bytes,
          o.dyStep,
          o.xStep,
          i32.add(o.dWeight, i32.mul(row, o.rowBytes)),
          o.rowBytes,
          o.spill,
        ]);
      f.loop(0, whole, dotSide, (row) => tile(dotSide, row.get));
      for (let height = 1; height < dotSide; height++) {
        f.if(i32.eq(i32.sub(o.outputs, whole), height), () => tile(height, whole));
      }
    },
  );
}

/** Signals that one source channel becomes, and the groups of adjacent dWeight columns they feed. */
function columnGroups(
  shape: SignalShape,
  kernel: number,
): { first: number; tapBytes: readonly number[] | undefined; columns: number }[] {
  const perChannel = kernel * kernel;
  const groups = [];
  for (let first = 0; first < perChannel; first += dotSide) {
    const columns = Math.min(dotSide, perChannel - first);
    groups.push({
      first,
      columns,
      tapBytes: shape.gathered ? undefined : shape.tapBytes.slice(first, first + columns),
    });
  }
  return groups;
}

export const emitConvGradWeight: Emit<"convGradWeight"> = (module, target, args, at): CompiledKernel => {
  const { x, dy, size, composite } = args;
  if (gradWinogradPays(size, x.channels, dy.channels)) return emitWinogradGradWeight(module, target, args, at);
  const shape = signalShape(x.channels, size);
  const perChannel = size.kernel * size.kernel;
  // A direct 1×1 takes three channels of x at once; a kernel with taps, or one gathered into k² signals, a single one.
  const channelsAtOnce = perChannel === 1 ? dotSide : 1;
  const cut = cutUnits(shape, size.batch, Math.floor(stagedFloats / dy.channels), at.threads);
  const step = signalStep(cut);
  const coefficientsAt = Math.ceil(dotSpillBytes / 64) * 64;
  const dyAt = coefficientsAt + x.channels * coefficientBytes;
  const signalsAt = dyAt + dy.channels * step;
  const scratchBytes = signalsAt + Math.max(channelsAtOnce, shape.gathered ? perChannel : 1) * step;
  const weightBytes = dy.channels * x.channels * perChannel * 4;
  const run = phase(
    module,
    `convGradWeight ${size.height}x${size.width} k=${size.kernel} s=${size.stride} p=${size.padding} ` +
      `composite=${composite?.eps ?? "none"}`,
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      channels: x.channels,
      outputs: dy.channels,
      ...compositeValues(composite, at),
      batch: size.batch,
      rows: cut.rows,
      bands: cut.bands,
      images: cut.images,
      units: cut.units,
      dyAt,
      signalsAt,
      step,
    },
    (f, o, worker) => {
      const table = f.let(i32.add(worker.scratch, coefficientsAt)).get;
      if (composite)
        f.call(coefficients(module, composite.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, table]);
      const dySignals = f.let(i32.add(worker.scratch, o.dyAt)).get;
      const signals = f.let(i32.add(worker.scratch, o.signalsAt)).get;
      const rowBytes = f.let(i32.mul(o.channels, perChannel * 4)).get;
      const partialBytes = f.let(i32.mul(o.outputs, rowBytes)).get;
      const partial = f.let(i32.add(worker.shared, i32.mul(worker.thread, partialBytes))).get;
      clear(f, partial, partialBytes);
      const stageFunction = stage(module, target, shape, size, composite !== undefined);
      forEachUnit(f, shape, o, threadSlice(f, o.units, worker), (unit) => {
        const used = usedSignalBytes(f, shape, unit, 32);
        stageOutputGradient(f, shape, size.outHeight * size.outWidth * 4, unit, o, dySignals, used);
        const source = f.let(i32.add(o.x, i32.mul(unit.firstImage, o.xStride))).get;
        const visit = (channel: Expression, count: number): void => {
          const from = i32.add(source, i32.mul(channel, size.height * size.width * 4));
          const coefficient = i32.add(table, i32.mul(channel, coefficientBytes));
          f.call(stageFunction, [
            from,
            o.xStride,
            signals,
            o.step,
            count,
            coefficient,
            unit.images,
            unit.firstRow,
            unit.rows,
          ]);
          const column = f.let(i32.add(partial, i32.mul(channel, perChannel * 4))).get;
          const groups =
            perChannel === 1 ? [{ first: 0, columns: count, tapBytes: undefined }] : columnGroups(shape, size.kernel);
          for (const group of groups) {
            const groupSignals = group.tapBytes ? signals : i32.add(signals, i32.mul(o.step, group.first));
            f.call(dotRows(module, target, group.columns, group.tapBytes), [
              dySignals,
              o.step,
              groupSignals,
              o.step,
              used,
              o.outputs,
              i32.add(column, group.first * 4),
              rowBytes,
              worker.scratch,
            ]);
          }
        };
        const whole = f.let(i32.sub(o.channels, i32.remU(o.channels, channelsAtOnce))).get;
        f.loop(0, whole, channelsAtOnce, (channel) => visit(channel.get, channelsAtOnce));
        for (let rest = 1; rest < channelsAtOnce; rest++) {
          f.if(i32.eq(i32.sub(o.channels, whole), rest), () => visit(whole, rest));
        }
      });
    },
  );
  return {
    phases: [run, addPartials(module, at.buffer(args.dWeight), weightBytes)],
    scratchBytes,
    sharedBytes: at.threads * weightBytes,
  };
};

/** dy in signal coordinates: zero wherever the signal is padding or idle, so that those products vanish. */
function stageOutputGradient(
  f: FunctionBuilder,
  shape: SignalShape,
  planeBytes: number,
  unit: Unit,
  o: {
    readonly dy: Expression;
    readonly dyStride: Expression;
    readonly outputs: Expression;
    readonly step: Expression;
  },
  signals: Expression,
  used: Expression,
): void {
  const plane = f.let(i32.add(o.dy, i32.mul(unit.firstImage, o.dyStride)));
  const signal = f.let(signals);
  f.loop(0, o.outputs, 1, () => {
    f.loop(0, used, 32, (offset) => {
      const sink = f.let(i32.add(signal.get, offset.get)).get;
      f.store(sink, v128.zero);
      f.store(sink, v128.zero, 16);
    });
    forEachRun(f, shape, unit, (planeByte, signalByte, image, bytes) => {
      const from = f.let(i32.add(i32.add(plane.get, i32.mul(image, o.dyStride)), planeByte)).get;
      copyRow(f, from, f.let(i32.add(signal.get, signalByte)).get, bytes);
    });
    f.advance(plane, planeBytes);
    f.advance(signal, o.step);
  });
}

/** out[i] = Σ_t shared[t][i], t ascending; threads share i. */
export function addPartials(module: ModuleBuilder, out: number, bytes: number): Phase {
  return phase(module, "addPartials", { out, bytes }, (f, o, worker) => {
    const { start, end } = threadSlice(f, i32.shrU(o.bytes, 2), worker);
    const first = f.let(i32.shl(start, 2)).get;
    forEachStretch(f, i32.shl(i32.sub(end, start), 2), (offset, stretch) => {
      const at = f.let(i32.add(first, offset)).get;
      for (const v of stretch.vectors) {
        const sum = f.let(v128.zero);
        const part = f.let(i32.add(worker.shared, at));
        f.loop(0, worker.threads, 1, () => {
          f.set(sum, f32x4.add(sum.get, stretch.load(part.get, v)));
          f.advance(part, o.bytes);
        });
        stretch.store(f.let(i32.add(o.out, at)).get, v, sum.get);
      }
    });
  });
}
