// ops: the first half of batch norm (Ioffe and Szegedy 2015), mean and variance of each channel over N, H, W. It stands
// apart from `normalize` because every later layer of a dense block sees the same statistics of a channel, so they are
// taken once.
import { expectShape, type NoAttrs, noMacs, type Op } from "./op.ts";

const anyFeatures = [undefined, undefined, undefined, undefined];

/** x [N,C,H,W] → mean [C], variance [C] (biased, divided by M = N·H·W). Two passes, so |mean| ≫ σ costs no digits. */
export const channelStatistics: Op<NoAttrs> = {
  name: "channelStatistics",
  outputs: ["mean", "variance"],
  contraction: false,
  shapes([x]) {
    expectShape("channelStatistics", "input", x, anyFeatures);
    return [[x[1]], [x[1]]];
  },
  macs: noMacs,
  reference([x], [mean, variance]) {
    const [batch, channels, height, width] = x.shape;
    const plane = height * width;
    const count = batch * plane;
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      for (let n = 0; n < batch; n++) {
        const start = (n * channels + c) * plane;
        for (let i = start; i < start + plane; i++) sum += x.data[i];
      }
      const center = sum / count;
      let squares = 0;
      for (let n = 0; n < batch; n++) {
        const start = (n * channels + c) * plane;
        for (let i = start; i < start + plane; i++) squares += (x.data[i] - center) ** 2;
      }
      mean.data[c] = center;
      variance.data[c] = squares / count;
    }
  },
  gradient({ inputs: [x], outputs: [mean], dOutputs: [dMean, dVariance], emit }) {
    return emit(channelStatisticsGrad, [x, mean, dMean, dVariance], {});
  },
};

/**
 * (x, mean, dMean, dVariance) → dx = (dMean + 2·(x − mean)·dVariance) / M.
 * The variance's dependence on the mean vanishes: ∂variance/∂mean = −2/M·Σ(x − mean) = 0.
 */
export const channelStatisticsGrad: Op<NoAttrs> = {
  name: "channelStatisticsGrad",
  outputs: ["dx"],
  contraction: false,
  shapes([x, mean, dMean, dVariance]) {
    expectShape("channelStatisticsGrad", "input", x, anyFeatures);
    expectShape("channelStatisticsGrad", "mean", mean, [x[1]]);
    expectShape("channelStatisticsGrad", "dMean", dMean, [x[1]]);
    expectShape("channelStatisticsGrad", "dVariance", dVariance, [x[1]]);
    return [x];
  },
  macs: noMacs,
  reference([x, mean, dMean, dVariance], [dx]) {
    const [batch, channels, height, width] = x.shape;
    const plane = height * width;
    const count = batch * plane;
    for (let i = 0; i < x.data.length; i++) {
      const c = Math.floor(i / plane) % channels;
      dx.data[i] = (dMean.data[c] + 2 * (x.data[i] - mean.data[c]) * dVariance.data[c]) / count;
    }
  },
};
