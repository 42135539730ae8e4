// backends/webgpu: convolutions and their gradients as products over pixels.
//
// Forward: rows = output channels, columns = pixels of all images, depth = input channels × taps. Input gradient: rows
// = input channels, depth = output channels × taps of the turned kernel. Weight gradient: rows = output channels,
// columns = input channels × taps, depth = pixels.
import type { Composite, KernelTable, View, WindowSize } from "../../plan/plan.ts";
import { compositeBackward, finishComposite, loading, loadingOperands } from "./composite.ts";
import { beside, type Dispatch, f32 } from "./dispatch.ts";
import { dropOut } from "./elementwise.ts";
import type { Addresses, Emit, Target } from "./kernel.ts";
import { emitDeepProduct, emitProduct, type SummedProduct } from "./product.ts";
import { mergeMoments } from "./statistics.ts";
import { stridedExtent, stridedInputGradient } from "./strided.ts";
import { columnTiles, type Extent, tileColumns, tileFor, tilesTogether } from "./tile.ts";

type DyStatistics = NonNullable<KernelTable["convGrad"]["dyStatistics"]>;

const kernelName = ({ kernel, stride }: WindowSize): string => `${kernel}×${kernel}${stride > 1 ? `/${stride}` : ""}`;

/**
 * WGSL `sample(plane, y, x, channel)`: x at row y, column x of the plane that begins at `plane`, activated; 0 in the
 * padding.
 */
function sample({ height, width, kernel, padding }: WindowSize, composite: Composite | undefined): string {
  const inside = kernel === 1 && padding === 0;
  return `${loading(composite)}
fn sample(plane: u32, y: i32, x: i32, channel: Channel) -> f32 {
${inside ? "" : `  if (y < 0 || y >= ${height} || x < 0 || x >= ${width}) { return 0.0; }\n`}  return activate(load_x(plane + u32(y) * ${width}u + u32(x)), channel);
}`;
}

/**
 * WGSL `upstream(i, y, through)`: dy[i] with what reaches it through the statistics of its own channel o, `through(o)`.
 */
function upstream(size: WindowSize, statistics: DyStatistics | undefined): string {
  if (!statistics) {
    return `
struct Through { none: u32 }
fn through(o: u32) -> Through { return Through(0u); }
fn upstream(i: u32, y: u32, through: Through) -> f32 { return load_dy(i); }`;
  }
  const share = f32(1 / (size.batch * size.outHeight * size.outWidth));
  return `
struct Through { mean: f32, level: f32, slope: f32 }
fn through(o: u32) -> Through {
  return Through(load_yMean(o), load_yLevel(o) * ${share}, 2.0 * load_yVariance(o) * ${share});
}
fn upstream(i: u32, y: u32, through: Through) -> f32 { return load_dy(i) + fma(load_y(y) - through.mean, through.slope, through.level); }`;
}

function upstreamOperands(at: Addresses, statistics: DyStatistics | undefined): Dispatch["operands"] {
  if (!statistics) return {};
  const { y, mean, dMean, dVariance } = statistics;
  return { y: at.view(y), yMean: at.view(mean), yLevel: at.view(dMean), yVariance: at.view(dVariance) };
}

const yStride = (at: Addresses, statistics: DyStatistics | undefined): Dispatch["numbers"] =>
  statistics ? { yStride: at.batchStride(statistics.y) } : {};

/**
 * What follows a convolution in place or over the same channels, and is done while a tile of its output is in
 * registers.
 */
export interface Following {
  readonly dropout?: Readonly<KernelTable["dropout"]> | undefined;
  readonly statistics?: Readonly<KernelTable["channelStatistics"]> | undefined;
}

export function emitConvWith(
  { x, composite, weight, y, size }: Readonly<KernelTable["conv"]>,
  { dropout, statistics }: Following,
  at: Addresses,
  target: Target,
): readonly Dispatch[] {
  const { batch, height, width, outHeight, outWidth, kernel, stride, padding } = size;
  const taps = kernel * kernel;
  const outPlane = outHeight * outWidth;
  const columns = batch * outPlane;
  const shape = tileFor(y.channels, target);
  const moments = statistics && at.scratch(y.channels * columnTiles(columns, shape) * 2);
  const product = emitProduct(
    {
      label: `conv ${kernelName(size)}`,
      rows: y.channels,
      columns,
      depth: x.channels * taps,
      operands: { x: at.view(x), weight: at.buffer(weight), y: at.view(y), ...loadingOperands(at, composite) },
      numbers: {
        xStride: at.batchStride(x),
        yStride: at.batchStride(y),
        ...(dropout ? { stream: dropout.stream } : {}),
      },
      ...(moments ? { rowEnds: { to: moments, kind: "moments" } } : {}),
      contiguous: "column",
      halves: at.view(y).space === "maps",
      code: `${sample(size, composite)}
struct Depth { k: u32, plane: u32, y: i32, x: i32, channel: Channel }
fn depth_at(k: u32) -> Depth {
  let c = k / ${taps}u;
  let tap = k % ${taps}u;
  return Depth(k, c * ${height * width}u, i32(tap / ${kernel}u), i32(tap % ${kernel}u), channel_at(c));
}
struct Column { image: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let p = column % ${outPlane}u;
  return Column(
    (column / ${outPlane}u) * call.xStride,
    i32(p / ${outWidth}u) * ${stride} - ${padding},
    i32(p % ${outWidth}u) * ${stride} - ${padding});
}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight(row * call.depth + at.k); }
fn b_at(at: Depth, column: Column) -> f32 {
  return sample(column.image + at.plane, column.y + at.y, column.x + at.x, at.channel);
}
${dropout ? dropOut(dropout.rate) : ""}
fn finish(row: u32, column: u32, value: f32)${moments ? " -> f32" : ""} {
  let image = column / ${outPlane}u;
  let p = row * ${outPlane}u + column % ${outPlane}u;
  let kept = ${dropout ? `dropOut(value, image * call.rows * ${outPlane}u + p)` : "value"};
  ${moments ? "return stored_y" : "store_y"}(image * call.yStride + p, kept);
}`,
    },
    target,
    shape,
  );
  if (!statistics || !moments) return [product];
  return [product, mergeMoments(moments, statistics, tileColumns(shape), columns, at)];
}

