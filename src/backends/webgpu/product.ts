// backends/webgpu: C[row, column] = Σ_k A[row, k]·B[k, column], the form of every convolution, its gradients and the classifier.
//
// A workgroup owns a tile of C, a thread 4 rows × 4 columns of it in registers; its columns lie `across` apart, so that neighbouring threads
// touch neighbouring addresses. Tiled: slabs of A and B go through workgroup memory. Otherwise each thread loads for itself.
// The depth may be split among workgroups; their partial products are summed in order by a second dispatch.
import { type Dispatch, forEach, type Operand } from "./dispatch.ts";
import type { Addresses, Target } from "./kernel.ts";

export interface Product {
  readonly label: string;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly operands: Dispatch["operands"];
  readonly numbers: Dispatch["numbers"];
  /**
   * WGSL: `fn a_at(row: u32, k: u32) -> f32`, `struct Column`, `fn column_at(column: u32) -> Column`, `fn b_at(k: u32, column: Column) -> f32`,
   * and `fn finish(row: u32, column: u32, value: f32)`, which stores an element of C, or with `sums` also returns a vec2f.
   */
  readonly code: string;
  /** What finish returns is summed along each row: [rows, column tiles, 2]. */
  readonly sums?: Operand;
  /** Which index of B runs along neighbouring addresses. */
  readonly contiguous: "column" | "depth";
}

export interface TileShape {
  /** Threads along the rows and along the columns; each has 4 × 4 elements. */
  readonly down: number;
  readonly across: number;
}

const side = 4;
/** Depth of a slab in workgroup memory. */
const slab = 16;

/** Tiles as tall as the rows need, so that 12 output channels do not pay for 64. Threads are a multiple of the columns they load. */
export function tileFor(rows: number, { tiled }: Target): TileShape {
  if (!tiled) return { down: 4, across: 16 };
  const heights = [16, 12, 8, 4] as const;
  const waste = (down: number): number => Math.ceil(rows / (side * down)) * side * down;
  const down = heights.reduce((best, height) => (waste(height) < waste(best) ? height : best));
  return { down, across: down === 4 ? 32 : 16 };
}

export const columnTiles = (columns: number, { across }: TileShape): number => Math.ceil(columns / (side * across));

const indices = [0, 1, 2, 3] as const;

const tiledLoop = ({ down, across }: TileShape, contiguous: Product["contiguous"]): string => {
  const [height, width, threads] = [side * down, side * across, down * across];
  const loadB =
    contiguous === "column"
      ? `let column = column_at(min(firstColumn + lane % ${width}u, call.columns - 1u));
    for (var k = lane / ${width}u; k < ${slab}u; k += ${threads / width}u) {
      var value = 0.0;
      if (first + k < end) { value = b_at(first + k, column); }
      slabB[k * ${width}u + lane % ${width}u] = value;
    }`
      : `for (var e = lane; e < ${slab * width}u; e += ${threads}u) {
      let k = e % ${slab}u;
      var value = 0.0;
      if (first + k < end) { value = b_at(first + k, column_at(min(firstColumn + e / ${slab}u, call.columns - 1u))); }
      slabB[k * ${width}u + e / ${slab}u] = value;
    }`;
  return `
  for (var first = begin; first < end; first += ${slab}u) {
    workgroupBarrier();
    for (var e = lane; e < ${slab * height}u; e += ${threads}u) {
      let k = e % ${slab}u;
      var value = 0.0;
      if (first + k < end) { value = a_at(min(firstRow + e / ${slab}u, call.rows - 1u), first + k); }
      slabA[k * ${height}u + e / ${slab}u] = value;
    }
    ${loadB}
    workgroupBarrier();
    for (var k = 0u; k < ${slab}u; k++) {
      let a = k * ${height}u + ${side}u * down;
      let rows = vec4f(slabA[a], slabA[a + 1u], slabA[a + 2u], slabA[a + 3u]);
      let b = k * ${width}u + across;
${indices.map((j) => `      sum${j} = fma(rows, vec4f(slabB[b + ${j * across}u]), sum${j});`).join("\n")}
    }
  }`;
};

const directLoop = ({ across }: TileShape): string => `
  let row = firstRow + ${side}u * down;
${indices.map((i) => `  let row${i} = min(row + ${i}u, call.rows - 1u);`).join("\n")}
${indices.map((j) => `  let column${j} = column_at(min(firstColumn + across + ${j * across}u, call.columns - 1u));`).join("\n")}
  for (var k = begin; k < end; k++) {
    let rows = vec4f(a_at(row0, k), a_at(row1, k), a_at(row2, k), a_at(row3, k));
${indices.map((j) => `    sum${j} = fma(rows, vec4f(b_at(k, column${j})), sum${j});`).join("\n")}
  }`;

