// backends/wasm: dx of y = conv2d(composite(x), w), one of three ways: a product over dy with turned weights for a
// convolution that keeps the size, Winograd's where it pays, and for all others a product whose results are scattered.
//
// Shapes: dy [N, O, H', W'] view, w [O, C, k, k], dx [N, C, H, W] view.
// Parallel: as product.ts; only the sums of a composite's gradient are reduced across threads.
import type { WindowSize } from "../../plan/plan.ts";
import { type Expression, type FunctionBuilder, f32, f32x4, i32, lanes32, v128 } from "./assembler.ts";
import {
  clearedSums,
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeGradRow,
  compositeValues,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import { emitWinogradGradInput } from "./convWinograd.ts";
import { type CompiledKernel, type Emit, partialsOf, phase } from "./kernel.ts";
import { copyResults, emitProduct, planProduct, productValues, shapeKey } from "./product.ts";
import { clear } from "./run.ts";
import { forEachRun } from "./signal.ts";
import { winogradPays } from "./winograd.ts";

export const emitConvGradInput: Emit<"convGradInput"> = (module, target, args, at): CompiledKernel => {
  const { dy, dx, size } = args;
  if (size.stride !== 1 || size.kernel !== 2 * size.padding + 1) return emitScattered(module, target, args, at);
  if (winogradPays(size, dy.channels, dx.channels)) return emitWinogradGradInput(module, target, args, at);
  return emitSamePlane(module, target, args, at);
};

/**
 * dx of a stride-1 convolution: the same product over dy with turned weights; then back through ReLU and normalize,
 * where there is one.
 */
const emitSamePlane: Emit<"convGradInput"> = (module, target, args, at): CompiledKernel => {
  const { dy, dx, size, composite } = args;
  const channels = dx.channels;
  const product = planProduct(dy.channels, channels, size, channels, target, { threads: at.threads }, args.weight);
  const plane = size.height * size.width * 4;
  const operands = {
    ...productValues(
      product,
      { x: at.view(dy), xStride: at.batchStride(dy), weights: at.buffer(args.weight) },
      dy.channels,
      channels,
    ),
    dx: at.view(dx),
    dxStride: at.batchStride(dx),
  };
  const accumulate = args.write === "accumulate";
  if (!composite) {
    const key = `convGradInput ${shapeKey(product)} composite=none accumulate=${accumulate}`;
    const run = phase(module, key, operands, (f, o, worker) => {
      const sink = { address: o.dx, stride: o.dxStride, plane };
      emitProduct(f, module, target, product, o, worker, { withComposite: false, transposed: true }, (unit, results) =>
        copyResults(f, product, unit, results, o, sink, args.write),
      );
    });
    return { phases: [run], scratchBytes: product.layout.bytes, sharedBytes: 0 };
  }
  const { normalize, grad, x } = composite;
  const run = phase(
    module,
    `convGradInput ${shapeKey(product)} composite=${normalize.eps} accumulate=${accumulate}`,
    {
      ...operands,
      source: at.view(x),
      sourceStride: at.batchStride(x),
      ...compositeValues(normalize, at),
    },
    (f, o, worker) => {
      f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.outputs, worker.scratch]);
      const gradRow = compositeGradRow(module, target, accumulate, false);
      const sums = clearedSums(f, worker, o.outputs);
      emitProduct(
        f,
        module,
        target,
        product,
        o,
        worker,
        { withComposite: false, transposed: true },
        (unit, results) => {
          const from = f.let(results);
          const source = f.let(i32.add(o.source, i32.mul(unit.firstImage, o.sourceStride)));
          const to = f.let(i32.add(o.dx, i32.mul(unit.firstImage, o.dxStride)));
          f.loop(0, o.outputs, 1, (channel) => {
            const coefficient = f.let(i32.add(worker.scratch, i32.mul(channel.get, coefficientBytes))).get;
            forEachRun(f, product.shape, unit, (planeByte, signalByte, image, bytes) => {
              f.call(gradRow, [
                i32.add(from.get, signalByte),
                i32.add(i32.add(source.get, i32.mul(image, o.sourceStride)), planeByte),
                i32.add(i32.add(to.get, i32.mul(image, o.dxStride)), planeByte),
                bytes,
                coefficient,
                partialsOf(worker),
              ]);
            });
            f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(channel.get, sumBytes))]);
            f.advance(from, o.step);
            f.advance(source, plane);
            f.advance(to, plane);
          });
        },
      );
    },
  );
  return {
    phases: [run, compositeGradFinish(module, normalize, grad, at)],
    scratchBytes: product.layout.bytes,
    sharedBytes: at.threads * channels * sumBytes,
  };
};

