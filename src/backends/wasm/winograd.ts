// backends/wasm: 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): 36 multiplications for 16 outputs and channel instead of 144.
//
// Shapes: as conv.ts. A unit is a band of tile rows of a few images; its tiles are columns of 36 products [O, C]·[C, tiles].
// Parallel: the threads share the transformation of the weights, meet, then share the units.
// Traffic: a unit's transformed input, 36/16 of it, and products stay in L2.
// Numerics: errors grow with the matrices' entries: within 8u·|Aᵀ|[Σ_c (|G||g||Gᵀ|) ⊙ (|Bᵀ||d||B|)]|A| (test/conformance/winograd.ts), about
// three times a direct convolution's. Every product is a chain over C, the same on every target.
// Measured: 121, batch 8, 56×56: 98 → 45 ms a step; BC-100-12, batch 64: 127 → 85 ms forward, 145 → 95 ms back (two Zen threads, 2026-11).
import type { WindowSize } from "../../plan/plan.ts";
import { type Expression, type FunctionBuilder, i32, type ModuleBuilder } from "./assembler.ts";
import { coefficientBytes } from "./composite.ts";
import { type Phase, threadSlice } from "./kernel.ts";
import { clear } from "./run.ts";
import { forEachUnit, tileBytes, type Unit } from "./signal.ts";
import type { Target } from "./target.ts";
import { forEachTile, productTile, type RowTiles, rowTiles } from "./tile.ts";
import {
  columnRowFloats,
  frequencies,
  transformColumns,
  transformOutput,
  transformRows,
  transformWeights,
} from "./winogradTransforms.ts";

const side = 4;
/** Tiles are multiplied in groups of this many, the width of the widest product tile. */
const groupTiles = 16;
/** Floats of a unit's transformed input and products: a quarter of a megabyte. */
const stagedFloats = 64 * 1024;

/**
 * Whether it pays, by the cycles a tile costs one core: direct 9·C·O (sixteen multiply-adds a cycle), here 36/16·C·O, 25·C for the input's
 * and 16·O for the output's transformation, and 150·C·O for the weights', once. Tiles that hang over the edge, or fill no group, count whole.
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

interface TileCut {
  readonly columns: number;
  /** Rows of tiles in a unit. */
  readonly tileRows: number;
  readonly bands: number;
  readonly images: number;
  readonly units: number;
  /** Tiles of a unit, rounded up to whole groups. */
  readonly tiles: number;
}

/** Units that keep within the budget; bands of the height that leaves the fewest places of a group empty. */
function cutTiles({ batch, height, width }: WindowSize, channels: number, outputs: number, threads: number): TileCut {
  const columns = Math.ceil(width / side);
  const allRows = Math.ceil(height / side);
  const whole = (tiles: number): number => Math.ceil(tiles / groupTiles) * groupTiles;
  const budget = Math.max(groupTiles, Math.floor(stagedFloats / (frequencies * (channels + outputs))));
  const perImage = columns * allRows;
  if (perImage <= budget) {
    const fair = Math.max(Math.ceil(batch / (threads * 4)), Math.ceil(groupTiles / perImage));
    const images = Math.max(1, Math.min(Math.floor(budget / perImage), fair, Math.ceil(batch / threads)));
    const units = Math.ceil(batch / images);
    return { columns, tileRows: allRows, bands: 1, images, units, tiles: whole(images * perImage) };
  }
  const candidates = Array.from({ length: Math.max(1, Math.floor(budget / columns)) }, (_, i) => i + 1);
  const cost = (rows: number): number => whole(rows * columns) * Math.ceil(allRows / rows);
  const tileRows = candidates.reduce((best, rows) => (cost(rows) <= cost(best) ? rows : best));
  const bands = Math.ceil(allRows / tileRows);
  return { columns, tileRows, bands, images: 1, units: batch * bands, tiles: whole(tileRows * columns) };
}

