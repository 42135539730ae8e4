// plan/steps: all kinds of step. The first that matches a node takes it.
import { matchConv } from "./conv.ts";
import { matchLinear } from "./linear.ts";
import { matchLoss } from "./loss.ts";
import { matchMaxPool } from "./maxPool.ts";
import { matchPool } from "./pool.ts";
import { matchPooledConv } from "./pooledConv.ts";
import { matchResidual } from "./residual.ts";
import { matchStatistics } from "./statistics.ts";
import type { MatchStep } from "./step.ts";

export const stepKinds: Readonly<Record<string, MatchStep>> = {
  pooledConv: matchPooledConv,
  conv: matchConv,
  pool: matchPool,
  maxPool: matchMaxPool,
  statistics: matchStatistics,
  residual: matchResidual,
  linear: matchLinear,
  loss: matchLoss,
};
