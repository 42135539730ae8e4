// plan/steps: max pooling behind the composite function, as in the ImageNet stem.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { numberAttribute, outputOf } from "../reading.ts";
import {
  type CompositeNodes,
  compositeBackward,
  compositeBefore,
  compositeNodes,
  compositeOf,
  sourceOf,
} from "./composite.ts";
import { windowSize } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

export function matchMaxPool(pool: GraphNode, graph: ForwardNodes): Step | undefined {
  if (pool.op !== "maxPool2d") return undefined;
  const composite = compositeBefore(pool, graph);
  if (!composite) return undefined;
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

const sizeOf = (lowering: Lowering, pool: GraphNode) => windowSize(lowering, pool, numberAttribute(pool, "kernel"));

function forward(lowering: Lowering, pool: GraphNode, composite: CompositeNodes): void {
  lowering.plan.call(
    "maxPool",
    {
      x: lowering.view(sourceOf(pool, composite)),
      composite: compositeOf(lowering, composite.normalize),
      y: lowering.view(outputOf(pool, 0)),
      size: sizeOf(lowering, pool),
    },
    { path: pool.path, computes: [...compositeNodes(composite), pool].map(({ id }) => id) },
  );
}

function backward(lowering: Lowering, pool: GraphNode, composite: CompositeNodes): void {
  const dx = lowering.gradient(sourceOf(pool, composite));
  lowering.plan.call(
    "maxPoolGrad",
    {
      dy: lowering.gradient(outputOf(pool, 0)),
      dx,
      write: lowering.writeTo(dx),
      composite: compositeBackward(lowering, composite.normalize),
      size: sizeOf(lowering, pool),
    },
    { path: pool.path, computes: lowering.backwardIds([pool, composite.relu, composite.normalize]) },
  );
}