/** Geometry and scratch memory (byte offsets from the thread's scratch) of one convolution. */
export interface Winograd {
  readonly size: WindowSize;
  readonly cut: TileCut;
  readonly rows: RowTiles;
  readonly contraction: number;
  readonly outputs: number;
  /** One channel of a unit's input after the map down its columns. */
  readonly columnRowBytes: number;
  readonly columnBytes: number;
  /** One channel of a unit's results. */
  readonly outRowBytes: number;
  readonly outBytes: number;
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

const lines = (bytes: number): number => Math.ceil(bytes / 64) * 64;
const oddLines = (bytes: number): number => lines(bytes) + (Math.ceil(bytes / 64) % 2 === 0 ? 64 : 0);

/** `coefficientCount`: channels of the composite whose coefficients stand at the beginning of the scratch. */
export function planWinograd(
  size: WindowSize,
  contraction: number,
  outputs: number,
  coefficientCount: number,
  target: Target,
  threads: number,
): Winograd {
  const cut = cutTiles(size, contraction, outputs, threads);
  const columnRowBytes = columnRowFloats(size.width) * 4;
  const columnBytes = cut.images * cut.tileRows * 6 * columnRowBytes;
  const zeroBytes = lines(coefficientBytes + columnRowBytes);
  const outRowBytes = cut.columns * side * 4;
  const outBytes = cut.images * cut.tileRows * side * outRowBytes;
  const inputStep = oddLines(contraction * cut.tiles * 4);
  const productStep = oddLines(outputs * cut.tiles * 4);
  const tablesAt = lines(coefficientCount * coefficientBytes);
  const zerosAt = tablesAt + lines(2 * cut.tiles * 4);
  const columnsAt = zerosAt + zeroBytes;
  const outAt = columnsAt + lines(columnBytes + 64);
  // Behind the results, room for the tiles that fill a group up.
  const inputAt = outAt + lines(outBytes + side * outRowBytes);
  const productsAt = inputAt + frequencies * inputStep;
  return {
    size,
    cut,
    rows: rowTiles(outputs, target),
    contraction,
    outputs,
    columnRowBytes,
    columnBytes,
    outRowBytes,
    outBytes,
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
export const winogradKey = ({ size, cut, rows }: Winograd): string =>
  `${size.height}x${size.width} ${cut.images}x${cut.tileRows}x${cut.columns} tile=${rows.height}`;

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
  rows: winograd.cut.tileRows * side,
  bands: winograd.cut.bands,
  images: winograd.cut.images,
  units: winograd.cut.units,
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

/** The phase before: the weights into shared memory at `to`. */
export function weightsPhase(
  module: ModuleBuilder,
  { rows, contraction, outputs }: Winograd,
  weights: number,
  to: number,
  transposed: boolean,
): Phase {
  const { height, tall, low } = rows;
  return transformWeights(module, height, transposed, { weights, contraction, outputs, tall, low, to });
}

/** Where each tile's patch begins in the mapped columns, and its block in the results; tiles that only fill a group read the first patch. */
function fillTables(
  f: FunctionBuilder,
  { cut, columnRowBytes, outRowBytes, outBytes }: Winograd,
  tables: Expression,
): void {
  const { images, tileRows, columns, tiles } = cut;
  const entry = f.let(tables);
  const store = (patch: Expression, block: Expression): void => {
    f.store(entry.get, patch);
    f.store(entry.get, block, tiles * 4);
    f.advance(entry, 4);
  };
  f.loop(0, images, 1, (image) => {
    f.loop(0, tileRows, 1, (row) => {
      const number = f.let(i32.add(i32.mul(image.get, tileRows), row.get)).get;
      f.loop(0, columns * side * 4, side * 4, (byte) =>
        store(
          i32.add(i32.mul(number, 6 * columnRowBytes), i32.add(byte.get, 12)),
          i32.add(i32.mul(number, side * outRowBytes), byte.get),
        ),
      );
    });
  });
  f.loop(images * tileRows * columns, tiles, 1, () => store(i32.const(12), i32.const(outBytes)));
}

/** For each of the thread's units: transforms x, multiplies, and hands the results of one output channel after the other to `finish`. */
export function emitWinograd(
  f: FunctionBuilder,
  module: ModuleBuilder,
  target: Target,
  winograd: Winograd,
  o: Operands,
  worker: { scratch: Expression; thread: Expression; threads: Expression; shared: Expression },
  withComposite: boolean,
  finish: (unit: Unit, output: Expression, results: Expression) => void,
): void {
  const { size, cut, rows, columnRowBytes, outRowBytes } = winograd;
  const within = (offset: Expression): Expression => f.let(i32.add(worker.scratch, offset)).get;
  const [tables, zeros, columns, out, input, products] = [
    within(o.tablesAt),
    within(o.zerosAt),
    within(o.columnsAt),
    within(o.outAt),
    within(o.inputAt),
    within(o.productsAt),
  ];
  const weights = f.let(i32.add(worker.shared, o.weightsAt)).get;
  const weightStep = f.let(i32.shl(i32.mul(o.contraction, o.outputs), 2)).get;
  const tileStep = cut.tiles * 4;
  fillTables(f, winograd, tables);
  clear(f, zeros, coefficientBytes + columnRowBytes);
  clear(f, columns, winograd.columnBytes + 64);
  clear(f, input, f.let(i32.mul(o.inputStep, frequencies)).get);
  const down = transformColumns(module, target, size.height, size.width, columnRowBytes, withComposite);
  const along = transformRows(module, target, columnRowBytes);
  const width = tileBytes(target);
  forEachUnit(f, { height: size.height }, o, threadSlice(f, o.units, worker), (unit) => {
    const tileRows = f.let(i32.shrU(i32.add(unit.rows, side - 1), 2)).get;
    const tiles = f.let(i32.mul(i32.mul(unit.images, tileRows), cut.columns)).get;
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
      f.call(transformOutput(module, target, outRowBytes), [sums.get, o.productStep, blocks, out, quads]);
      finish(unit, output.get, out);
      f.advance(sums, tileStep);
    });
  });
}

/** for each run of results that is adjacent both in an output plane and in scratch: body(bytes into the plane, into the results, image in the unit, bytes). */
export function forEachResultRun(
  f: FunctionBuilder,
  { size, cut, outRowBytes }: Winograd,
  unit: Unit,
  body: (planeByte: Expression, resultByte: Expression, image: Expression, bytes: Expression) => void,
): void {
  const rowBytes = size.width * 4;
  const planeByte = f.let(i32.mul(unit.firstRow, rowBytes)).get;
  f.loop(0, unit.images, 1, (image) => {
    const first = f.let(i32.mul(image.get, cut.tileRows * side * outRowBytes)).get;
    if (rowBytes === outRowBytes) {
      body(planeByte, first, image.get, f.let(i32.mul(unit.rows, rowBytes)).get);
      return;
    }
    f.loop(0, unit.rows, 1, (row) =>
      body(
        f.let(i32.add(planeByte, i32.mul(row.get, rowBytes))).get,
        f.let(i32.add(first, i32.mul(row.get, outRowBytes))).get,
        image.get,
        i32.const(rowBytes),
      ),
    );
  });
}
