// backends/webgpu: the kernel table. A kernel of the plan without a row here does not type-check.
import type { KernelCall, KernelName } from "../../plan/plan.ts";
import { emitLinear, emitLinearGrad, emitSoftmaxCrossEntropy } from "./classifier.ts";
import { emitConv, emitConvGrad, emitConvGradInput, emitConvGradWeight } from "./conv.ts";
import type { Dispatch } from "./dispatch.ts";
import { emitAccumulateGradients, emitDropout, emitSgd } from "./elementwise.ts";
import type { Addresses, Emit, Target } from "./kernel.ts";
import { emitAvgPool, emitAvgPoolGrad, emitMaxPool, emitMaxPoolGrad } from "./pool.ts";
import { emitChannelStatistics, emitStatisticsGrad, emitUpdateRunningStatistics } from "./statistics.ts";

const emitters: { readonly [K in KernelName]: Emit<K> } = {
  conv: emitConv,
  channelStatistics: emitChannelStatistics,
  dropout: emitDropout,
  avgPool: emitAvgPool,
  maxPool: emitMaxPool,
  linear: emitLinear,
  softmaxCrossEntropy: emitSoftmaxCrossEntropy,
  linearGrad: emitLinearGrad,
  avgPoolGrad: emitAvgPoolGrad,
  maxPoolGrad: emitMaxPoolGrad,
  convGrad: emitConvGrad,
  convGradInput: emitConvGradInput,
  convGradWeight: emitConvGradWeight,
  statisticsGrad: emitStatisticsGrad,
  updateRunningStatistics: emitUpdateRunningStatistics,
  accumulateGradients: emitAccumulateGradients,
  sgd: emitSgd,
};

/** The dispatches of a call, in order. */
export function emitKernel(call: KernelCall, at: Addresses, target: Target): readonly Dispatch[] {
  // The table pairs each name with the emitter of its own arguments; TypeScript cannot follow that through a union.
  const emit = emitters[call.kernel] as (
    args: KernelCall["args"],
    at: Addresses,
    target: Target,
  ) => readonly Dispatch[];
  return emit(call.args, at, target);
}
