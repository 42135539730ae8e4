// backends/wasm: the linear maps of Winograd's F(4×4, 3×3), four tiles at once, a lane each (Lavin and Gray 2016,
// section 4.1).
//
// With d a 6×6 patch of the input, g a 3×3 kernel and Y the 4×4 outputs between them: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. The
// matrices belong to the points 0, ±1, ±2, ∞. A value of the 36 is called a frequency; frequency 6·i + j stands in row
// i and column j. In the backward pass dg = Gᵀ[Σ (A dY Aᵀ) ⊙ (Bᵀ d B)]G, the adjoint. Columns are mapped first, over
// whole rows of the input, then rows, tile by tile.
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
import { coefficientBytes } from "./composite.ts";
import { namedFunction, type Phase, phase, threadSlice } from "./kernel.ts";
import type { Target } from "./target.ts";
import { forEachTile } from "./tile.ts";
import { multiplyAdd } from "./vector.ts";

export const frequencies = 36;

type Sextet = readonly [Expression, Expression, Expression, Expression, Expression, Expression];
type Map = (values: readonly Expression[]) => Expression[];

/** Bᵀ, 6 → 6 values. */
function inputMap(f: FunctionBuilder, target: Target): Map {
  const constant = (value: number): Expression => f.let(f32x4.splat(f32.const(value))).get;
  const [two, minusTwo, four, minusFour, minusFive] = [2, -2, 4, -4, -5].map(constant);
  const keep = (value: Expression): Expression => f.let(value).get;
  const add = (factor: Expression, x: Expression, y: Expression): Expression => keep(multiplyAdd(target, factor, x, y));
  return (values) => {
    const [d0, d1, d2, d3, d4, d5] = values as Sextet;
    const even = add(minusFour, d2, d4);
    const odd = add(minusFour, d1, d3);
    const outer = keep(f32x4.sub(d4, d2));
    const inner = keep(f32x4.sub(d3, d1));
    return [
      add(four, d0, add(minusFive, d2, d4)),
      keep(f32x4.add(even, odd)),
      keep(f32x4.sub(even, odd)),
      add(two, inner, outer),
      add(minusTwo, inner, outer),
      add(four, d1, add(minusFive, d3, d5)),
    ];
  };
}

/** Aᵀ, 6 → 4 values. */
function outputMap(f: FunctionBuilder, target: Target): Map {
  const constant = (value: number): Expression => f.let(f32x4.splat(f32.const(value))).get;
  const [two, four, eight] = [2, 4, 8].map(constant);
  const keep = (value: Expression): Expression => f.let(value).get;
  const add = (factor: Expression, x: Expression, y: Expression): Expression => keep(multiplyAdd(target, factor, x, y));
  return (values) => {
    const [m0, m1, m2, m3, m4, m5] = values as Sextet;
    const sum1 = keep(f32x4.add(m1, m2));
    const difference1 = keep(f32x4.sub(m1, m2));
    const sum2 = keep(f32x4.add(m3, m4));
    const difference2 = keep(f32x4.sub(m3, m4));
    return [
      keep(f32x4.add(m0, f32x4.add(sum1, sum2))),
      add(two, difference2, difference1),
      add(four, sum2, sum1),
      keep(f32x4.add(add(eight, difference2, difference1), m5)),
    ];
  };
}

/** G, 3 → 6 numbers. */
function kernelMap(f: FunctionBuilder): Map {
  const keep = (value: Expression): Expression => f.let(value).get;
  const times = (value: Expression, factor: number): Expression => f32.mul(value, f32.const(factor));
  return (values) => {
    const [g0, g1, g2] = values as readonly [Expression, Expression, Expression];
    const outer = keep(f32.add(g0, g2));
    const wide = keep(f32.add(g0, times(g2, 4)));
    const twice = keep(f32.add(g1, g1));
    return [
      keep(times(g0, 1 / 4)),
      keep(times(f32.add(outer, g1), -1 / 6)),
      keep(times(f32.sub(outer, g1), -1 / 6)),
      keep(times(f32.add(wide, twice), 1 / 24)),
      keep(times(f32.sub(wide, twice), 1 / 24)),
      g2,
    ];
  };
}

