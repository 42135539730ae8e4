// infer: the values of any node of a network for images, and the gradient of a logit with respect to them. Class
// activation, embeddings and whatever else looks inside a network start from these. Portable, on every backend.
//
// A plan stores what kernels write; batch norm and ReLU are applied while the next kernel loads, and a transition pools
// before it mixes. What is not stored is computed here from what is, by the ops' own references: a few elementwise
// operations, as a rule.
import type { Backend, Executable } from "../backends/backend.ts";
import { Lifetime } from "../backends/lifetime.ts";
import { runAhead } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { InputSize } from "../data/fitImage.ts";
import { normalizationTable } from "../data/normalization.ts";
import { UsageError } from "../errors.ts";
import { differentiateLogits } from "../graph/differentiate.ts";
import type { Graph, GraphNode, TensorId } from "../graph/graph.ts";
import { requireUsable } from "../model/check.ts";
import type { StateDict } from "../model/model.ts";
import { buildGraph } from "../networks/registry.ts";
import { allocate, sizeOf, type Tensor } from "../ops/op.ts";
import { opOf } from "../ops/table.ts";
import { gradientOf, hostBuffers } from "../plan/names.ts";
import { placesOf } from "../plan/places.ts";
import type { BufferName, Plan, View } from "../plan/plan.ts";
import { planInference, planTraining } from "../plan/planners.ts";
import { channelLayout, tensorOf } from "../plan/reading.ts";
import { networkInput } from "./networkInput.ts";
import { lastMaps, nodeTensor } from "./nodes.ts";

/** Which nodes, and how their network is compiled. */
export interface NodeReaderOptions {
  /** Module paths or names of tensors (`nodeTensor`). Default: the maps that the head pools, under `LAST_MAPS`. */
  readonly nodes?: readonly string[];
  /** Whether `gradient` will be asked for, which is that of one node. Default false. */
  readonly gradients?: boolean;
  /** Images that go through the network at once. Default 1. */
  readonly batchSize?: number;
}

/** Name of the maps [N, C, H, W] that the head pools, behind the last batch norm and ReLU. */
export const LAST_MAPS = "last maps";

/** Values of a node for N images: [N, C, H, W], or [N, F] behind the global pool, row-major. */
export interface NodeTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What a network computed for N images. */
export interface NodeValues {
  readonly logits: NodeTensor; // [N, K]
  /** By the name that was asked for. */
  readonly values: ReadonlyMap<string, NodeTensor>;
}

/** The values of one node, and the gradient of one logit of each image with respect to them. */
export interface NodeGradient {
  readonly logits: NodeTensor; // [N, K]
  readonly values: NodeTensor;
  /** Of the same shape. */
  readonly gradient: NodeTensor;
}

/**
 * Compiles the network on `backend`, which stays the caller's.
 * @throws UsageError for a node that the network does not have, or gradients of more than one
 * @throws InputError when a tensor of the model is missing, unexpected, of another shape or holds a number that cannot
 * be
 */
export async function createNodeReader(
  trained: TrainedModel,
  backend: Backend,
  options: NodeReaderOptions = {},
): Promise<NodeReader> {
  const { nodes = [LAST_MAPS], gradients = false, batchSize = 1 } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new UsageError(`batchSize: got ${batchSize}, expected a whole number of at least 1`, { field: "batchSize" });
  }
  const { model, preprocessing } = trained;
  requireUsable(model);
  const { height, width } = preprocessing;
  const graph = buildGraph(model.spec, { batch: batchSize, height, width, mode: "inference" });
  const wanted = nodes.map((name) => (name === LAST_MAPS ? lastMaps(graph) : nodeTensor(graph, name)).id);
  const { activationDtype } = backend.info;
  const forward = readingOf(graph, wanted, (keep) => planInference(graph, { activationDtype, keep }));
  const plans: Record<string, Plan> = { forward: forward.plan };
  let backward: Reading | undefined;
  if (gradients) {
    const [source, ...others] = wanted;
    // The gradient buffer of a block holds the sum of all that flows back. Where it stops at one node, that is the
    // node's own gradient.
    if (source === undefined || others.length > 0) {
      throw new UsageError(`gradients: got ${nodes.length} nodes, expected one`, { nodes });
    }
    const differentiated = differentiateLogits(graph, [source]);
    backward = readingOf(differentiated, [source, ...differentiated.gradients.values()], (keep) =>
      planTraining(differentiated, { recompute: "none", activationDtype, keep }),
    );
    plans.backward = backward.plan;
  }
  const executable = await backend.compile(plans);
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
  } catch (error) {
    await executable.dispose();
    throw error;
  }
  return new NodeReader(trained, executable, { nodes, batchSize, forward, backward });
}

