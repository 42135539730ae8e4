// backends/wasm: pooling of composite(x), and its gradient.
//
// Parallel: threads share the N·C planes. A plane goes through the composite into scratch (L1 for most sizes) and is
// pooled there; in the backward pass dy is spread over a scratch plane, which then goes through compositeGradRow like
// any other gradient.
import type { CompositeBackward, KernelTable, PoolSize, WindowSize } from "../../plan/plan.ts";
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  f32x4,
  i32,
  lanes32,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import {
  clearedSums,
  coefficientBytes,
  coefficients,
  compositeGradFinish,
  compositeGradRow,
  compositeOf,
  compositeValues,
  foldPartials,
  sumBytes,
} from "./composite.ts";
import {
  type Addresses,
  type CompiledKernel,
  type Emit,
  forEachPlane,
  namedFunction,
  partialsOf,
  phase,
} from "./kernel.ts";
import { clear, copyRow, forEachPair, forEachStretch } from "./run.ts";
import type { Target } from "./target.ts";
import { everySecond, laneSum } from "./vector.ts";

/** Bytes behind a scratch plane that whole-vector loads and stores may touch. */
const slack = 64;

/** activate(x, plane, bytes, coefficients): composite(x) of one plane into scratch. */
function activate(module: ModuleBuilder, target: Target, withComposite: boolean): FunctionSignature {
  return namedFunction(
    module,
    `activate composite=${withComposite}`,
    ["x", "plane", "bytes", "coefficients"],
    (f, o) => {
      const apply = withComposite ? compositeOf(f, target, o.coefficients) : (x: Expression): Expression => x;
      forEachPair(f, o.bytes, (offset) => {
        const from = f.let(i32.add(o.x, offset)).get;
        const to = f.let(i32.add(o.plane, offset)).get;
        f.store(to, apply(v128.load(from)));
        f.store(to, apply(v128.load(from, 16)), 16);
      });
    },
  );
}

const isGlobal = (size: PoolSize): boolean => size.windowHeight === size.height && size.windowWidth === size.width;
const isHalving = (size: PoolSize): boolean => size.windowHeight === 2 && size.windowWidth === 2;
const poolKey = (size: PoolSize): string =>
  `${size.height}x${size.width} window=${size.windowHeight}x${size.windowWidth}`;

/** averagePlane(plane, y): windows side by side; three ways to the same sums: the whole plane, 2×2, any window. */
function averagePlane(module: ModuleBuilder, size: PoolSize): FunctionSignature {
  const share = 1 / (size.windowHeight * size.windowWidth);
  const rowBytes = size.width * 4;
  return namedFunction(module, `averagePlane ${poolKey(size)}`, ["plane", "y"], (f, o) => {
    if (isGlobal(size)) {
      const sums = [f.let(v128.zero), f.let(v128.zero)] as const;
      forEachStretch(f, size.height * rowBytes, (offset, stretch) => {
        const from = f.let(i32.add(o.plane, offset)).get;
        for (const v of stretch.vectors) f.set(sums[v], f32x4.add(sums[v].get, stretch.load(from, v)));
      });
      f.store(o.y, f32.mul(laneSum(f, f32x4.add(sums[0].get, sums[1].get)), f32.const(share)));
      return;
    }
    f.loop(0, size.outHeight, 1, (row) => {
      const top = f.let(i32.add(o.plane, i32.mul(row.get, size.windowHeight * rowBytes))).get;
      const out = f.let(i32.add(o.y, i32.mul(row.get, size.outWidth * 4))).get;
      if (isHalving(size)) {
        forEachStretch(f, size.outWidth * 4, (offset, stretch) => {
          const from = f.let(i32.add(top, i32.shl(offset, 1))).get;
          const to = f.let(i32.add(out, offset)).get;
          for (const v of stretch.vectors) {
            const column = (at: number): Expression =>
              f.let(f32x4.add(v128.load(from, v * 32 + at), v128.load(from, v * 32 + at + rowBytes))).get;
            const [left, right] = [column(0), column(16)];
            const even = v128.shuffle(left, right, lanes32([0, 2, 4, 6]));
            const odd = v128.shuffle(left, right, lanes32([1, 3, 5, 7]));
            stretch.store(to, v, f32x4.mul(f32x4.add(even, odd), f32x4.splat(f32.const(share))));
          }
        });
        return;
      }
      f.loop(0, size.outWidth, 1, (column) => {
        const sum = f.let(f32.const(0));
        f.loop(0, size.windowHeight, 1, (wy) => {
          const from = f.let(
            i32.add(i32.add(top, i32.mul(wy.get, rowBytes)), i32.mul(column.get, size.windowWidth * 4)),
          ).get;
          f.loop(0, size.windowWidth * 4, 4, (wx) => f.set(sum, f32.add(sum.get, f32.load(i32.add(from, wx.get)))));
        });
        f.store(i32.add(out, i32.shl(column.get, 2)), f32.mul(sum.get, f32.const(share)));
      });
    });
  });
}

