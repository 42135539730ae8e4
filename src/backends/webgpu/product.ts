// backends/webgpu: C[row, column] = Σ_k A[row, k]·B[k, column], the form of every convolution, its gradients and the
// classifier.
//
// A workgroup owns a tile of C, a thread 4 rows × 4 columns of it in registers; its columns lie `across` apart, so that
// neighbouring threads touch neighbouring addresses. Tiled: slabs of A and B go through workgroup memory, from which a
// thread reads two vec4f for 16 products. By subgroup matrices: the same with slabs of f16 (matrix.ts). Otherwise each
// thread loads for itself. The depth may be split among workgroups; a second dispatch sums their partial products in
// order.
import { type Dispatch, forEach, type Operand } from "./dispatch.ts";
import type { Addresses, Target } from "./kernel.ts";
import { matrixTile } from "./matrix.ts";
import { columnTiles, type Extent, side, type TileShape, tileColumns, tileFor } from "./tile.ts";

export interface Product extends Extent {
  readonly label: string;
  readonly operands: Dispatch["operands"];
  readonly numbers: Dispatch["numbers"];
  /**
   * WGSL: what belongs to an index of the depth or to a column is found once and used by several elements:
   * `struct Depth`, `fn depth_at(k: u32) -> Depth`, `struct Column`, `fn column_at(column: u32) -> Column`,
   * `fn a_at(row: u32, at: Depth) -> f32`, `fn b_at(at: Depth, column: Column) -> f32`,
   * and `fn finish(row: u32, column: u32, value: f32)`, which stores an element of C.
   */
  readonly code: string;
  readonly rowEnds?: RowEnds;
  /** Which index of B runs along neighbouring addresses. */
  readonly contiguous: "column" | "depth";
  /**
   * A and B may be rounded to f16 where that lets the device multiply matrices: neither has values that f16 has no
   * range for.
   */
  readonly halves?: boolean;
}

/** Two numbers of each row of each tile, left in `to` [rows, column tiles, 2]. */
export interface RowEnds {
  readonly to: Operand;
  /**
   * sums: finish takes a `Row` of `fn row_at(row: u32) -> Row` and returns a vec2f, of which these are sums.
   * moments: finish returns the element as stored; these are mean and sum of squared deviations from it.
   */
  readonly kind: "sums" | "moments";
}

/**
 * Depth of a slab in workgroup memory: at least 16, and such that each thread stages whole columns of it, always the
 * same ones.
 */
const slabDepth = ({ down }: TileShape): number => down * Math.ceil(16 / down);

const indices = [0, 1, 2, 3] as const;

/** column0 … column3: `first` and what lies `across` apart from it. */
const fourColumns = (first: string, across: number): string =>
  indices
    .map((j) => `  let column${j} = column_at(min(firstColumn + ${first} + ${j * across}u, call.columns - 1u));`)
    .join("\n");

const fourRows = indices.map((i) => `  let row${i} = min(row + ${i}u, call.rows - 1u);`).join("\n");

const fourOfB = `vec4f(${indices.map((j) => `b_at(at, column${j})`).join(", ")})`;

/**
 * WGSL that a way of multiplying puts into the loop over slabs: stores of four rows of A and of four columns of B at
 * depth `k`, and its own.
 */
export interface Slabs {
  readonly slab: number;
  readonly storeA: string;
  readonly storeB: string;
  readonly multiply: string;
}

const slabLoop = (
  { down, across }: TileShape,
  contiguous: Product["contiguous"],
  { slab, storeA, storeB, multiply }: Slabs,
): string => {
  const [staged, firstDepth] =
    contiguous === "column" ? [`lane % ${across}u`, `lane / ${across}u`] : [`lane / ${down}u`, `lane % ${down}u`];
  return `  let staged = ${staged};
${fourColumns("staged", across)}
  for (var first = begin; first < end; first += ${slab}u) {
    workgroupBarrier();
    for (var e = lane; e < ${slab * down}u; e += ${down * across}u) {
      let k = e % ${slab}u;
      let four = e / ${slab}u;
      let row = firstRow + ${side}u * four;
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at(first + k);
        value = vec4f(${indices.map((i) => `a_at(min(row + ${i}u, call.rows - 1u), at)`).join(", ")});
      }
${storeA}
    }
    for (var k = ${firstDepth}; k < ${slab}u; k += ${down}u) {
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at(first + k);
        value = ${fourOfB};
      }
${storeB}
    }
    workgroupBarrier();
${multiply}
  }`;
};