/** Four vectors as rows → as columns. */
function transpose(f: FunctionBuilder, rows: readonly Expression[]): Expression[] {
  const [a, b, c, d] = rows as readonly [Expression, Expression, Expression, Expression];
  const mix = (x: Expression, y: Expression, lanes: readonly number[]): Expression =>
    f.let(v128.shuffle(x, y, lanes32(lanes))).get;
  const [low, high] = [
    [0, 4, 1, 5],
    [2, 6, 3, 7],
  ];
  const [ab01, ab23, cd01, cd23] = [mix(a, b, low), mix(a, b, high), mix(c, d, low), mix(c, d, high)];
  return [
    mix(ab01, cd01, [0, 1, 4, 5]),
    mix(ab01, cd01, [2, 3, 6, 7]),
    mix(ab23, cd23, [0, 1, 4, 5]),
    mix(ab23, cd23, [2, 3, 6, 7]),
  ];
}

const indices = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/**
 * transformColumns(x, batchStride, columns, coefficients, zeros, images, firstRow, tileRows): Bᵀ down the columns of
 * one channel, through the composite where there is one: six rows of rowBytes for each row of tiles, column 0 at the
 * fifth float.
 *
 * Rows outside the image are read from `zeros`: coefficients that make 0 of everything, then a row of zeros. What
 * stands before and behind the columns of the image stays or becomes 0.
 */
export function transformColumns(
  module: ModuleBuilder,
  target: Target,
  height: number,
  width: number,
  rowBytes: number,
  withComposite: boolean,
): FunctionSignature {
  return namedFunction(
    module,
    `transformColumns ${height}x${width} rows of ${rowBytes} composite=${withComposite}`,
    ["x", "batchStride", "columns", "coefficients", "zeros", "images", "firstRow", "tileRows"],
    (f, o) => {
      const map = inputMap(f, target);
      const zeroRow = f.let(i32.add(o.zeros, coefficientBytes)).get;
      const image = f.let(o.x);
      const to = f.let(i32.add(o.columns, 16));
      f.loop(0, o.images, 1, () => {
        const first = f.let(i32.sub(o.firstRow, 1));
        f.loop(0, o.tileRows, 1, () => {
          const rows = indices(6).map((r) => {
            const row = f.let(i32.add(first.get, r)).get;
            const inside = f.let(i32.ltU(row, height)).get;
            const at = f.let(i32.add(image.get, i32.mul(row, width * 4))).get;
            return {
              at: f.let(f.select(inside, at, zeroRow)).get,
              coefficients: f.let(f.select(inside, o.coefficients, o.zeros)).get,
            };
          });
          f.loop(0, width * 4, 32, (offset) => {
            const sources = rows.map(({ at }) => f.let(i32.add(at, offset.get)).get);
            const sink = f.let(i32.add(to.get, offset.get)).get;
            const halves = [0, 16].map((half) =>
              map(
                sources.map((source, r) => {
                  const value = v128.load(source, half);
                  if (!withComposite) return f.let(value).get;
                  const at = rows[r]?.coefficients ?? o.zeros;
                  const scale = v128.load32Splat(at, 0);
                  const shift = v128.load32Splat(at, 4);
                  return f.let(f32x4.max(v128.zero, multiplyAdd(target, value, scale, shift))).get;
                }),
              ),
            );
            for (const i of indices(6)) {
              for (const [h, half] of halves.entries()) f.store(sink, half[i] as Expression, i * rowBytes + h * 16);
            }
          });
          // The last pair may have gone past the image's last column.
          if (width % 8 !== 0) {
            for (const i of indices(6)) {
              f.store(to.get, v128.zero, i * rowBytes + width * 4);
              f.store(to.get, v128.zero, i * rowBytes + width * 4 + 12);
            }
          }
          f.advance(first, 4);
          f.advance(to, 6 * rowBytes);
        });
        f.advance(image, o.batchStride);
      });
    },
  );
}

/**
 * Floats from one mapped row to the next: room for four zeros before and the overhang of tiles and pairs behind, whole
 * pairs.
 */
export const columnRowFloats = (width: number): number => Math.ceil((Math.ceil(width / 8) * 8 + 12) / 8) * 8;

/**
 * transformRows(columns, table, out, step, count): the remainder of Bᵀ d B, along the six rows from columns + table[t]
 * for tile t: out[frequency][tile] for `count` tiles (a multiple of 4), frequencies `step` bytes apart.
 */
