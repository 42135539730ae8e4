// plan/steps: softmax cross-entropy. Where the graph has a backward pass, the forward kernel leaves the logits'
// gradient as well.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { hostBuffers } from "../names.ts";
import { inputOf, numberAttribute, sidesOf } from "../reading.ts";
import type { Step } from "./step.ts";

export function matchLoss(node: GraphNode): Step | undefined {
  if (node.op !== "softmaxCrossEntropy") return undefined;
  return {
    nodes: [node],
    forward: (lowering) => {
      forward(lowering, node);
    },
    backward: () => {},
  };
}

function forward(lowering: Lowering, node: GraphNode): void {
  const { plan } = lowering;
  const logits = inputOf(node, 0);
  const { batch, classes } = sidesOf(lowering.tensor(logits), ["batch", "classes"]);
  const gradients = lowering.backwardOf(node.id);
  plan.call(
    "softmaxCrossEntropy",
    {
      logits: lowering.view(logits).buffer,
      labels: lowering.view(inputOf(node, 1)).buffer,
      sampleLoss: plan.buffer(hostBuffers.sampleLoss, [batch], "arena", { kept: true }),
      sampleRank: plan.buffer(hostBuffers.sampleRank, [batch], "arena", { kept: true }),
      ...(gradients.length > 0 ? { dLogits: lowering.gradient(logits).buffer } : {}),
      scale: 1 / batch,
      smoothing: numberAttribute(node, "smoothing"),
      batch,
      classes,
    },
    { path: node.path, computes: [node.id, ...gradients.map(({ id }) => id)] },
  );
}