/** spreadPlane(dy, plane): each dy over its window, divided by the window's size; 0 where no window lies. */
function spreadPlane(module: ModuleBuilder, size: PoolSize): FunctionSignature {
  const share = 1 / (size.windowHeight * size.windowWidth);
  const rowBytes = size.width * 4;
  return namedFunction(module, `spreadPlane ${poolKey(size)}`, ["dy", "plane"], (f, o) => {
    if (isGlobal(size)) {
      const value = f.let(f32x4.splat(f32.mul(f32.load(o.dy), f32.const(share)))).get;
      forEachPair(f, size.height * rowBytes, (offset) => {
        const to = f.let(i32.add(o.plane, offset)).get;
        f.store(to, value);
        f.store(to, value, 16);
      });
      return;
    }
    clear(f, o.plane, size.height * rowBytes);
    f.loop(0, size.outHeight, 1, (row) => {
      const from = f.let(i32.add(o.dy, i32.mul(row.get, size.outWidth * 4))).get;
      f.loop(0, size.windowHeight, 1, (wy) => {
        const line = i32.add(i32.mul(row.get, size.windowHeight), wy.get);
        const to = f.let(i32.add(o.plane, i32.mul(line, rowBytes))).get;
        if (isHalving(size)) {
          // Lanes past the row are zeros and fall where zeros or later rows belong.
          forEachStretch(f, size.outWidth * 4, (offset, stretch) => {
            const source = f.let(i32.add(from, offset)).get;
            const sink = f.let(i32.add(to, i32.shl(offset, 1))).get;
            for (const v of stretch.vectors) {
              const value = f.let(f32x4.mul(stretch.load(source, v), f32x4.splat(f32.const(share)))).get;
              f.store(sink, v128.shuffle(value, value, lanes32([0, 0, 1, 1])), v * 32);
              f.store(sink, v128.shuffle(value, value, lanes32([2, 2, 3, 3])), v * 32 + 16);
            }
          });
          return;
        }
        f.loop(0, size.outWidth, 1, (column) => {
          const value = f.let(f32.mul(f32.load(i32.add(from, i32.shl(column.get, 2))), f32.const(share))).get;
          const sink = f.let(i32.add(to, i32.mul(column.get, size.windowWidth * 4))).get;
          f.loop(0, size.windowWidth * 4, 4, (wx) => f.store(i32.add(sink, wx.get), value));
        });
      });
    });
  });
}

/**
 * body(output index byte, best address) for every window of a scratch plane of activated values; of equal maxima the
 * first in row order. Places outside the plane are replaced by the nearest inside, which is in the window anyway and
 * does not come later in it: no branches.
 */
