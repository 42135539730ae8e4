// Test support: the cases of every kernel. A kernel of the plan without cases here does not type-check.
import type { KernelName } from "../../src/plan/plan.ts";
import type { AnyCase, Case } from "./case.ts";
import { conv, convGrad, convGradInput, convGradWeight } from "./convCases.ts";
import { accumulateGradients, adamw, dropout, linear, linearGrad, sgd, softmaxCrossEntropy } from "./otherCases.ts";
import { avgPool, avgPoolGrad, maxPool, maxPoolGrad } from "./poolCases.ts";
import { residualAdd, residualAddGrad } from "./residualCases.ts";
import { channelStatistics, statisticsGrad, updateRunningStatistics } from "./statisticsCases.ts";

export const casesOf: { readonly [K in KernelName]: readonly Case<K>[] } = {
  conv,
  channelStatistics,
  dropout,
  avgPool,
  maxPool,
  linear,
  softmaxCrossEntropy,
  linearGrad,
  avgPoolGrad,
  maxPoolGrad,
  residualAdd,
  residualAddGrad,
  convGrad,
  convGradInput,
  convGradWeight,
  statisticsGrad,
  updateRunningStatistics,
  accumulateGradients,
  sgd,
  adamw,
};

export const allCases: readonly AnyCase[] = Object.values(casesOf).flat();
