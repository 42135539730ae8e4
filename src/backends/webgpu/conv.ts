// backends/webgpu: convolutions and their gradients as products over pixels.
//
// Forward: rows = output channels, columns = pixels of all images, depth = input channels × taps. Input gradient: rows = input channels,
// depth = output channels × taps of the turned kernel. Weight gradient: rows = output channels, columns = input channels × taps, depth = pixels.
import type { KernelTable, WindowSize } from "../../plan/plan.ts";
import { activate, type Coefficients, coefficientsOf, finishComposite, goBack } from "./composite.ts";
import { type Dispatch, f32 } from "./dispatch.ts";
import type { Addresses, Emit, Target } from "./kernel.ts";
import { columnTiles, emitDeepProduct, emitProduct, tileFor } from "./product.ts";

type DyStatistics = NonNullable<KernelTable["convGrad"]["dyStatistics"]>;

const kernelName = ({ kernel, stride }: WindowSize): string => `${kernel}×${kernel}${stride > 1 ? `/${stride}` : ""}`;

/** `x` at channel c, row y, column x of the image at `base`, through the composite if there is one, 0 in the padding. */
function sample(size: WindowSize, activated: boolean): string {
  const { height, width, kernel, padding } = size;
  const value = (index: string): string => (activated ? `activate(load_x(${index}), c)` : `load_x(${index})`);
  if (kernel === 1 && padding === 0) {
    return `fn sample(base: u32, c: u32, y: i32, x: i32) -> f32 { return ${value(`base + c * ${height * width}u + u32(y) * ${width}u + u32(x)`)}; }`;
  }
  return `fn sample(base: u32, c: u32, y: i32, x: i32) -> f32 {
  if (y < 0 || y >= ${height} || x < 0 || x >= ${width}) { return 0.0; }
  return ${value(`base + c * ${height * width}u + u32(y) * ${width}u + u32(x)`)};
}`;
}

/** dy at channel o, with what reaches it through the statistics of its own channel. */
function upstream(size: WindowSize, statistics: DyStatistics | undefined): string {
  if (!statistics) return "fn upstream(i: u32, y: u32, o: u32) -> f32 { return load_dy(i); }";
  const share = f32(1 / (size.batch * size.outHeight * size.outWidth));
  return `fn upstream(i: u32, y: u32, o: u32) -> f32 {
  let slope = 2.0 * load_yVariance(o) * ${share};
  return load_dy(i) + fma(load_y(y) - load_yMean(o), slope, load_yLevel(o) * ${share});
}`;
}

function upstreamOperands(at: Addresses, statistics: DyStatistics | undefined): Dispatch["operands"] {
  if (!statistics) return {};
  const { y, mean, dMean, dVariance } = statistics;
  return { y: at.view(y), yMean: at.view(mean), yLevel: at.view(dMean), yVariance: at.view(dVariance) };
}

const yStride = (at: Addresses, statistics: DyStatistics | undefined): Dispatch["numbers"] =>
  statistics ? { yStride: at.batchStride(statistics.y) } : {};

export const emitConv: Emit<"conv"> = ({ x, composite, weight, y, size }, at, target) => {
  const { batch, outHeight, outWidth, kernel, stride, padding } = size;
  const taps = kernel * kernel;
  const outPlane = outHeight * outWidth;
  const coefficients = composite && coefficientsOf(at, composite);
  const product = emitProduct(
    {
      label: `conv ${kernelName(size)}`,
      rows: y.channels,
      columns: batch * outPlane,
      depth: x.channels * taps,
      operands: {
        x: at.view(x),
        weight: at.buffer(weight),
        y: at.view(y),
        ...(coefficients ? { coefficients: coefficients.operand } : {}),
      },
      numbers: { xStride: at.batchStride(x), yStride: at.batchStride(y) },
      contiguous: "column",
      code: `${composite ? activate : ""}
${sample(size, composite !== undefined)}
struct Column { base: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let p = column % ${outPlane}u;
  return Column(
    (column / ${outPlane}u) * call.xStride,
    i32(p / ${outWidth}u) * ${stride} - ${padding},
    i32(p % ${outWidth}u) * ${stride} - ${padding});
}
fn a_at(row: u32, k: u32) -> f32 { return load_weight(row * call.depth + k); }
fn b_at(k: u32, column: Column) -> f32 {
  let tap = k % ${taps}u;
  return sample(column.base, k / ${taps}u, column.y + i32(tap / ${kernel}u), column.x + i32(tap % ${kernel}u));
}
fn finish(row: u32, column: u32, value: f32) {
  store_y((column / ${outPlane}u) * call.yStride + row * ${outPlane}u + column % ${outPlane}u, value);
}`,
    },
    target,
  );
  return coefficients ? [coefficients.dispatch, product] : [product];
};