function forEachMaximum(
  f: FunctionBuilder,
  size: WindowSize,
  plane: Expression,
  body: (outByte: Expression, best: Expression) => void,
): void {
  const { kernel, stride, padding, height, width, outHeight, outWidth } = size;
  const taps = Array.from({ length: kernel }, (_, tap) => tap);
  const within = (place: Expression, extent: number): Expression => {
    const low = f.let(f.minimum(place, extent - 1)).get;
    return f.select(i32.ltS(low, 0), i32.const(0), low);
  };
  f.loop(0, outHeight, 1, (row) => {
    const top = f.let(i32.sub(i32.mul(row.get, stride), padding)).get;
    const rows = taps.map((tap) => f.let(i32.add(plane, i32.mul(within(i32.add(top, tap), height), width * 4))).get);
    f.loop(0, outWidth, 1, (column) => {
      const left = f.let(i32.sub(i32.mul(column.get, stride), padding)).get;
      const columns = taps.map((tap) => f.let(i32.shl(within(i32.add(left, tap), width), 2)).get);
      const [first, ...others] = rows.flatMap((from) => columns.map((byte) => i32.add(from, byte)));
      if (!first) throw new RangeError("a pooling window has at least one place");
      // Activated values are not negative, so their bits are ordered as they are; a NaN's, without its sign, are above
      // all numbers'.
      const bits = (address: Expression): Expression => i32.and(i32.load(address), 0x7fffffff);
      const infinity = 0x7f800000;
      const best = f.let(first);
      const maximum = f.let(bits(best.get));
      for (const place of others) {
        const address = f.let(place).get;
        const value = f.let(bits(address)).get;
        // A NaN wins over numbers, and only another NaN over it, so that it is passed on.
        const wins = f.let(i32.or(i32.ltS(maximum.get, value), i32.ltS(infinity, value))).get;
        f.set(maximum, f.select(wins, value, maximum.get));
        f.set(best, f.select(wins, address, best.get));
      }
      body(i32.shl(i32.add(i32.mul(row.get, outWidth), column.get), 2), best.get);
    });
  });
}

const windowKey = (size: WindowSize): string =>
  `${size.height}x${size.width} k=${size.kernel} s=${size.stride} p=${size.padding}`;

/** Bytes of maximumPlane's row behind the plane. */
const maximumRowBytes = ({ width, padding }: WindowSize): number => (width + 2 * padding + 16) * 4;

/**
 * maximumPlane(plane, y). First down the columns, whole vectors at once, into a row behind the plane that has −∞ on
 * both sides; then along that row. Rows outside the plane are replaced by its nearest row, which is in the window
 * anyway. A NaN is passed on.
 */
function maximumPlane(module: ModuleBuilder, size: WindowSize): FunctionSignature {
  const { kernel, stride, padding, height, width, outHeight, outWidth } = size;
  const taps = Array.from({ length: kernel }, (_, tap) => tap);
  return namedFunction(module, `maximumPlane ${windowKey(size)}`, ["plane", "y"], (f, o) => {
    const row = f.let(i32.add(o.plane, height * width * 4 + slack)).get;
    const inside = f.let(i32.add(row, padding * 4)).get;
    for (let side = 0; side < padding; side++) {
      f.store(row, f32.const(Number.NEGATIVE_INFINITY), side * 4);
      f.store(row, f32.const(Number.NEGATIVE_INFINITY), (padding + width + side) * 4);
    }
    f.loop(0, outHeight, 1, (outRow) => {
      const top = f.let(i32.sub(i32.mul(outRow.get, stride), padding)).get;
      const rows = taps.map((tap) => {
        const y = f.let(f.minimum(i32.add(top, tap), height - 1)).get;
        return f.let(i32.add(o.plane, i32.mul(f.select(i32.ltS(y, 0), i32.const(0), y), width * 4))).get;
      });
      forEachStretch(f, width * 4, (offset, stretch) => {
        for (const v of stretch.vectors) {
          const column = rows.map((from) => stretch.load(f.let(i32.add(from, offset)).get, v));
          stretch.store(f.let(i32.add(inside, offset)).get, v, column.reduce(f32x4.max));
        }
      });
      const to = f.let(i32.add(o.y, i32.mul(outRow.get, outWidth * 4))).get;
      const whole = stride === 2 ? outWidth - (outWidth % 4) : 0;
      f.loop(0, whole, 4, (column) => {
        const from = f.let(i32.add(row, i32.shl(column.get, 3))).get;
        const along = taps.map((tap) => everySecond(from, tap * 4)).reduce(f32x4.max);
        f.store(i32.add(to, i32.shl(column.get, 2)), along);
      });
      f.loop(whole, outWidth, 1, (column) => {
        const from = f.let(i32.add(row, i32.mul(column.get, stride * 4))).get;
        const along = taps.map((tap) => f32.load(from, tap * 4)).reduce(f32.max);
        f.store(i32.add(to, i32.shl(column.get, 2)), along);
      });
    });
  });
}

