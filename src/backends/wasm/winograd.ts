// backends/wasm: 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): 36 multiplications for 16 outputs and channel
// instead of 144.
//
// Shapes: as conv.ts. A unit is a band of tile rows of a few images; its tiles are columns of 36 products [O, C]·[C,
// tiles].
// Parallel: the threads share the transformation of the weights, wait at a barrier, then share the units.
// Traffic: a unit's transformed input, 36/16 of it, and products stay in L2.
// Numerics: errors grow with the matrices' entries: within 8u·|Aᵀ|[Σ_c (|G||g||Gᵀ|) ⊙ (|Bᵀ||d||B|)]|A|
// (test/conformance/winograd.ts), about three times a direct convolution's. Every product is a chain over C, the same
// on every target.
// Measured: 121, batch 8, 56×56: 98 → 45 ms a step; BC-100-12, batch 64: 127 → 85 ms forward, 145 → 95 ms back (two Zen
// threads, 2026-11).
import type { WindowSize } from "../../plan/plan.ts";
import { type Expression, type FunctionBuilder, i32, type ModuleBuilder } from "./assembler.ts";
import { coefficientBytes } from "./composite.ts";
import { type Phase, threadSlice } from "./kernel.ts";
import { clear } from "./run.ts";
import { forEachUnit, tileBytes, type Unit } from "./signal.ts";
import type { Target } from "./target.ts";
import { forEachTile, productTile, type RowTiles, rowTiles } from "./tile.ts";
import { fillTables, groupTiles, oddLines, side, type Tiling, tile, tilingKey, wholeLines } from "./winogradTiles.ts";
import {
  frequencies,
  transformColumns,
  transformOutput,
  transformRows,
  transformWeights,
} from "./winogradTransforms.ts";

/** Floats of a unit's transformed input and products: a quarter of a megabyte. */
const stagedFloats = 64 * 1024;

/**
 * Whether it pays, by the cycles a tile costs one core: direct 9·C·O (sixteen multiply-adds a cycle), here 36/16·C·O,
 * 25·C for the input's and 16·O for the output's transformation, and 150·C·O for the weights', once. Tiles that hang
 * over the edge, or fill no group, count whole.
 */
export function winogradPays(size: WindowSize, channels: number, outputs: number): boolean {
  const { batch, height, width, kernel, stride, padding } = size;
  if (kernel !== 3 || stride !== 1 || padding !== 1) return false;
  const tiles = batch * Math.ceil(height / side) * Math.ceil(width / side);
  const groups = Math.ceil(tiles / groupTiles) * groupTiles;
  const direct = (9 / 16) * batch * height * width * channels * outputs;
  const here = groups * ((36 / 16) * channels * outputs + 25 * channels + 16 * outputs) + 150 * channels * outputs;
  return here < 0.85 * direct;
}

/** Geometry and scratch memory (byte offsets from the thread's scratch) of one convolution. */
export interface Winograd {
  readonly size: WindowSize;
  readonly tiling: Tiling;
  readonly rows: RowTiles;
  readonly contraction: number;
  readonly outputs: number;
  /** Bytes from one frequency to the next: an odd number of cache lines. */
  readonly inputStep: number;
  readonly productStep: number;
  readonly weightBytes: number;
  readonly tablesAt: number;
  readonly zerosAt: number;
  readonly columnsAt: number;
  readonly outAt: number;
  readonly inputAt: number;
  readonly productsAt: number;
  readonly scratchBytes: number;
}

/** `coefficientCount`: channels of the composite whose coefficients stand at the beginning of the scratch. */
export function planWinograd(
  size: WindowSize,
  contraction: number,
  outputs: number,
  coefficientCount: number,
  target: Target,
  threads: number,
): Winograd {
  const tiling = tile(size, Math.floor(stagedFloats / (frequencies * (contraction + outputs))), threads);
  const inputStep = oddLines(contraction * tiling.tiles * 4);
  const productStep = oddLines(outputs * tiling.tiles * 4);
  const tablesAt = wholeLines(coefficientCount * coefficientBytes);
  const zerosAt = tablesAt + tiling.tableBytes;
  const columnsAt = zerosAt + tiling.zeroBytes;
  const outAt = columnsAt + wholeLines(tiling.columnBytes + 64);
  const inputAt = outAt + tiling.blockRoom;
  const productsAt = inputAt + frequencies * inputStep;
  return {
    size,
    tiling,
    rows: rowTiles(outputs, target),
    contraction,
    outputs,
    inputStep,
    productStep,
    weightBytes: frequencies * contraction * outputs * 4,
    tablesAt,
    zerosAt,
    columnsAt,
    outAt,
    inputAt,
    productsAt,
    scratchBytes: productsAt + frequencies * productStep,
  };
}

/** What of it stands in the code as constants. */
export const winogradKey = ({ size, tiling, rows }: Winograd): string =>
  `${tilingKey(size, tiling)} tile=${rows.height}`;

