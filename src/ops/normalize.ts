// ops: the second half of batch norm, one consumer's affine map of normalised features. mean and variance are ordinary
// inputs: batch statistics while training, running statistics in inference. Their gradients leave as two numbers per
// channel (paper, section 3).
import { expectShape, noMacs, type Op, type Shape } from "./op.ts";

type NormalizeAttrs = { readonly eps: number };

function expectPerChannel(op: string, x: Shape, vectors: Readonly<Record<string, Shape>>): void {
  expectShape(op, "input", x, [undefined, undefined, undefined, undefined]);
  for (const [operand, shape] of Object.entries(vectors)) expectShape(op, operand, shape, [x[1]]);
}

/** y = gamma·(x − mean)/√(variance + eps) + beta. x [N,C,H,W]; mean, variance, gamma, beta [C]. */
export const normalize: Op<NormalizeAttrs> = {
  name: "normalize",
  outputs: ["y"],
  contraction: false,
  shapes([x, mean, variance, gamma, beta]) {
    expectPerChannel("normalize", x, { mean, variance, gamma, beta });
    return [x];
  },
  macs: noMacs,
  reference([x, mean, variance, gamma, beta], [y], { eps }) {
    const [, channels, height, width] = x.shape;
    const plane = height * width;
    for (let start = 0, image = 0; start < x.data.length; start += plane, image++) {
      const c = image % channels;
      const scale = gamma.data[c] / Math.sqrt(variance.data[c] + eps);
      const center = mean.data[c];
      const shift = beta.data[c];
      for (let i = start; i < start + plane; i++) y.data[i] = (x.data[i] - center) * scale + shift;
    }
  },
  gradient({ inputs: [x, mean, variance, gamma], dOutputs: [dy], attrs, emit }) {
    return emit(normalizeGrad, [x, mean, variance, gamma, dy], attrs);
  },
};

/**
 * (x, mean, variance, gamma, dy) → dx, dMean, dVariance, dGamma, dBeta, mean and variance held as independent inputs.
 * With rstd = (variance + eps)^−½: dx = γ·rstd·dy · dMean = −γ·rstd·Σdy · dVariance = −½·γ·rstd³·Σdy(x − mean) · dGamma
 * = rstd·Σdy(x − mean) · dBeta = Σdy.
 */
export const normalizeGrad: Op<NormalizeAttrs> = {
  name: "normalizeGrad",
  outputs: ["dx", "dMean", "dVariance", "dGamma", "dBeta"],
  contraction: false,
  shapes([x, mean, variance, gamma, dy]) {
    expectPerChannel("normalizeGrad", x, { mean, variance, gamma });
    expectShape("normalizeGrad", "output gradient", dy, x);
    return [x, mean, mean, mean, mean];
  },
  macs: noMacs,
  reference([x, mean, variance, gamma, dy], [dx, dMean, dVariance, dGamma, dBeta], { eps }) {
    const [batch, channels, height, width] = x.shape;
    const plane = height * width;
    for (let c = 0; c < channels; c++) {
      const rstd = 1 / Math.sqrt(variance.data[c] + eps);
      const scale = gamma.data[c] * rstd;
      const center = mean.data[c];
      let sum = 0; // Σdy
      let moment = 0; // Σdy(x − mean)
      for (let n = 0; n < batch; n++) {
        const start = (n * channels + c) * plane;
        for (let i = start; i < start + plane; i++) {
          sum += dy.data[i];
          moment += dy.data[i] * (x.data[i] - center);
          dx.data[i] = scale * dy.data[i];
        }
      }
      dMean.data[c] = -scale * sum;
      dVariance.data[c] = -0.5 * scale * rstd * rstd * moment;
      dGamma.data[c] = rstd * moment;
      dBeta.data[c] = sum;
    }
  },
};
