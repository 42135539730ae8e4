// backends/webgpu: the end of a residual unit and its gradient. Batch norm without ReLU, the gate of stochastic depth,
// the shortcut, the sum and the ReLU behind it are one dispatch. So is their gradient, with a second one for the sums
// of the batch norm where there is one.
import type { KernelTable, ShortcutSize } from "../../plan/plan.ts";
import { loading, loadingOperands } from "./composite.ts";
import { type Dispatch, f32Bits, forEach } from "./dispatch.ts";
import { gateNumbers, gating } from "./elementwise.ts";
import type { Addresses, Emit } from "./kernel.ts";
import { emitMapGradient, place } from "./mapGradient.ts";
import { emitMoments } from "./statistics.ts";
import { spread } from "./strided.ts";

/** WGSL `passed(image, c, p)`: what the shortcut adds to pixel p of channel c. */
function passing({ height, width, stride }: ShortcutSize): string {
  const across = Math.ceil(width / stride);
  const pixel = stride === 1 ? "p" : `p / ${across}u * ${stride * width}u + p % ${across}u * ${stride}u`;
  return `
fn passed(image: u32, c: u32, p: u32) -> f32 {
  return load_shortcut(image * call.shortcutStride + c * ${height * width}u + ${pixel});
}`;
}

/** Statistics of the sum are begun by the workgroups that store it. */
export function emitResidualAddWith(
  { x, normalize, gate, scale, shortcut, relu, y, batch, height, width }: Readonly<KernelTable["residualAdd"]>,
  statistics: Readonly<KernelTable["channelStatistics"]> | undefined,
  at: Addresses,
): readonly Dispatch[] {
  const plane = height * width;
  const branch = `load_x(image * call.xStride + c * ${plane}u + p)`;
  const sum = {
    label: `residualAdd${shortcut ? "" : " without shortcut"}`,
    operands: {
      x: at.view(x),
      y: at.view(y),
      ...loadingOperands(at, normalize),
      ...(shortcut ? { shortcut: at.view(shortcut.x) } : {}),
    },
    numbers: {
      channels: x.channels,
      xStride: at.batchStride(x),
      yStride: at.batchStride(y),
      ...gateNumbers(gate),
      ...(scale === 1 ? {} : { scale: f32Bits(scale) }),
      ...(shortcut ? { shortcutChannels: shortcut.x.channels, shortcutStride: at.batchStride(shortcut.x) } : {}),
    },
    code: `${loading(normalize)}${gating(gate)}${shortcut ? passing(shortcut) : ""}
fn unit(image: u32, c: u32, p: u32, channel: Channel) -> f32 {
  var value = 0.0;
  if (isOpen(image)) { value = ${normalize ? `fma(${branch}, channel.scale, channel.shift)` : branch}; }
${scale === 1 ? "" : "  value *= bitcast<f32>(call.scale);"}
${shortcut ? "  if (c < call.shortcutChannels) { value += passed(image, c, p); }" : ""}
  return ${relu ? "select(value, 0.0, value < 0.0)" : "value"};
}`,
  };
  if (statistics) {
    const first = (index: string): string =>
      `stored_y(${index}, unit(first + i / ${plane}u, c, i % ${plane}u, channel_at(c)))`;
    return emitMoments({ ...sum, maps: "y", batch, plane, first }, statistics, at);
  }
  return [
    forEach(batch * x.channels * plane, {
      ...sum,
      code: `${sum.code}
fn each(i: u32) {
  ${place(plane, width)}
  store_y(image * call.yStride + c * ${plane}u + p, unit(image, c, p, channel_at(c)));
}`,
    }),
  ];
}

export const emitResidualAdd: Emit<"residualAdd"> = (args, at) => emitResidualAddWith(args, undefined, at);

/** Values of one channel that a workgroup takes, about: some for each lane, and enough workgroups. */
const valuesEach = 1024;

export const emitResidualAddGrad: Emit<"residualAddGrad"> = (args, at) => {
  const { dy, y, gate, dx, write, normalize, shortcut, batch, height, width } = args;
  const plane = height * width;
  return emitMapGradient(
    {
      label: `residualAddGrad${shortcut ? "" : " without shortcut"}`,
      dy,
      dx,
      write,
      ...(normalize ? { composite: normalize, rectified: false } : {}),
      size: { batch, height, width },
      operands: {
        ...(y ? { y: at.view(y) } : {}),
        ...(shortcut ? { shortcut: at.view(shortcut.dx) } : {}),
      },
      numbers: {
        ...(y ? { yStride: at.batchStride(y) } : {}),
        ...gateNumbers(gate),
        ...(shortcut ? { shortcutChannels: shortcut.dx.channels, shortcutStride: at.batchStride(shortcut.dx) } : {}),
      },
      images: Math.max(1, Math.floor(valuesEach / plane)),
      code: `${gating(gate)}${shortcut ? spread("shortcut", shortcut, shortcut.write) : ""}
fn gradient(image: u32, c: u32, channel: Channel, y: u32, x: u32) -> f32 {
  let at = c * ${plane}u + y * ${width}u + x;
  var g = load_dy(image * call.dyStride + at);
${y ? "  if (load_y(image * call.yStride + at) <= 0.0) { g = 0.0; }" : ""}
${shortcut ? `  if (c < call.shortcutChannels) { spread(image * call.shortcutStride + c * ${shortcut.height * shortcut.width}u, y, x, g); }` : ""}
  return select(0.0, g, isOpen(image));
}`,
    },
    at,
  );
};
