// ops: global average pooling before the classifier (paper, section 3: "a global average pooling is performed and then
// a softmax").
import { expectShape, type NoAttrs, noMacs, type Op } from "./op.ts";

type GlobalAvgPoolGradAttrs = { readonly height: number; readonly width: number };

/** x [N,C,H,W] → y [N,C]. */
export const globalAvgPool: Op<NoAttrs> = {
  name: "globalAvgPool",
  outputs: ["y"],
  contraction: true,
  shapes([x]) {
    expectShape("globalAvgPool", "input", x, [undefined, undefined, undefined, undefined]);
    return [[x[0], x[1]]];
  },
  macs: noMacs,
  reference([x], [y]) {
    const plane = x.shape[2] * x.shape[3];
    for (let image = 0; image < y.data.length; image++) {
      let sum = 0;
      for (let p = 0; p < plane; p++) sum += x.data[image * plane + p];
      y.data[image] = sum / plane;
    }
  },
  gradient({ inputShapes: [[, , height, width]], dOutputs: [dy], emit }) {
    return emit(globalAvgPoolGrad, [dy], { height, width });
  },
};

/** dy [N,C] → dx [N,C,height,width] = dy/(height·width). */
export const globalAvgPoolGrad: Op<GlobalAvgPoolGradAttrs> = {
  name: "globalAvgPoolGrad",
  outputs: ["dx"],
  contraction: true,
  shapes([dy], { height, width }) {
    expectShape("globalAvgPoolGrad", "output gradient", dy, [undefined, undefined]);
    return [[dy[0], dy[1], height, width]];
  },
  macs: noMacs,
  reference([dy], [dx], { height, width }) {
    const plane = height * width;
    for (let i = 0; i < dx.data.length; i++) dx.data[i] = dy.data[Math.floor(i / plane)] / plane;
  },
};
