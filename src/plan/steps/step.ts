// plan/steps: a step is what one or two kernels compute forward and what is propagated backward together. One file per
// kind of step; a new kind is a new file and a row in table.ts.
import type { Graph, GraphNode, TensorId } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import { outputOf, tensorOf } from "../reading.ts";

export interface Step {
  /**
   * The forward nodes that it computes. Every forward node belongs to exactly one step (running statistics and
   * addresses aside).
   */
  readonly nodes: readonly GraphNode[];
  /** Emits the forward kernel calls. */
  forward(lowering: Lowering): void;
  /** Emits the backward kernel calls; steps are visited from the last to the first. */
  backward(lowering: Lowering): void;
  /** Computes the output a second time, for the backward pass, so that it need not be kept. Absent: it is kept. */
  recompute?(lowering: Lowering): void;
  /**
   * Whether `backward` adds the gradient of its output's statistics on load, from `Lowering.pendingStatistics`, so that
   * no kernel of its own does.
   */
  addsStatisticsGradient?(lowering: Lowering): boolean;
}

/**
 * The step whose first node in graph order, composite functions aside, is this one; undefined if it is none of this
 * kind.
 */
export type MatchStep = (node: GraphNode, forward: ForwardNodes) => Step | undefined;

/** The forward pass of a graph as its matchers see it. */
export class ForwardNodes {
  readonly nodes: readonly GraphNode[];
  readonly #graph: Graph;
  readonly #producers = new Map<TensorId, GraphNode>();
  readonly #consumers = new Map<TensorId, GraphNode[]>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.nodes = graph.nodes.filter((node) => node.pass === "forward");
    for (const node of this.nodes) {
      for (const output of node.outputs) this.#producers.set(output, node);
      for (const input of node.inputs) this.#consumers.set(input, [...this.consumers(input), node]);
    }
  }

  /** The node that computes a tensor; undefined for inputs, parameters and states. */
  producer(tensor: TensorId): GraphNode | undefined {
    return this.#producers.get(tensor);
  }

  consumers(tensor: TensorId): readonly GraphNode[] {
    return this.#consumers.get(tensor) ?? [];
  }

  /** The only consumer of a node's first output, if it is this op. */
  onlyConsumer(node: GraphNode, op: GraphNode["op"]): GraphNode | undefined {
    const [only, ...others] = this.consumers(outputOf(node, 0));
    return others.length === 0 && only?.op === op ? only : undefined;
  }

  tensor(id: TensorId): Graph["tensors"][number] {
    return tensorOf(this.#graph, id);
  }
}
