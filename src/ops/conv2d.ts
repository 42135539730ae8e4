// ops: 2-D convolution (cross-correlation) and its two adjoints. Square kernels, zero padding, no bias: batch norm
// follows (paper, section 3).
import { expectShape, type Op, type Shape, sizeOf } from "./op.ts";
import { outputsInside, windowedExtent } from "./window.ts";

type ConvAttrs = { readonly stride: number; readonly padding: number };
type ConvGradInputAttrs = ConvAttrs & { readonly height: number; readonly width: number };
type ConvGradWeightAttrs = ConvAttrs & { readonly kernel: number };

/** Each of the three sums runs over the same triples (output pixel, weight tap). */
function convMacs(output: Shape, weight: Shape): number {
  return sizeOf(output) * weight[1] * weight[2] * weight[3];
}

/**
 * y[n,o,p] = Σ_{c,ky,kx} w[o,c,ky,kx] · x[n,c, p·stride + (ky,kx) − padding]. (x [N,C,H,W], w [O,C,k,k]) → y
 * [N,O,H',W'].
 */
export const conv2d: Op<ConvAttrs> = {
  name: "conv2d",
  outputs: ["y"],
  contraction: true,
  shapes([x, w], { stride, padding }) {
    expectShape("conv2d", "input", x, [undefined, undefined, undefined, undefined]);
    expectShape("conv2d", "weight", w, [undefined, x[1], w[2], w[2]]);
    const extent = (size: number) => windowedExtent("conv2d", size, w[2], stride, padding);
    return [[x[0], w[0], extent(x[2]), extent(x[3])]];
  },
  macs(inputs, attrs) {
    return convMacs(conv2d.shapes(inputs, attrs)[0], inputs[1]);
  },
  reference([x, w], [y], { stride, padding }) {
    const [batch, channels, height, width] = x.shape;
    const [, outChannels, outHeight, outWidth] = y.shape;
    const kernel = w.shape[2];
    const plane = new Float64Array(outHeight * outWidth);
    for (let n = 0; n < batch; n++) {
      for (let o = 0; o < outChannels; o++) {
        plane.fill(0);
        for (let c = 0; c < channels; c++) {
          for (let ky = 0; ky < kernel; ky++) {
            const rows = outputsInside(ky, height, outHeight, stride, padding);
            for (let kx = 0; kx < kernel; kx++) {
              const columns = outputsInside(kx, width, outWidth, stride, padding);
              const weight = w.data[((o * channels + c) * kernel + ky) * kernel + kx];
              for (let oy = rows.first; oy < rows.end; oy++) {
                const row = ((n * channels + c) * height + oy * stride + ky - padding) * width + kx - padding;
                for (let ox = columns.first; ox < columns.end; ox++) {
                  plane[oy * outWidth + ox] += weight * x.data[row + ox * stride];
                }
              }
            }
          }
        }
        y.data.set(plane, (n * outChannels + o) * plane.length);
      }
    }
  },
  gradient({ inputs: [x, w], inputShapes: [xShape, wShape], dOutputs: [dy], attrs, wanted, emit }) {
    const [, , height, width] = xShape;
    return [
      wanted[0] ? emit(conv2dGradInput, [dy, w], { ...attrs, height, width })[0] : undefined,
      wanted[1] ? emit(conv2dGradWeight, [x, dy], { ...attrs, kernel: wShape[2] })[0] : undefined,
    ];
  },
};

/**
 * Adjoint in x: dx[n,c,q] = Σ w[o,c,tap]·dy[n,o,p] over all (o, tap, p) with p·stride + tap − padding = q. (dy, w) → dx
 * [N,C,height,width].
 */
export const conv2dGradInput: Op<ConvGradInputAttrs> = {
  name: "conv2dGradInput",
  outputs: ["dx"],
  contraction: true,
  shapes([dy, w], { stride, padding, height, width }) {
    const extent = (size: number) => windowedExtent("conv2dGradInput", size, w[2], stride, padding);
    expectShape("conv2dGradInput", "output gradient", dy, [undefined, w[0], extent(height), extent(width)]);
    expectShape("conv2dGradInput", "weight", w, [dy[1], undefined, w[2], w[2]]);
    return [[dy[0], w[1], height, width]];
  },
  macs: ([dy, w]) => convMacs(dy, w),
  reference([dy, w], [dx], { stride, padding }) {
    const [batch, channels, height, width] = dx.shape;
    const [, outChannels, outHeight, outWidth] = dy.shape;
    const kernel = w.shape[2];
    const plane = new Float64Array(height * width);
    for (let n = 0; n < batch; n++) {
      for (let c = 0; c < channels; c++) {
        plane.fill(0);
        for (let o = 0; o < outChannels; o++) {
          for (let ky = 0; ky < kernel; ky++) {
            const rows = outputsInside(ky, height, outHeight, stride, padding);
            for (let kx = 0; kx < kernel; kx++) {
              const columns = outputsInside(kx, width, outWidth, stride, padding);
              const weight = w.data[((o * channels + c) * kernel + ky) * kernel + kx];
              for (let oy = rows.first; oy < rows.end; oy++) {
                const row = (oy * stride + ky - padding) * width + kx - padding;
                const outRow = ((n * outChannels + o) * outHeight + oy) * outWidth;
                for (let ox = columns.first; ox < columns.end; ox++) {
                  plane[row + ox * stride] += weight * dy.data[outRow + ox];
                }
              }
            }
          }
        }
        dx.data.set(plane, (n * channels + c) * plane.length);
      }
    }
  },
};

/** Adjoint in w: dw[o,c,tap] = Σ_{n,p} x[n,c, p·stride + tap − padding]·dy[n,o,p]. (x, dy) → dw [O,C,kernel,kernel]. */
export const conv2dGradWeight: Op<ConvGradWeightAttrs> = {
  name: "conv2dGradWeight",
  outputs: ["dw"],
  contraction: true,
  shapes([x, dy], { stride, padding, kernel }) {
    const extent = (size: number) => windowedExtent("conv2dGradWeight", size, kernel, stride, padding);
    expectShape("conv2dGradWeight", "input", x, [undefined, undefined, undefined, undefined]);
    expectShape("conv2dGradWeight", "output gradient", dy, [x[0], undefined, extent(x[2]), extent(x[3])]);
    return [[dy[1], x[1], kernel, kernel]];
  },
  macs([x, dy], { kernel }) {
    return convMacs(dy, [dy[1], x[1], kernel, kernel]);
  },
  reference([x, dy], [dw], { stride, padding }) {
    const [batch, channels, height, width] = x.shape;
    const [, outChannels, outHeight, outWidth] = dy.shape;
    const kernel = dw.shape[2];
    for (let o = 0; o < outChannels; o++) {
      for (let c = 0; c < channels; c++) {
        for (let ky = 0; ky < kernel; ky++) {
          const rows = outputsInside(ky, height, outHeight, stride, padding);
          for (let kx = 0; kx < kernel; kx++) {
            const columns = outputsInside(kx, width, outWidth, stride, padding);
            let sum = 0;
            for (let n = 0; n < batch; n++) {
              for (let oy = rows.first; oy < rows.end; oy++) {
                const row = ((n * channels + c) * height + oy * stride + ky - padding) * width + kx - padding;
                const outRow = ((n * outChannels + o) * outHeight + oy) * outWidth;
                for (let ox = columns.first; ox < columns.end; ox++) {
                  sum += x.data[row + ox * stride] * dy.data[outRow + ox];
                }
              }
            }
            dw.data[((o * channels + c) * kernel + ky) * kernel + kx] = sum;
          }
        }
      }
    }
  },
};
