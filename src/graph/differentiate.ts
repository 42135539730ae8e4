// graph: forward graph → the same with its backward pass: from the loss to the parameters, as training needs it, or
// from the logits to feature maps. Reverse mode: nodes are visited backwards, each op's own rule adds the backward nodes.
//
// Where several consumers read a tensor, their gradients are summed by one n-ary `add`, in the order in which they
// become known: the last consumer first. In a dense block that is the order in which a plan accumulates them into the
// block's gradient buffer.
import { UsageError } from "../errors.ts";
import { add } from "../ops/add.ts";
import type { Attrs, Op } from "../ops/op.ts";
import { opOf } from "../ops/table.ts";
import { GraphBuilder } from "./builder.ts";
import type { Graph, GraphNode, GraphTensor, TensorId } from "./graph.ts";

/** Whether a tensor is one of `sources` or depends on one, so that its gradient is wanted. */
function dependsOn(graph: Graph, sources: ReadonlySet<TensorId>): readonly boolean[] {
  const wanted = graph.tensors.map(({ id }) => sources.has(id));
  for (const node of graph.nodes) {
    if (node.inputs.some((input) => wanted[input])) for (const output of node.outputs) wanted[output] = true;
  }
  return wanted;
}

/** Nodes that a tensor depends on. */
function reach(graph: Graph, result: TensorId): ReadonlySet<number> {
  const needed = new Set([result]);
  const nodes = new Set<number>();
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((output) => needed.has(output))) continue;
    nodes.add(node.id);
    for (const input of node.inputs) needed.add(input);
  }
  return nodes;
}

/**
 * Appends the backward pass and fills `gradients` for every parameter that the loss depends on.
 * @throws UsageError if the graph has no loss or already has a backward pass.
 */
export function differentiate(graph: Graph): Graph {
  const { loss } = graph;
  if (loss === undefined) throw new UsageError("differentiate: the graph has no loss; build it with mode training");
  const parameters = graph.tensors.filter(({ kind }) => kind === "parameter").map(({ id }) => id);
  return backwardFrom(graph, loss, parameters, undefined);
}

/**
 * Appends the backward pass from the logits: a vector–Jacobian product. Its vector is a new input `logitsGradient`
 * [N, K], one row for each image; with rows that are 1 at one class and else 0, `gradients` holds that logit's gradient
 * with respect to each of `sources`. Gradients of parameters are left out. In a graph for inference batch norm's
 * statistics are constants, so that images do not see each other.
 * @throws UsageError if the graph already has a backward pass, or the logits do not depend on one of the sources.
 */
export function differentiateLogits(graph: Graph, sources: readonly TensorId[]): Graph {
  const { logits } = graph;
  const { name, shape } = graph.tensors[logits];
  const extended = new GraphBuilder(graph);
  const logitsGradient = extended.tensor(`d(${name})`, shape, "input");
  const { tensors, nodes } = extended;
  const found = backwardFrom({ ...graph, tensors, nodes, logitsGradient }, logits, sources, logitsGradient);
  const missing = sources.find((source) => !found.gradients.has(source));
  if (missing === undefined) return found;
  throw new UsageError(`differentiateLogits: the logits do not depend on ${graph.tensors[missing]?.name ?? missing}`);
}

/** `seed`: the gradient of `result`; undefined for the loss, whose rule needs none. */
function backwardFrom(graph: Graph, result: TensorId, sources: readonly TensorId[], seed: TensorId | undefined): Graph {
  if (graph.gradients.size > 0) throw new UsageError("differentiate: the graph already has gradients");

  const builder = new GraphBuilder(graph);
  const wanted = dependsOn(graph, new Set(sources));
  const active = reach(graph, result);
  const contributions = new Map<TensorId, TensorId[]>(seed === undefined ? [] : [[result, [seed]]]);
  const names = new Set(graph.tensors.map((tensor) => tensor.name));

  const consumers = new Map<TensorId, number>();
  for (const node of graph.nodes) {
    if (active.has(node.id)) for (const input of node.inputs) consumers.set(input, (consumers.get(input) ?? 0) + 1);
  }

  /** `d(x)` for the whole gradient of x, `d(x)@<consumer>` for one consumer's share of it. */
  function gradientName(tensor: TensorId, consumer: GraphNode): string {
    const whole = `d(${graph.tensors[tensor].name})`;
    const base = consumers.get(tensor) === 1 ? whole : `${whole}@${consumer.path}`;
    let name = base;
    for (let i = 2; names.has(name); i++) name = `${base}.${i}`;
    return name;
  }

  function rename(id: TensorId, name: string): void {
    builder.tensors[id] = { ...builder.tensors[id], name } satisfies GraphTensor;
    names.add(name);
  }

  /** The whole gradient of a tensor, once all its consumers were visited. */
  function total(
    tensor: TensorId,
    completes: Pick<GraphNode, "path"> & { readonly id?: number },
  ): TensorId | undefined {
    const summands = contributions.get(tensor) ?? [];
    if (summands.length < 2) return summands[0];
    const name = `d(${graph.tensors[tensor].name})`;
    names.add(name);
    const of = completes.id === undefined ? {} : { of: completes.id };
    const about = { path: completes.path, names: [name], pass: "backward", ...of } as const;
    const sum = builder.emit(add, summands, {}, about)[0];
    contributions.set(tensor, [sum]);
    return sum;
  }

  for (const node of graph.nodes.toReversed()) {
    if (!active.has(node.id) || !node.inputs.some((input) => wanted[input])) continue;
    const op = opOf(node.op);
    if (!op.gradient) throw new UsageError(`${node.path}: ${node.op} has no gradient rule`);
    const isLoss = seed === undefined && node.outputs[0] === result;
    const dOutputs = isLoss ? [] : node.outputs.map((output) => total(output, node));
    const known = dOutputs.filter((id) => id !== undefined);
    if (known.length < dOutputs.length) {
      throw new UsageError(`${node.path}: only some outputs of ${node.op} reach the loss, which has no gradient rule`);
    }

    const fresh = new Set<TensorId>();
    const emit = <A extends Attrs>(rule: Op<A>, inputs: readonly TensorId[], attrs: A): readonly TensorId[] => {
      // Provisional names: what the rule returns is renamed below, the rest keeps them.
      const provisional = rule.outputs.map((output) => `${node.path}:${rule.name}.${output}`);
      const outputs = builder.emit(rule, inputs, attrs, {
        path: node.path,
        names: provisional,
        pass: "backward",
        of: node.id,
      });
      for (const output of outputs) fresh.add(output);
      return outputs;
    };
    const dInputs = op.gradient({
      inputs: node.inputs,
      inputShapes: node.inputs.map((input) => builder.shape(input)),
      outputs: node.outputs,
      dOutputs: known,
      attrs: node.attrs,
      wanted: node.inputs.map((input) => wanted[input]),
      emit,
    });
    node.inputs.forEach((input, i) => {
      const dInput = dInputs[i];
      if (dInput === undefined || !wanted[input]) return;
      if (fresh.delete(dInput)) rename(dInput, gradientName(input, node));
      contributions.set(input, [...(contributions.get(input) ?? []), dInput]);
    });
  }

  const gradients = new Map<TensorId, TensorId>();
  for (const id of sources) {
    // Completes no node's output: nothing is propagated through the node that made a source.
    const gradient = total(id, { path: graph.tensors[id].name });
    if (gradient !== undefined) gradients.set(id, gradient);
  }
  return { ...graph, tensors: builder.tensors, nodes: builder.nodes, gradients };
}