export const winogradOperands = (
  winograd: Winograd,
  at: { readonly x: number; readonly xStride: number; readonly weightsAt: number },
) => ({
  ...at,
  contraction: winograd.contraction,
  outputs: winograd.outputs,
  tall: winograd.rows.tall,
  low: winograd.rows.low,
  batch: winograd.size.batch,
  rows: winograd.tiling.tileRows * side,
  bands: winograd.tiling.bands,
  images: winograd.tiling.images,
  units: winograd.tiling.units,
  tablesAt: winograd.tablesAt,
  zerosAt: winograd.zerosAt,
  columnsAt: winograd.columnsAt,
  outAt: winograd.outAt,
  inputAt: winograd.inputAt,
  productsAt: winograd.productsAt,
  inputStep: winograd.inputStep,
  productStep: winograd.productStep,
});

type Operands = Readonly<Record<keyof ReturnType<typeof winogradOperands>, Expression>>;

/** The phase before: the weights into shared memory at `to`, or kept at the address `to`. */
export function weightsPhase(
  module: ModuleBuilder,
  { rows, contraction, outputs }: Winograd,
  weights: number,
  to: number,
  { transposed, kept }: { readonly transposed: boolean; readonly kept: boolean },
): Phase {
  const { height, tall, low } = rows;
  return transformWeights(module, height, transposed, kept, { weights, contraction, outputs, tall, low, to });
}

/**
 * For each of the thread's units: transforms x, multiplies, and hands the results of one output channel after the other
 * to `finish`.
 */
export function emitWinograd(
  f: FunctionBuilder,
  module: ModuleBuilder,
  target: Target,
  winograd: Winograd,
  o: Operands,
  worker: { scratch: Expression; thread: Expression; threads: Expression; shared: Expression },
  { withComposite, kept }: { readonly withComposite: boolean; readonly kept: boolean },
  finish: (unit: Unit, output: Expression, results: Expression) => void,
): void {
  const { size, tiling, rows } = winograd;
  const { columnRowBytes, blockRowBytes } = tiling;
  const within = (offset: Expression): Expression => f.let(i32.add(worker.scratch, offset)).get;
  const [tables, zeros, columns, out, input, products] = [
    within(o.tablesAt),
    within(o.zerosAt),
    within(o.columnsAt),
    within(o.outAt),
    within(o.inputAt),
    within(o.productsAt),
  ];
  const weights = kept ? o.weightsAt : f.let(i32.add(worker.shared, o.weightsAt)).get;
  const weightStep = f.let(i32.shl(i32.mul(o.contraction, o.outputs), 2)).get;
  const tileStep = tiling.tiles * 4;
  fillTables(f, tiling, tables);
  clear(f, zeros, coefficientBytes + columnRowBytes);
  clear(f, columns, tiling.columnBytes + 64);
  clear(f, input, f.let(i32.mul(o.inputStep, frequencies)).get);
  const down = transformColumns(module, target, size.height, size.width, columnRowBytes, withComposite);
  const along = transformRows(module, target, columnRowBytes);
  const width = tileBytes(target);
  forEachUnit(f, { height: size.height }, o, threadSlice(f, o.units, worker), (unit) => {
    const tileRows = f.let(i32.shrU(i32.add(unit.rows, side - 1), 2)).get;
    const tiles = f.let(i32.mul(i32.mul(unit.images, tileRows), tiling.columns)).get;
    const quads = f.let(i32.and(i32.add(tiles, 3), -4)).get;
    const groups = f.let(i32.and(i32.add(i32.shl(tiles, 2), width - 1), -width)).get;
    const source = f.let(i32.add(o.x, i32.mul(unit.firstImage, o.xStride)));
    const sink = f.let(input);
    f.loop(0, o.contraction, 1, (channel) => {
      const coefficient = i32.add(worker.scratch, i32.mul(channel.get, coefficientBytes));
      f.call(down, [source.get, o.xStride, columns, coefficient, zeros, unit.images, unit.firstRow, tileRows]);
      f.call(along, [columns, tables, sink.get, o.inputStep, quads]);
      f.advance(source, size.height * size.width * 4);
      f.advance(sink, tileStep);
    });
    const a = f.let(weights);
    const b = f.let(input);
    const c = f.let(products);
    f.loop(0, frequencies, 1, () => {
      forEachTile(f, rows.height, o.tall, o.low, (height, first) => {
        const packed = f.let(i32.add(a.get, i32.shl(i32.mul(first, o.contraction), 2))).get;
        const sums = f.let(i32.add(c.get, i32.mul(first, tileStep))).get;
        f.loop(0, groups, width, (p) => {
          f.call(productTile(module, target, height, [0]), [
            packed,
            i32.add(b.get, p.get),
            i32.add(sums, p.get),
            o.contraction,
            tileStep,
            tileStep,
          ]);
        });
      });
      f.advance(a, weightStep);
      f.advance(b, o.inputStep);
      f.advance(c, o.productStep);
    });
    const blocks = f.let(i32.add(tables, tileStep)).get;
    const sums = f.let(products);
    f.loop(0, o.outputs, 1, (output) => {
      f.call(transformOutput(module, target, blockRowBytes), [sums.get, o.productStep, blocks, out, quads]);
      finish(unit, output.get, out);
      f.advance(sums, tileStep);
    });
  });
}
