// backends/wasm: feature maps as one-dimensional signals in scratch memory.
//
// A unit of work is a band of rows of a few images. Its rows are laid behind one another, each with `padding` zeros
// before it, and the right padding of a row is the left padding of the next: row stride S = W + padding. Then a k×k
// convolution of stride 1 is a sum over k² taps at constant offsets ky·S + kx of one signal, for any width, and the
// tile kernels see neither rows nor images. The price is S − W idle columns in S and the halo rows; both are skipped
// where results are copied out. A convolution of another stride is first gathered into C·k² signals without padding
// (im2col) and is then a 1×1 convolution.
import type { WindowSize } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  i32,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import { coefficientBytes, compositeOf } from "./composite.ts";
import { namedFunction } from "./kernel.ts";
import { clear, forEachPair } from "./run.ts";
import { type Target, tileShape } from "./target.ts";
import { everySecond } from "./vector.ts";

/** How the input of a convolution becomes signals. Rows and columns are those of the convolution's output. */
export interface SignalShape {
  /** Signals that are multiplied: C, or C·k² when gathered. */
  readonly contraction: number;
  readonly gathered: boolean;
  readonly height: number;
  readonly width: number;
  readonly padding: number;
  /** Floats from one row to the next. */
  readonly rowStride: number;
  /** Byte offsets of the taps in a signal. */
  readonly tapBytes: readonly number[];
}

export function signalShape(channels: number, size: WindowSize): SignalShape {
  const { kernel, stride, padding, outHeight: height, outWidth: width } = size;
  const gathered = stride !== 1 || kernel !== 2 * padding + 1;
  if (gathered) {
    return {
      contraction: channels * kernel * kernel,
      gathered,
      height,
      width,
      padding: 0,
      rowStride: width,
      tapBytes: [0],
    };
  }
  const rowStride = width + padding;
  const tapBytes = Array.from(
    { length: kernel * kernel },
    (_, tap) => (Math.floor(tap / kernel) * rowStride + (tap % kernel)) * 4,
  );
  return { contraction: channels, gathered, height, width, padding, rowStride, tapBytes };
}

/** The cut of N images of H rows into units: `images` whole images, or one image's band of `rows` rows. */
export interface UnitCut {
  readonly rows: number;
  readonly bands: number;
  readonly images: number;
  readonly units: number;
  /** Floats of one signal, idle ones included, without slack. */
  readonly signalFloats: number;
}

/** Floats behind a signal that a tile may read (finite) or a copy may overwrite. */
const slackFloats = 40;

/**
 * The largest units whose signals stay within `floatBudget` a channel, yet several for each thread where the batch
 * allows.
 */
export function cutUnits(shape: SignalShape, batch: number, floatBudget: number, threads: number): UnitCut {
  const halo = 2 * shape.padding;
  const fittingRows = Math.max(1, Math.floor(floatBudget / shape.rowStride) - halo);
  if (fittingRows >= shape.height) {
    const imageFloats = (shape.height + halo) * shape.rowStride;
    const fair = Math.max(1, Math.ceil(batch / (threads * 4)));
    const images = Math.max(1, Math.min(Math.floor(floatBudget / imageFloats), fair, batch));
    return {
      rows: shape.height,
      bands: 1,
      images,
      units: Math.ceil(batch / images),
      signalFloats: images * imageFloats,
    };
  }
  const bands = Math.ceil(shape.height / fittingRows);
  const rows = Math.ceil(shape.height / bands);
  const usedBands = Math.ceil(shape.height / rows);
  return { rows, bands: usedBands, images: 1, units: batch * usedBands, signalFloats: (rows + halo) * shape.rowStride };
}

/**
 * Bytes from one channel's signal to the next: whole cache lines, an odd number of them, so that channels spread over
 * the cache sets.
 */
export function signalStep(cut: UnitCut): number {
  const lines = Math.ceil((cut.signalFloats + slackFloats) / 16);
  return (lines + 1 - (lines % 2)) * 64;
}

/** Numbers that a loop over units hands to its body, as expressions. */
export interface Unit {
  readonly firstImage: Expression;
  readonly images: Expression;
  readonly firstRow: Expression;
  readonly rows: Expression;
}

export interface CutOperands {
  readonly rows: Expression;
  readonly bands: Expression;
  readonly images: Expression;
  readonly batch: Expression;
}

