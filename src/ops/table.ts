// ops: the table of all ops. A graph's node names one of these; to add an op, write its file and name it here.
import { add } from "./add.ts";
import { avgPool2d, avgPool2dGrad } from "./avgPool2d.ts";
import { channelStatistics, channelStatisticsGrad } from "./channelStatistics.ts";
import { concat, slice } from "./concat.ts";
import { conv2d, conv2dGradInput, conv2dGradWeight } from "./conv2d.ts";
import { dropout } from "./dropout.ts";
import { globalAvgPool, globalAvgPoolGrad } from "./globalAvgPool.ts";
import { identityShortcut, identityShortcutGrad } from "./identityShortcut.ts";
import { linear, linearGrad } from "./linear.ts";
import { maxPool2d, maxPool2dGrad } from "./maxPool2d.ts";
import { normalize, normalizeGrad } from "./normalize.ts";
import type { Op } from "./op.ts";
import { relu, reluGrad } from "./relu.ts";
import { expectedGate, sampleGate } from "./sampleGate.ts";
import { softmaxCrossEntropy, softmaxCrossEntropyGrad } from "./softmaxCrossEntropy.ts";
import { updateRunning } from "./updateRunning.ts";

export const ops = {
  add,
  avgPool2d,
  avgPool2dGrad,
  channelStatistics,
  channelStatisticsGrad,
  concat,
  conv2d,
  conv2dGradInput,
  conv2dGradWeight,
  dropout,
  expectedGate,
  globalAvgPool,
  globalAvgPoolGrad,
  identityShortcut,
  identityShortcutGrad,
  linear,
  linearGrad,
  maxPool2d,
  maxPool2dGrad,
  normalize,
  normalizeGrad,
  relu,
  reluGrad,
  sampleGate,
  slice,
  softmaxCrossEntropy,
  softmaxCrossEntropyGrad,
  updateRunning,
} satisfies Record<string, Op>;

export type OpName = keyof typeof ops;

/** The op of a graph node, whose attributes the graph keeps as plain data. */
export function opOf(name: OpName): Op {
  return ops[name];
}
