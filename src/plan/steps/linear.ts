// plan/steps: the classifier.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { gradientOf } from "../names.ts";
import { inputOf, outputOf, sidesOf } from "../reading.ts";
import type { Step } from "./step.ts";

export function matchLinear(node: GraphNode): Step | undefined {
  if (node.op !== "linear") return undefined;
  return {
    nodes: [node],
    forward: (lowering) => {
      forward(lowering, node);
    },
    backward: (lowering) => {
      backward(lowering, node);
    },
  };
}

function sizesOf(lowering: Lowering, node: GraphNode) {
  const { batch, features } = sidesOf(lowering.tensor(inputOf(node, 0)), ["batch", "features"]);
  const { classes } = sidesOf(lowering.tensor(inputOf(node, 1)), ["classes", "features"]);
  return { batch, classes, macs: batch * classes * features };
}

function forward(lowering: Lowering, node: GraphNode): void {
  const { batch, classes, macs } = sizesOf(lowering, node);
  lowering.plan.call(
    "linear",
    {
      x: lowering.view(inputOf(node, 0)),
      weight: lowering.persistent(inputOf(node, 1)),
      bias: lowering.persistent(inputOf(node, 2)),
      y: lowering.view(outputOf(node, 0)).buffer,
      batch,
      classes,
    },
    { path: node.path, computes: [node.id], macs },
  );
}

function backward(lowering: Lowering, node: GraphNode): void {
  const { batch, classes, macs } = sizesOf(lowering, node);
  const weight = lowering.persistent(inputOf(node, 1));
  lowering.plan.call(
    "linearGrad",
    {
      x: lowering.view(inputOf(node, 0)),
      weight,
      dy: lowering.gradient(outputOf(node, 0)).buffer,
      dx: lowering.gradient(inputOf(node, 0)),
      dWeight: gradientOf(weight),
      dBias: gradientOf(lowering.persistent(inputOf(node, 2))),
      batch,
      classes,
    },
    { path: node.path, computes: lowering.backwardIds([node]), macs: 2 * macs },
  );
}
