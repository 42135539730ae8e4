// train: the plans of a run, compiled together so that they share weights. Plans are static in batch size, hence one more for the rest.
import type { Backend, Executable } from "../backends/backend.ts";
import { differentiate } from "../graph/differentiate.ts";
import { buildGraph, type NetworkSpec } from "../networks/registry.ts";
import { planAccumulation, planInference, planTraining, planUpdate } from "../plan/lower.ts";
import type { Plan } from "../plan/plan.ts";
import type { TrainConfig } from "./config.ts";
import type { MemoryUse } from "./events.ts";

/** How the training pictures of one epoch fall into updates. */
export interface EpochLayout {
  /** Pictures that go through the net at once: batchSize / accumulationSteps. */
  readonly part: number;
  /**
   * The same of an epoch's last, smaller batch; 0 when there is none. It keeps accumulationSteps equal parts, so up to
   * accumulationSteps − 1 pictures (other ones each epoch) are left out, and parts of a single picture, which batch norm cannot
   * normalise meaningfully, are.
   */
  readonly tailPart: number;
  readonly fullSteps: number;
  readonly stepsPerEpoch: number;
}

export function epochLayout(
  pictures: number,
  config: Pick<TrainConfig, "batchSize" | "accumulationSteps">,
): EpochLayout {
  const { batchSize, accumulationSteps } = config;
  const fullSteps = Math.floor(pictures / batchSize);
  const rest = Math.floor((pictures % batchSize) / accumulationSteps);
  const tailPart = rest > 1 ? rest : 0;
  return {
    part: batchSize / accumulationSteps,
    tailPart,
    fullSteps,
    stepsPerEpoch: fullSteps + (tailPart > 0 ? 1 : 0),
  };
}

export type StepPlan = "train" | "trainTail";

export interface TrainingPlans {
  readonly executable: Executable;
  /** For finding out where a net broke. */
  readonly plans: Readonly<Record<string, Plan>>;
}

/** What the memory of the compiled plans is for. */
export function memoryUse({ executable, plans }: TrainingPlans): MemoryUse {
  const buffers = Object.values(plans).flatMap((plan) => [...plan.buffers]);
  const persistent = new Map(buffers.filter(([, { role }]) => role !== "arena"));
  const weights = [...persistent.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const { peakBytes, arenaBytes } = executable;
  return { weights, features: arenaBytes, working: peakBytes - weights - arenaBytes };
}

/**
 * Compiles `train` and `trainTail` (forward, backward and, without accumulation, the update), `evaluate` (parts of the same size, with a
 * loss), and with accumulation `setSums`, `addSums` and `update`.
 */
export async function compileTraining(
  backend: Backend,
  spec: NetworkSpec,
  size: { readonly height: number; readonly width: number },
  config: TrainConfig,
  layout: EpochLayout,
): Promise<TrainingPlans> {
  const { recompute, accumulationSteps, momentum, nesterov, weightDecay } = config;
  const optimizer = { momentum, nesterov, weightDecay };
  const accumulates = accumulationSteps > 1;
  const graph = (batch: number) => differentiate(buildGraph(spec, { ...size, batch, mode: "training" }));
  const step = (batch: number) => planTraining(graph(batch), accumulates ? { recompute } : { recompute, optimizer });
  const plans: Record<string, Plan> = {
    evaluate: planInference(buildGraph(spec, { ...size, batch: layout.part, mode: "inference", loss: true })),
  };
  if (layout.fullSteps > 0) plans.train = step(layout.part);
  if (layout.tailPart > 0) plans.trainTail = step(layout.tailPart);
  if (accumulates) {
    const any = graph(Math.max(layout.part, 2));
    plans.setSums = planAccumulation(any, "set");
    plans.addSums = planAccumulation(any, "add");
    plans.update = planUpdate(any, optimizer, accumulationSteps);
  }
  return { executable: await backend.compile(plans), plans };
}