/**
 * Slabs in `memory`: A as [slab][down] of four rows, B as [slab][across] of four columns. A row of either has one vec4f
 * to spare, so that threads that store down a column hit different banks.
 */
const vectorSlabs = (shape: TileShape): Slabs => {
  const { down, across } = shape;
  const slab = slabDepth(shape);
  const [ofA, ofB, slabB] = [down + 1, across + 1, slab * (down + 1)];
  return {
    slab,
    storeA: `      memory[k * ${ofA}u + four] = value;`,
    storeB: `      memory[${slabB}u + k * ${ofB}u + staged] = value;`,
    multiply: `    for (var k = 0u; k < ${slab}u; k++) {
      let rows = memory[k * ${ofA}u + down];
      let columns = memory[${slabB}u + k * ${ofB}u + across];
${indices.map((j) => `      sum${j} = fma(rows, vec4f(columns[${j}]), sum${j});`).join("\n")}
    }`,
  };
};

const directLoop = ({ across }: TileShape): string => `${fourRows}
${fourColumns("across", across)}
  for (var k = begin; k < end; k++) {
    let at = depth_at(k);
    let rows = vec4f(${indices.map((i) => `a_at(row${i}, at)`).join(", ")});
    let columns = ${fourOfB};
${indices.map((j) => `    sum${j} = fma(rows, vec4f(columns[${j}]), sum${j});`).join("\n")}
  }`;

/** Stores a thread's elements. With row ends, what belongs to row i of them is left in `own{i}`. */
function finishElements(across: number, kind: RowEnds["kind"] | undefined, split: boolean): string {
  const element = (i: number, j: number): string => {
    const row = kind === "sums" ? `end${i}` : `row + ${i}u`;
    const call = `finish(${row}, column, sum${j}[${i}]${split ? ", split" : ""})`;
    const kept = { sums: `own${i} += ${call}`, moments: `kept${i}[${j}] = ${call}` };
    return `      if (row + ${i}u < call.rows) { ${kind ? kept[kind] : call}; }`;
  };
  const before = {
    sums: indices.map((i) => `  let end${i} = row_at(min(row + ${i}u, call.rows - 1u));\n  var own${i} = vec2f(0.0);`),
    moments: indices.map((i) => `  var kept${i} = vec4f(0.0);`),
  };
  return `${kind ? before[kind].join("\n") : ""}
${indices
  .map(
    (j) => `  {
    let column = firstColumn + across + ${j * across}u;
    if (column < call.columns) {
${indices.map((i) => element(i, j)).join("\n")}
    }
  }`,
  )
  .join("\n")}
${kind === "moments" ? indices.map((i) => `  let own${i} = moments(kept${i}, columnsOf(firstColumn + across));`).join("\n") : ""}`;
}

/** WGSL for moments: of a thread's elements in a row, of which columns `count` exist. */
const momentsOf = (across: number): string => `
fn columnsOf(first: u32) -> u32 { return min(${side}u, (max(call.columns, first) - first + ${across - 1}u) / ${across}u); }
fn moments(values: vec4f, count: u32) -> vec2f {
  let mean = (values[0] + values[1] + values[2] + values[3]) / f32(max(count, 1u));
  let away = select(vec4f(0.0), values - mean, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
  return vec2f(mean, dot(away, away));
}`;