/** routePlane(dy, activated, plane): each dy to where its window's maximum stands. */
function routePlane(module: ModuleBuilder, size: WindowSize): FunctionSignature {
  return namedFunction(module, `routePlane ${windowKey(size)}`, ["dy", "activated", "plane"], (f, o) => {
    clear(f, o.plane, size.height * size.width * 4);
    const shift = f.let(i32.sub(o.plane, o.activated)).get;
    forEachMaximum(f, size, o.activated, (outByte, best) => {
      const sink = f.let(i32.add(best, shift)).get;
      f.store(sink, f32.add(f32.load(sink), f32.load(i32.add(o.dy, outByte))));
    });
  });
}

function emitPool(
  module: ModuleBuilder,
  target: Target,
  args: Pick<KernelTable["avgPool"], "x" | "composite" | "y"> & { readonly size: PoolSize | WindowSize },
  at: Addresses,
  key: string,
  poolPlane: () => FunctionSignature,
  rowBytes = 0,
): CompiledKernel {
  const { x, y, size, composite } = args;
  const planeBytes = size.height * size.width * 4;
  const tableBytes = composite ? x.channels * coefficientBytes : 0;
  const run = phase(
    module,
    `${key} composite=${composite?.eps ?? "none"}`,
    {
      x: at.view(x),
      xStride: at.batchStride(x),
      y: at.view(y),
      yStride: at.batchStride(y),
      ...compositeValues(composite, at),
      batch: size.batch,
      channels: x.channels,
      planeAt: tableBytes,
    },
    (f, o, worker) => {
      if (composite)
        f.call(coefficients(module, composite.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      const plane = f.let(i32.add(worker.scratch, o.planeAt)).get;
      forEachPlane(f, o, worker, (channel, image) => {
        const source = i32.add(i32.add(o.x, i32.mul(image, o.xStride)), i32.mul(channel, planeBytes));
        const sink = i32.add(
          i32.add(o.y, i32.mul(image, o.yStride)),
          i32.mul(channel, size.outHeight * size.outWidth * 4),
        );
        const coefficient = i32.add(worker.scratch, i32.mul(channel, coefficientBytes));
        // Global sums read the scratch plane exactly; the others may read a vector too far, into the slack.
        f.call(activate(module, target, composite !== undefined), [source, plane, planeBytes, coefficient]);
        f.call(poolPlane(), [plane, sink]);
      });
    },
  );
  return { phases: [run], scratchBytes: tableBytes + planeBytes + slack + rowBytes, sharedBytes: 0 };
}

export const emitAvgPool: Emit<"avgPool"> = (module, target, args, at) =>
  emitPool(module, target, args, at, `avgPool ${poolKey(args.size)}`, () => averagePlane(module, args.size));

export const emitMaxPool: Emit<"maxPool"> = (module, target, args, at) =>
  emitPool(
    module,
    target,
    args,
    at,
    `maxPool ${windowKey(args.size)}`,
    () => maximumPlane(module, args.size),
    maximumRowBytes(args.size),
  );

function emitPoolGrad(
  module: ModuleBuilder,
  target: Target,
  args: KernelTable["maxPoolGrad"] | (KernelTable["avgPoolGrad"] & { readonly composite: CompositeBackward }),
  at: Addresses,
  key: string,
  spread: (
    f: FunctionBuilder,
    dy: Expression,
    source: Expression,
    plane: Expression,
    activated: Expression,
    coefficient: Expression,
  ) => void,
): CompiledKernel {
  const { dy, dx, size, composite } = args;
  const { x, normalize, grad } = composite;
  const accumulate = args.write === "accumulate";
  const planeBytes = size.height * size.width * 4;
  const tableBytes = x.channels * coefficientBytes;
  const room = Math.ceil((planeBytes + slack) / 64) * 64;
  const run = phase(
    module,
    `${key} composite=${normalize.eps} accumulate=${accumulate}`,
    {
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      x: at.view(x),
      xStride: at.batchStride(x),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      ...compositeValues(normalize, at),
      batch: size.batch,
      channels: x.channels,
      planeAt: tableBytes,
    },
    (f, o, worker) => {
      f.call(coefficients(module, normalize.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      const plane = f.let(i32.add(worker.scratch, o.planeAt)).get;
      const activated = f.let(i32.add(plane, room)).get;
      const sums = clearedSums(f, worker, o.channels);
      forEachPlane(f, o, worker, (channel, image) => {
        const upstream = i32.add(
          i32.add(o.dy, i32.mul(image, o.dyStride)),
          i32.mul(channel, size.outHeight * size.outWidth * 4),
        );
        const source = f.let(i32.add(i32.add(o.x, i32.mul(image, o.xStride)), i32.mul(channel, planeBytes))).get;
        const sink = i32.add(i32.add(o.dx, i32.mul(image, o.dxStride)), i32.mul(channel, planeBytes));
        const coefficient = f.let(i32.add(worker.scratch, i32.mul(channel, coefficientBytes))).get;
        spread(f, upstream, source, plane, activated, coefficient);
        f.call(compositeGradRow(module, target, accumulate, false), [
          plane,
          source,
          sink,
          planeBytes,
          coefficient,
          partialsOf(worker),
        ]);
        f.call(foldPartials(module), [partialsOf(worker), i32.add(sums, i32.mul(channel, sumBytes))]);
      });
    },
  );
  return {
    phases: [run, compositeGradFinish(module, normalize, grad, at)],
    scratchBytes: tableBytes + 2 * room,
    sharedBytes: at.threads * x.channels * sumBytes,
  };
}

/** Without a composite dy is spread into scratch and copied to dx, because a spread may write past its plane. */
function emitPlainAvgPoolGrad(
  module: ModuleBuilder,
  { dy, dx, size }: KernelTable["avgPoolGrad"],
  at: Addresses,
): CompiledKernel {
  const planeBytes = size.height * size.width * 4;
  const run = phase(
    module,
    `avgPoolGrad ${poolKey(size)} composite=none`,
    {
      dy: at.view(dy),
      dyStride: at.batchStride(dy),
      dx: at.view(dx),
      dxStride: at.batchStride(dx),
      batch: size.batch,
      channels: dx.channels,
    },
    (f, o, worker) => {
      forEachPlane(f, o, worker, (channel, image) => {
        const upstream = i32.add(
          i32.add(o.dy, i32.mul(image, o.dyStride)),
          i32.mul(channel, size.outHeight * size.outWidth * 4),
        );
        const sink = f.let(i32.add(i32.add(o.dx, i32.mul(image, o.dxStride)), i32.mul(channel, planeBytes))).get;
        f.call(spreadPlane(module, size), [upstream, worker.scratch]);
        copyRow(f, worker.scratch, sink, planeBytes);
      });
    },
  );
  return { phases: [run], scratchBytes: planeBytes + slack, sharedBytes: 0 };
}

export const emitAvgPoolGrad: Emit<"avgPoolGrad"> = (module, target, args, at) => {
  const { composite, size } = args;
  if (!composite) return emitPlainAvgPoolGrad(module, args, at);
  return emitPoolGrad(
    module,
    target,
    { ...args, composite },
    at,
    `avgPoolGrad ${poolKey(size)}`,
    (f, dy, _source, plane) => f.call(spreadPlane(module, size), [dy, plane]),
  );
};

export const emitMaxPoolGrad: Emit<"maxPoolGrad"> = (module, target, args, at) => {
  const planeBytes = args.size.height * args.size.width * 4;
  return emitPoolGrad(
    module,
    target,
    args,
    at,
    `maxPoolGrad ${windowKey(args.size)}`,
    (f, dy, source, plane, activated, coefficient) => {
      f.call(activate(module, target, true), [source, activated, planeBytes, coefficient]);
      f.call(routePlane(module, args.size), [dy, activated, plane]);
    },
  );
};