/** for unit of [start, end): the images and rows it covers; the last ones may be fewer. */
export function forEachUnit(
  f: FunctionBuilder,
  shape: Pick<SignalShape, "height">,
  cut: CutOperands,
  range: { start: Expression; end: Expression },
  body: (unit: Unit) => void,
): void {
  f.loop(range.start, range.end, 1, (unit) => {
    const group = f.let(i32.divU(unit.get, cut.bands)).get;
    const firstRow = f.let(i32.mul(i32.sub(unit.get, i32.mul(group, cut.bands)), cut.rows)).get;
    const firstImage = f.let(i32.mul(group, cut.images)).get;
    const images = f.let(f.minimum(cut.images, i32.sub(cut.batch, firstImage))).get;
    const rows = f.let(f.minimum(cut.rows, i32.sub(shape.height, firstRow))).get;
    body({ firstImage, images, firstRow, rows });
  });
}

/**
 * for each run of floats that belongs to the output in a unit: body(bytes into a plane [H, W], bytes into a signal
 * whose first tap stands at 0, image number in the unit, bytes of the run). Without padding a band is one run, else
 * every row is one.
 */
export function forEachRun(
  f: FunctionBuilder,
  shape: SignalShape,
  unit: Unit,
  body: (planeByte: Expression, signalByte: Expression, image: Expression, bytes: Expression) => void,
): void {
  const rowBytes = shape.width * 4;
  const planeByte = f.let(i32.mul(unit.firstRow, rowBytes)).get;
  const imageBytes = f.let(i32.mul(i32.add(unit.rows, 2 * shape.padding), shape.rowStride * 4)).get;
  f.loop(0, unit.images, 1, (image) => {
    const signalByte = f.let(i32.mul(image.get, imageBytes)).get;
    if (shape.padding === 0) {
      body(planeByte, signalByte, image.get, f.let(i32.mul(unit.rows, rowBytes)).get);
    } else {
      f.loop(0, unit.rows, 1, (row) => {
        const plane = f.let(i32.add(planeByte, i32.mul(row.get, rowBytes))).get;
        const signal = f.let(i32.add(signalByte, i32.mul(row.get, shape.rowStride * 4))).get;
        body(plane, signal, image.get, i32.const(rowBytes));
      });
    }
  });
}

/** Floats of a unit's signals up to the last one that matters, as bytes rounded up to `multiple`. */
export function usedSignalBytes(f: FunctionBuilder, shape: SignalShape, unit: Unit, multiple: number): Expression {
  const rows = i32.sub(i32.mul(unit.images, i32.add(unit.rows, 2 * shape.padding)), 2 * shape.padding);
  const bytes = i32.mul(i32.sub(i32.mul(rows, shape.rowStride), shape.rowStride - shape.width), 4);
  return f.let(i32.and(i32.add(bytes, multiple - 1), -multiple)).get;
}

/**
 * stage(x, batchStride, signals, step, channels, coefficients, images, firstRow, rows): copies a unit's input into
 * signals, through the composite function where there is one, with zeros for the padding and behind the last float.
 */
export function stage(
  module: ModuleBuilder,
  target: Target,
  shape: SignalShape,
  size: WindowSize,
  withComposite: boolean,
): FunctionSignature {
  return shape.gathered ? stageGathered(module, size, withComposite) : stageRows(module, target, shape, withComposite);
}

const stageOperands = [
  "x",
  "batchStride",
  "signals",
  "step",
  "channels",
  "coefficients",
  "images",
  "firstRow",
  "rows",
] as const;

function stageRows(
  module: ModuleBuilder,
  target: Target,
  shape: SignalShape,
  withComposite: boolean,
): FunctionSignature {
  const { height, width, padding, rowStride } = shape;
  return namedFunction(
    module,
    `stageRows ${height}x${width} padding=${padding} composite=${withComposite}`,
    stageOperands,
    (f, o) => {
      const rowBytes = width * 4;
      const strideBytes = rowStride * 4;
      const plane = f.let(o.x);
      const signal = f.let(o.signals);
      const coefficient = f.let(o.coefficients);
      const runBytes = padding === 0 ? f.let(i32.mul(o.rows, rowBytes)).get : i32.const(rowBytes);
      f.loop(0, o.channels, 1, () => {
        const apply = withComposite ? compositeOf(f, target, coefficient.get) : (x: Expression): Expression => x;
        const copy = (from: Expression, to: Expression): void =>
          forEachPair(f, runBytes, (offset) => {
            const source = f.let(i32.add(from, offset)).get;
            const sink = f.let(i32.add(to, offset)).get;
            const low = f.let(apply(v128.load(source))).get;
            const high = f.let(apply(v128.load(source, 16))).get;
            f.store(sink, low);
            f.store(sink, high, 16);
          });
        const out = f.let(signal.get);
        const image = f.let(plane.get);
        f.loop(0, o.images, 1, () => {
          if (padding === 0) {
            copy(f.let(i32.add(image.get, i32.mul(o.firstRow, rowBytes))).get, out.get);
            f.advance(out, runBytes);
          } else {
            f.loop(i32.sub(o.firstRow, padding), i32.add(i32.add(o.firstRow, o.rows), padding), 1, (row) => {
              for (let pad = 0; pad < padding; pad += 4) f.store(out.get, v128.zero, pad * 4);
              f.if(
                i32.ltU(row.get, height),
                () =>
                  copy(
                    f.let(i32.add(image.get, i32.mul(row.get, rowBytes))).get,
                    f.let(i32.add(out.get, padding * 4)).get,
                  ),
                () =>
                  forEachPair(f, rowBytes, (offset) => {
                    const sink = f.let(i32.add(out.get, offset)).get;
                    f.store(sink, v128.zero, padding * 4);
                    f.store(sink, v128.zero, padding * 4 + 16);
                  }),
              );
              f.advance(out, strideBytes);
            });
          }
          f.advance(image, o.batchStride);
        });
        for (let v = 0; v < 8; v++) f.store(out.get, v128.zero, v * 16);
        f.advance(plane, height * width * 4);
        f.advance(signal, o.step);
        if (withComposite) f.advance(coefficient, coefficientBytes);
      });
    },
  );
}

