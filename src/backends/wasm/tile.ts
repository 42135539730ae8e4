// backends/wasm: the three register tiles that do nearly all multiply-adds of a network.
import {
  type Expression,
  type FunctionBuilder,
  type FunctionSignature,
  f32,
  f32x4,
  i32,
  type Local,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import { namedFunction } from "./kernel.ts";
import { type Target, tileShape } from "./target.ts";
import { laneSum, multiplyAdd, vectorLocals } from "./vector.ts";

/**
 * O rows cut into tiles of at most the target's height, as even as can be: `tall` tiles of `height`, then `low` of
 * height − 1.
 */
export interface RowTiles {
  readonly height: number;
  readonly tall: number;
  readonly low: number;
}

export function rowTiles(rows: number, target: Target): RowTiles {
  const tiles = Math.ceil(rows / tileShape(target).rows);
  const height = Math.ceil(rows / tiles);
  const tall = rows - tiles * (height - 1);
  return { height, tall, low: tiles - tall };
}

/** body(height, first row) for each tile; heights are constants of the code, counts are operands. */
export function forEachTile(
  f: FunctionBuilder,
  height: number,
  tall: Expression,
  low: Expression,
  body: (height: number, row: Expression) => void,
): void {
  f.loop(0, tall, 1, (tile) => body(height, f.let(i32.mul(tile.get, height)).get));
  if (height > 1) {
    f.loop(0, low, 1, (tile) =>
      body(height - 1, f.let(i32.add(i32.mul(tall, height), i32.mul(tile.get, height - 1))).get),
    );
  }
}

/**
 * productTile(a, b, c, depth, bStep, cStep): c[r][p] = Σ_d Σ_t a[d][t][r] · b[d][p + taps[t]].
 *
 * Shapes: a packed [depth][taps][rows]; b rows of bStep bytes, one a channel; c rows of cStep bytes; p runs over the
 * tile's width.
 * Parallel: one thread, one tile; all accumulators stay in registers over the whole depth.
 * Traffic: rows + vectors loads per tap for rows·vectors vector multiply-adds.
 * Numerics: each c is one chain of depth·taps multiply-adds in that order.
 */
export function productTile(
  module: ModuleBuilder,
  target: Target,
  rows: number,
  tapBytes: readonly number[],
): FunctionSignature {
  const { vectors } = tileShape(target);
  return namedFunction(
    module,
    `productTile ${rows}x${vectors * 4} taps=${tapBytes}`,
    ["a", "b", "c", "depth", "bStep", "cStep"],
    (f, o) => {
      const a = f.let(o.a);
      const b = f.let(o.b);
      const sums = vectorLocals(f, rows * vectors);
      for (const sum of sums) f.set(sum, v128.zero);
      f.loop(0, o.depth, 1, () => {
        tapBytes.forEach((offset, tap) => {
          const pixels = Array.from({ length: vectors }, (_, v) => f.let(v128.load(b.get, offset + v * 16)).get);
          for (let r = 0; r < rows; r++) {
            const weight = f.let(v128.load32Splat(a.get, (tap * rows + r) * 4)).get;
            pixels.forEach((pixel, v) => {
              const sum = sums[r * vectors + v];
              f.set(sum, multiplyAdd(target, weight, pixel, sum.get));
            });
          }
        });
        f.advance(a, tapBytes.length * rows * 4);
        f.advance(b, o.bStep);
      });
      storeTile(f, sums, o.c, o.cStep, rows, vectors);
    },
  );
}

/**
 * outerTile(a, aStep, b, bStep, c, cStep, bytes): c[r][v] = Σ_d a[r][d] · b[d][v].
 *
 * Shapes: a rows of `bytes` bytes (a multiple of 16), aStep apart; b one row of the tile's width for each d, bStep
 * apart; c rows cStep apart.
 * Parallel: one thread, one tile. Traffic: as the product tile, a read through `rows` pointers instead of one.
 * Numerics: one chain of multiply-adds a sum.
 * Measured: as fast as the product tile; adding to c here instead of storing keeps V8 from packing pairs and costs two
 * thirds of the speed.
 */
export function outerTile(module: ModuleBuilder, target: Target, rows: number): FunctionSignature {
  const { vectors } = tileShape(target);
  const unroll = 4;
  return namedFunction(
    module,
    `outerTile ${rows}x${vectors * 4}`,
    ["a", "aStep", "b", "bStep", "c", "cStep", "bytes"],
    (f, o) => {
      const aRows = Array.from({ length: rows }, (_, r) => f.let(i32.add(o.a, i32.mul(o.aStep, r))));
      const b = f.let(o.b);
      const sums = vectorLocals(f, rows * vectors);
      for (const sum of sums) f.set(sum, v128.zero);
      f.loop(0, o.bytes, unroll * 4, () => {
        for (let d = 0; d < unroll; d++) {
          const columns = Array.from({ length: vectors }, (_, v) => f.let(v128.load(b.get, v * 16)).get);
          for (let r = 0; r < rows; r++) {
            const factor = f.let(v128.load32Splat(aRows[r].get, d * 4)).get;
            columns.forEach((column, v) => {
              const sum = sums[r * vectors + v];
              f.set(sum, multiplyAdd(target, factor, column, sum.get));
            });
          }
          f.advance(b, o.bStep);
        }
        for (const row of aRows) f.advance(row, unroll * 4);
      });
      storeTile(f, sums, o.c, o.cStep, rows, vectors);
    },
  );
}

/** The accumulators to rows cStep apart: pairs of stores are where the revectorizer begins. */
function storeTile(
  f: FunctionBuilder,
  sums: readonly Local[],
  to: Expression,
  cStep: Expression,
  rows: number,
  vectors: number,
): void {
  const c = f.let(to);
  for (let r = 0; r < rows; r++) {
    for (let v = 0; v < vectors; v++) f.store(c.get, sums[r * vectors + v].get, v * 16);
    f.advance(c, cStep);
  }
}

/** addTile(from, c, cStep): c += a tile of `rows` adjacent rows. */
export function addTile(module: ModuleBuilder, target: Target, rows: number): FunctionSignature {
  const { vectors } = tileShape(target);
  return namedFunction(module, `addTile ${rows}x${vectors * 4}`, ["from", "c", "cStep"], (f, o) => {
    const c = f.let(o.c);
    for (let r = 0; r < rows; r++) {
      for (let v = 0; v < vectors; v++) {
        const sum = f32x4.add(v128.load(c.get, v * 16), v128.load(o.from, (r * vectors + v) * 16));
        f.store(c.get, sum, v * 16);
      }
      f.advance(c, o.cStep);
    }
  });
}

/** Sides of the dot tile: 3×3 dots of 256-bit vectors (nine sums, three + one operands: 13 of 16 registers). */
export const dotSide = 3;
/**
 * Partial sums of a dot: two 128-bit vectors, on every target, so that results do not depend on which one was chosen.
 */
const halves = 2;
export const dotSpillBytes = dotSide * dotSide * halves * 16;

/**
 * dotTile(a, b, bytes, aStep, bStep, c, cStep): c[i][j] += Σ_p a[i][p] · b_j[p], with b_j = b + j·bStep, or b + taps[j]
 * when taps are given.
 *
 * Shapes: i < rows, j < columns ≤ 3; a and b rows of `bytes` bytes, a multiple of 32; c rows of cStep bytes, columns
 * adjacent. `spill`: dotSpillBytes of scratch. Traffic: rows + columns loads for rows·columns vector multiply-adds.
 * Numerics: eight interleaved partial sums a dot, added at the end in a fixed order. Both halves of 256 bits are summed
 * at once where V8 packs them, else one after the other: 18 sums would spill.
 * Measured: 3×3 of 256 bits 86 GFLOP/s, 3×4 spills to 40 (one Zen core, Node 26, 2026-11).
 */
export function dotTile(
  module: ModuleBuilder,
  target: Target,
  rows: number,
  columns: number,
  tapBytes: readonly number[] | undefined,
): FunctionSignature {
  const passes = target.revectorized ? [[0, 1]] : [[0], [1]];
  return namedFunction(
    module,
    `dotTile ${rows}x${columns} taps=${tapBytes ?? "none"}`,
    ["a", "b", "bytes", "aStep", "bStep", "c", "cStep", "spill"],
    (f, o) => {
      for (const pass of passes) {
        const aRows = Array.from({ length: rows }, (_, i) => f.let(i32.add(o.a, i32.mul(o.aStep, i))));
        const bRows = tapBytes
          ? [f.let(o.b)]
          : Array.from({ length: columns }, (_, j) => f.let(i32.add(o.b, i32.mul(o.bStep, j))));
        const sums = vectorLocals(f, rows * columns * pass.length);
        for (const sum of sums) f.set(sum, v128.zero);
        f.loop(0, o.bytes, halves * 16, () => {
          const bVectors = Array.from({ length: columns }, (_, j) => {
            const row = tapBytes ? bRows[0] : bRows[j];
            return pass.map((half) => f.let(v128.load(row.get, (tapBytes?.[j] ?? 0) + half * 16)).get);
          });
          for (let i = 0; i < rows; i++) {
            const aVectors = pass.map((half) => f.let(v128.load(aRows[i].get, half * 16)).get);
            for (let j = 0; j < columns; j++) {
              aVectors.forEach((a, k) => {
                const sum = sums[(i * columns + j) * pass.length + k];
                f.set(sum, multiplyAdd(target, a, bVectors[j][k], sum.get));
              });
            }
          }
          for (const row of [...aRows, ...bRows]) f.advance(row, halves * 16);
        });
        // Partial sums go through memory, so that pairs of stores seed the revectorizer; the lanes are added from
        // there.
        for (const [index, sum] of sums.entries()) {
          const dot = Math.floor(index / pass.length);
          f.store(o.spill, sum.get, (dot * halves + pass[index % pass.length]) * 16);
        }
      }
      const row = f.let(o.c);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          const first = (i * columns + j) * halves;
          const parts = Array.from({ length: halves }, (_, h) => v128.load(o.spill, (first + h) * 16));
          const total = laneSum(
            f,
            parts.reduce((sum, part) => f32x4.add(sum, part)),
          );
          f.store(row.get, f32.add(f32.load(row.get, j * 4), total), j * 4);
        }
        f.advance(row, o.cStep);
      }
    },
  );
}