/** dx of a convolution of stride 1, with the composite's backward pass where one was applied on load. */
function inputGradient(
  args: Readonly<KernelTable["convGradInput"]> & { readonly dyStatistics?: DyStatistics },
  coefficients: Coefficients | undefined,
  at: Addresses,
  target: Target,
): readonly Dispatch[] {
  const { dy, dyStatistics, weight, dx, write, composite, size } = args;
  const { batch, height, width, outHeight, outWidth, kernel, stride, padding } = size;
  if (stride !== 1) throw new RangeError(`convGradInput: stride ${stride}, this backend knows stride 1 only`);
  const taps = kernel * kernel;
  const plane = height * width;
  const outPlane = outHeight * outWidth;
  const rows = dx.channels;
  const columns = batch * plane;
  const parts = columnTiles(columns, tileFor(rows, target));
  const sums = composite && at.scratch(rows * parts * 2);
  const place = `let p = column % ${plane}u;
  let image = column / ${plane}u;`;
  const finish =
    composite === undefined
      ? `fn finish(row: u32, column: u32, value: f32) {
  ${place}
  let to = image * call.dxStride + row * ${plane}u + p;
  store_dx(to, ${write === "accumulate" ? "load_dx(to) + value" : "value"});
}`
      : `${goBack(write)}
fn finish(row: u32, column: u32, value: f32) -> vec2f {
  ${place}
  let at = row * ${plane}u + p;
  return goBack(value, row, image * call.xStride + at, image * call.dxStride + at);
}`;
  const product = emitProduct(
    {
      label: `convGradInput ${kernelName(size)}`,
      rows,
      columns,
      depth: dy.channels * taps,
      operands: {
        dy: at.view(dy),
        weight: at.buffer(weight),
        dx: at.view(dx),
        ...upstreamOperands(at, dyStatistics),
        ...(composite && coefficients ? { x: at.view(composite.x), coefficients: coefficients.operand } : {}),
      },
      numbers: {
        dyStride: at.batchStride(dy),
        dxStride: at.batchStride(dx),
        ...yStride(at, dyStatistics),
        ...(composite ? { xStride: at.batchStride(composite.x) } : {}),
      },
      ...(sums ? { sums } : {}),
      contiguous: "column",
      code: `${upstream(size, dyStatistics)}
struct Column { dy: u32, y: u32, top: i32, left: i32 }
fn column_at(column: u32) -> Column {
  ${place}
  return Column(
    image * call.dyStride,
    ${dyStatistics ? "image * call.yStride" : "0u"},
    i32(p / ${width}u) + ${padding},
    i32(p % ${width}u) + ${padding});
}
fn a_at(row: u32, k: u32) -> f32 { return load_weight((k / ${taps}u * call.rows + row) * ${taps}u + k % ${taps}u); }
fn b_at(k: u32, column: Column) -> f32 {
  let o = k / ${taps}u;
  let tap = k % ${taps}u;
  let y = column.top - i32(tap / ${kernel}u);
  let x = column.left - i32(tap % ${kernel}u);
  if (y < 0 || y >= ${outHeight} || x < 0 || x >= ${outWidth}) { return 0.0; }
  let at = o * ${outPlane}u + u32(y) * ${outWidth}u + u32(x);
  return upstream(column.dy + at, column.y + at, o);
}
${finish}`,
    },
    target,
  );
  if (!composite || !coefficients || !sums) return [product];
  return [product, finishComposite(at, composite, coefficients.operand, sums, parts)];
}

function weightGradient(
  args: Readonly<KernelTable["convGradWeight"]> & { readonly dyStatistics?: DyStatistics },
  coefficients: Coefficients | undefined,
  at: Addresses,
  target: Target,
): readonly Dispatch[] {
  const { x, dy, dyStatistics, dWeight, size } = args;
  const { batch, outHeight, outWidth, kernel, stride, padding } = size;
  const taps = kernel * kernel;
  const outPlane = outHeight * outWidth;
  return emitDeepProduct(
    {
      label: `convGradWeight ${kernelName(size)}`,
      rows: dy.channels,
      columns: x.channels * taps,
      depth: batch * outPlane,
      operands: {
        x: at.view(x),
        dy: at.view(dy),
        ...upstreamOperands(at, dyStatistics),
        ...(coefficients ? { coefficients: coefficients.operand } : {}),
      },
      numbers: { xStride: at.batchStride(x), dyStride: at.batchStride(dy), ...yStride(at, dyStatistics) },
      contiguous: "depth",
      code: `${coefficients ? activate : ""}
${sample(size, coefficients !== undefined)}
${upstream(size, dyStatistics)}
struct Column { c: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let tap = column % ${taps}u;
  return Column(column / ${taps}u, i32(tap / ${kernel}u) - ${padding}, i32(tap % ${kernel}u) - ${padding});
}
fn a_at(row: u32, k: u32) -> f32 {
  let image = k / ${outPlane}u;
  let at = row * ${outPlane}u + k % ${outPlane}u;
  return upstream(image * call.dyStride + at, ${dyStatistics ? "image * call.yStride + at" : "0u"}, row);
}
fn b_at(k: u32, column: Column) -> f32 {
  let p = k % ${outPlane}u;
  let y = i32(p / ${outWidth}u) * ${stride} + column.y;
  let x = i32(p % ${outWidth}u) * ${stride} + column.x;
  return sample((k / ${outPlane}u) * call.xStride, column.c, y, x);
}`,
    },
    at.buffer(dWeight),
    at,
    target,
  );
}

export const emitConvGradInput: Emit<"convGradInput"> = (args, at, target) => {
  const coefficients = args.composite && coefficientsOf(at, args.composite.normalize);
  const dispatches = inputGradient(args, coefficients, at, target);
  return coefficients ? [coefficients.dispatch, ...dispatches] : dispatches;
};

export const emitConvGradWeight: Emit<"convGradWeight"> = (args, at, target) => {
  const coefficients = args.composite && coefficientsOf(at, args.composite);
  const dispatches = weightGradient(args, coefficients, at, target);
  return coefficients ? [coefficients.dispatch, ...dispatches] : dispatches;
};

export const emitConvGrad: Emit<"convGrad"> = (args, at, target) => {
  const { composite, dx, dy } = args;
  if (dx.buffer === dy.buffer && dx.offset < dy.offset + dy.channels && dy.offset < dx.offset + dx.channels) {
    throw new RangeError("convGrad: dx and dy share channels, which no plan does");
  }
  const coefficients = coefficientsOf(at, composite.normalize);
  return [
    coefficients.dispatch,
    ...weightGradient({ ...args, x: composite.x, composite: composite.normalize }, coefficients, at, target),
    ...inputGradient(args, coefficients, at, target),
  ];
};
