// backends/webgpu: a tile of a product by subgroup matrices, where a device multiplies small matrices of f16 and sums
// in f32 (tensor cores).
//
// Slabs of A and B go through workgroup memory as in product.ts, but rounded to f16; a subgroup owns some matrices of
// the tile and multiplies them. Which lane holds which element is the driver's secret, so in the end the matrices go
// through workgroup memory once more, half the tile's columns at a time, to the threads that finish their elements.
import type { Matrices } from "./kernel.ts";
import type { Slabs } from "./product.ts";
import { side, type TileShape, tileColumns } from "./tile.ts";

/** Features that a device must be asked for, beside shader-f16. */
export const matrixFeatures = ["subgroups", "subgroup-size-control", "chromium-experimental-subgroup-matrix"] as const;

/** A kind of multiplication as an adapter offers it: A [M, K] · B [K, N] + C [M, N]. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Lanes of a subgroup, where an adapter leaves the choice. */
const usualLanes = 32;
/** WebGPU's guaranteed workgroup memory, bytes. */
const workgroupBytes = 16384;

/**
 * The largest matrices that this adapter, which has f16, offers and that our tiles are made of; undefined where there
 * are none.
 */
export function findMatrices({ features, info }: GPUAdapter): Matrices | undefined {
  const { subgroupMinSize = 0, subgroupMaxSize = 0 } = info;
  const { subgroupMatrixConfigs = [] } = info as { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] };
  if (!matrixFeatures.every((feature) => features.has(feature))) return undefined;
  const lanes = Math.min(Math.max(usualLanes, subgroupMinSize), subgroupMaxSize);
  return subgroupMatrixConfigs
    .filter((config) => config.componentType === "f16" && config.resultComponentType === "f32")
    .map(({ M, N, K }) => ({ m: M, n: N, k: K, lanes }))
    .filter(({ m, n, k }) => 16 % m === 0 && 32 % n === 0 && 16 % k === 0)
    .filter(({ m, n }) => 64 % lanes === 0 && Number.isInteger(perRound(m, n, lanes)))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)
    .at(0);
}

/** Matrices of half a tile that one subgroup owns: half a thread's 16 elements times its lanes. */
const perRound = (m: number, n: number, lanes: number): number => (8 * lanes) / (m * n);

/** WGSL of a tile, in the places that product.ts has for it. */
export interface MatrixTile extends Slabs {
  readonly declarations: string;
  readonly begin: string;
  /** Leaves a thread's elements in sum0 … sum3. */
  readonly finish: string;
}

/** `spare`: f32 of workgroup memory that must be free after `finish`; it is `products`. */
export function matrixTile(shape: TileShape, { m, n, k, lanes }: Matrices, spare: number): MatrixTile {
  const { down, across } = shape;
  const [height, width] = [side * down, tileColumns(shape)];
  const half = width / 2;
  // Rows of either begin 16 bytes further than they would, which keeps them aligned and puts them into different banks.
  const [ofB, ofProducts] = [width + 8, half + 4];
  const products = Math.max(height * ofProducts, spare);
  const bytes = (slab: number): number => 2 * (height * (slab + 8) + slab * ofB) + 4 * products;
  const slab = bytes(32) <= workgroupBytes ? 32 : 16;
  const ofA = slab + 8;
  const own = Array.from({ length: perRound(m, n, lanes) }, (_, i) => i);
  const rounds = [0, 1] as const;
  const rows = [0, 1, 2, 3] as const;
  return {
    slab,
    declarations: `alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
alias Result = subgroup_matrix_result<f32, ${n}, ${m}>;
var<workgroup> slabOfA: array<f16, ${height * ofA}>;
var<workgroup> slabOfB: array<f16, ${slab * ofB}>;
var<workgroup> products: array<f32, ${products}>;
fn left(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&slabOfA, at, ${ofA}u); }
fn right(at: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&slabOfB, at, ${ofB}u); }
fn multiplied(a: Left, b: Right, c: Result) -> Result { return subgroupMatrixMultiplyAccumulate(a, b, c); }
fn keep(at: u32, c: Result) { subgroupMatrixStore<row_major>(&products, at, c, ${ofProducts}u); }`,
    begin: own
      .map(
        (i) => `  let place${i} = ${own.length}u * subgroup + ${i}u;
  let down${i} = place${i} % ${height / m}u * ${m}u;
  let along${i} = place${i} / ${height / m}u * ${n}u;
${rounds.map((round) => `  var result${round}${i} = Result();`).join("\n")}`,
      )
      .join("\n"),
    storeA: rows.map((i) => `      slabOfA[(${side}u * four + ${i}u) * ${ofA}u + k] = f16(value[${i}]);`).join("\n"),
    storeB: rows.map((j) => `      slabOfB[k * ${ofB}u + staged + ${j * across}u] = f16(value[${j}]);`).join("\n"),
    multiply: `    for (var k = 0u; k < ${slab}u; k += ${k}u) {
${own
  .flatMap((i) => [
    `      let left${i} = left(down${i} * ${ofA}u + k);`,
    ...rounds.map(
      (round) =>
        `      result${round}${i} = multiplied(left${i}, right(k * ${ofB}u + ${round * half}u + along${i}), ` +
        `result${round}${i});`,
    ),
  ])
  .join("\n")}
    }`,
    finish: rounds
      .flatMap((round) => [
        "  workgroupBarrier();",
        ...own.map((i) => `  keep(down${i} * ${ofProducts}u + along${i}, result${round}${i});`),
        "  workgroupBarrier();",
        ...[0, 1].map((j) => {
          const elements = rows.map(
            (i) => `products[(${side}u * down + ${i}u) * ${ofProducts}u + across + ${j * across}u]`,
          );
          return `  sum${2 * round + j} = vec4f(${elements.join(", ")});`;
        }),
      ])
      .join("\n"),
  };
}
