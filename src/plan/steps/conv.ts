// plan/steps: a convolution with the composite function before it and the dropout behind it.
//
// A bottleneck is one with a composite function whose output is concatenated nowhere, so that only the same layer reads
// it: it can be computed again, and the gradient of its statistics can be added while the fused backward kernel loads
// dy.
import type { GraphNode } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { gradientOf, recomputedOf } from "../names.ts";
import type { View } from "../plan.ts";
import { channelsOf, inputOf, outputOf } from "../reading.ts";
import {
  type CompositeNodes,
  compositeBackward,
  compositeBefore,
  compositeNodes,
  compositeOf,
  sourceOf,
} from "./composite.ts";
import { callDropout } from "./dropout.ts";
import { convSize } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

interface ConvNodes {
  readonly conv: GraphNode;
  readonly composite: CompositeNodes | undefined;
  readonly dropout: GraphNode | undefined;
}

export function matchConv(conv: GraphNode, graph: ForwardNodes): Step | undefined {
  if (conv.op !== "conv2d") return undefined;
  const nodes = { conv, composite: compositeBefore(conv, graph), dropout: graph.onlyConsumer(conv, "dropout") };
  return {
    nodes: [...compositeNodes(nodes.composite), conv, ...(nodes.dropout ? [nodes.dropout] : [])],
    forward: (lowering) => {
      callConv(lowering, nodes, lowering.view(outputTensor(nodes)), false);
    },
    backward: (lowering) => {
      backward(lowering, nodes);
    },
    recompute: (lowering) => {
      const again = isBottleneck(lowering, nodes) && !lowering.recomputed.has(outputTensor(nodes));
      if (again) recompute(lowering, nodes);
    },
    addsStatisticsGradient: (lowering) =>
      !nodes.dropout && isBottleneck(lowering, nodes) && hasFusedBackward(lowering, nodes),
  };
}

const outputTensor = ({ conv, dropout }: ConvNodes) => outputOf(dropout ?? conv, 0);

const isBottleneck = (lowering: Lowering, nodes: ConvNodes): boolean =>
  nodes.composite !== undefined && lowering.ownsBuffer(outputTensor(nodes));

/** Whether one kernel computes both gradients of this convolution. */
function hasFusedBackward(lowering: Lowering, { conv, composite }: ConvNodes): boolean {
  if (lowering.backwardIds([conv], ["conv2dGradWeight"]).length === 0) return false;
  const { kernel, stride, padding } = convSize(lowering, conv).size;
  return composite !== undefined && kernel === 1 && stride === 1 && padding === 0;
}

function callConv(lowering: Lowering, { conv, composite, dropout }: ConvNodes, y: View, recomputes: boolean): void {
  const { size, macs } = convSize(lowering, conv);
  const computes = recomputes ? [] : [...compositeNodes(composite), conv].map(({ id }) => id);
  lowering.plan.call(
    "conv",
    {
      x: lowering.view(sourceOf(conv, composite)),
      ...(composite ? { composite: compositeOf(lowering, composite.normalize) } : {}),
      weight: lowering.persistent(inputOf(conv, 1)),
      y,
      size,
    },
    { path: conv.path, computes, macs, recompute: recomputes },
  );
  if (dropout) callDropout(lowering, dropout, y, recomputes ? [] : [dropout.id], recomputes);
}

/** Computes the output again, into a buffer of its own, just before the backward pass needs it. */
function recompute(lowering: Lowering, nodes: ConvNodes): void {
  const id = outputTensor(nodes);
  const tensor = lowering.tensor(id);
  const buffer = lowering.maps(recomputedOf(tensor.name), tensor.shape);
  const view = { buffer, offset: 0, channels: channelsOf(tensor) };
  callConv(lowering, nodes, view, true);
  lowering.recomputed.set(id, view);
}

function backward(lowering: Lowering, nodes: ConvNodes): void {
  const { plan } = lowering;
  const { conv, dropout, composite } = nodes;
  const { size, macs } = convSize(lowering, conv);
  const source = sourceOf(conv, composite);
  if (composite && lowering.recompute === "bottleneck") lowering.producer(source)?.recompute?.(lowering);
  const dy = lowering.gradient(outputTensor(nodes));
  if (dropout) callDropout(lowering, dropout, dy, lowering.backwardIds([dropout]), false);
  const weight = lowering.persistent(inputOf(conv, 1));
  if (composite && hasFusedBackward(lowering, nodes)) {
    const dx = lowering.gradient(source);
    const pending = lowering.pendingStatistics.get(outputTensor(nodes));
    plan.call(
      "convGrad",
      {
        dy,
        ...(pending ? { dyStatistics: pending.args } : {}),
        weight,
        dWeight: gradientOf(weight),
        dx,
        write: lowering.writeTo(dx),
        composite: compositeBackward(lowering, composite.normalize),
        size,
      },
      {
        path: conv.path,
        computes: [...(pending?.computes ?? []), ...lowering.backwardIds([conv, composite.relu, composite.normalize])],
        macs: 2 * macs,
      },
    );
    return;
  }
  const weightGradient = lowering.backwardIds([conv], ["conv2dGradWeight"]);
  if (weightGradient.length > 0) {
    plan.call(
      "convGradWeight",
      {
        x: lowering.view(source),
        ...(composite ? { composite: compositeOf(lowering, composite.normalize) } : {}),
        dy,
        dWeight: gradientOf(weight),
        size,
      },
      { path: conv.path, computes: weightGradient, macs },
    );
  }
  const inputGradient = lowering.backwardIds([conv], ["conv2dGradInput"]);
  if (inputGradient.length === 0) return; // it reads the images, which need no gradient
  const dx = lowering.gradient(source);
  plan.call(
    "convGradInput",
    {
      dy,
      weight,
      dx,
      write: lowering.writeTo(dx),
      ...(composite ? { composite: compositeBackward(lowering, composite.normalize) } : {}),
      size,
    },
    {
      path: conv.path,
      computes: [...inputGradient, ...lowering.backwardIds([composite?.relu, composite?.normalize])],
      macs,
    },
  );
}