/** Joins the row ends of the threads that share a row, in order: own0 … own3 → `to`. One thread a row. */
function joinRowEnds({ down, across }: TileShape, kind: RowEnds["kind"], keep: string): string {
  const height = side * down;
  const joined =
    kind === "sums"
      ? `    var all = vec2f(0.0);
    for (var i = 0u; i < ${across}u; i++) { all += rowEnd(lane, i); }`
      : `    var mean = 0.0;
    for (var i = 0u; i < ${across}u; i++) { mean = fma(f32(columnsOf(firstColumn + i)), rowEnd(lane, i).x, mean); }
    mean /= f32(min(${side * across}u, call.columns - firstColumn));
    var all = vec2f(mean, 0.0);
    for (var i = 0u; i < ${across}u; i++) {
      let end = rowEnd(lane, i);
      let away = end.x - mean;
      all.y += fma(f32(columnsOf(firstColumn + i)), away * away, end.y);
    }`;
  return `${keep}
  workgroupBarrier();
  if (lane < ${height}u && firstRow + lane < call.rows) {
${joined}
    let to = 2u * ((firstRow + lane) * call.columnTiles + tile / call.rowTiles);
    store_rowEnds(to, all.x);
    store_rowEnds(to + 1u, all.y);
  }`;
}

/** How threads leave own0 … own3 in workgroup memory, and WGSL `rowEnd(row, across)`, which finds one there. */
interface RowEndPlace {
  readonly keep: string;
  readonly rowEnd: string;
}

const inVectors = (across: number): RowEndPlace => ({
  keep: `  memory[2u * lane] = vec4f(own0, own1);
  memory[2u * lane + 1u] = vec4f(own2, own3);`,
  rowEnd: `
fn rowEnd(row: u32, across: u32) -> vec2f {
  let four = memory[2u * (row / ${side}u * ${across}u + across) + row % ${side}u / 2u];
  return select(four.xy, four.zw, row % 2u == 1u);
}`,
});
const inProducts = (across: number): RowEndPlace => ({
  keep: indices
    .flatMap((i) => ["x", "y"].map((part, j) => `  products[8u * lane + ${2 * i + j}u] = own${i}.${part};`))
    .join("\n"),
  rowEnd: `
fn rowEnd(row: u32, across: u32) -> vec2f {
  let i = 8u * (row / ${side}u * ${across}u + across) + 2u * (row % ${side}u);
  return vec2f(products[i], products[i + 1u]);
}`,
});

/** The dispatch of a product. `splits`: parts of the depth; finish then gets `split` as a fourth argument. */
function productDispatch(product: Product, target: Target, shape: TileShape, splits: number): Dispatch {
  const { label, rows, columns, depth, rowEnds } = product;
  const { down, across } = shape;
  const [height, width, threads] = [side * down, tileColumns(shape), down * across];
  const rowTiles = Math.ceil(rows / height);
  const tiles = rowTiles * columnTiles(columns, shape);
  const { slab, loop, ends, declarations = "", ...needs } = wayOf(product, target, shape);
  const code = `${product.code}
${declarations}
${rowEnds ? ends.rowEnd : ""}${rowEnds?.kind === "moments" ? momentsOf(across) : ""}
fn body(group: u32, lane: u32${needs.lanes ? ", subgroup: u32" : ""}) {
  let tile = group % (call.rowTiles * call.columnTiles);
  let split = group / (call.rowTiles * call.columnTiles);
  let firstRow = (tile % call.rowTiles) * ${height}u;
  let firstColumn = (tile / call.rowTiles) * ${width}u;
  let down = lane / ${across}u;
  let across = lane % ${across}u;
  let row = firstRow + ${side}u * down;
  let begin = split * call.share;
  let end = min(begin + call.share, call.depth);
${indices.map((j) => `  var sum${j} = vec4f(0.0);`).join("\n")}
${loop}
${finishElements(across, rowEnds?.kind, splits > 1)}
${rowEnds ? joinRowEnds(shape, rowEnds.kind, ends.keep) : ""}
}`;
  return {
    label,
    operands: { ...product.operands, ...(rowEnds ? { rowEnds: rowEnds.to } : {}) },
    numbers: {
      ...product.numbers,
      rows,
      columns,
      depth,
      share: Math.ceil(depth / splits / slab) * slab,
      rowTiles,
      columnTiles: columnTiles(columns, shape),
    },
    code,
    size: threads,
    groups: tiles * splits,
    ...needs,
  };
}

