// Test support: values for all inputs, parameters and states of a graph, drawn by name.
import type { Graph, TensorId } from "../../src/graph/graph.ts";
import { labels } from "../golden/formula.ts";
import { draw } from "../ops/differences.ts";

/** f64 values: weights of He's size, gamma around 1, running variances around 1, labels of all classes. */
export function givenFor(graph: Graph): Map<TensorId, Float64Array | Int32Array> {
  const given = new Map<TensorId, Float64Array | Int32Array>();
  for (const tensor of graph.tensors) {
    const { id, name, shape } = tensor;
    if (tensor.kind === "value") continue;
    if (id === graph.labels) {
      given.set(id, labels("labels", shape[0], graph.tensors[graph.logits].shape[1]));
      continue;
    }
    const { data } = draw(name, shape);
    const role = "role" in tensor ? tensor.role : undefined;
    const positive = role === "variance" || role === "scale";
    // Uniform in ±1 has variance 1/3, so ±√(6/fanIn) has He's 2/fanIn.
    const scale = role === "convWeight" ? Math.sqrt(6 / (shape[1] * shape[2] * shape[3])) : 1;
    given.set(
      id,
      data.map((v) => (positive ? 1 + v / 2 : scale * v)),
    );
  }
  return given;
}
