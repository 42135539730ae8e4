// train: the plans of a run, compiled together so that they share weights. A plan has one batch size, so an epoch's
// smaller last batch has its own.
import type { Backend, Executable } from "../backends/backend.ts";
import { differentiate } from "../graph/differentiate.ts";
import { buildGraph, type NetworkSpec } from "../networks/registry.ts";
import type { Plan } from "../plan/plan.ts";
import { planAccumulation, planInference, planTraining, planUpdate } from "../plan/planners.ts";
import type { TrainConfig } from "./config.ts";
import type { MemoryUse } from "./events.ts";
import { optimizerOf } from "./optimizer.ts";
import type { GradientReduction } from "./reduction.ts";

/** How the training images of one epoch fall into updates. */
export interface EpochLayout {
  /** Images that go through the net at once: batchSize / accumulationSteps. */
  readonly microBatch: number;
  /**
   * The same for an epoch's last, smaller batch; 0 when there is none. It has accumulationSteps equal micro-batches
   * too, so up to accumulationSteps − 1 images (other ones each epoch) are left out. So are micro-batches of a single
   * image, which batch norm cannot normalise meaningfully.
   */
  readonly tailMicroBatch: number;
  readonly fullSteps: number;
  readonly stepsPerEpoch: number;
}

export function epochLayout(images: number, config: Pick<TrainConfig, "batchSize" | "accumulationSteps">): EpochLayout {
  const { batchSize, accumulationSteps } = config;
  const fullSteps = Math.floor(images / batchSize);
  const leftover = Math.floor((images % batchSize) / accumulationSteps);
  const tailMicroBatch = leftover > 1 ? leftover : 0;
  return {
    microBatch: batchSize / accumulationSteps,
    tailMicroBatch,
    fullSteps,
    stepsPerEpoch: fullSteps + (tailMicroBatch > 0 ? 1 : 0),
  };
}

export type StepPlan = "train" | "trainTail";

/** Everything that an update needs. */
export interface TrainingPlans {
  readonly executable: Executable;
  readonly plans: Readonly<Record<string, Plan>>;
  readonly config: TrainConfig;
  readonly layout: EpochLayout;
  readonly reduction?: GradientReduction;
}

/** What the memory of the compiled plans is for. */
export function memoryUse({ executable, plans }: Pick<TrainingPlans, "executable" | "plans">): MemoryUse {
  const buffers = Object.values(plans).flatMap((plan) => [...plan.buffers]);
  const persistent = new Map(buffers.filter(([, { role }]) => role !== "arena"));
  const weights = [...persistent.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const { peakBytes, arenaBytes } = executable;
  return { weights, features: arenaBytes, working: peakBytes - weights - arenaBytes };
}

/**
 * Compiles `train` and `trainTail` (forward, backward and, without accumulation or reduction, the update), `evaluate`
 * (batches of the same size, with a loss), and with accumulation or reduction `setSums`, `addSums` and `update`.
 */
export async function compileTraining(
  backend: Backend,
  spec: NetworkSpec,
  size: { readonly height: number; readonly width: number },
  config: TrainConfig,
  layout: EpochLayout,
  reduction?: GradientReduction,
): Promise<TrainingPlans> {
  const { recompute, accumulationSteps, labelSmoothing } = config;
  const optimizer = optimizerOf(config);
  const { activationDtype } = backend.info;
  const updatesApart = accumulationSteps > 1 || reduction !== undefined;
  const graph = (batch: number) =>
    differentiate(buildGraph(spec, { ...size, batch, mode: "training", labelSmoothing }));
  const step = (batch: number) =>
    planTraining(graph(batch), { recompute, activationDtype, ...(updatesApart ? {} : { optimizer }) });
  const plans: Record<string, Plan> = {
    evaluate: planInference(buildGraph(spec, { ...size, batch: layout.microBatch, mode: "inference", loss: true }), {
      activationDtype,
    }),
  };
  if (layout.fullSteps > 0) plans.train = step(layout.microBatch);
  if (layout.tailMicroBatch > 0) plans.trainTail = step(layout.tailMicroBatch);
  if (updatesApart) {
    const any = graph(Math.max(layout.microBatch, 2));
    plans.setSums = planAccumulation(any, "set");
    plans.addSums = planAccumulation(any, "add");
    plans.update = planUpdate(any, optimizer, accumulationSteps * (reduction?.processes ?? 1));
  }
  const executable = await backend.compile(plans);
  return { executable, plans, config, layout, ...(reduction ? { reduction } : {}) };
}
