// ops: the parameter-free shortcut of a residual net where a block changes the shape of the maps: type A of He et al.
// (Deep Residual Learning, CVPR 2016, section 4.2). Every stride-th pixel is taken, and channels of zeros are appended.
import { UsageError } from "../errors.ts";
import { expectShape, noMacs, type Op, type Shape } from "./op.ts";

const anyFeatures = [undefined, undefined, undefined, undefined];

type IdentityShortcutAttrs = { readonly stride: number; readonly channels: number };
type IdentityShortcutGradAttrs = {
  readonly stride: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
};

/** Calls back with the positions in x and y, in row-major order, of every value that the shortcut passes on. */
function eachPassed(x: Shape, y: Shape, stride: number, visit: (inX: number, inY: number) => void): void {
  const [batch, channels, height, width] = x;
  const [, outChannels, outHeight, outWidth] = y;
  for (let n = 0; n < batch; n++) {
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < outHeight; i++) {
        for (let j = 0; j < outWidth; j++) {
          const inX = ((n * channels + c) * height + i * stride) * width + j * stride;
          visit(inX, ((n * outChannels + c) * outHeight + i) * outWidth + j);
        }
      }
    }
  }
}

/** x [N,C,H,W] → y [N,channels,⌈H/stride⌉,⌈W/stride⌉]: y[n,c,i,j] = x[n,c,i·stride,j·stride] for c < C, else 0. */
export const identityShortcut: Op<IdentityShortcutAttrs> = {
  name: "identityShortcut",
  outputs: ["y"],
  contraction: false,
  shapes([x], { stride, channels }) {
    expectShape("identityShortcut", "input", x, anyFeatures);
    if (channels < x[1]) {
      throw new UsageError(`identityShortcut: ${x[1]} channels cannot be padded to ${channels}`, {
        shape: x,
        channels,
      });
    }
    return [[x[0], channels, Math.ceil(x[2] / stride), Math.ceil(x[3] / stride)]];
  },
  macs: noMacs,
  reference([x], [y], { stride }) {
    y.data.fill(0);
    eachPassed(x.shape, y.shape, stride, (inX, inY) => {
      y.data[inY] = x.data[inX];
    });
  },
  gradient({ inputShapes: [[, channels, height, width]], dOutputs: [dy], attrs: { stride }, emit }) {
    return emit(identityShortcutGrad, [dy], { stride, channels, height, width });
  },
};

/** dy → dx [N,channels,height,width]: dy where it came from, else 0; what the appended channels got goes nowhere. */
export const identityShortcutGrad: Op<IdentityShortcutGradAttrs> = {
  name: "identityShortcutGrad",
  outputs: ["dx"],
  contraction: false,
  shapes([dy], { stride, channels, height, width }) {
    const extents = [undefined, undefined, Math.ceil(height / stride), Math.ceil(width / stride)];
    expectShape("identityShortcutGrad", "output gradient", dy, extents);
    return [[dy[0], channels, height, width]];
  },
  macs: noMacs,
  reference([dy], [dx], { stride }) {
    dx.data.fill(0);
    eachPassed(dx.shape, dy.shape, stride, (inX, inY) => {
      dx.data[inX] = dy.data[inY];
    });
  },
};
