// backends/wasm: the two register tiles that do nearly all multiply-adds of a network.
import { type FunctionSignature, f32, f32x4, i32, type ModuleBuilder, v128 } from "./assembler.ts";
import { namedFunction } from "./kernel.ts";
import { type Target, tileShape } from "./target.ts";
import { laneSum, multiplyAdd, vectorLocals } from "./vector.ts";

/**
 * productTile(a, b, c, depth, bStep, cStep): c[r][p] = Σ_d Σ_t a[d][t][r] · b[d][p + taps[t]].
 *
 * Shapes: a packed [depth][taps][rows]; b rows of bStep bytes, one a channel; c rows of cStep bytes; p runs over the tile's width.
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
      const c = f.let(o.c);
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
      for (let r = 0; r < rows; r++) {
        for (let v = 0; v < vectors; v++) f.store(c.get, sums[r * vectors + v].get, v * 16);
        f.advance(c, o.cStep);
      }
    },
  );
}

/** Sides of the dot tile: 3×3 dots, two vectors each when they are packed to 256 bits (nine sums, three + one operands: 13 of 16 registers). */
export const dotSide = 3;
export const dotSpillBytes = dotSide * dotSide * 32;

/**
 * dotTile(a, b, bytes, aStep, bStep, c, cStep): c[i][j] += Σ_p a[i][p] · b_j[p], with b_j = b + j·bStep, or b + taps[j] when taps are given.
 *
 * Shapes: i < rows, j < columns ≤ 3; a and b rows of `bytes` bytes, a multiple of 32; c rows of cStep bytes, columns adjacent.
 * `spill`: dotSpillBytes of scratch. Traffic: rows + columns loads for rows·columns vector multiply-adds.
 * Numerics: eight (or four) interleaved partial sums a dot, added at the end in a fixed order.
 * Measured: 3×3 of two vectors 86 GFLOP/s revectorized, 3×4 spills to 40 (one Zen core, Node 26, 2026-11).
 */
export function dotTile(
  module: ModuleBuilder,
  target: Target,
  rows: number,
  columns: number,
  tapBytes: readonly number[] | undefined,
): FunctionSignature {
  const halves = target.revectorized ? 2 : 1;
  return namedFunction(
    module,
    `dotTile ${rows}x${columns}x${halves} taps=${tapBytes ?? "none"}`,
    ["a", "b", "bytes", "aStep", "bStep", "c", "cStep", "spill"],
    (f, o) => {
      const aRows = Array.from({ length: rows }, (_, i) => f.let(i32.add(o.a, i32.mul(o.aStep, i))));
      const bRows = tapBytes
        ? [f.let(o.b)]
        : Array.from({ length: columns }, (_, j) => f.let(i32.add(o.b, i32.mul(o.bStep, j))));
      const halfOffsets = Array.from({ length: halves }, (_, h) => h * 16);
      const sums = vectorLocals(f, rows * columns * halves);
      for (const sum of sums) f.set(sum, v128.zero);
      // Partial sums go through memory, so that pairs of stores seed the revectorizer; the lanes are added from there.
      f.loop(0, o.bytes, 16 * halves, () => {
        const bVectors = Array.from({ length: columns }, (_, j) => {
          const row = tapBytes ? bRows[0] : bRows[j];
          return halfOffsets.map((h) => f.let(v128.load(row.get, (tapBytes?.[j] ?? 0) + h)).get);
        });
        for (let i = 0; i < rows; i++) {
          const aVectors = halfOffsets.map((h) => f.let(v128.load(aRows[i].get, h)).get);
          for (let j = 0; j < columns; j++) {
            for (let h = 0; h < halves; h++) {
              const sum = sums[(i * columns + j) * halves + h];
              f.set(sum, multiplyAdd(target, aVectors[h], bVectors[j][h], sum.get));
            }
          }
        }
        for (const row of [...aRows, ...bRows]) f.advance(row, 16 * halves);
      });
      for (const [index, sum] of sums.entries()) f.store(o.spill, sum.get, index * 16);
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