/** How a tile's elements come into sum0 … sum3, and where its threads leave row ends. */
interface Way extends Pick<Dispatch, "memory" | "lanes"> {
  readonly slab: number;
  readonly declarations?: string;
  readonly loop: string;
  readonly ends: RowEndPlace;
}

function wayOf({ rowEnds, contiguous, halves }: Product, { tiled, matrices }: Target, shape: TileShape): Way {
  const { down, across } = shape;
  const endWords = rowEnds ? 2 * down * across : 0;
  const ends = inVectors(across);
  if (!tiled) return { slab: slabDepth(shape), memory: endWords, loop: directLoop(shape), ends };
  // Row ends go where the slabs were, once nobody reads those any more.
  const after = ({ keep, rowEnd }: RowEndPlace) => ({ keep: `  workgroupBarrier();\n${keep}`, rowEnd });
  if (halves && matrices) {
    const { begin, finish, declarations, ...slabs } = matrixTile(shape, matrices, 4 * endWords);
    const loop = `${begin}\n${slabLoop(shape, contiguous, slabs)}\n${finish}`;
    return { slab: slabs.slab, declarations, loop, ends: after(inProducts(across)), lanes: matrices.lanes };
  }
  const slabs = vectorSlabs(shape);
  const memory = Math.max(slabs.slab * (down + 1 + across + 1), endWords);
  return { slab: slabs.slab, memory, loop: slabLoop(shape, contiguous, slabs), ends: after(ends) };
}

/** A product whose depth one workgroup walks alone. */
export function emitProduct(product: Product, target: Target, shape = tileFor(product.rows, target)): Dispatch {
  return productDispatch(product, target, shape, 1);
}

/** Workgroups that keep any card busy. */
const enoughGroups = 512;
/** Less depth than this is not worth a partial product. */
const leastShare = 256;

/** A product, and what must be summed after it. */
export interface SummedProduct {
  readonly product: Dispatch;
  readonly sum: Dispatch | undefined;
}

/**
 * A product with few elements and a long depth, stored row by row to `c`: its depth is shared out, the parts are summed
 * in order.
 */
export function emitDeepProduct(
  product: Omit<Product, "rowEnds">,
  c: Operand,
  at: Addresses,
  target: Target,
  shape = tileFor(product.rows, target),
): SummedProduct {
  const { rows, columns, depth, label } = product;
  const slab = slabDepth(shape);
  const tiles = Math.ceil(rows / (side * shape.down)) * columnTiles(columns, shape);
  const wanted = Math.min(Math.ceil(enoughGroups / tiles), Math.ceil(depth / leastShare));
  const share = Math.ceil(depth / wanted / slab) * slab;
  const splits = Math.ceil(depth / share);
  const size = rows * columns;
  if (splits === 1) {
    const code = `${product.code}
fn finish(row: u32, column: u32, value: f32) { store_c(row * call.columns + column, value); }`;
    const whole = productDispatch({ ...product, code, operands: { ...product.operands, c } }, target, shape, 1);
    return { product: whole, sum: undefined };
  }
  const parts = at.scratch(splits * size);
  const code = `${product.code}
fn finish(row: u32, column: u32, value: f32, split: u32) {
  store_parts((split * call.rows + row) * call.columns + column, value);
}`;
  return {
    product: productDispatch({ ...product, code, operands: { ...product.operands, parts } }, target, shape, splits),
    sum: forEach(size, {
      label: `${label} sum`,
      operands: { parts, c },
      numbers: { splits },
      code: `fn each(i: u32) {
  var sum = load_parts(i);
  for (var split = 1u; split < call.splits; split++) { sum += load_parts(split * call.count + i); }
  store_c(i, sum);
}`,
    }),
  };
}