/** Made by `createNodeReader`; ended by `dispose` or `await using`, after which reading rejects with a DisposedError. */
export class NodeReader implements AsyncDisposable {
  readonly inputSize: InputSize;
  /** Shape of each node's values for one image: [C, H, W] or [F]. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly #life = new Lifetime("node reader");
  readonly #executable: Executable;
  readonly #state: StateDict;
  readonly #table: Float32Array; // [C, 256]
  readonly #compiled: Compiled;
  #queue: Promise<void> = Promise.resolve();

  /**
   * `executable`: the plans of `compiled` with the network's state; the reader disposes of it.
   * @internal
   */
  constructor(trained: TrainedModel, executable: Executable, compiled: Compiled) {
    const { mean: _, std: __, ...size } = trained.preprocessing;
    this.inputSize = { channels: trained.model.spec.inChannels, ...size };
    this.#state = trained.model.state;
    this.#table = normalizationTable(trained.preprocessing);
    this.#executable = executable;
    this.#compiled = compiled;
    const { graph, wanted } = compiled.forward;
    this.shapes = new Map(compiled.nodes.map((name, at) => [name, tensorOf(graph, wanted[at] ?? -1).shape.slice(1)]));
  }

  /** `images`: [C, H, W] bytes each, of the input size, as `fitImage` and `decodeImage` give them. */
  async read(images: readonly Uint8Array[]): Promise<NodeValues> {
    const { nodes, forward } = this.#compiled;
    const [logits, ...found] = await this.#run("forward", forward, images, undefined);
    return { logits, values: named(nodes, found) };
  }

  /**
   * With the gradient of logit `classes[n]` of image n. Batch norm uses its running statistics, as in inference.
   * @throws UsageError where the reader was made without `gradients`, or for a class that the network does not have
   */
  async gradient(images: readonly Uint8Array[], classes: readonly number[]): Promise<NodeGradient> {
    const { backward } = this.#compiled;
    if (backward === undefined) throw new UsageError("gradient: this node reader was made without gradients");
    const [logits, values, gradient] = await this.#run("backward", backward, images, classes);
    return { logits, values, gradient };
  }

  /** Frees what the reader holds of the device; the backend stays the caller's. */
  dispose(): Promise<void> {
    return this.#life.end(() => this.#executable.dispose());
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** The logits and then what the reading wants, each for all images. */
  #run(
    plan: string,
    reading: Reading,
    images: readonly Uint8Array[],
    classes: readonly number[] | undefined,
  ): Promise<[NodeTensor, ...NodeTensor[]]> {
    return this.#life.during(() => {
      // Calls take turns: the device has one input buffer.
      const turn = this.#queue.then(() => this.#batches(plan, reading, images, classes));
      const done = (): void => {};
      this.#queue = turn.then(done, done);
      return turn;
    });
  }

  async #batches(
    plan: string,
    { graph, plan: { buffers }, wanted, stored, computed }: Reading,
    images: readonly Uint8Array[],
    classes: readonly number[] | undefined,
  ): Promise<[NodeTensor, ...NodeTensor[]]> {
    const { batchSize } = this.#compiled;
    const names = [...new Set([...stored.values()].map(({ buffer }) => buffer))];
    const starts = Array.from({ length: Math.ceil(images.length / batchSize) }, (_, batch) => batch * batchSize);
    const all = [graph.logits, ...wanted].map((id) => {
      const [, ...rest] = tensorOf(graph, id).shape;
      const shape = [images.length, ...rest];
      return { id, stride: sizeOf(rest), shape, data: new Float32Array(sizeOf(shape)) };
    });
    const workOf = (start: number) => ({
      plan,
      inputs: {
        [hostBuffers.images]: networkInput(
          images.slice(start, start + batchSize),
          this.inputSize,
          this.#table,
          batchSize,
        ),
        ...(classes === undefined ? {} : this.#oneHot(graph, classes.slice(start, start + batchSize))),
      },
    });
    for await (const { item: start, found } of runAhead(this.#executable, starts, workOf, names)) {
      const values = new Map<TensorId, Tensor>();
      for (const [id, view] of stored) {
        const buffer = buffers.get(view.buffer);
        const data = found[names.indexOf(view.buffer)];
        if (buffer === undefined || data === undefined) throw new RangeError(`the plan has no buffer ${view.buffer}`);
        values.set(id, { shape: tensorOf(graph, id).shape, data: channelsOf(data, channelLayout(buffer), view) });
      }
      for (const node of computed) this.#compute(graph, node, values);
      const count = Math.min(batchSize, images.length - start);
      for (const { id, stride, data } of all) {
        const batch = values.get(id)?.data ?? [];
        for (let at = 0; at < count * stride; at++) data[start * stride + at] = batch[at];
      }
    }
    const [logits, ...rest] = all.map(({ shape, data }) => ({ shape, data }));
    return [logits, ...rest];
  }

  #compute(graph: Graph, { op, attrs, inputs, outputs }: GraphNode, values: Map<TensorId, Tensor>): void {
    const operands = inputs.map((id): Tensor => {
      const { name, shape } = tensorOf(graph, id);
      const value = values.get(id) ?? this.#state.get(name);
      if (value === undefined) throw new RangeError(`${name} is neither stored nor computed`);
      return { shape, data: value.data };
    });
    const results = outputs.map((id) => allocate(tensorOf(graph, id).shape, "f32"));
    opOf(op).reference(operands, results, attrs, { seed: 0, step: 0 });
    for (const [at, id] of outputs.entries()) values.set(id, results[at]);
  }

  /** The logits' gradient: 1 at each image's class. */
  #oneHot(graph: Graph, classes: readonly number[]): Readonly<Record<BufferName, Float32Array>> {
    const { name, shape } = tensorOf(graph, graph.logits);
    const [batch, count] = shape;
    const gradient = new Float32Array(batch * count);
    for (const [n, index] of classes.entries()) {
      if (!Number.isInteger(index) || index < 0 || index >= count) {
        throw new UsageError(`class ${index}: the network has classes 0 to ${count - 1}`, { class: index });
      }
      gradient[n * count + index] = 1;
    }
    return { [gradientOf(name)]: gradient };
  }
}

