// graph: a network as ops on tensors, plain data. Forward graphs come from `buildGraph`, training graphs from
// `differentiate`.
import type { OpName } from "../ops/table.ts";

/** Position in `Graph.tensors`. */
export type TensorId = number;
/** Position in `Graph.nodes`. */
export type NodeId = number;

/** What a parameter is. `scale`: γ of a batch norm. `shift`: its β, and the bias of a linear layer. */
export type ParameterRole = "convWeight" | "linearWeight" | "scale" | "shift";
/** Which running statistic of a batch norm. */
export type StatisticRole = "mean" | "variance";
/** Given by the family that builds the network, so that nobody guesses it from a name or a rank. */
export type TensorRole = ParameterRole | StatisticRole;

interface TensorBase {
  readonly id: TensorId;
  /**
   * Parameters and states: the state-dict path. Values: `<path>:<output>`. Gradients: `d(<name>)`. Unique within a
   * graph.
   */
  readonly name: string;
  readonly shape: readonly number[];
}

/** A tensor that outlives a run. `parameter`: learned · `state`: running statistics. */
export type PersistentTensor = TensorBase &
  (
    | { readonly kind: "parameter"; readonly role: ParameterRole }
    | { readonly kind: "state"; readonly role: StatisticRole }
  );

/** `input`: images, labels · `value`: what a node computes. */
export type GraphTensor = PersistentTensor | (TensorBase & { readonly kind: "input" | "value" });

/** One op of a graph. */
export interface GraphNode {
  readonly id: NodeId;
  readonly op: OpName;
  readonly attrs: Readonly<Record<string, number | string | boolean | readonly number[]>>;
  readonly inputs: readonly TensorId[];
  readonly outputs: readonly TensorId[];
  /** Module path, e.g. `features.denseblock1.denselayer3.conv1`. */
  readonly path: string;
  readonly pass: "forward" | "backward";
  /**
   * Of a backward node: the forward node it differentiates (sums of gradients name the node whose output they
   * complete).
   */
  readonly of?: NodeId;
}

/** Nodes stand in an order in which every input is computed before it is used. */
export interface Graph {
  readonly tensors: readonly GraphTensor[];
  readonly nodes: readonly GraphNode[];
  readonly batch: number;
  readonly mode: "training" | "inference";
  readonly images: TensorId;
  /** Training graphs and graphs with a loss only. */
  readonly labels?: TensorId;
  readonly logits: TensorId;
  readonly loss?: TensorId;
  /** Input of graphs that are differentiated from their logits: the logits' gradient [N, K]. */
  readonly logitsGradient?: TensorId;
  /** Training graphs: parameter → its gradient. Differentiated from the logits: each tensor asked for → its gradient. */
  readonly gradients: ReadonlyMap<TensorId, TensorId>;
}

/** Parameters and running statistics, in the network's order. */
export function persistentTensors(graph: Graph): readonly PersistentTensor[] {
  return graph.tensors.filter((tensor) => tensor.kind === "parameter" || tensor.kind === "state");
}
