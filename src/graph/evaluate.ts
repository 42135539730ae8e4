// graph: the plain interpreter. It runs each node's reference in order, so a graph can be computed with no plan and no
// backend: the oracle of everything that comes after.
import { InputError } from "../errors.ts";
import { allocate, type Precision, type Real, showShape, sizeOf, type Tensor } from "../ops/op.ts";
import { opOf } from "../ops/table.ts";
import type { Graph, TensorId } from "./graph.ts";

export interface EvaluateOptions {
  readonly precision: Precision;
  /** Choose the dropout masks; unsigned 32-bit. */
  readonly seed: number;
  readonly step: number;
}

/**
 * All values of a graph. `given` holds every input, parameter and state in row-major order (labels as Int32Array);
 * parameters and states are only read: new running statistics are outputs of `updateRunning` nodes.
 * @throws InputError if a given tensor is missing or of another size.
 */
export function evaluateGraph(
  graph: Graph,
  given: ReadonlyMap<TensorId, Real | Int32Array>,
  { precision, seed, step }: EvaluateOptions,
): Map<TensorId, Real | Int32Array> {
  const values = new Map<TensorId, Tensor>();
  for (const { id, name, shape, kind } of graph.tensors) {
    if (kind === "value") continue;
    const data = given.get(id);
    if (data?.length !== sizeOf(shape)) {
      throw new InputError(
        `${name}: expected ${sizeOf(shape)} values ${showShape(shape)}, given ${data?.length ?? "none"}`,
      );
    }
    if (data instanceof Int32Array) {
      values.set(id, { shape, data });
    } else {
      const tensor = allocate(shape, precision);
      tensor.data.set(data);
      values.set(id, tensor);
    }
  }
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((id) => values.get(id) as Tensor); // the graph's order makes sure that it is there
    const outputs = node.outputs.map((id) => allocate(graph.tensors[id].shape, precision));
    for (const output of outputs) output.data.fill(Number.NaN);
    opOf(node.op).reference(inputs, outputs, node.attrs, { seed, step });
    node.outputs.forEach((id, i) => {
      values.set(id, outputs[i]);
    });
  }
  return new Map([...values].map(([id, tensor]) => [id, tensor.data]));
}
