// backends/wasm: the kernel table. A kernel of the plan without a row here does not type-check.
import type { KernelCall, KernelName } from "../../plan/plan.ts";
import type { ModuleBuilder } from "./assembler.ts";
import { emitLinear, emitLinearGrad, emitSoftmaxCrossEntropy } from "./classifier.ts";
import { emitConv } from "./conv.ts";
import { emitConvGrad } from "./convGrad.ts";
import { emitConvGradInput } from "./convGradInput.ts";
import { emitConvGradWeight } from "./convGradWeight.ts";
import { emitAccumulateGradients, emitAdamw, emitDropout, emitSgd } from "./elementwise.ts";
import type { Addresses, CompiledKernel, Emit } from "./kernel.ts";
import { emitAvgPool, emitAvgPoolGrad, emitMaxPool, emitMaxPoolGrad } from "./pool.ts";
import { emitResidualAdd, emitResidualAddGrad } from "./residual.ts";
import { emitChannelStatistics, emitStatisticsGrad, emitUpdateRunningStatistics } from "./statistics.ts";
import type { Target } from "./target.ts";

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

/** Emits the call's functions into the module (once per text) and returns what to run. */
export function emitKernel(module: ModuleBuilder, target: Target, call: KernelCall, at: Addresses): CompiledKernel {
  // The table pairs each name with the emitter of its own arguments; TypeScript cannot follow that through a union.
  const emit = emitters[call.kernel] as Emit<typeof call.kernel> as (
    module: ModuleBuilder,
    target: Target,
    args: KernelCall["args"],
    at: Addresses,
  ) => CompiledKernel;
  return emit(module, target, call.args, at);
}