/**
 * every(from, to, count, stride): to[i] = from[i·stride] for i < count. A stride of 2 takes the even lanes of two
 * vectors.
 */
function every(f: FunctionBuilder, from: Expression, to: Expression, count: number, stride: number): void {
  const whole = stride === 2 ? count - (count % 4) : 0;
  f.loop(0, whole * 4, 16, (offset) => {
    const source = f.let(i32.add(from, i32.shl(offset.get, 1))).get;
    f.store(i32.add(to, offset.get), everySecond(source));
  });
  f.loop(whole * 4, count * 4, 4, (offset) =>
    f.store(i32.add(to, offset.get), f32.load(i32.add(from, i32.mul(offset.get, stride)))),
  );
}

/**
 * im2col: signal (c, ky, kx) holds x[c, oy·stride + ky − padding, ox·stride + kx − padding], 0 outside.
 * Measured: 121, batch 8: conv0 14.0 → 10.8 ms, its weight gradient 14.0 → 11.8 ms (two Zen 5 threads, 2026-11).
 */
function stageGathered(module: ModuleBuilder, size: WindowSize, withComposite: boolean): FunctionSignature {
  if (withComposite)
    throw new RangeError("a strided convolution takes its input as it is: no network applies BN → ReLU before one");
  const { kernel, stride, padding, height, width, outWidth } = size;
  return namedFunction(
    module,
    `stageGathered ${height}x${width} k=${kernel} s=${stride} p=${padding} to ${outWidth}`,
    stageOperands,
    (f, o) => {
      const plane = f.let(o.x);
      const signal = f.let(o.signals);
      f.loop(0, o.channels, 1, () => {
        f.loop(-padding, kernel - padding, 1, (ky) => {
          for (let kx = -padding; kx < kernel - padding; kx++) {
            // Outputs whose place lies in the row: [first, end).
            const first = Math.min(outWidth, Math.max(0, Math.ceil(-kx / stride)));
            const end = Math.max(first, Math.min(outWidth, Math.ceil((width - kx) / stride)));
            const out = f.let(signal.get);
            const image = f.let(plane.get);
            f.loop(0, o.images, 1, () => {
              f.loop(o.firstRow, i32.add(o.firstRow, o.rows), 1, (row) => {
                const y = f.let(i32.add(i32.mul(row.get, stride), ky.get)).get;
                f.if(
                  i32.ltU(y, height),
                  () => {
                    const from = i32.add(image.get, i32.mul(y, width * 4));
                    clear(f, out.get, first * 4);
                    const source = f.let(i32.add(from, (first * stride + kx) * 4)).get;
                    every(f, source, f.let(i32.add(out.get, first * 4)).get, end - first, stride);
                    clear(f, f.let(i32.add(out.get, end * 4)).get, (outWidth - end) * 4);
                  },
                  () => clear(f, out.get, outWidth * 4),
                );
                f.advance(out, outWidth * 4);
              });
              f.advance(image, o.batchStride);
            });
            for (let v = 0; v < 8; v++) f.store(out.get, v128.zero, v * 16);
            f.advance(signal, o.step);
          }
        });
        f.advance(plane, height * width * 4);
      });
    },
  );
}

/** Width of a product tile in bytes: what signals are rounded up to before they are multiplied. */
export const tileBytes = (target: Target): number => tileShape(target).vectors * 16;