interface Compiled {
  readonly nodes: readonly string[];
  readonly batchSize: number;
  readonly forward: Reading;
  readonly backward: Reading | undefined;
}

/** How the wanted tensors of a graph are had after a run of a plan. */
interface Reading {
  readonly graph: Graph;
  readonly plan: Plan;
  readonly wanted: readonly TensorId[];
  /** Tensors that the plan stores, and where. */
  readonly stored: ReadonlyMap<TensorId, View>;
  /** What the host computes from these, in the graph's order. */
  readonly computed: readonly GraphNode[];
}

/** `planWith`: the graph's plan that holds on to these tensors and their gradients. */
function readingOf(graph: Graph, wanted: readonly TensorId[], planWith: (keep: readonly TensorId[]) => Plan): Reading {
  const { buffers } = planWith([]);
  const places = placesOf(graph);
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((id) => [id, node] as const)));
  const byName = new Map(graph.tensors.map(({ id, name }) => [name, id]));
  /** Gradient → the tensor of the forward pass whose whole gradient it is. */
  const gradientFor = new Map(
    graph.tensors.flatMap(({ id, name }) => {
      const gradient = byName.get(gradientOf(name));
      return gradient === undefined ? [] : [[gradient, id] as const];
    }),
  );
  const viewOf = (id: TensorId): View | undefined => {
    const forward = gradientFor.get(id);
    const view = places.view(forward ?? id);
    if (id === graph.logits) return { ...view, buffer: hostBuffers.logits };
    const buffer = forward === undefined ? view.buffer : gradientOf(view.buffer);
    return buffers.has(buffer) ? { ...view, buffer } : undefined;
  };
  const stored = new Map<TensorId, View>();
  const computed = new Set<GraphNode>();
  const visit = (id: TensorId): void => {
    const { kind, name } = tensorOf(graph, id);
    if (kind === "parameter" || kind === "state" || stored.has(id)) return;
    const view = viewOf(id);
    if (view !== undefined) {
      stored.set(id, view);
      return;
    }
    const maker = makers.get(id);
    if (maker === undefined) throw new RangeError(`${name} is neither stored nor computed`);
    if (computed.has(maker)) return;
    computed.add(maker);
    for (const input of maker.inputs) visit(input);
  };
  for (const id of [graph.logits, ...wanted]) visit(id);
  const keep = [...stored.keys()].map((id) => gradientFor.get(id) ?? id);
  return {
    graph,
    plan: planWith(keep),
    wanted,
    stored,
    computed: [...computed].sort((a, b) => a.id - b.id),
  };
}

/** The channels of a view of [N, channels, …], one after the other. */
function channelsOf(
  data: Float32Array | Int32Array,
  { images, channels, plane }: ReturnType<typeof channelLayout>,
  view: View,
): Float32Array {
  if (view.channels === channels && data instanceof Float32Array) return data;
  const length = view.channels * plane;
  const values = new Float32Array(images * length);
  for (let n = 0; n < images; n++) {
    const from = (n * channels + view.offset) * plane;
    values.set(data.subarray(from, from + length), n * length);
  }
  return values;
}

const named = (nodes: readonly string[], values: readonly NodeTensor[]): ReadonlyMap<string, NodeTensor> =>
  new Map(nodes.map((name, at) => [name, values[at]]));
