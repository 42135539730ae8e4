// plan/steps: average pooling with the composite function before it: the global pool, and a transition's behind
// dropout.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { outputOf } from "../reading.ts";
import {
  type CompositeNodes,
  compositeBackward,
  compositeBefore,
  compositeNodes,
  compositeOf,
  sourceOf,
} from "./composite.ts";
import { poolSize } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

export function matchPool(pool: GraphNode, graph: ForwardNodes): Step | undefined {
  if (pool.op !== "avgPool2d" && pool.op !== "globalAvgPool") return undefined;
  const composite = compositeBefore(pool, graph);
  return {
    nodes: [...compositeNodes(composite), pool],
    forward: (lowering) => {
      forward(lowering, pool, composite);
    },
    backward: (lowering) => {
      backward(lowering, pool, composite);
    },
  };
}

function forward(lowering: Lowering, pool: GraphNode, composite: CompositeNodes | undefined): void {
  const source = sourceOf(pool, composite);
  lowering.plan.call(
    "avgPool",
    {
      x: lowering.view(source),
      ...(composite ? { composite: compositeOf(lowering, composite.normalize) } : {}),
      y: lowering.view(outputOf(pool, 0)),
      size: poolSize(lowering, pool, source),
    },
    { path: pool.path, computes: [...compositeNodes(composite), pool].map(({ id }) => id) },
  );
}

function backward(lowering: Lowering, pool: GraphNode, composite: CompositeNodes | undefined): void {
  const source = sourceOf(pool, composite);
  const dx = lowering.gradient(source);
  lowering.plan.call(
    "avgPoolGrad",
    {
      dy: lowering.gradient(outputOf(pool, 0)),
      dx,
      write: lowering.writeTo(dx),
      ...(composite ? { composite: compositeBackward(lowering, composite.normalize) } : {}),
      size: poolSize(lowering, pool, source),
    },
    { path: pool.path, computes: lowering.backwardIds([pool, composite?.relu, composite?.normalize]) },
  );
}
