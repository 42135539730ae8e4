// plan/steps: mean and variance of a tensor's channels, once per channel, whoever normalizes by them. Backward, the two
// numbers that all consumers have added up are applied once: by the kernel that goes on from the tensor's gradient, if
// it can, else by one of their own.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { inputOf, outputOf } from "../reading.ts";
import { planeSize } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

export function matchStatistics(node: GraphNode, graph: ForwardNodes): Step | undefined {
  if (node.op !== "channelStatistics") return undefined;
  const maker = graph.producer(inputOf(node, 0));
  return {
    nodes: [node],
    forward: (lowering) => {
      forward(lowering, node);
    },
    backward: (lowering) => {
      backward(lowering, node, maker);
    },
  };
}

function forward(lowering: Lowering, node: GraphNode): void {
  const x = inputOf(node, 0);
  lowering.plan.call(
    "channelStatistics",
    {
      x: lowering.view(x),
      mean: lowering.view(outputOf(node, 0)),
      variance: lowering.view(outputOf(node, 1)),
      ...planeSize(lowering, x),
    },
    { path: node.path, computes: [node.id] },
  );
}

/** `maker`: the node that computes the features. */
function backward(lowering: Lowering, node: GraphNode, maker: GraphNode | undefined): void {
  const x = inputOf(node, 0);
  const statistics = {
    mean: lowering.view(outputOf(node, 0)),
    dMean: lowering.gradient(outputOf(node, 0)),
    dVariance: lowering.gradient(outputOf(node, 1)),
  };
  const computes = [
    ...lowering.backwardIds([node], ["channelStatisticsGrad", "add"]),
    ...lowering.backwardIds([maker], ["add"]),
  ];
  if (lowering.producer(x)?.addsStatisticsGradient?.(lowering)) {
    lowering.pendingStatistics.set(x, { args: { y: lowering.view(x), ...statistics }, computes });
    return;
  }
  lowering.plan.call(
    "statisticsGrad",
    { dx: lowering.gradient(x), x: lowering.view(x), ...statistics, ...planeSize(lowering, x) },
    { path: node.path, computes },
  );
}
