// backends/wasm: how Winograd's transformation (winograd.ts) cuts images into tiles of 4×4 outputs, and tiles into
// units of work.
import type { WindowSize } from "../../plan/plan.ts";
import { type Expression, type FunctionBuilder, i32 } from "./assembler.ts";
import { coefficientBytes } from "./composite.ts";
import type { Unit } from "./signal.ts";
import { columnRowFloats } from "./winogradTransforms.ts";

/** Outputs along a tile's side. */
export const side = 4;
/** Tiles are multiplied in groups of this many, the width of the widest product tile. */
export const groupTiles = 16;
const wholeGroups = (tiles: number): number => Math.ceil(tiles / groupTiles) * groupTiles;

export const wholeLines = (bytes: number): number => Math.ceil(bytes / 64) * 64;
/** An odd number of cache lines, so that what is that far apart spreads over the sets of a cache. */
export const oddLines = (bytes: number): number => (Math.ceil(bytes / 64) | 1) * 64;

/** How a batch is cut into units of whole tile rows, and the geometry of a unit in scratch memory. */
export interface Tiling {
  readonly columns: number;
  /** Rows of tiles in a unit. */
  readonly tileRows: number;
  readonly bands: number;
  readonly images: number;
  readonly units: number;
  /** Tiles of a unit, rounded up to whole groups. */
  readonly tiles: number;
  /** One channel of a unit's input after the map down its columns. */
  readonly columnRowBytes: number;
  readonly columnBytes: number;
  /**
   * One channel of a unit in blocks of 4×4: rows of whole tiles. `blockRoom`: with room behind it for tiles that only
   * fill a group.
   */
  readonly blockRowBytes: number;
  readonly blockBytes: number;
  readonly blockRoom: number;
  /** Of what fillTables fills, and of transformColumns' zeros. */
  readonly tableBytes: number;
  readonly zeroBytes: number;
}

interface Cut {
  readonly tileRows: number;
  readonly bands: number;
  readonly images: number;
}

/** Units of about `wanted` tiles; bands of the height that leaves the fewest places of a group empty. */
function cut({ batch, height, width }: WindowSize, wanted: number, threads: number): Cut {
  const columns = Math.ceil(width / side);
  const allRows = Math.ceil(height / side);
  const budget = Math.max(groupTiles, wanted);
  const perImage = columns * allRows;
  if (perImage <= budget) {
    const fair = Math.max(Math.ceil(batch / (threads * 4)), Math.ceil(groupTiles / perImage));
    const images = Math.max(1, Math.min(Math.floor(budget / perImage), fair, Math.ceil(batch / threads)));
    return { tileRows: allRows, bands: 1, images };
  }
  const candidates = Array.from({ length: Math.max(1, Math.floor(budget / columns)) }, (_, i) => i + 1);
  const cost = (rows: number): number => wholeGroups(rows * columns) * Math.ceil(allRows / rows);
  const tileRows = candidates.reduce((best, rows) => (cost(rows) <= cost(best) ? rows : best));
  return { tileRows, bands: Math.ceil(allRows / tileRows), images: 1 };
}

export function tile(size: WindowSize, wanted: number, threads: number): Tiling {
  const columns = Math.ceil(size.width / side);
  const { tileRows, bands, images } = cut(size, wanted, threads);
  const tiles = wholeGroups(images * tileRows * columns);
  const columnRowBytes = columnRowFloats(size.width) * 4;
  const blockRowBytes = columns * side * 4;
  const blockBytes = images * tileRows * side * blockRowBytes;
  return {
    columns,
    tileRows,
    bands,
    images,
    units: bands * Math.ceil(size.batch / images),
    tiles,
    columnRowBytes,
    columnBytes: images * tileRows * 6 * columnRowBytes,
    blockRowBytes,
    blockBytes,
    blockRoom: wholeLines(blockBytes + side * blockRowBytes),
    tableBytes: wholeLines(2 * tiles * 4),
    zeroBytes: wholeLines(coefficientBytes + columnRowBytes),
  };
}

/** What of it stands in the code as constants. */
export const tilingKey = ({ height, width }: WindowSize, { images, tileRows, columns }: Tiling): string =>
  `${height}x${width} ${images}x${tileRows}x${columns}`;

/**
 * `tiles` offsets of the tiles' patches in the mapped columns, then of their blocks. Tiles that only fill a group read
 * the first patch and write behind the blocks.
 */
export function fillTables(f: FunctionBuilder, tiling: Tiling, tables: Expression): void {
  const { images, tileRows, columns, tiles, columnRowBytes, blockRowBytes, blockBytes } = tiling;
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
          i32.add(i32.mul(number, side * blockRowBytes), byte.get),
        ),
      );
    });
  });
  f.loop(images * tileRows * columns, tiles, 1, () => store(i32.const(12), i32.const(blockBytes)));
}

/**
 * for each run that is adjacent both in a plane of images and in blocks: body(bytes into the plane, into the blocks,
 * image in the unit, bytes).
 */
export function forEachBlockRun(
  f: FunctionBuilder,
  { width }: Pick<WindowSize, "width">,
  { tileRows, blockRowBytes }: Tiling,
  unit: Unit,
  body: (planeByte: Expression, resultByte: Expression, image: Expression, bytes: Expression) => void,
): void {
  const rowBytes = width * 4;
  const planeByte = f.let(i32.mul(unit.firstRow, rowBytes)).get;
  f.loop(0, unit.images, 1, (image) => {
    const first = f.let(i32.mul(image.get, tileRows * side * blockRowBytes)).get;
    if (rowBytes === blockRowBytes) {
      body(planeByte, first, image.get, f.let(i32.mul(unit.rows, rowBytes)).get);
      return;
    }
    f.loop(0, unit.rows, 1, (row) =>
      body(
        f.let(i32.add(planeByte, i32.mul(row.get, rowBytes))).get,
        f.let(i32.add(first, i32.mul(row.get, blockRowBytes))).get,
        image.get,
        i32.const(rowBytes),
      ),
    );
  });
}
