// plan/steps: dropout in place, behind the convolution that it belongs to. Its mask is a function of (seed, step,
// stream, index), so the backward pass is the same kernel on the gradient.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import type { View } from "../plan.ts";
import { numberAttribute, outputOf } from "../reading.ts";
import { planeSize } from "./sizes.ts";

export function callDropout(
  lowering: Lowering,
  dropout: GraphNode,
  x: View,
  computes: readonly number[],
  recompute: boolean,
): void {
  const [rate, stream] = [numberAttribute(dropout, "rate"), numberAttribute(dropout, "stream")];
  const size = planeSize(lowering, outputOf(dropout, 0));
  lowering.plan.call("dropout", { x, rate, stream, ...size }, { path: dropout.path, computes, recompute });
}
