// plan/steps: running statistics, all in one call at the end of the forward pass.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { inputOf, numberAttribute } from "../reading.ts";

export function updateRunningStatistics(lowering: Lowering, nodes: readonly GraphNode[]): void {
  const byCount = Map.groupBy(nodes, ({ attrs }) => `${attrs.momentum} ${attrs.count}`);
  for (const group of byCount.values()) {
    const [first] = group;
    if (!first) continue;
    const entries = group.map((node) => ({
      mean: lowering.view(inputOf(node, 0)),
      variance: lowering.view(inputOf(node, 1)),
      runningMean: lowering.persistent(inputOf(node, 2)),
      runningVariance: lowering.persistent(inputOf(node, 3)),
    }));
    lowering.plan.call(
      "updateRunningStatistics",
      { entries, momentum: numberAttribute(first, "momentum"), count: numberAttribute(first, "count") },
      { path: "features", computes: group.map(({ id }) => id) },
    );
  }
}
