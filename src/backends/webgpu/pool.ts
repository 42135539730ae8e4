// backends/webgpu: pooling of activated maps and its gradient.
import type { WindowSize } from "../../plan/plan.ts";
import { loading, loadingOperands } from "./composite.ts";
import { f32, forEach } from "./dispatch.ts";
import type { Emit } from "./kernel.ts";
import { emitMapGradient, place } from "./mapGradient.ts";

export const emitAvgPool: Emit<"avgPool"> = ({ x, composite, y, size }, at) => {
  const { batch, height, width, outHeight, outWidth, windowHeight, windowWidth } = size;
  const outPlane = outHeight * outWidth;
  return [
    forEach(batch * x.channels * outPlane, {
      label: "avgPool",
      operands: { x: at.view(x), y: at.view(y), ...loadingOperands(at, composite) },
      numbers: { channels: x.channels, xStride: at.batchStride(x), yStride: at.batchStride(y) },
      code: `${loading(composite)}
fn each(i: u32) {
  ${place(outPlane, outWidth)}
  let channel = channel_at(c);
  let corner = image * call.xStride + c * ${height * width}u + y * ${windowHeight * width}u + x * ${windowWidth}u;
  // Row by row: a window may be a whole map, and long chains of sums round more.
  var sum = 0.0;
  for (var row = 0u; row < ${windowHeight}u; row++) {
    var rowSum = 0.0;
    for (var column = 0u; column < ${windowWidth}u; column++) {
      rowSum += activate(load_x(corner + row * ${width}u + column), channel);
    }
    sum += rowSum;
  }
  store_y(image * call.yStride + c * ${outPlane}u + p, sum * ${f32(1 / (windowHeight * windowWidth))});
}`,
    }),
  ];
};

/**
 * WGSL `winner(base, channel, y, x)`: index in its plane of the maximum of output (y, x)'s window over activated x, the
 * first in row order among equals. A NaN wins, and only another one beats it; its bits are asked, because WGSL lets a
 * compiler assume that x == x.
 */
const winner = ({ height, width, kernel, stride, padding }: WindowSize): string => `
fn isNan(value: f32) -> bool { return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u; }
fn winner(base: u32, channel: Channel, y: u32, x: u32) -> u32 {
  let top = i32(y) * ${stride} - ${padding};
  let left = i32(x) * ${stride} - ${padding};
  var best = 0.0;
  var found = ${height * width}u;
  for (var row = max(top, 0); row < min(top + ${kernel}, ${height}); row++) {
    for (var column = max(left, 0); column < min(left + ${kernel}, ${width}); column++) {
      let p = u32(row) * ${width}u + u32(column);
      let value = activate(load_x(base + p), channel);
      if (found == ${height * width}u || isNan(value) || value > best) {
        best = value;
        found = p;
      }
    }
  }
  return found;
}`;

export const emitMaxPool: Emit<"maxPool"> = ({ x, composite, y, size }, at) => {
  const { batch, height, width, outHeight, outWidth } = size;
  const outPlane = outHeight * outWidth;
  return [
    forEach(batch * x.channels * outPlane, {
      label: "maxPool",
      operands: { x: at.view(x), y: at.view(y), ...loadingOperands(at, composite) },
      numbers: { channels: x.channels, xStride: at.batchStride(x), yStride: at.batchStride(y) },
      code: `${loading(composite)}${winner(size)}
fn each(i: u32) {
  ${place(outPlane, outWidth)}
  let channel = channel_at(c);
  let base = image * call.xStride + c * ${height * width}u;
  store_y(image * call.yStride + c * ${outPlane}u + p, activate(load_x(base + winner(base, channel, y, x)), channel));
}`,
    }),
  ];
};

export const emitAvgPoolGrad: Emit<"avgPoolGrad"> = (args, at) => {
  const { outHeight, outWidth, windowHeight, windowWidth } = args.size;
  return emitMapGradient(
    {
      ...args,
      label: "avgPoolGrad",
      code: `fn gradient(image: u32, c: u32, channel: Channel, y: u32, x: u32) -> f32 {
  let row = y / ${windowHeight}u;
  let column = x / ${windowWidth}u;
  if (row >= ${outHeight}u || column >= ${outWidth}u) { return 0.0; }
  return load_dy(image * call.dyStride + c * ${outHeight * outWidth}u + row * ${outWidth}u + column) * ${f32(1 / (windowHeight * windowWidth))};
}`,
    },
    at,
  );
};

export const emitMaxPoolGrad: Emit<"maxPoolGrad"> = (args, at) => {
  const { height, width, outHeight, outWidth, kernel, stride, padding } = args.size;
  return emitMapGradient(
    {
      ...args,
      label: "maxPoolGrad",
      code: `${winner(args.size)}
/** First window that holds pixel i of an axis. */
fn firstWindow(i: u32) -> u32 {
  let past = i32(i) + ${padding} - ${kernel - 1};
  return u32(max((past + ${stride - 1}) / ${stride}, 0));
}
fn gradient(image: u32, c: u32, channel: Channel, y: u32, x: u32) -> f32 {
  let base = image * call.xStride + c * ${height * width}u;
  let own = y * ${width}u + x;
  var sum = 0.0;
  for (var row = firstWindow(y); row < ${outHeight}u && row * ${stride}u <= y + ${padding}u; row++) {
    for (var column = firstWindow(x); column < ${outWidth}u && column * ${stride}u <= x + ${padding}u; column++) {
      if (winner(base, channel, row, column) == own) {
        sum += load_dy(image * call.dyStride + c * ${outHeight * outWidth}u + row * ${outWidth}u + column);
      }
    }
  }
  return sum;
}`,
    },
    at,
  );
};
