// backends/webgpu: the kernel table. A kernel of the plan without a row here does not type-check.
import type { KernelCall, KernelName, View } from "../../plan/plan.ts";
import { emitLinear, emitLinearGrad, emitSoftmaxCrossEntropy } from "./classifier.ts";
import {
  emitConv,
  emitConvAndStatistics,
  emitConvGrad,
  emitConvGradInput,
  emitConvGradients,
  emitConvGradWeight,
} from "./conv.ts";
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

const sameView = (a: View, b: View): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.channels === b.channels;

/** The dispatches, in order, of a plan's first call, or of its first two where they cost less together. */
export function emitNext(
  [call, next]: readonly [KernelCall, KernelCall?],
  at: Addresses,
  target: Target,
): { readonly calls: 1 | 2; readonly dispatches: readonly Dispatch[] } {
  if (call.kernel === "conv" && next?.kernel === "channelStatistics" && sameView(call.args.y, next.args.x)) {
    return { calls: 2, dispatches: emitConvAndStatistics(call.args, next.args, at, target) };
  }
  if (call.kernel === "convGradWeight" && next?.kernel === "convGradInput" && sameView(call.args.dy, next.args.dy)) {
    return { calls: 2, dispatches: emitConvGradients(call.args, next.args, at, target) };
  }
  // The table pairs each name with the emitter of its own arguments; TypeScript cannot follow that through a union.
  const emit = emitters[call.kernel] as (
    args: KernelCall["args"],
    at: Addresses,
    target: Target,
  ) => readonly Dispatch[];
  return { calls: 1, dispatches: emit(call.args, at, target) };
}
