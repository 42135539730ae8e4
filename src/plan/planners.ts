// plan: graph → plan, for each use: inference, a training step, gradient accumulation, the update alone. The five ideas
// live in the steps: views instead of concatenations, statistics once per channel, the composite function inside the
// kernel that loads it, pooling before a transition's 1×1, recomputation by choice.
import type { Graph, TensorId } from "../graph/graph.ts";
import { type ParallelRole, PlanBuilder } from "./builder.ts";
import { Lowering } from "./lowering.ts";
import type { ActivationDtype, Plan } from "./plan.ts";
import type { RecomputePolicy } from "./recompute.ts";
import { findSteps } from "./steps/find.ts";
import { updateRunningStatistics } from "./steps/runningStatistics.ts";
import { stepKinds } from "./steps/table.ts";

/** SGD as section 4.2 of the paper uses it. */
export interface SgdSettings {
  readonly kind?: "sgd";
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

/** AdamW as torch.optim.AdamW states it. */
export interface AdamWSettings {
  readonly kind: "adamw";
  /** β₁ and β₂, of at least 0 and below 1. */
  readonly betas: readonly [first: number, second: number];
  readonly epsilon: number;
  /** Decoupled: times the learning rate, it shrinks the weights themselves. */
  readonly weightDecay: number;
}

/** How a plan updates weights. */
export type OptimizerSettings = SgdSettings | AdamWSettings;

/** What an optimizer keeps of every parameter from update to update. */
const momentsOf = ({ kind }: OptimizerSettings): readonly ParallelRole[] =>
  kind === "adamw" ? ["momentum", "secondMoment"] : ["momentum"];

/** What a training step recomputes, how it stores feature maps and how it updates weights. */
export interface TrainingOptions {
  readonly recompute: RecomputePolicy;
  /** With it the plan ends with the weight update; without it gradients are left in the gradient buffers. */
  readonly optimizer?: OptimizerSettings;
  /**
   * How feature maps of the forward pass are stored; `BackendInfo.activationDtype` is what a backend was opened for.
   * Default f32.
   */
  readonly activationDtype?: ActivationDtype;
  /**
   * Feature maps that the host reads after a run, with their gradients in training: their buffers (`placesOf`) are
   * reused for nothing else. Default none. Recomputed maps and those inside a fused kernel cannot be kept.
   */
  readonly keep?: readonly TensorId[];
}

/**
 * Training graph → plan of one step: forward, running statistics, backward, and the weight update if an optimizer is
 * given. The host writes `images` and `labels`; afterwards `logits`, `sampleLoss` [N] and `sampleRank` [N] can be read,
 * and gradients by the names of `gradientOf` (names.ts). Of a graph that is differentiated from its logits the host
 * writes the logits' gradient in place of labels, and reads the gradients of the maps that `keep` names.
 * @throws RangeError naming the node, if the plan has no kernel for it
 */
export function planTraining(graph: Graph, options: TrainingOptions): Plan {
  const found = findSteps(graph, stepKinds);
  const { recompute, optimizer, activationDtype = "f32", keep = [] } = options;
  const lowering = new Lowering(graph, found, { recompute, activationDtype, keep });
  lowering.plan.declarePersistent(graph, optimizer ? ["gradient", ...momentsOf(optimizer)] : ["gradient"]);
  for (const step of found.steps) step.forward(lowering);
  updateRunningStatistics(lowering, found.running);
  for (const step of found.steps.toReversed()) if (lowering.hasBackward(step)) step.backward(lowering);
  if (optimizer) callUpdate(lowering.plan, optimizer, "gradient", 1);
  return lowering.plan.finish();
}

/**
 * Inference graph → plan. The host writes `images` (and `labels` where the graph has a loss) and reads `logits`
 * (`sampleLoss`, `sampleRank`).
 * @throws RangeError naming the node, if the plan has no kernel for it
 */
export function planInference(graph: Graph, options: Pick<TrainingOptions, "activationDtype" | "keep"> = {}): Plan {
  const found = findSteps(graph, stepKinds);
  const { activationDtype = "f32", keep = [] } = options;
  const lowering = new Lowering(graph, found, { recompute: "none", activationDtype, keep });
  lowering.plan.declarePersistent(graph, []);
  for (const step of found.steps) step.forward(lowering);
  return lowering.plan.finish();
}

/**
 * Gradient accumulation: adds the gradients of a micro-batch to the sums ("add"), or starts new sums with them ("set").
 */
export function planAccumulation(graph: Graph, mode: "set" | "add"): Plan {
  const plan = new PlanBuilder();
  plan.declarePersistent(graph, ["gradient", "gradientSum"]);
  plan.call("accumulateGradients", { mode }, { path: "optimizer", computes: [] });
  return plan.finish();
}

/** The weight update from the sums of `microBatches` gradients, of which it takes the mean. */
export function planUpdate(graph: Graph, optimizer: OptimizerSettings, microBatches: number): Plan {
  const plan = new PlanBuilder();
  plan.declarePersistent(graph, ["gradientSum", ...momentsOf(optimizer)]);
  callUpdate(plan, optimizer, "gradientSum", 1 / microBatches);
  return plan.finish();
}

function callUpdate(
  plan: PlanBuilder,
  optimizer: OptimizerSettings,
  source: "gradient" | "gradientSum",
  gradientScale: number,
): void {
  const at = { path: "optimizer", computes: [] };
  if (optimizer.kind === "adamw") {
    const { betas, epsilon, weightDecay } = optimizer;
    plan.call("adamw", { betas, epsilon, weightDecay, gradientScale, source }, at);
  } else {
    const { momentum, nesterov, weightDecay } = optimizer;
    plan.call("sgd", { momentum, nesterov, weightDecay, gradientScale, source }, at);
  }
}
