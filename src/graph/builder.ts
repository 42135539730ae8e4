// graph: how graphs grow, node by node. Shapes are inferred on the way, so a graph that exists has consistent shapes.
import { UsageError } from "../errors.ts";
import type { Attrs, Op, Shape } from "../ops/op.ts";
import type { OpName } from "../ops/table.ts";
import type { Graph, GraphNode, GraphTensor, NodeId, ParameterRole, StatisticRole, TensorId } from "./graph.ts";

export interface EmitOptions {
  /** Module path of the node. */
  readonly path: string;
  /** Names of the outputs; `<path>:<output>` where left out. */
  readonly names?: readonly string[];
  readonly pass?: "forward" | "backward";
  /** Of a backward node: the forward node it differentiates. */
  readonly of?: NodeId;
}

/** Tensors and nodes under construction, from nothing or on top of an existing graph. */
export class GraphBuilder {
  readonly tensors: GraphTensor[];
  readonly nodes: GraphNode[];

  constructor(base?: Pick<Graph, "tensors" | "nodes">) {
    this.tensors = [...(base?.tensors ?? [])];
    this.nodes = [...(base?.nodes ?? [])];
  }

  shape(id: TensorId): Shape {
    return this.tensors[id].shape;
  }

  tensor(name: string, shape: Shape, kind: "input" | "value"): TensorId {
    return this.#add({ id: this.tensors.length, name, shape, kind });
  }

  parameter(name: string, shape: Shape, role: ParameterRole): TensorId {
    return this.#add({ id: this.tensors.length, name, shape, kind: "parameter", role });
  }

  /** A running statistic. */
  statistic(name: string, shape: Shape, role: StatisticRole): TensorId {
    return this.#add({ id: this.tensors.length, name, shape, kind: "state", role });
  }

  /** Appends a node and returns its outputs. Shapes that do not fit are a UsageError that names the path. */
  emit<A extends Attrs>(op: Op<A>, inputs: readonly TensorId[], attrs: A, options: EmitOptions): readonly TensorId[] {
    const { path, names, pass = "forward", of } = options;
    const outputs = this.#shapesAt(path, op, inputs, attrs).map((shape, i) =>
      this.tensor(names?.[i] ?? `${path}:${op.outputs[i]}`, shape, "value"),
    );
    const id = this.nodes.length;
    // The op table's keys are the ops' own names; test/ops/references.test.ts holds it to that.
    const node = { id, op: op.name as OpName, attrs, inputs: [...inputs], outputs, path, pass };
    this.nodes.push(of === undefined ? node : { ...node, of });
    return outputs;
  }

  #add(tensor: GraphTensor): TensorId {
    this.tensors.push(tensor);
    return tensor.id;
  }

  #shapesAt<A extends Attrs>(path: string, op: Op<A>, inputs: readonly TensorId[], attrs: A): readonly Shape[] {
    const inputShapes = inputs.map((id) => this.shape(id));
    try {
      return op.shapes(inputShapes, attrs);
    } catch (error) {
      if (error instanceof UsageError) throw new UsageError(`${path}: ${error.message}`, { ...error.details, path });
      throw error;
    }
  }
}
