// ops: running statistics of one normalize, for inference. They follow the batch statistics with the variance made
// unbiased, as PyTorch does.
import { expectShape, noMacs, type Op } from "./op.ts";

type UpdateRunningAttrs = { readonly momentum: number; readonly count: number };

/**
 * (mean, variance, runningMean, runningVariance), all [C] → their new values: (1 − momentum)·running + momentum·batch,
 * with batch variance ·count/(count − 1). count = N·H·W; with count 1 there is no unbiased variance, and 0/0 = NaN says
 * so.
 */
export const updateRunning: Op<UpdateRunningAttrs> = {
  name: "updateRunning",
  outputs: ["runningMean", "runningVariance"],
  contraction: false,
  shapes([mean, variance, runningMean, runningVariance]) {
    for (const [operand, shape] of Object.entries({ variance, runningMean, runningVariance })) {
      expectShape("updateRunning", operand, shape, mean);
    }
    return [runningMean, runningVariance];
  },
  macs: noMacs,
  reference([mean, variance, runningMean, runningVariance], [newMean, newVariance], { momentum, count }) {
    for (let c = 0; c < mean.data.length; c++) {
      const unbiased = (variance.data[c] * count) / (count - 1);
      newMean.data[c] = (1 - momentum) * runningMean.data[c] + momentum * mean.data[c];
      newVariance.data[c] = (1 - momentum) * runningVariance.data[c] + momentum * unbiased;
    }
  },
};
