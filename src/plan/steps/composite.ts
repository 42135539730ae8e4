// plan/steps: the paper's composite function. relu(normalize(x)) in front of a step never becomes a step of its own:
// whatever loads x applies it.
import type { GraphNode, TensorId } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { gradientOf } from "../names.ts";
import type { Composite, CompositeBackward } from "../plan.ts";
import { inputOf, numberAttribute } from "../reading.ts";
import type { ForwardNodes } from "./step.ts";

/** normalize → relu in front of a step. */
export interface CompositeNodes {
  readonly normalize: GraphNode;
  readonly relu: GraphNode;
}

/** The composite function whose only consumer is this node. */
export function compositeBefore(node: GraphNode, forward: ForwardNodes): CompositeNodes | undefined {
  const relu = forward.producer(inputOf(node, 0));
  if (relu?.op !== "relu" || !forward.onlyConsumer(relu, node.op)) return undefined;
  const normalize = forward.producer(inputOf(relu, 0));
  if (normalize?.op !== "normalize" || !forward.onlyConsumer(normalize, "relu")) return undefined;
  return { normalize, relu };
}

export const compositeNodes = (composite: CompositeNodes | undefined): readonly GraphNode[] =>
  composite ? [composite.normalize, composite.relu] : [];

/** What a step loads: the composite function's input, or without one the node's own. */
export const sourceOf = (node: GraphNode, composite: CompositeNodes | undefined): TensorId =>
  inputOf(composite?.normalize ?? node, 0);

/** The affine map of a normalize, whether or not a ReLU belongs to it. */
export function compositeOf(lowering: Lowering, normalize: GraphNode): Composite {
  return {
    mean: lowering.view(inputOf(normalize, 1)),
    variance: lowering.view(inputOf(normalize, 2)),
    gamma: lowering.persistent(inputOf(normalize, 3)),
    beta: lowering.persistent(inputOf(normalize, 4)),
    eps: numberAttribute(normalize, "eps"),
  };
}

export function compositeBackward(lowering: Lowering, normalize: GraphNode): CompositeBackward {
  const dMean = lowering.gradient(inputOf(normalize, 1));
  const dVariance = lowering.gradient(inputOf(normalize, 2));
  const write = lowering.writeTo(dMean);
  if (lowering.writeTo(dVariance) !== write) {
    throw new RangeError(`${normalize.path}: mean and variance have different consumers`);
  }
  const forward = compositeOf(lowering, normalize);
  return {
    x: lowering.view(inputOf(normalize, 0)),
    normalize: forward,
    grad: { dGamma: gradientOf(forward.gamma), dBeta: gradientOf(forward.beta), dMean, dVariance, write },
  };
}
