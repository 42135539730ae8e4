// plan: forward graph → steps, the units that one or two kernels compute forward and that are gone back through together.
//
// Here the paper's composite function is recognised: relu(normalize(x)) never becomes a step of its own, it belongs to whatever
// loads it. Anything that matches no step is an error, so that no op of a graph can be lost.
import type { Graph, GraphNode, TensorId } from "../graph/graph.ts";

/** normalize → relu in front of a step. */
export interface CompositeNodes {
  readonly normalize: GraphNode;
  readonly relu: GraphNode;
}

export type Step =
  | {
      readonly kind: "conv";
      readonly composite: CompositeNodes | undefined;
      readonly conv: GraphNode;
      readonly dropout: GraphNode | undefined;
    }
  /** A transition without dropout: pool and 1×1 convolution commute, so the pool comes first. */
  | {
      readonly kind: "pooledConv";
      readonly composite: CompositeNodes;
      readonly conv: GraphNode;
      readonly pool: GraphNode;
    }
  | { readonly kind: "pool"; readonly composite: CompositeNodes | undefined; readonly pool: GraphNode }
  | { readonly kind: "maxPool"; readonly composite: CompositeNodes; readonly pool: GraphNode }
  | { readonly kind: "statistics"; readonly node: GraphNode }
  | { readonly kind: "linear"; readonly node: GraphNode }
  | { readonly kind: "loss"; readonly node: GraphNode };

export interface Steps {
  readonly steps: readonly Step[];
  /** updateRunning nodes, run together at the end of the forward pass. */
  readonly running: readonly GraphNode[];
  /** concat nodes: addresses, no work. */
  readonly concats: readonly GraphNode[];
}

export function findSteps(graph: Graph): Steps {
  const forward = graph.nodes.filter((node) => node.pass === "forward");
  const producer = new Map<TensorId, GraphNode>();
  const consumers = new Map<TensorId, GraphNode[]>();
  for (const node of forward) {
    for (const output of node.outputs) producer.set(output, node);
    for (const input of node.inputs) consumers.set(input, [...(consumers.get(input) ?? []), node]);
  }
  const first = (ids: readonly TensorId[]): TensorId => {
    const id = ids[0];
    if (id === undefined) throw new RangeError("a node without tensors cannot be planned");
    return id;
  };
  /** The only consumer of a node's first output if it is this op. */
  const onlyConsumer = (node: GraphNode, op: string): GraphNode | undefined => {
    const found = consumers.get(first(node.outputs)) ?? [];
    return found.length === 1 && found[0]?.op === op ? found[0] : undefined;
  };
  const compositeBefore = (node: GraphNode): CompositeNodes | undefined => {
    const relu = producer.get(first(node.inputs));
    if (relu?.op !== "relu") return undefined;
    const normalize = producer.get(first(relu.inputs));
    if (normalize?.op !== "normalize" || (consumers.get(first(relu.outputs)) ?? []).length !== 1) {
      throw new RangeError(`${relu.path}: a ReLU is planned only between one normalize and one consumer`);
    }
    return { normalize, relu };
  };

  const steps: Step[] = [];
  const running: GraphNode[] = [];
  const concats: GraphNode[] = [];
  const taken = new Set<number>();
  for (const node of forward) {
    if (taken.has(node.id)) continue;
    switch (node.op) {
      case "normalize":
      case "relu":
        break; // part of their consumer's step
      case "concat":
        concats.push(node);
        break;
      case "updateRunning":
        running.push(node);
        break;
      case "conv2d": {
        const composite = compositeBefore(node);
        const dropout = onlyConsumer(node, "dropout");
        const pool = onlyConsumer(node, "avgPool2d");
        const kernel = graph.tensors[node.inputs[1] ?? -1]?.shape[2];
        if (pool && composite && kernel === 1 && node.attrs.stride === 1) {
          taken.add(pool.id);
          steps.push({ kind: "pooledConv", composite, conv: node, pool });
        } else {
          if (dropout) taken.add(dropout.id);
          steps.push({ kind: "conv", composite, conv: node, dropout });
        }
        break;
      }
      case "avgPool2d":
      case "globalAvgPool":
        steps.push({ kind: "pool", composite: compositeBefore(node), pool: node });
        break;
      case "maxPool2d": {
        const composite = compositeBefore(node);
        if (!composite) throw new RangeError(`${node.path}: a max pool is planned only behind normalize and ReLU`);
        steps.push({ kind: "maxPool", composite, pool: node });
        break;
      }
      case "channelStatistics":
        steps.push({ kind: "statistics", node });
        break;
      case "linear":
        steps.push({ kind: "linear", node });
        break;
      case "softmaxCrossEntropy":
        steps.push({ kind: "loss", node });
        break;
      default:
        throw new RangeError(`${node.path}: op ${node.op} has no kernel in the plan's table yet`);
    }
  }
  return { steps, running, concats };
}
