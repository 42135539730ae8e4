// backends/webgpu: the gradient of maps that a kernel finds pixel by pixel, through a composite if there is one.
import type { CompositeBackward, View, Write } from "../../plan/plan.ts";
import { compositeBackward, finishComposite, loading, loadingOperands } from "./composite.ts";
import { type Dispatch, forEach, loneLanes, totalOf } from "./dispatch.ts";
import type { Addresses } from "./kernel.ts";

/** WGSL for the logical index i of [N, channels, height, width]: image, c, y, x. */
export const place = (plane: number, width: number): string => `let p = i % ${plane}u;
  let c = i / ${plane}u % call.channels;
  let image = i / (${plane}u * call.channels);
  let y = p / ${width}u;
  let x = p % ${width}u;`;

/** Images of one channel that a workgroup takes, so that there are enough workgroups. */
const usualImages = 8;

export interface MapGradient {
  readonly label: string;
  readonly dy: View;
  readonly dx: View;
  readonly write: Write;
  readonly composite?: CompositeBackward;
  /** false: the composite is without its ReLU. */
  readonly rectified?: boolean;
  readonly size: { readonly batch: number; readonly height: number; readonly width: number };
  /** What `code` reads and writes beside dy, dx and what belongs to the composite. */
  readonly operands?: Dispatch["operands"];
  readonly numbers?: Dispatch["numbers"];
  /**
   * WGSL `gradient(image, c, channel, y, x)`: what reaches pixel (y, x) of what is made of dx's maps, called once for
   * each.
   */
  readonly code: string;
  /** Images of one channel that a workgroup takes where there is a composite. */
  readonly images?: number;
}

export function emitMapGradient(
  {
    label,
    dy,
    dx,
    write,
    composite,
    rectified = true,
    size: { batch, height, width },
    operands: more = {},
    numbers: moreNumbers = {},
    code,
    images = usualImages,
  }: MapGradient,
  at: Addresses,
): readonly Dispatch[] {
  const plane = height * width;
  const operands = { dy: at.view(dy), dx: at.view(dx), ...more };
  const numbers = {
    channels: dx.channels,
    dyStride: at.batchStride(dy),
    dxStride: at.batchStride(dx),
    ...moreNumbers,
  };
  if (!composite) {
    return [
      forEach(batch * dx.channels * plane, {
        label,
        operands,
        numbers,
        code: `${loading(undefined)}${code}
fn each(i: u32) {
  ${place(plane, width)}
  let to = image * call.dxStride + c * ${plane}u + p;
  store_dx(to, ${write === "accumulate" ? "load_dx(to) + " : ""}gradient(image, c, channel_at(c), y, x));
}`,
      }),
    ];
  }
  const parts = Math.ceil(batch / images);
  const sums = at.scratch(dx.channels * parts * 2);
  return [
    {
      label,
      operands: { ...operands, x: at.view(composite.x), ...loadingOperands(at, composite.normalize), sums },
      numbers: { ...numbers, xStride: at.batchStride(composite.x), parts },
      code: `${totalOf("vec2f", loneLanes)}
${loading(composite.normalize)}${compositeBackward(write, rectified)}
${code}
fn body(group: u32, lane: u32) {
  let c = group / call.parts;
  let first = group % call.parts * ${images}u;
  let channel = channel_at(c);
  var own = vec2f(0.0);
  for (var i = lane; i < ${plane}u * (min(first + ${images}u, ${batch}u) - first); i += ${loneLanes}u) {
    let image = first + i / ${plane}u;
    let p = i % ${plane}u;
    let at = c * ${plane}u + p;
    own += compositeBackward(gradient(image, c, channel, p / ${width}u, p % ${width}u), channel, image * call.xStride + at, image * call.dxStride + at);
  }
  let sum = total(own, lane);
  if (lane > 0u) { return; }
  store_sums(2u * group, sum.x);
  store_sums(2u * group + 1u, sum.y);
}`,
      size: loneLanes,
      groups: dx.channels * parts,
    },
    finishComposite(at, composite, sums, parts),
  ];
}
