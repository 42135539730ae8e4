// backends/webgpu: the kernel table. A kernel of the plan without a row here does not type-check.
import type { KernelCall, KernelName, View } from "../../plan/plan.ts";
import { emitLinear, emitLinearGrad, emitSoftmaxCrossEntropy } from "./classifier.ts";
import {
  emitConv,
  emitConvGrad,
  emitConvGradInput,
  emitConvGradients,
  emitConvGradWeight,
  emitConvWith,
} from "./conv.ts";
import type { Dispatch } from "./dispatch.ts";
import { emitAccumulateGradients, emitAdamw, emitDropout, emitSgd } from "./elementwise.ts";
import type { Addresses, Emit, Target } from "./kernel.ts";
import { emitAvgPool, emitAvgPoolGrad, emitMaxPool, emitMaxPoolGrad } from "./pool.ts";
import { emitResidualAdd, emitResidualAddGrad, emitResidualAddWith } from "./residual.ts";
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
  residualAdd: emitResidualAdd,
  residualAddGrad: emitResidualAddGrad,
  convGrad: emitConvGrad,
  convGradInput: emitConvGradInput,
  convGradWeight: emitConvGradWeight,
  statisticsGrad: emitStatisticsGrad,
  updateRunningStatistics: emitUpdateRunningStatistics,
  accumulateGradients: emitAccumulateGradients,
  sgd: emitSgd,
  adamw: emitAdamw,
};

const sameView = (a: View, b: View): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.channels === b.channels;

/** How many of a plan's calls were taken, and their dispatches in order. */
export interface Emission {
  readonly calls: number;
  readonly dispatches: readonly Dispatch[];
}

/** The first of these calls, with those behind it that cost less beside it. */
export function emitNext([call, next, afterNext]: readonly KernelCall[], at: Addresses, target: Target): Emission {
  if (!call) return { calls: 0, dispatches: [] };
  if (call.kernel === "conv") {
    const { y } = call.args;
    const dropout = next?.kernel === "dropout" && sameView(next.args.x, y) ? next.args : undefined;
    const last = dropout ? afterNext : next;
    const statistics = last?.kernel === "channelStatistics" && sameView(last.args.x, y) ? last.args : undefined;
    const following = { dropout, statistics };
    const calls = 1 + Object.values(following).filter((args) => args !== undefined).length;
    return { calls, dispatches: emitConvWith(call.args, following, at, target) };
  }
  if (call.kernel === "residualAdd" && next?.kernel === "channelStatistics" && sameView(next.args.x, call.args.y)) {
    return { calls: 2, dispatches: emitResidualAddWith(call.args, next.args, at) };
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