/**
 * dx of a convolution of any stride and padding: g[c, tap] = Σ_o w[o, c, tap]·dy[o], a 1×1 product, then
 * dx[c, p·stride + tap − padding] += g[c, tap, p]. No multiply-add is wasted, each result is added once.
 * A unit is whole images, so that no two threads add to one plane.
 */
const emitScattered: Emit<"convGradInput"> = (module, target, args, at): CompiledKernel => {
  const { dy, dx, size, composite } = args;
  if (composite) throw new RangeError("convGradInput of a strided convolution takes its input without a composite");
  const taps = size.kernel ** 2;
  const outputs = dx.channels * taps;
  const { batch, outHeight: height, outWidth: width } = size;
  const over = { batch, height, width, outHeight: height, outWidth: width, kernel: 1, stride: 1, padding: 0 };
  const product = planProduct(dy.channels, outputs, over, 0, target, { threads: at.threads }, args.weight, true);
  const planeBytes = size.height * size.width * 4;
  const run = phase(
    module,
    `convGradInputScattered ${windowKey(size)} tile=${product.tiles.height} write=${args.write}`,
    {
      ...productValues(
        product,
        { x: at.view(dy), xStride: at.batchStride(dy), weights: at.buffer(args.weight) },
        dy.channels,
        outputs,
      ),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      dxChannels: dx.channels,
    },
    (f, o, worker) => {
      emitProduct(
        f,
        module,
        target,
        product,
        o,
        worker,
        { withComposite: false, transposed: true },
        (unit, results) => {
          f.loop(0, unit.images, 1, (image) => {
            const from = f.let(i32.add(results, i32.mul(image.get, height * width * 4)));
            const to = f.let(i32.add(o.dx, i32.mul(i32.add(unit.firstImage, image.get), o.dxStride)));
            f.loop(0, o.dxChannels, 1, () => {
              if (args.write === "overwrite") clear(f, to.get, planeBytes);
              f.loop(-size.padding, size.kernel - size.padding, 1, (ky) => {
                for (let kx = -size.padding; kx < size.kernel - size.padding; kx++) {
                  scatterTap(f, size, ky.get, kx, from.get, to.get);
                  f.advance(from, o.step);
                }
              });
              f.advance(to, planeBytes);
            });
          });
        },
      );
    },
  );
  return { phases: [run], scratchBytes: product.layout.bytes, sharedBytes: 0 };
};

const windowKey = ({ height, width, outHeight, outWidth, kernel, stride, padding }: WindowSize): string =>
  `${height}x${width} to ${outHeight}x${outWidth} k=${kernel} s=${stride} p=${padding}`;

/** plane[oy·stride + ky, ox·stride + kx] += g[oy, ox] where that lies in the plane. */
function scatterTap(
  f: FunctionBuilder,
  size: WindowSize,
  ky: Expression,
  kx: number,
  g: Expression,
  plane: Expression,
): void {
  const { height, width, outHeight, outWidth, stride } = size;
  // Outputs whose place lies in the row: [first, end).
  const first = Math.min(outWidth, Math.max(0, Math.ceil(-kx / stride)));
  const end = Math.max(first, Math.min(outWidth, Math.ceil((width - kx) / stride)));
  // Four outputs of stride 2 are eight places of a row, the last of which gets nothing.
  const fours = stride === 2 ? Math.max(0, Math.min(end - first, Math.floor((width - kx - 2 * first) / 2))) : 0;
  const whole = first + fours - (fours % 4);
  f.loop(0, outHeight, 1, (row) => {
    const y = f.let(i32.add(i32.mul(row.get, stride), ky)).get;
    f.if(i32.ltU(y, height), () => {
      const from = f.let(i32.add(g, i32.mul(row.get, outWidth * 4))).get;
      const to = f.let(i32.add(plane, i32.mul(i32.add(i32.mul(y, width), kx), 4))).get;
      f.loop(first * 4, whole * 4, 16, (byte) => {
        const value = f.let(v128.load(i32.add(from, byte.get))).get;
        const sink = f.let(i32.add(to, i32.shl(byte.get, 1))).get;
        const spread = (lanes: readonly number[]) => v128.shuffle(value, v128.zero, lanes32(lanes));
        f.store(sink, f32x4.add(v128.load(sink), spread([0, 4, 1, 4])));
        f.store(sink, f32x4.add(v128.load(sink, 16), spread([2, 4, 3, 4])), 16);
      });
      f.loop(whole * 4, end * 4, 4, (byte) => {
        const sink = f.let(i32.add(to, i32.mul(byte.get, stride))).get;
        f.store(sink, f32.add(f32.load(sink), f32.load(i32.add(from, byte.get))));
      });
    });
  });
}