export const emitConv: Emit<"conv"> = (args, at, target) => emitConvWith(args, {}, at, target);

type InputGradient = Readonly<KernelTable["convGradInput"]> & { readonly dyStatistics?: DyStatistics };
type WeightGradient = Readonly<KernelTable["convGradWeight"]> & { readonly dyStatistics?: DyStatistics };

/** Whether two views have words in common. */
function viewsOverlap(a: View, b: View, at: Addresses): boolean {
  if (a.buffer === b.buffer) return a.offset < b.offset + b.channels && b.offset < a.offset + a.channels;
  const [one, other] = [at.view(a), at.view(b)];
  return one.space === other.space && one.start < other.start + other.words && other.start < one.start + one.words;
}

function inputExtent(args: InputGradient): Extent {
  const { dx, dy, size } = args;
  if (size.stride > 1) return stridedExtent(args);
  return {
    rows: dx.channels,
    columns: size.batch * size.height * size.width,
    depth: dy.channels * size.kernel ** 2,
  };
}

const weightExtent = ({ x, dy, size: { batch, outHeight, outWidth, kernel } }: WeightGradient): Extent => ({
  rows: dy.channels,
  columns: x.channels * kernel * kernel,
  depth: batch * outHeight * outWidth,
});

/** dx of a convolution, with the composite's backward pass where one was applied on load. */
function inputGradient(
  args: InputGradient,
  at: Addresses,
  target: Target,
  shape = tileFor(inputExtent(args).rows, target),
): SummedProduct {
  const { dy, dyStatistics, weight, dx, write, composite, size } = args;
  const { height, width, outHeight, outWidth, kernel, stride, padding } = size;
  if (viewsOverlap(dx, dy, at)) throw new RangeError("convGradInput: dx and dy share memory, which no plan does");
  const label = `convGradInput ${kernelName(size)}`;
  if (stride > 1) {
    if (composite) throw new RangeError(`${label}: this backend propagates no composite through a stride`);
    return { product: stridedInputGradient(args, label, at, target, shape), sum: undefined };
  }
  const taps = kernel * kernel;
  const plane = height * width;
  const outPlane = outHeight * outWidth;
  const extent = inputExtent(args);
  const parts = columnTiles(extent.columns, shape);
  const sums = composite && at.scratch(extent.rows * parts * 2);
  const place = `let p = column % ${plane}u;
  let image = column / ${plane}u;`;
  const finish =
    composite === undefined
      ? `fn finish(row: u32, column: u32, value: f32) {
  ${place}
  let to = image * call.dxStride + row * ${plane}u + p;
  store_dx(to, ${write === "accumulate" ? "load_dx(to) + value" : "value"});
}`
      : `${loading(composite.normalize)}${compositeBackward(write)}
struct Row { plane: u32, channel: Channel }
fn row_at(row: u32) -> Row { return Row(row * ${plane}u, channel_at(row)); }
fn finish(row: Row, column: u32, value: f32) -> vec2f {
  ${place}
  return compositeBackward(value, row.channel, image * call.xStride + row.plane + p, image * call.dxStride + row.plane + p);
}`;
  const product = emitProduct(
    {
      label,
      ...extent,
      operands: {
        dy: at.view(dy),
        weight: at.buffer(weight),
        dx: at.view(dx),
        ...upstreamOperands(at, dyStatistics),
        ...(composite ? { x: at.view(composite.x), ...loadingOperands(at, composite.normalize) } : {}),
      },
      numbers: {
        dyStride: at.batchStride(dy),
        dxStride: at.batchStride(dx),
        ...yStride(at, dyStatistics),
        ...(composite ? { xStride: at.batchStride(composite.x) } : {}),
      },
      ...(sums ? { rowEnds: { to: sums, kind: "sums" } } : {}),
      contiguous: "column",
      code: `${upstream(size, dyStatistics)}
struct Depth { o: u32, tap: u32, y: i32, x: i32, through: Through }
fn depth_at(k: u32) -> Depth {
  let o = k / ${taps}u;
  let tap = k % ${taps}u;
  return Depth(o, tap, i32(tap / ${kernel}u), i32(tap % ${kernel}u), through(o));
}
struct Column { dy: u32, y: u32, top: i32, left: i32 }
fn column_at(column: u32) -> Column {
  ${place}
  return Column(
    image * call.dyStride,
    ${dyStatistics ? "image * call.yStride" : "0u"},
    i32(p / ${width}u) + ${padding},
    i32(p % ${width}u) + ${padding});
}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight((at.o * call.rows + row) * ${taps}u + at.tap); }
fn b_at(at: Depth, column: Column) -> f32 {
  let y = column.top - at.y;
  let x = column.left - at.x;
  if (y < 0 || y >= ${outHeight} || x < 0 || x >= ${outWidth}) { return 0.0; }
  let p = at.o * ${outPlane}u + u32(y) * ${outWidth}u + u32(x);
  return upstream(column.dy + p, column.y + p, at.through);
}
${finish}`,
    },
    target,
    shape,
  );
  return { product, sum: composite && sums && finishComposite(at, composite, sums, parts) };
}

