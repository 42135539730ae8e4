// plan: a graph on its way to kernel calls: where its tensors and their gradients lie, and what of them is written so
// far. Steps add the calls.
import type { Graph, GraphNode, GraphTensor, TensorId } from "../graph/graph.ts";
import { PlanBuilder } from "./builder.ts";
import { gradientOf, hostBuffers } from "./names.ts";
import { type Places, placeTensors } from "./places.ts";
import type { ActivationDtype, BufferName, KernelTable, View, Write } from "./plan.ts";
import { tensorOf } from "./reading.ts";
import type { RecomputePolicy } from "./recompute.ts";
import type { FoundSteps } from "./steps/find.ts";
import type { Step } from "./steps/step.ts";

/**
 * The gradient of a tensor's statistics that the next kernel adds while it loads dy, and the nodes that this computes.
 */
interface PendingStatistics {
  readonly args: NonNullable<KernelTable["convGrad"]["dyStatistics"]>;
  readonly computes: readonly number[];
}

export class Lowering {
  readonly graph: Graph;
  readonly recompute: RecomputePolicy;
  readonly activationDtype: ActivationDtype;
  readonly plan = new PlanBuilder();
  /** Forward tensors that were computed again: where the backward pass finds them. */
  readonly recomputed = new Map<TensorId, View>();
  /** By the tensor whose statistics they are. */
  readonly pendingStatistics = new Map<TensorId, PendingStatistics>();
  readonly #places: Places;
  /** Buffers that the host reads after a run. */
  readonly #kept: ReadonlySet<BufferName>;
  readonly #producers = new Map<TensorId, Step>();
  readonly #backwardOf = new Map<number, GraphNode[]>();
  /** Channels of a gradient buffer that hold something already: what comes next is added. */
  readonly #written = new Map<BufferName, number>();

  constructor(
    graph: Graph,
    { steps, concats }: FoundSteps,
    how: {
      readonly recompute: RecomputePolicy;
      readonly activationDtype: ActivationDtype;
      readonly keep: readonly TensorId[];
    },
  ) {
    this.graph = graph;
    this.recompute = how.recompute;
    this.activationDtype = how.activationDtype;
    this.#places = placeTensors(graph, concats);
    this.#kept = new Set(how.keep.map((id) => this.#places.view(id).buffer));
    for (const step of steps) {
      for (const { outputs } of step.nodes) for (const output of outputs) this.#producers.set(output, step);
    }
    for (const node of graph.nodes) {
      if (node.pass !== "backward" || node.of === undefined) continue;
      this.#backwardOf.set(node.of, [...this.backwardOf(node.of), node]);
    }
    this.plan.addressed.push(
      ...concats.map(({ id }) => id),
      ...concats.flatMap(({ id }) => this.backwardOf(id).map((node) => node.id)),
    );
  }

  tensor(id: TensorId): GraphTensor {
    return tensorOf(this.graph, id);
  }

  /** The step that computes a tensor; undefined for concatenations and for what no node computes. */
  producer(id: TensorId): Step | undefined {
    return this.#producers.get(id);
  }

  backwardOf(node: number): readonly GraphNode[] {
    return this.#backwardOf.get(node) ?? [];
  }

  /** Whether anything is propagated backward through a step. */
  hasBackward({ nodes }: Step): boolean {
    return nodes.some(({ id }) => this.#backwardOf.has(id));
  }

  /**
   * Backward nodes of these forward nodes: of the given ops, or all but the `add` that completes the gradient of a
   * node's output. That one belongs to the statistics of the output, whose gradient is the last to be added; without
   * statistics the step that makes the output asks for it.
   */
  backwardIds(nodes: readonly (GraphNode | undefined)[], ops?: readonly GraphNode["op"][]): number[] {
    return nodes
      .flatMap((node) => (node ? this.backwardOf(node.id) : []))
      .filter(({ op }) => (ops ? ops.includes(op) : op !== "add"))
      .map(({ id }) => id);
  }

  /** Whether a tensor is concatenated nowhere: its buffer is its own. */
  ownsBuffer(id: TensorId): boolean {
    return this.#places.root(id) === id;
  }

  /** The view of a forward tensor; its buffer is declared at first need. */
  view(id: TensorId): View {
    const again = this.recomputed.get(id);
    if (again) return again;
    const view = this.#places.view(id);
    const root = this.#places.root(id);
    const { kind, shape } = this.tensor(root);
    if (kind === "parameter" || kind === "state") return view;
    return { ...view, buffer: this.#hostBuffer(root) ?? this.maps(view.buffer, shape) };
  }

  /**
   * Declares what a node of the forward pass computes: [N, C, H, W] is feature maps, of the plan's activation dtype.
   */
  maps(name: BufferName, shape: readonly number[]): BufferName {
    const dtype = shape.length === 4 ? this.activationDtype : "f32";
    return this.plan.buffer(name, shape, "arena", { dtype, kept: this.#kept.has(name) });
  }

  #hostBuffer(id: TensorId): BufferName | undefined {
    const { images, labels, logits } = this.graph;
    const { shape } = this.tensor(id);
    if (id === images) return this.plan.buffer(hostBuffers.images, shape, "arena", { written: true });
    if (id === labels) return this.plan.buffer(hostBuffers.labels, shape, "arena", { written: true, dtype: "i32" });
    if (id === logits) return this.plan.buffer(hostBuffers.logits, shape, "arena", { kept: true });
    return undefined;
  }

  /** The view of a forward tensor's gradient: the same channels of a buffer of the same shape. */
  gradient(id: TensorId): View {
    const view = this.#places.view(id);
    const { shape } = this.tensor(this.#places.root(id));
    const written = id === this.graph.logits && this.graph.logitsGradient !== undefined;
    const kept = this.#kept.has(view.buffer);
    const buffer = this.plan.buffer(gradientOf(view.buffer), shape, "arena", { kept, written });
    return { ...view, buffer };
  }

  /** The buffer of a parameter or a running statistic. */
  persistent(id: TensorId): BufferName {
    const { kind, name } = this.tensor(id);
    if (kind === "parameter" || kind === "state") return name;
    throw new RangeError(`${name} is planned as a parameter or a running statistic, the graph has it as ${kind}`);
  }

  /**
   * Whether the first writer of a gradient is at work or a later one. Consumers see channel prefixes, the widest first.
   */
  writeTo(view: View): Write {
    const before = this.#written.get(view.buffer) ?? 0;
    const end = view.offset + view.channels;
    if (before >= end) return "accumulate";
    if (before > view.offset)
      throw new RangeError(
        `${view.buffer}: channels ${view.offset} to ${end} are partly written; the widest consumer must come first`,
      );
    this.#written.set(view.buffer, end);
    return "overwrite";
  }
}
