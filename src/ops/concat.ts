// ops: concatenation of channels, the connection that makes a DenseNet (paper, equation 2), and its adjoint, the slice.
// In a plan both are addresses.
import { expectShape, type NoAttrs, noMacs, type Op, type Shape, sizeOf } from "./op.ts";

type SliceAttrs = { readonly start: number; readonly length: number };

/** Channels stand on axis 1 of features [N,C,H,W] and on axis 0 of per-channel vectors [C]. */
function channelAxis(shape: Shape): number {
  return shape.length === 4 ? 1 : 0;
}

function withChannels(shape: Shape, channels: number | undefined): (number | undefined)[] {
  return shape.map((extent, axis) => (axis === channelAxis(shape) ? channels : extent));
}

/** How a tensor lies in memory: `rows` runs of `run` elements, one run holding all channels of an image. */
function runs(shape: Shape): { rows: number; run: number } {
  const rows = channelAxis(shape) === 1 ? shape[0] : 1;
  return { rows, run: sizeOf(shape) / rows };
}

/** x₀, x₁, … → y: all channels in order. Every other extent must agree. */
export const concat: Op<NoAttrs> = {
  name: "concat",
  outputs: ["y"],
  contraction: false,
  shapes(inputs) {
    const [first] = inputs;
    expectShape(
      "concat",
      "input 0",
      first,
      first.length === 4 ? [undefined, undefined, undefined, undefined] : [undefined],
    );
    inputs.forEach((shape, i) => {
      expectShape("concat", `input ${i}`, shape, withChannels(first, undefined));
    });
    const channels = inputs.reduce((sum, shape) => sum + shape[channelAxis(first)], 0);
    return [withChannels(first, channels) as Shape];
  },
  macs: noMacs,
  reference(inputs, [y]) {
    const { rows, run } = runs(y.shape);
    let offset = 0;
    for (const input of inputs) {
      const part = runs(input.shape).run;
      for (let row = 0; row < rows; row++) {
        y.data.set(input.data.subarray(row * part, (row + 1) * part), row * run + offset);
      }
      offset += part;
    }
  },
  gradient({ inputShapes, dOutputs: [dy], wanted, emit }) {
    let start = 0;
    return inputShapes.map((shape, i) => {
      const length = shape[channelAxis(shape)];
      const attrs = { start, length };
      start += length;
      return wanted[i] ? emit(slice, [dy], attrs)[0] : undefined;
    });
  },
};

/** x → y: `length` channels of x from channel `start`. */
export const slice: Op<SliceAttrs> = {
  name: "slice",
  outputs: ["y"],
  contraction: false,
  shapes([x], { start, length }) {
    const channels = x[channelAxis(x)];
    if (start + length > channels) expectShape("slice", "input", x, withChannels(x, start + length));
    return [withChannels(x, length) as Shape];
  },
  macs: noMacs,
  reference([x], [y], { start, length }) {
    const { rows, run } = runs(x.shape);
    const perChannel = run / x.shape[channelAxis(x.shape)];
    for (let row = 0; row < rows; row++) {
      const from = row * run + start * perChannel;
      y.data.set(x.data.subarray(from, from + length * perChannel), row * length * perChannel);
    }
  },
};