export function transformRows(module: ModuleBuilder, target: Target, rowBytes: number): FunctionSignature {
  return namedFunction(
    module,
    `transformRows rows of ${rowBytes}`,
    ["columns", "table", "out", "step", "count"],
    (f, o) => {
      const map = inputMap(f, target);
      f.loop(0, i32.shl(o.count, 2), 16, (tile) => {
        const entry = f.let(i32.add(o.table, tile.get)).get;
        const patches = indices(4).map((lane) => f.let(i32.add(o.columns, i32.load(entry, lane * 4))).get);
        const to = f.let(i32.add(o.out, tile.get));
        for (const row of indices(6)) {
          const left = patches.map((patch) => f.let(v128.load(patch, row * rowBytes)).get);
          const right = patches.map((patch) => f.let(v128.load(patch, row * rowBytes + 16)).get);
          const [a, b, c, d] = right as [Expression, Expression, Expression, Expression];
          const mix = (x: Expression, y: Expression, lanes: readonly number[]): Expression =>
            f.let(v128.shuffle(x, y, lanes32(lanes))).get;
          const [ab, cd] = [mix(a, b, [0, 4, 1, 5]), mix(c, d, [0, 4, 1, 5])];
          const values = [...transpose(f, left), mix(ab, cd, [0, 1, 4, 5]), mix(ab, cd, [2, 3, 6, 7])];
          for (const value of map(values)) {
            f.store(to.get, value);
            f.advance(to, o.step);
          }
        }
      });
    },
  );
}

/** A, 4 → 6 values: the adjoint of Aᵀ. */
function gradientMap(f: FunctionBuilder, target: Target): Map {
  const constant = (value: number): Expression => f.let(f32x4.splat(f32.const(value))).get;
  const [two, minusTwo, four] = [2, -2, 4].map(constant);
  const keep = (value: Expression): Expression => f.let(value).get;
  const add = (factor: Expression, x: Expression, y: Expression): Expression => keep(multiplyAdd(target, factor, x, y));
  return (values) => {
    const [y0, y1, y2, y3] = values as readonly [Expression, Expression, Expression, Expression];
    const even = keep(f32x4.add(y0, y2));
    const odd = keep(f32x4.add(y1, y3));
    const wideEven = add(four, y2, y0);
    const wideOdd = add(four, y3, y1);
    return [
      y0,
      keep(f32x4.add(even, odd)),
      keep(f32x4.sub(even, odd)),
      add(two, wideOdd, wideEven),
      add(minusTwo, wideOdd, wideEven),
      y3,
    ];
  };
}

/** Gᵀ, 6 → 3 values: the adjoint of G. */
function kernelGradientMap(f: FunctionBuilder): Map {
  const constant = (value: number): Expression => f.let(f32x4.splat(f32.const(value))).get;
  const [quarter, sixth, twelfth, twentyFourth] = [1 / 4, 1 / 6, 1 / 12, 1 / 24].map(constant);
  const keep = (value: Expression): Expression => f.let(value).get;
  return (values) => {
    const [u0, u1, u2, u3, u4, u5] = values as Sextet;
    const inner = keep(f32x4.mul(f32x4.add(u1, u2), sixth));
    const outer = keep(f32x4.add(u3, u4));
    return [
      keep(f32x4.add(f32x4.sub(f32x4.mul(u0, quarter), inner), f32x4.mul(outer, twentyFourth))),
      keep(f32x4.add(f32x4.mul(f32x4.sub(u2, u1), sixth), f32x4.mul(f32x4.sub(u3, u4), twelfth))),
      keep(f32x4.add(f32x4.sub(f32x4.mul(outer, sixth), inner), u5)),
    ];
  };
}

/**
 * transformGradient(planes, planeBytes, table, out, step, rowStep, count): A y Aᵀ of `count` tiles for four adjacent
 * output channels, a lane each: out[frequency][tile][channel], frequencies `step`, tiles `rowStep` bytes apart. Block t
 * begins at a plane + table[t].
 */
export function transformGradient(module: ModuleBuilder, target: Target, rowBytes: number): FunctionSignature {
  return namedFunction(
    module,
    `transformGradient rows of ${rowBytes}`,
    ["planes", "planeBytes", "table", "out", "step", "rowStep", "count"],
    (f, o) => {
      const map = gradientMap(f, target);
      const frequencyRow = f.let(i32.mul(o.step, 6)).get;
      const sink = f.let(o.out);
      f.loop(0, i32.shl(o.count, 2), 4, (tile) => {
        const first = f.let(i32.add(o.planes, i32.load(i32.add(o.table, tile.get)))).get;
        const planes = indices(4).map((lane) => f.let(i32.add(first, i32.mul(o.planeBytes, lane))).get);
        const pixels = indices(4).map((row) =>
          transpose(
            f,
            planes.map((plane) => f.let(v128.load(plane, row * rowBytes)).get),
          ),
        );
        // Down the columns, then along the six rows.
        const columns = indices(4).map((column) => map(pixels.map((row) => row[column] as Expression)));
        const to = f.let(sink.get);
        for (const i of indices(6)) {
          const at = f.let(to.get);
          for (const value of map(columns.map((column) => column[i] as Expression))) {
            f.store(at.get, value);
            f.advance(at, o.step);
          }
          f.advance(to, frequencyRow);
        }
        f.advance(sink, o.rowStep);
      });
    },
  );
}

