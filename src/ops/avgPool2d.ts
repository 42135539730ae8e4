// ops: average pooling over windows that lie side by side, as in a transition (paper, section 3: 2×2). Leftover rows
// and columns are ignored.
import { expectShape, noMacs, type Op } from "./op.ts";
import { windowedExtent } from "./window.ts";

type AvgPoolAttrs = { readonly window: readonly number[] };
type AvgPoolGradAttrs = AvgPoolAttrs & { readonly height: number; readonly width: number };

/** x [N,C,H,W] → y [N,C,⌊H/h⌋,⌊W/w⌋] with window [h, w]. */
export const avgPool2d: Op<AvgPoolAttrs> = {
  name: "avgPool2d",
  outputs: ["y"],
  contraction: true,
  shapes([x], { window: [h, w] }) {
    expectShape("avgPool2d", "input", x, [undefined, undefined, undefined, undefined]);
    return [[x[0], x[1], windowedExtent("avgPool2d", x[2], h, h, 0), windowedExtent("avgPool2d", x[3], w, w, 0)]];
  },
  macs: noMacs,
  reference([x], [y], { window: [h, w] }) {
    const [batch, channels, height, width] = x.shape;
    const [, , outHeight, outWidth] = y.shape;
    let out = 0;
    for (let image = 0; image < batch * channels; image++) {
      for (let oy = 0; oy < outHeight; oy++) {
        for (let ox = 0; ox < outWidth; ox++) {
          let sum = 0;
          for (let ky = 0; ky < h; ky++) {
            for (let kx = 0; kx < w; kx++) sum += x.data[(image * height + oy * h + ky) * width + ox * w + kx];
          }
          y.data[out++] = sum / (h * w);
        }
      }
    }
  },
  gradient({ inputShapes: [[, , height, width]], dOutputs: [dy], attrs, emit }) {
    return emit(avgPool2dGrad, [dy], { ...attrs, height, width });
  },
};

/** dy → dx [N,C,height,width]: each window spreads dy/(h·w); dropped rows and columns get 0. */
export const avgPool2dGrad: Op<AvgPoolGradAttrs> = {
  name: "avgPool2dGrad",
  outputs: ["dx"],
  contraction: true,
  shapes([dy], { window: [h, w], height, width }) {
    const extents = [windowedExtent("avgPool2dGrad", height, h, h, 0), windowedExtent("avgPool2dGrad", width, w, w, 0)];
    expectShape("avgPool2dGrad", "output gradient", dy, [undefined, undefined, ...extents]);
    return [[dy[0], dy[1], height, width]];
  },
  macs: noMacs,
  reference([dy], [dx], { window: [h, w], height, width }) {
    const [batch, channels, outHeight, outWidth] = dy.shape;
    let i = 0;
    for (let image = 0; image < batch * channels; image++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const oy = Math.floor(y / h);
          const ox = Math.floor(x / w);
          const inside = oy < outHeight && ox < outWidth;
          dx.data[i++] = inside ? dy.data[(image * outHeight + oy) * outWidth + ox] / (h * w) : 0;
        }
      }
    }
  },
};