/** The dispatch of a product. `splits`: parts of the depth; finish then gets `split` as a fourth argument. */
function productDispatch(product: Product, target: Target, shape: TileShape, splits: number): Dispatch {
  const { label, rows, columns, depth, sums, contiguous } = product;
  const { down, across } = shape;
  const [height, width, threads] = [side * down, side * across, down * across];
  const rowTiles = Math.ceil(rows / height);
  const tiles = rowTiles * columnTiles(columns, shape);
  const share = Math.ceil(depth / splits / slab) * slab;
  const workgroup = [
    ...(target.tiled
      ? [`var<workgroup> slabA: array<f32, ${slab * height}>;`, `var<workgroup> slabB: array<f32, ${slab * width}>;`]
      : []),
    ...(sums ? [`var<workgroup> rowSums: array<vec2f, ${height * across}>;`] : []),
  ];
  const finish = (i: number, j: number): string => {
    const call = `finish(row + ${i}u, column, sum${j}[${i}]${splits > 1 ? ", split" : ""})`;
    return `      if (row + ${i}u < call.rows) { ${sums ? `own${i} += ${call}` : call}; }`;
  };
  const code = `${product.code}
${workgroup.join("\n")}
fn body(group: u32, lane: u32) {
  let tile = group % (call.rowTiles * call.columnTiles);
  let split = group / (call.rowTiles * call.columnTiles);
  let firstRow = (tile % call.rowTiles) * ${height}u;
  let firstColumn = (tile / call.rowTiles) * ${width}u;
  let down = lane / ${across}u;
  let across = lane % ${across}u;
  let begin = split * call.share;
  let end = min(begin + call.share, call.depth);
${indices.map((j) => `  var sum${j} = vec4f(0.0);`).join("\n")}
${target.tiled ? `${tiledLoop(shape, contiguous)}\n  let row = firstRow + ${side}u * down;` : directLoop(shape)}
${sums ? indices.map((i) => `  var own${i} = vec2f(0.0);`).join("\n") : ""}
${indices
  .map(
    (j) => `  {
    let column = firstColumn + across + ${j * across}u;
    if (column < call.columns) {
${indices.map((i) => finish(i, j)).join("\n")}
    }
  }`,
  )
  .join("\n")}
${
  sums
    ? `${indices.map((i) => `  rowSums[(${side}u * down + ${i}u) * ${across}u + across] = own${i};`).join("\n")}
  workgroupBarrier();
  if (lane < ${height}u && firstRow + lane < call.rows) {
    var all = rowSums[lane * ${across}u];
    for (var i = 1u; i < ${across}u; i++) { all += rowSums[lane * ${across}u + i]; }
    let to = 2u * ((firstRow + lane) * call.columnTiles + tile / call.rowTiles);
    store_sums(to, all.x);
    store_sums(to + 1u, all.y);
  }`
    : ""
}
}`;
  return {
    label,
    operands: { ...product.operands, ...(sums ? { sums } : {}) },
    numbers: {
      ...product.numbers,
      rows,
      columns,
      depth,
      share,
      rowTiles,
      columnTiles: columnTiles(columns, shape),
    },
    code,
    size: threads,
    groups: tiles * splits,
  };
}

/** A product whose depth one workgroup walks alone. */
export function emitProduct(product: Product, target: Target): Dispatch {
  return productDispatch(product, target, tileFor(product.rows, target), 1);
}

/** Workgroups that keep any card busy. */
const enoughGroups = 512;
/** Less depth than this is not worth a partial product. */
const leastShare = 256;

/** A product with few elements and a long depth, stored row by row to `c`: its depth is shared out, the parts are summed in order. */
export function emitDeepProduct(
  product: Omit<Product, "sums">,
  c: Operand,
  at: Addresses,
  target: Target,
): readonly Dispatch[] {
  const { rows, columns, depth, label } = product;
  const shape = tileFor(rows, target);
  const tiles = Math.ceil(rows / (side * shape.down)) * columnTiles(columns, shape);
  const wanted = Math.min(Math.ceil(enoughGroups / tiles), Math.ceil(depth / leastShare));
  const share = Math.ceil(depth / wanted / slab) * slab;
  const splits = Math.ceil(depth / share);
  const size = rows * columns;
  if (splits === 1) {
    const code = `${product.code}
fn finish(row: u32, column: u32, value: f32) { store_c(row * call.columns + column, value); }`;
    return [productDispatch({ ...product, code, operands: { ...product.operands, c } }, target, shape, 1)];
  }
  const parts = at.scratch(splits * size);
  const code = `${product.code}
fn finish(row: u32, column: u32, value: f32, split: u32) {
  store_parts((split * call.rows + row) * call.columns + column, value);
}`;
  return [
    productDispatch({ ...product, code, operands: { ...product.operands, parts } }, target, shape, splits),
    forEach(size, {
      label: `${label} sum`,
      operands: { parts, c },
      numbers: { splits },
      code: `fn each(i: u32) {
  var sum = load_parts(i);
  for (var split = 1u; split < call.splits; split++) { sum += load_parts(split * call.count + i); }
  store_c(i, sum);
}`,
    }),
  ];
}
