// backends/webgpu: how products are cut into the tiles that workgroups own. A thread has `side` rows × `side` columns
// of one.
import type { Target } from "./kernel.ts";

/** Of a product: C [rows, columns] as sums of `depth` terms. */
export interface Extent {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
}

export interface TileShape {
  /** Threads along the rows and along the columns; each has 4 × 4 elements. */
  readonly down: number;
  readonly across: number;
}

/** Rows and columns that a thread has of a tile. */
export const side = 4;

const shapes: readonly TileShape[] = [
  { down: 16, across: 16 },
  { down: 12, across: 16 },
  { down: 8, across: 16 },
  { down: 4, across: 32 },
];

/** The first of those that cost least. */
const cheapest = <T>(all: readonly T[], cost: (one: T) => number): T =>
  all.reduce((best, one) => (cost(one) < cost(best) ? one : best));

/** Tiles as tall as the rows need, so that 12 output channels do not pay for 64. */
export function tileFor(rows: number, { tiled }: Pick<Target, "tiled">): TileShape {
  return tiled
    ? cheapest(shapes, ({ down }) => Math.ceil(rows / (side * down)) * side * down)
    : { down: 4, across: 16 };
}

/**
 * Multiply-adds that take as long as staging an element does: its address, a load, the composite function. Estimated,
 * not measured.
 */
const stagingMacs = 8;

/**
 * Tiles for two staged products in one dispatch, whose workgroups are of one size: those with the least to multiply and
 * to stage in both.
 */
export function tilesTogether(a: Extent, b: Extent): readonly [TileShape, TileShape] {
  const cost = ({ rows, columns, depth }: Extent, shape: TileShape): number => {
    const [height, width] = [side * shape.down, tileColumns(shape)];
    const tiles = Math.ceil(rows / height) * columnTiles(columns, shape);
    return tiles * depth * (height * width + stagingMacs * (height + width));
  };
  const threads = ({ down, across }: TileShape): number => down * across;
  const pairs = shapes.flatMap((one) =>
    shapes.filter((other) => threads(other) === threads(one)).map((other) => [one, other] as const),
  );
  return cheapest(pairs, ([one, other]) => cost(a, one) + cost(b, other));
}

export const tileColumns = ({ across }: TileShape): number => side * across;
export const columnTiles = (columns: number, shape: TileShape): number => Math.ceil(columns / tileColumns(shape));
