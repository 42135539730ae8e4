// backends/webgpu: gradients backward through a stride: of maps of which every stride-th pixel was read, and of the
// input of a strided convolution.
//
// The latter is one product too. On an axis, output pixel o reads input pixel i = stride·o + k − padding with tap k.
// With i = stride·u + phase and o = u + d that is k = phase + padding − stride·d: the tap follows from phase and d, the
// output pixel from u and d. So rows = input channels × phases of both axes, columns = blocks of stride × stride input
// pixels, depth = output channels × the distances d that reach a tap. For 3×3 with stride 2, 16 products a block and
// pair of channels, 9 of which are not with zeros; asking each input pixel for all taps would make 36.
import type { KernelTable, Write } from "../../plan/plan.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Addresses, Target } from "./kernel.ts";
import { emitProduct } from "./product.ts";
import type { Extent, TileShape } from "./tile.ts";

interface StridedMaps {
  readonly height: number;
  readonly width: number;
  readonly stride: number;
}

/**
 * WGSL `spread(plane, y, x, value)`: adds or writes a gradient to pixel (y·stride, x·stride) of the plane of `operand`
 * that begins at `plane`. Where it writes, the rest of the block of stride × stride pixels becomes 0.
 */
export function spread(operand: string, { height, width, stride }: StridedMaps, write: Write): string {
  const to = `plane + y * ${stride * width}u + x * ${stride}u`;
  if (write === "accumulate" || stride === 1) {
    return `
fn spread(plane: u32, y: u32, x: u32, value: f32) {
  let to = ${to};
  store_${operand}(to, ${write === "accumulate" ? `load_${operand}(to) + value` : "value"});
}`;
  }
  return `
fn spread(plane: u32, y: u32, x: u32, value: f32) {
  let top = y * ${stride}u;
  let left = x * ${stride}u;
  for (var row = top; row < min(top + ${stride}u, ${height}u); row++) {
    for (var column = left; column < min(left + ${stride}u, ${width}u); column++) {
      store_${operand}(plane + row * ${width}u + column, select(0.0, value, row == top && column == left));
    }
  }
}`;
}

type InputGradient = Readonly<KernelTable["convGradInput"]>;

/** Of an axis: phases that taps reach, and the distances d = o − u at which they do. */
function reach({ kernel, stride, padding }: InputGradient["size"]) {
  // A 1×1 convolution sees the first pixel of each block only.
  const phases = kernel === 1 && padding === 0 ? 1 : stride;
  const first = Math.ceil((padding - kernel + 1) / stride);
  const last = Math.floor((phases - 1 + padding) / stride);
  return { phases, first, distances: last - first + 1 };
}

export function stridedExtent({ dx, dy, size }: InputGradient): Extent {
  const { phases, distances } = reach(size);
  return {
    rows: dx.channels * phases ** 2,
    columns: size.batch * Math.ceil(size.height / size.stride) * Math.ceil(size.width / size.stride),
    depth: dy.channels * distances ** 2,
  };
}

/** dx of a strided convolution without a composite. */
export function stridedInputGradient(
  args: InputGradient,
  label: string,
  at: Addresses,
  target: Target,
  shape: TileShape,
): Dispatch {
  const { dy, weight, dx, write, size } = args;
  const { height, width, outHeight, outWidth, kernel, stride, padding } = size;
  const { phases, first, distances } = reach(size);
  const [plane, outPlane] = [height * width, outHeight * outWidth];
  const [down, across] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const blocks = down * across;
  const store =
    phases < stride
      ? `spread(plane, block / ${across}u, block % ${across}u, value);`
      : `let y = block / ${across}u * ${stride}u + row / ${phases}u % ${phases}u;
  let x = block % ${across}u * ${stride}u + row % ${phases}u;
  if (y >= ${height}u || x >= ${width}u) { return; }
  let to = plane + y * ${width}u + x;
  store_dx(to, ${write === "accumulate" ? "load_dx(to) + value" : "value"});`;
  return emitProduct(
    {
      label,
      ...stridedExtent(args),
      operands: { dy: at.view(dy), weight: at.buffer(weight), dx: at.view(dx) },
      numbers: { channels: dx.channels, dyStride: at.batchStride(dy), dxStride: at.batchStride(dx) },
      contiguous: "column",
      code: `
struct Depth { o: u32, y: i32, x: i32 }
fn depth_at(k: u32) -> Depth {
  let o = k / ${distances ** 2}u;
  return Depth(o, i32(k / ${distances}u % ${distances}u) + ${first}, i32(k % ${distances}u) + ${first});
}
struct Column { dy: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let block = column % ${blocks}u;
  return Column(column / ${blocks}u * call.dyStride, i32(block / ${across}u), i32(block % ${across}u));
}
fn a_at(row: u32, at: Depth) -> f32 {
  let y = i32(row / ${phases}u % ${phases}u) + ${padding} - at.y * ${stride};
  let x = i32(row % ${phases}u) + ${padding} - at.x * ${stride};
  if (y < 0 || y >= ${kernel} || x < 0 || x >= ${kernel}) { return 0.0; }
  return load_weight((at.o * call.channels + row / ${phases ** 2}u) * ${kernel ** 2}u + u32(y) * ${kernel}u + u32(x));
}
fn b_at(at: Depth, column: Column) -> f32 {
  let y = column.y + at.y;
  let x = column.x + at.x;
  if (y < 0 || y >= ${outHeight} || x < 0 || x >= ${outWidth}) { return 0.0; }
  return load_dy(column.dy + at.o * ${outPlane}u + u32(y) * ${outWidth}u + u32(x));
}${phases < stride ? spread("dx", size, write) : ""}
fn finish(row: u32, column: u32, value: f32) {
  let block = column % ${blocks}u;
  let plane = column / ${blocks}u * call.dxStride + row / ${phases ** 2}u * ${plane}u;
  ${store}
}`,
    },
    target,
    shape,
  );
}
