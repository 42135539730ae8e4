// ops: max pooling of the ImageNet stem (paper, table 1: 3×3, stride 2; padding 1 as torchvision has it). Padding never
// wins.
import { expectShape, noMacs, type Op, type Tensor } from "./op.ts";
import { windowedExtent } from "./window.ts";

type MaxPoolAttrs = { readonly kernel: number; readonly stride: number; readonly padding: number };

/**
 * Calls `visit(out, winner)` for each output element with the input index of its maximum: the first in row order among
 * equals. A NaN wins over numbers, so that it is not lost.
 */
function eachMaximum(
  x: Tensor,
  outShape: readonly number[],
  { kernel, stride, padding }: MaxPoolAttrs,
  visit: (out: number, winner: number) => void,
): void {
  const [batch, channels, height, width] = x.shape;
  const [, , outHeight, outWidth] = outShape;
  let out = 0;
  for (let image = 0; image < batch * channels; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++) {
        let winner = -1;
        for (let iy = Math.max(0, oy * stride - padding); iy < Math.min(height, oy * stride - padding + kernel); iy++) {
          for (
            let ix = Math.max(0, ox * stride - padding);
            ix < Math.min(width, ox * stride - padding + kernel);
            ix++
          ) {
            const index = (image * height + iy) * width + ix;
            // A NaN that comes wins, and nothing but a NaN beats one that already won.
            const candidate = x.data[index];
            if (winner < 0 || candidate > x.data[winner] || Number.isNaN(candidate)) winner = index;
          }
        }
        visit(out++, winner);
      }
    }
  }
}

/**
 * x [N,C,H,W] → y [N,C,H',W'], H' = ⌊(H + 2·padding − kernel)/stride⌋ + 1. Needs padding ≤ kernel/2: each window holds
 * a pixel.
 */
export const maxPool2d: Op<MaxPoolAttrs> = {
  name: "maxPool2d",
  outputs: ["y"],
  contraction: false,
  shapes([x], { kernel, stride, padding }) {
    expectShape("maxPool2d", "input", x, [undefined, undefined, undefined, undefined]);
    const extent = (size: number) => windowedExtent("maxPool2d", size, kernel, stride, padding);
    return [[x[0], x[1], extent(x[2]), extent(x[3])]];
  },
  macs: noMacs,
  reference([x], [y], attrs) {
    eachMaximum(x, y.shape, attrs, (out, winner) => {
      y.data[out] = x.data[winner];
    });
  },
  gradient: ({ inputs: [x], dOutputs: [dy], attrs, emit }) => emit(maxPool2dGrad, [x, dy], attrs),
};

/** (x, dy) → dx: each dy goes to its window's maximum; overlapping windows add up. */
export const maxPool2dGrad: Op<MaxPoolAttrs> = {
  name: "maxPool2dGrad",
  outputs: ["dx"],
  contraction: false,
  shapes([x, dy], attrs) {
    expectShape("maxPool2dGrad", "output gradient", dy, maxPool2d.shapes([x], attrs)[0]);
    return [x];
  },
  macs: noMacs,
  reference([x, dy], [dx], attrs) {
    dx.data.fill(0);
    eachMaximum(x, dy.shape, attrs, (out, winner) => {
      dx.data[winner] += dy.data[out];
    });
  },
};