/** Gᵀ u G of four output channels, a lane each: u[i][j] → nine values, row by row. */
export function kernelGradient(f: FunctionBuilder, load: (frequency: number) => Expression): Expression[] {
  const map = kernelGradientMap(f);
  const columns = indices(6).map((j) => map(indices(6).map((i) => f.let(load(6 * i + j)).get)));
  return indices(3).flatMap((y) => map(columns.map((column) => column[y] as Expression)));
}

/**
 * transformOutput(products, step, table, plane, count): the 4×4 outputs of tile t, Aᵀ m A, to rows of rowBytes from
 * plane + table[t].
 */
export function transformOutput(module: ModuleBuilder, target: Target, rowBytes: number): FunctionSignature {
  return namedFunction(
    module,
    `transformOutput rows of ${rowBytes}`,
    ["products", "step", "table", "plane", "count"],
    (f, o) => {
      const map = outputMap(f, target);
      const rowStep = f.let(i32.mul(o.step, 6)).get;
      f.loop(0, i32.shl(o.count, 2), 16, (tile) => {
        const columns = indices(6).map((j) => {
          const from = f.let(i32.add(i32.add(o.products, tile.get), i32.mul(o.step, j)));
          return map(
            indices(6).map(() => {
              const value = f.let(v128.load(from.get)).get;
              f.advance(from, rowStep);
              return value;
            }),
          );
        });
        const entry = f.let(i32.add(o.table, tile.get)).get;
        const blocks = indices(4).map((lane) => f.let(i32.add(o.plane, i32.load(entry, lane * 4))).get);
        for (const row of indices(4)) {
          const pixels = transpose(f, map(columns.map((column) => column[row] as Expression)));
          for (const [lane, block] of blocks.entries()) f.store(block, pixels[lane] as Expression, row * rowBytes);
        }
      });
    },
  );
}

/**
 * A phase that writes G g Gᵀ of all kernels to the threads' shared memory, or where they are kept: [frequency][tile of
 * outputs][contraction][output in the tile], as productTile reads it. From w [O, C, 3, 3] or, for the backward pass,
 * transposed and turned by 180°. Threads share the contraction.
 */
export function transformWeights(
  module: ModuleBuilder,
  height: number,
  transposed: boolean,
  kept: boolean,
  values: {
    readonly weights: number;
    readonly contraction: number;
    readonly outputs: number;
    readonly tall: number;
    readonly low: number;
    readonly to: number;
  },
): Phase {
  return phase(
    module,
    `transformWeights height=${height} transposed=${transposed} kept=${kept}`,
    values,
    (f, o, worker) => {
      const kernelBytes = 36;
      const outStep = transposed ? i32.const(kernelBytes) : f.let(i32.mul(o.contraction, kernelBytes)).get;
      const depthStep = transposed ? f.let(i32.mul(o.outputs, kernelBytes)).get : i32.const(kernelBytes);
      const step = f.let(i32.shl(i32.mul(o.contraction, o.outputs), 2)).get;
      const base = kept ? o.to : f.let(i32.add(worker.shared, o.to)).get;
      const rowStep = f.let(i32.mul(step, 6)).get;
      const map = kernelMap(f);
      const { start, end } = threadSlice(f, o.contraction, worker);
      forEachTile(f, height, o.tall, o.low, (rows, first) => {
        const tile = f.let(i32.add(base, i32.shl(i32.mul(first, o.contraction), 2))).get;
        f.loop(start, end, 1, (depth) => {
          f.loop(0, rows, 1, (row) => {
            const output = i32.add(first, row.get);
            const from = f.let(
              i32.add(o.weights, i32.add(i32.mul(output, outStep), i32.mul(depth.get, depthStep))),
            ).get;
            const g = (y: number, x: number): Expression =>
              f32.load(from, (transposed ? 8 - 3 * y - x : 3 * y + x) * 4);
            const halves = indices(3).map((y) => map(indices(3).map((x) => f.let(g(y, x)).get)));
            const corner = f.let(i32.add(tile, i32.shl(i32.add(i32.mul(depth.get, rows), row.get), 2))).get;
            for (const j of indices(6)) {
              const to = f.let(i32.add(corner, i32.mul(step, j)));
              for (const value of map(halves.map((half) => half[j] as Expression))) {
                f.store(to.get, value);
                f.advance(to, rowStep);
              }
            }
          });
        });
      });
    },
  );
}