function weightGradient(
  args: WeightGradient,
  at: Addresses,
  target: Target,
  shape = tileFor(args.dy.channels, target),
): SummedProduct {
  const { x, composite, dy, dyStatistics, dWeight, size } = args;
  const { height, width, outHeight, outWidth, kernel, stride, padding } = size;
  const taps = kernel * kernel;
  const outPlane = outHeight * outWidth;
  return emitDeepProduct(
    {
      label: `convGradWeight ${kernelName(size)}`,
      ...weightExtent(args),
      operands: {
        x: at.view(x),
        dy: at.view(dy),
        ...upstreamOperands(at, dyStatistics),
        ...loadingOperands(at, composite),
      },
      numbers: { xStride: at.batchStride(x), dyStride: at.batchStride(dy), ...yStride(at, dyStatistics) },
      contiguous: "depth",
      code: `${sample(size, composite)}
${upstream(size, dyStatistics)}
struct Depth { image: u32, p: u32, y: i32, x: i32 }
fn depth_at(k: u32) -> Depth {
  let p = k % ${outPlane}u;
  return Depth(k / ${outPlane}u, p, i32(p / ${outWidth}u) * ${stride}, i32(p % ${outWidth}u) * ${stride});
}
struct Column { plane: u32, y: i32, x: i32, channel: Channel }
fn column_at(column: u32) -> Column {
  let c = column / ${taps}u;
  let tap = column % ${taps}u;
  return Column(c * ${height * width}u, i32(tap / ${kernel}u) - ${padding}, i32(tap % ${kernel}u) - ${padding}, channel_at(c));
}
fn a_at(row: u32, at: Depth) -> f32 {
  let p = row * ${outPlane}u + at.p;
  return upstream(at.image * call.dyStride + p, ${dyStatistics ? "at.image * call.yStride + p" : "0u"}, through(row));
}
fn b_at(at: Depth, column: Column) -> f32 {
  return sample(at.image * call.xStride + column.plane, at.y + column.y, at.x + column.x, column.channel);
}`,
    },
    at.buffer(dWeight),
    at,
    target,
    shape,
  );
}

const inOrder = ({ product, sum }: SummedProduct): readonly Dispatch[] => [product, ...(sum ? [sum] : [])];

export const emitConvGradInput: Emit<"convGradInput"> = (args, at, target) => inOrder(inputGradient(args, at, target));

export const emitConvGradWeight: Emit<"convGradWeight"> = (args, at, target) =>
  inOrder(weightGradient(args, at, target));

/**
 * Both gradients of one convolution: tiled products side by side, then their sums. They have operands in common, but
 * each writes what the other does not read. The exception is an x that only the weight gradient needs: a plan may give
 * its memory to dx, and then one product follows the other. Products that are not tiled do so too: on an adapter that
 * computes on the CPU, a dispatch costs less than what both lose in one shader.
 */
export function emitConvGradients(
  weight: WeightGradient,
  input: InputGradient,
  at: Addresses,
  target: Target,
): readonly Dispatch[] {
  const apart = !target.tiled || viewsOverlap(weight.x, input.dx, at);
  const shapes = apart ? undefined : tilesTogether(weightExtent(weight), inputExtent(input));
  const gradients = [weightGradient(weight, at, target, shapes?.[0]), inputGradient(input, at, target, shapes?.[1])];
  const products = gradients.map(({ product }) => product);
  const sums = gradients.flatMap(({ sum }) => sum ?? []);
  return [...(apart ? products : [products.reduce(beside)]), ...(sums.length > 0 ? [sums.reduce(beside)] : [])];
}

export const emitConvGrad: Emit<"convGrad"> = (args, at, target) =>
  emitConvGradients({ ...args, x: args.composite.x, composite: args.composite.normalize }, args, at, target);
