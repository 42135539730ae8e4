// plan/steps: a transition without dropout. Its average pool and its 1×1 convolution are both linear, so they commute:
// the pool comes first, and the convolution works on a quarter of the pixels.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { gradientOf, pooledAt } from "../names.ts";
import type { View } from "../plan.ts";
import { inputOf, numberAttribute, outputOf } from "../reading.ts";
import {
  type CompositeNodes,
  compositeBackward,
  compositeBefore,
  compositeNodes,
  compositeOf,
  sourceOf,
} from "./composite.ts";
import { featureMaps, poolSize, weightSides } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

interface PooledConvNodes {
  readonly composite: CompositeNodes;
  readonly conv: GraphNode;
  readonly pool: GraphNode;
}

export function matchPooledConv(conv: GraphNode, graph: ForwardNodes): Step | undefined {
  if (conv.op !== "conv2d") return undefined;
  const composite = compositeBefore(conv, graph);
  const pool = graph.onlyConsumer(conv, "avgPool2d");
  const [, , kernel] = graph.tensor(inputOf(conv, 1)).shape;
  if (!pool || !composite || kernel !== 1 || numberAttribute(conv, "stride") !== 1) return undefined;
  const nodes = { composite, conv, pool };
  return {
    nodes: [...compositeNodes(composite), conv, pool],
    forward: (lowering) => {
      forward(lowering, nodes);
    },
    backward: (lowering) => {
      backward(lowering, nodes);
    },
  };
}

/** The convolution works on the pooled maps. */
function sizesOf(lowering: Lowering, { composite, conv, pool }: PooledConvNodes) {
  const source = sourceOf(conv, composite);
  const poolingSize = poolSize(lowering, pool, source);
  const { channels } = featureMaps(lowering, source);
  const { outputs } = weightSides(lowering, conv);
  const { batch, outHeight: height, outWidth: width } = poolingSize;
  const size = { batch, height, width, outHeight: height, outWidth: width, kernel: 1, stride: 1, padding: 0 };
  return { source, poolingSize, size, channels, macs: batch * height * width * outputs * channels };
}

/** The pooled maps, or their gradient. */
function pooledView(lowering: Lowering, nodes: PooledConvNodes, which: "forward" | "gradient"): View {
  const { size, channels } = sizesOf(lowering, nodes);
  const name = pooledAt(nodes.pool.path);
  const shape = [size.batch, channels, size.height, size.width];
  const buffer =
    which === "forward" ? lowering.maps(name, shape) : lowering.plan.buffer(gradientOf(name), shape, "arena");
  return { buffer, offset: 0, channels };
}

function forward(lowering: Lowering, nodes: PooledConvNodes): void {
  const { plan } = lowering;
  const { composite, conv, pool } = nodes;
  const { source, poolingSize, size, macs } = sizesOf(lowering, nodes);
  const pooled = pooledView(lowering, nodes, "forward");
  plan.call(
    "avgPool",
    { x: lowering.view(source), composite: compositeOf(lowering, composite.normalize), y: pooled, size: poolingSize },
    { path: pool.path, computes: [...compositeNodes(composite), pool].map(({ id }) => id) },
  );
  const weight = lowering.persistent(inputOf(conv, 1));
  const y = lowering.view(outputOf(pool, 0));
  plan.call("conv", { x: pooled, weight, y, size }, { path: conv.path, computes: [conv.id], macs });
}

function backward(lowering: Lowering, nodes: PooledConvNodes): void {
  const { plan } = lowering;
  const { composite, conv, pool } = nodes;
  const { source, poolingSize, size, macs } = sizesOf(lowering, nodes);
  const pooled = pooledView(lowering, nodes, "forward");
  const dPooled = pooledView(lowering, nodes, "gradient");
  const dy = lowering.gradient(outputOf(pool, 0));
  const weight = lowering.persistent(inputOf(conv, 1));
  const weightGradient = lowering.backwardIds([conv], ["conv2dGradWeight"]);
  if (weightGradient.length > 0) {
    plan.call(
      "convGradWeight",
      { x: pooled, dy, dWeight: gradientOf(weight), size },
      { path: conv.path, computes: weightGradient, macs },
    );
  }
  plan.call(
    "convGradInput",
    { dy, weight, dx: dPooled, write: "overwrite", size },
    { path: conv.path, computes: lowering.backwardIds([conv], ["conv2dGradInput"]), macs },
  );
  const dx = lowering.gradient(source);
  plan.call(
    "avgPoolGrad",
    {
      dy: dPooled,
      dx,
      write: lowering.writeTo(dx),
      composite: compositeBackward(lowering, composite.normalize),
      size: poolingSize,
    },
    { path: pool.path, computes: lowering.backwardIds([pool, composite.relu, composite.normalize]) },
  );
}
