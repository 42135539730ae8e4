// plan: steps → kernel calls, forward and back. The five ideas live here: views instead of concatenations, statistics once per
// channel, the composite function inside the kernel that loads it, pooling before a transition's 1×1, recomputation by choice.
import type { Graph, GraphNode, TensorId } from "../graph/graph.ts";
import { PlanBuilder } from "./builder.ts";
import { type Places, placeTensors } from "./places.ts";
import type {
  BufferName,
  Composite,
  CompositeBackward,
  KernelTable,
  Plan,
  PoolSize,
  View,
  WindowSize,
  Write,
} from "./plan.ts";
import type { RecomputePolicy } from "./recompute.ts";
import { type CompositeNodes, findSteps, type Step } from "./steps.ts";

/** SGD as section 4.2 of the paper uses it. */
export interface OptimizerSettings {
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

export interface TrainingOptions {
  readonly recompute: RecomputePolicy;
  /** With it the plan ends with the weight update; without it gradients are left in the gradient buffers. */
  readonly optimizer?: OptimizerSettings;
}

type ConvStep = Extract<Step, { kind: "conv" }>;
type PooledConvStep = Extract<Step, { kind: "pooledConv" }>;

interface Lowering {
  readonly graph: Graph;
  readonly plan: PlanBuilder;
  readonly places: Places;
  readonly backwardOf: ReadonlyMap<number, readonly GraphNode[]>;
  /** Channels of a gradient buffer that hold something already: what comes next is added. */
  readonly written: Map<BufferName, number>;
  /** Forward tensors that were computed again: where the backward pass finds them. */
  readonly recomputed: Map<TensorId, View>;
  /** The 1×1 convolutions whose output only the same dense layer reads: by tensor, so that their consumer finds them. */
  readonly bottlenecks: ReadonlyMap<TensorId, ConvStep>;
  /** Statistics' gradients that the next kernel adds while it loads dy, by the tensor they belong to. */
  readonly pending: Map<TensorId, PendingStatistics>;
}

interface PendingStatistics {
  readonly args: NonNullable<KernelTable["convGrad"]["dyStatistics"]>;
  readonly computes: readonly number[];
}

const idOf = (ids: readonly TensorId[], index: number): TensorId => {
  const id = ids[index];
  if (id === undefined) throw new RangeError(`a node has no tensor number ${index}`);
  return id;
};

function tensorAt({ graph }: Lowering, id: TensorId) {
  const tensor = graph.tensors[id];
  if (!tensor) throw new RangeError(`the graph has no tensor ${id}`);
  return tensor;
}

/** Buffers that the host fills or reads keep these names in every plan. */
function hostName({ graph }: Lowering, id: TensorId): string | undefined {
  if (id === graph.images) return "images";
  if (id === graph.labels) return "labels";
  if (id === graph.logits) return "logits";
  return undefined;
}

/** The view of a forward tensor; its buffer is declared at first need. */
function viewOf(lowering: Lowering, id: TensorId): View {
  const again = lowering.recomputed.get(id);
  if (again) return again;
  const view = lowering.places.view(id);
  const root = lowering.places.root(id);
  const { kind, shape } = tensorAt(lowering, root);
  if (kind === "parameter" || kind === "state") return view;
  const host = hostName(lowering, root);
  const buffer = lowering.plan.buffer(host ?? view.buffer, shape, "arena", {
    forward: true,
    ...(host === "labels" ? { dtype: "i32" } : {}),
    written: host === "images" || host === "labels",
    kept: host === "logits",
  });
  return { ...view, buffer };
}

/** The view of a forward tensor's gradient: the same channels of a buffer of the same shape. */
function gradientView(lowering: Lowering, id: TensorId): View {
  const view = lowering.places.view(id);
  const { shape } = tensorAt(lowering, lowering.places.root(id));
  return { ...view, buffer: lowering.plan.buffer(`d(${view.buffer})`, shape, "arena") };
}

/** Whether a gradient's first writer is at work or a later one. Consumers see channel prefixes, the widest first. */
function writeTo({ written }: Lowering, view: View): Write {
  const before = written.get(view.buffer) ?? 0;
  const end = view.offset + view.channels;
  if (before >= end) return "accumulate";
  if (before > view.offset)
    throw new RangeError(
      `${view.buffer}: channels ${view.offset} to ${end} are partly written; the widest consumer must come first`,
    );
  written.set(view.buffer, end);
  return "overwrite";
}

function parameterName(lowering: Lowering, id: TensorId): string {
  return tensorAt(lowering, id).name;
}

function compositeOf(lowering: Lowering, { normalize }: CompositeNodes): Composite {
  const [, mean, variance, gamma, beta] = normalize.inputs;
  if (mean === undefined || variance === undefined || gamma === undefined || beta === undefined) {
    throw new RangeError(`${normalize.path}: normalize needs x, mean, variance, gamma and beta`);
  }
  return {
    mean: viewOf(lowering, mean),
    variance: viewOf(lowering, variance),
    gamma: parameterName(lowering, gamma),
    beta: parameterName(lowering, beta),
    eps: Number(normalize.attrs.eps),
  };
}

function compositeBackward(lowering: Lowering, nodes: CompositeNodes): CompositeBackward {
  const { normalize } = nodes;
  const dMean = gradientView(lowering, idOf(normalize.inputs, 1));
  const dVariance = gradientView(lowering, idOf(normalize.inputs, 2));
  const write = writeTo(lowering, dMean);
  if (writeTo(lowering, dVariance) !== write)
    throw new RangeError(`${normalize.path}: mean and variance have different consumers`);
  const forward = compositeOf(lowering, nodes);
  return {
    x: viewOf(lowering, idOf(normalize.inputs, 0)),
    normalize: forward,
    grad: { dGamma: `d(${forward.gamma})`, dBeta: `d(${forward.beta})`, dMean, dVariance, write },
  };
}

function windowSize(lowering: Lowering, node: GraphNode, kernel: number): WindowSize {
  const [batch = 0, , height = 0, width = 0] = tensorAt(lowering, idOf(node.inputs, 0)).shape;
  const [, , outHeight = 0, outWidth = 0] = tensorAt(lowering, idOf(node.outputs, 0)).shape;
  return {
    batch,
    height,
    width,
    outHeight,
    outWidth,
    kernel,
    stride: Number(node.attrs.stride),
    padding: Number(node.attrs.padding),
  };
}

function poolSize(lowering: Lowering, node: GraphNode, input: TensorId): PoolSize {
  const [batch = 0, , height = 0, width = 0] = tensorAt(lowering, input).shape;
  const [, , outHeight = 1, outWidth = 1] = tensorAt(lowering, idOf(node.outputs, 0)).shape;
  const window = node.op === "globalAvgPool" ? [height, width] : node.attrs.window;
  const [windowHeight = 0, windowWidth = 0] = Array.isArray(window) ? window : [];
  return { batch, height, width, outHeight, outWidth, windowHeight, windowWidth };
}

const planeOf = ([, , height = 1, width = 1]: readonly number[]): number => height * width;

function convSize(lowering: Lowering, conv: GraphNode): { size: WindowSize; macs: number } {
  const [outputs = 0, channels = 0, kernel = 1] = tensorAt(lowering, idOf(conv.inputs, 1)).shape;
  const size = windowSize(lowering, conv, kernel);
  return { size, macs: size.batch * size.outHeight * size.outWidth * outputs * channels * kernel * kernel };
}

/** Geometry of a transition after the exchange: its 1×1 convolution works on the pooled maps. */
function pooledConvSizes(lowering: Lowering, step: PooledConvStep) {
  const x = idOf(step.composite.normalize.inputs, 0);
  const pool = poolSize(lowering, step.pool, x);
  const [, channels = 0] = tensorAt(lowering, x).shape;
  const [outputs = 0] = tensorAt(lowering, idOf(step.conv.inputs, 1)).shape;
  const { batch, outHeight: height, outWidth: width } = pool;
  const size = { batch, height, width, outHeight: height, outWidth: width, kernel: 1, stride: 1, padding: 0 };
  return { x, pool, size, channels, macs: batch * height * width * outputs * channels };
}

function pooledView(lowering: Lowering, step: PooledConvStep, gradient: boolean): View {
  const { pool, channels } = pooledConvSizes(lowering, step);
  const name = `${step.pool.path}:pooled`;
  const shape = [pool.batch, channels, pool.outHeight, pool.outWidth];
  const buffer = lowering.plan.buffer(gradient ? `d(${name})` : name, shape, "arena", { forward: !gradient });
  return { buffer, offset: 0, channels };
}

const compositeIds = (composite: CompositeNodes | undefined): number[] =>
  composite ? [composite.normalize.id, composite.relu.id] : [];

/** `again`: writes the convolution's output once more into a buffer of its own, for the backward pass. */
function lowerConv(lowering: Lowering, step: ConvStep, again?: View): void {
  const { conv, dropout, composite } = step;
  const { size, macs } = convSize(lowering, conv);
  const y = again ?? viewOf(lowering, idOf((dropout ?? conv).outputs, 0));
  const recompute = again !== undefined;
  const computes = recompute ? [] : [...compositeIds(composite), conv.id];
  lowering.plan.call(
    "conv",
    {
      x: viewOf(lowering, idOf(composite ? composite.normalize.inputs : conv.inputs, 0)),
      ...(composite ? { composite: compositeOf(lowering, composite) } : {}),
      weight: parameterName(lowering, idOf(conv.inputs, 1)),
      y,
      size,
    },
    { path: conv.path, computes, macs, recompute },
  );
  if (dropout) lowerDropout(lowering, dropout, y, recompute ? [] : [dropout.id], recompute);
}

function lowerDropout(
  lowering: Lowering,
  dropout: GraphNode,
  x: View,
  computes: readonly number[],
  recompute: boolean,
): void {
  const { shape } = tensorAt(lowering, idOf(dropout.outputs, 0));
  lowering.plan.call(
    "dropout",
    {
      x,
      rate: Number(dropout.attrs.rate),
      stream: Number(dropout.attrs.stream),
      batch: shape[0] ?? 0,
      plane: planeOf(shape),
    },
    { path: dropout.path, computes, recompute },
  );
}

function lowerForward(lowering: Lowering, step: Step): void {
  const { plan } = lowering;
  switch (step.kind) {
    case "conv":
      lowerConv(lowering, step);
      return;
    case "pooledConv": {
      const { x, pool, size, macs } = pooledConvSizes(lowering, step);
      const pooled = pooledView(lowering, step, false);
      const composite = compositeOf(lowering, step.composite);
      plan.call(
        "avgPool",
        { x: viewOf(lowering, x), composite, y: pooled, size: pool },
        {
          path: step.pool.path,
          computes: [...compositeIds(step.composite), step.pool.id],
        },
      );
      plan.call(
        "conv",
        {
          x: pooled,
          weight: parameterName(lowering, idOf(step.conv.inputs, 1)),
          y: viewOf(lowering, idOf(step.pool.outputs, 0)),
          size,
        },
        { path: step.conv.path, computes: [step.conv.id], macs },
      );
      return;
    }
    case "pool": {
      const x = idOf(step.composite ? step.composite.normalize.inputs : step.pool.inputs, 0);
      plan.call(
        "avgPool",
        {
          x: viewOf(lowering, x),
          ...(step.composite ? { composite: compositeOf(lowering, step.composite) } : {}),
          y: viewOf(lowering, idOf(step.pool.outputs, 0)),
          size: poolSize(lowering, step.pool, x),
        },
        { path: step.pool.path, computes: [...compositeIds(step.composite), step.pool.id] },
      );
      return;
    }
    case "maxPool":
      plan.call(
        "maxPool",
        {
          x: viewOf(lowering, idOf(step.composite.normalize.inputs, 0)),
          composite: compositeOf(lowering, step.composite),
          y: viewOf(lowering, idOf(step.pool.outputs, 0)),
          size: windowSize(lowering, step.pool, Number(step.pool.attrs.kernel)),
        },
        { path: step.pool.path, computes: [...compositeIds(step.composite), step.pool.id] },
      );
      return;
    case "statistics": {
      const x = idOf(step.node.inputs, 0);
      const { shape } = tensorAt(lowering, x);
      plan.call(
        "channelStatistics",
        {
          x: viewOf(lowering, x),
          mean: viewOf(lowering, idOf(step.node.outputs, 0)),
          variance: viewOf(lowering, idOf(step.node.outputs, 1)),
          batch: shape[0] ?? 0,
          plane: planeOf(shape),
        },
        { path: step.node.path, computes: [step.node.id] },
      );
      return;
    }
    case "linear": {
      const [batch = 0, features = 0] = tensorAt(lowering, idOf(step.node.inputs, 0)).shape;
      const [classes = 0] = tensorAt(lowering, idOf(step.node.inputs, 1)).shape;
      plan.call(
        "linear",
        {
          x: viewOf(lowering, idOf(step.node.inputs, 0)),
          weight: parameterName(lowering, idOf(step.node.inputs, 1)),
          bias: parameterName(lowering, idOf(step.node.inputs, 2)),
          y: viewOf(lowering, idOf(step.node.outputs, 0)).buffer,
          batch,
          classes,
        },
        { path: step.node.path, computes: [step.node.id], macs: batch * classes * features },
      );
      return;
    }
    case "loss": {
      const [batch = 0, classes = 0] = tensorAt(lowering, lowering.graph.logits).shape;
      const gradients = lowering.backwardOf.get(step.node.id) ?? [];
      plan.call(
        "softmaxCrossEntropy",
        {
          logits: viewOf(lowering, lowering.graph.logits).buffer,
          labels: viewOf(lowering, idOf(step.node.inputs, 1)).buffer,
          sampleLoss: plan.buffer("sampleLoss", [batch], "arena", { kept: true }),
          sampleRank: plan.buffer("sampleRank", [batch], "arena", { kept: true }),
          ...(gradients.length > 0 ? { dLogits: gradientView(lowering, lowering.graph.logits).buffer } : {}),
          scale: 1 / batch,
          batch,
          classes,
        },
        { path: step.node.path, computes: [step.node.id, ...gradients.map(({ id }) => id)] },
      );
      return;
    }
  }
}

/**
 * Backward nodes of these forward nodes: of the given ops, or all but the `add` that completes the gradient of a node's output. That
 * one belongs to the statistics of the output, whose gradient is the last to be added.
 */
function backwardIds(
  { backwardOf }: Lowering,
  nodes: readonly (GraphNode | undefined)[],
  ops?: readonly string[],
): number[] {
  const wanted = ({ op }: GraphNode): boolean => (ops ? ops.includes(op) : op !== "add");
  return nodes
    .flatMap((node) => (node ? (backwardOf.get(node.id) ?? []) : []))
    .filter(wanted)
    .map(({ id }) => id);
}

/** The forward node that computes a tensor. */
function producerOf({ graph }: Lowering, tensor: TensorId): GraphNode | undefined {
  return graph.nodes.find((node) => node.pass === "forward" && node.outputs.includes(tensor));
}

function lowerBackward(lowering: Lowering, step: Step): void {
  const { plan } = lowering;
  switch (step.kind) {
    case "loss":
      return; // the forward call left dLogits
    case "linear": {
      const [batch = 0, features = 0] = tensorAt(lowering, idOf(step.node.inputs, 0)).shape;
      const [classes = 0] = tensorAt(lowering, idOf(step.node.inputs, 1)).shape;
      const weight = parameterName(lowering, idOf(step.node.inputs, 1));
      plan.call(
        "linearGrad",
        {
          x: viewOf(lowering, idOf(step.node.inputs, 0)),
          weight,
          dy: gradientView(lowering, idOf(step.node.outputs, 0)).buffer,
          dx: gradientView(lowering, idOf(step.node.inputs, 0)),
          dWeight: `d(${weight})`,
          dBias: `d(${parameterName(lowering, idOf(step.node.inputs, 2))})`,
          batch,
          classes,
        },
        { path: step.node.path, computes: backwardIds(lowering, [step.node]), macs: 2 * batch * classes * features },
      );
      return;
    }
    case "statistics": {
      const x = idOf(step.node.inputs, 0);
      const { shape } = tensorAt(lowering, x);
      const statistics = {
        mean: viewOf(lowering, idOf(step.node.outputs, 0)),
        dMean: gradientView(lowering, idOf(step.node.outputs, 0)),
        dVariance: gradientView(lowering, idOf(step.node.outputs, 1)),
      };
      const computes = [
        ...backwardIds(lowering, [step.node], ["channelStatisticsGrad", "add"]),
        ...backwardIds(lowering, [producerOf(lowering, x)], ["add"]),
      ];
      const maker = lowering.bottlenecks.get(x);
      if (maker && hasFusedBackward(lowering, maker) && !maker.dropout) {
        lowering.pending.set(x, { args: { y: viewOf(lowering, x), ...statistics }, computes });
        return;
      }
      plan.call(
        "statisticsGrad",
        {
          dx: gradientView(lowering, x),
          x: viewOf(lowering, x),
          ...statistics,
          batch: shape[0] ?? 0,
          plane: planeOf(shape),
        },
        { path: step.node.path, computes },
      );
      return;
    }
    case "pool": {
      const x = idOf(step.composite ? step.composite.normalize.inputs : step.pool.inputs, 0);
      const dx = gradientView(lowering, x);
      plan.call(
        "avgPoolGrad",
        {
          dy: gradientView(lowering, idOf(step.pool.outputs, 0)),
          dx,
          write: writeTo(lowering, dx),
          ...(step.composite ? { composite: compositeBackward(lowering, step.composite) } : {}),
          size: poolSize(lowering, step.pool, x),
        },
        {
          path: step.pool.path,
          computes: backwardIds(lowering, [step.pool, step.composite?.relu, step.composite?.normalize]),
        },
      );
      return;
    }
    case "maxPool": {
      const dx = gradientView(lowering, idOf(step.composite.normalize.inputs, 0));
      plan.call(
        "maxPoolGrad",
        {
          dy: gradientView(lowering, idOf(step.pool.outputs, 0)),
          dx,
          write: writeTo(lowering, dx),
          composite: compositeBackward(lowering, step.composite),
          size: windowSize(lowering, step.pool, Number(step.pool.attrs.kernel)),
        },
        {
          path: step.pool.path,
          computes: backwardIds(lowering, [step.pool, step.composite.relu, step.composite.normalize]),
        },
      );
      return;
    }
    case "pooledConv": {
      const { x, pool, size, macs } = pooledConvSizes(lowering, step);
      const pooled = pooledView(lowering, step, false);
      const dPooled = pooledView(lowering, step, true);
      const dy = gradientView(lowering, idOf(step.pool.outputs, 0));
      const weight = parameterName(lowering, idOf(step.conv.inputs, 1));
      plan.call(
        "convGradWeight",
        { x: pooled, dy, dWeight: `d(${weight})`, size },
        {
          path: step.conv.path,
          computes: backwardIds(lowering, [step.conv], ["conv2dGradWeight"]),
          macs,
        },
      );
      plan.call(
        "convGradInput",
        { dy, weight, dx: dPooled, write: "overwrite", size },
        {
          path: step.conv.path,
          computes: backwardIds(lowering, [step.conv], ["conv2dGradInput"]),
          macs,
        },
      );
      const dx = gradientView(lowering, x);
      plan.call(
        "avgPoolGrad",
        {
          dy: dPooled,
          dx,
          write: writeTo(lowering, dx),
          composite: compositeBackward(lowering, step.composite),
          size: pool,
        },
        {
          path: step.pool.path,
          computes: backwardIds(lowering, [step.pool, step.composite.relu, step.composite.normalize]),
        },
      );
      return;
    }
    case "conv":
      lowerConvBackward(lowering, step);
  }
}

/** Whether one kernel takes both gradients of this convolution. */
function hasFusedBackward(lowering: Lowering, { conv, composite }: ConvStep): boolean {
  const { kernel, stride, padding } = convSize(lowering, conv).size;
  return composite !== undefined && kernel === 1 && stride === 1 && padding === 0;
}

function lowerConvBackward(lowering: Lowering, step: ConvStep): void {
  const { plan } = lowering;
  const { conv, dropout, composite } = step;
  const { size, macs } = convSize(lowering, conv);
  const dy = gradientView(lowering, idOf((dropout ?? conv).outputs, 0));
  if (dropout) lowerDropout(lowering, dropout, dy, backwardIds(lowering, [dropout]), false);
  const weight = parameterName(lowering, idOf(conv.inputs, 1));
  const source = idOf(composite ? composite.normalize.inputs : conv.inputs, 0);
  if (composite && hasFusedBackward(lowering, step)) {
    const dx = gradientView(lowering, source);
    const pending = lowering.pending.get(outputOf(step));
    plan.call(
      "convGrad",
      {
        dy,
        ...(pending ? { dyStatistics: pending.args } : {}),
        weight,
        dWeight: `d(${weight})`,
        dx,
        write: writeTo(lowering, dx),
        composite: compositeBackward(lowering, composite),
        size,
      },
      {
        path: conv.path,
        computes: [...(pending?.computes ?? []), ...backwardIds(lowering, [conv, composite.relu, composite.normalize])],
        macs: 2 * macs,
      },
    );
    return;
  }
  plan.call(
    "convGradWeight",
    {
      x: viewOf(lowering, source),
      ...(composite ? { composite: compositeOf(lowering, composite) } : {}),
      dy,
      dWeight: `d(${weight})`,
      size,
    },
    { path: conv.path, computes: backwardIds(lowering, [conv], ["conv2dGradWeight"]), macs },
  );
  // Images need no gradient.
  if (backwardIds(lowering, [conv], ["conv2dGradInput"]).length === 0) return;
  const dx = gradientView(lowering, source);
  plan.call(
    "convGradInput",
    {
      dy,
      weight,
      dx,
      write: writeTo(lowering, dx),
      ...(composite ? { composite: compositeBackward(lowering, composite) } : {}),
      size,
    },
    {
      path: conv.path,
      computes: [
        ...backwardIds(lowering, [conv], ["conv2dGradInput"]),
        ...backwardIds(lowering, [composite?.relu, composite?.normalize]),
      ],
      macs,
    },
  );
}

function begin(graph: Graph) {
  const found = findSteps(graph);
  const backwardOf = new Map<number, GraphNode[]>();
  for (const node of graph.nodes) {
    if (node.pass === "backward" && node.of !== undefined)
      backwardOf.set(node.of, [...(backwardOf.get(node.of) ?? []), node]);
  }
  const places = placeTensors(graph, found.concats);
  const lowering: Lowering = {
    graph,
    plan: new PlanBuilder(),
    places,
    backwardOf,
    written: new Map(),
    recomputed: new Map(),
    bottlenecks: findBottlenecks(places, found.steps),
    pending: new Map(),
  };
  lowering.plan.addressed.push(
    ...found.concats.map(({ id }) => id),
    ...found.concats.flatMap(({ id }) => (backwardOf.get(id) ?? []).map((node) => node.id)),
  );
  return { ...found, lowering };
}

const outputOf = ({ conv, dropout }: ConvStep): TensorId => idOf((dropout ?? conv).outputs, 0);

function findBottlenecks(places: Places, steps: readonly Step[]): ReadonlyMap<TensorId, ConvStep> {
  const found = steps
    .filter((step) => step.kind === "conv")
    .filter((step) => step.composite && places.root(outputOf(step)) === outputOf(step));
  return new Map(found.map((step) => [outputOf(step), step]));
}

/** Computes a bottleneck's output again, just before the backward pass needs it. */
function recomputeBottleneck(lowering: Lowering, step: ConvStep): void {
  const tensor = outputOf(step);
  const { name, shape } = tensorAt(lowering, tensor);
  const buffer = lowering.plan.buffer(`again(${name})`, shape, "arena", { forward: true });
  const view = { buffer, offset: 0, channels: shape[1] ?? 0 };
  lowerConv(lowering, step, view);
  lowering.recomputed.set(tensor, view);
}

function lowerRunning(lowering: Lowering, nodes: readonly GraphNode[]): void {
  const byCount = Map.groupBy(nodes, ({ attrs }) => `${attrs.momentum} ${attrs.count}`);
  for (const group of byCount.values()) {
    const entries = group.map(({ inputs }) => ({
      mean: viewOf(lowering, idOf(inputs, 0)),
      variance: viewOf(lowering, idOf(inputs, 1)),
      runningMean: parameterName(lowering, idOf(inputs, 2)),
      runningVariance: parameterName(lowering, idOf(inputs, 3)),
    }));
    const { momentum, count } = group[0]?.attrs ?? {};
    lowering.plan.call(
      "updateRunningStatistics",
      { entries, momentum: Number(momentum), count: Number(count) },
      {
        path: "features",
        computes: group.map(({ id }) => id),
      },
    );
  }
}

/**
 * Training graph → plan of one step: forward, running statistics, backward, and the weight update if an optimizer is given.
 * The host writes `images` and `labels`; afterwards `logits`, `sampleLoss` [N] and `sampleRank` [N] can be read, and gradients as `d(<path>)`.
 */
export function planTraining(graph: Graph, { recompute, optimizer }: TrainingOptions): Plan {
  const { lowering, steps, running } = begin(graph);
  lowering.plan.declarePersistent(graph, optimizer ? ["gradient", "momentum"] : ["gradient"]);
  for (const step of steps) lowerForward(lowering, step);
  lowerRunning(lowering, running);
  for (const step of steps.toReversed()) {
    const source = step.kind === "conv" ? step.composite?.normalize.inputs[0] : undefined;
    const bottleneck = source === undefined ? undefined : lowering.bottlenecks.get(source);
    if (bottleneck && recompute === "bottleneck") recomputeBottleneck(lowering, bottleneck);
    lowerBackward(lowering, step);
  }
  if (optimizer) {
    lowering.plan.call(
      "sgd",
      { ...optimizer, gradientScale: 1, source: "gradient" },
      { path: "optimizer", computes: [] },
    );
  }
  return lowering.plan.finish();
}

/** Inference graph → plan. The host writes `images` (and `labels` where the graph has a loss) and reads `logits` (`sampleLoss`, `sampleRank`). */
export function planInference(graph: Graph): Plan {
  const { lowering, steps } = begin(graph);
  lowering.plan.declarePersistent(graph, []);
  for (const step of steps) lowerForward(lowering, step);
  return lowering.plan.finish();
}

/** Gradient accumulation: adds the gradients of a micro-batch to the sums ("add"), or begins new sums ("set"). */
export function planAccumulation(graph: Graph, mode: "set" | "add"): Plan {
  const plan = new PlanBuilder();
  plan.declarePersistent(graph, ["gradient", "gradientSum"]);
  plan.call("accumulateGradients", { mode }, { path: "optimizer", computes: [] });
  return plan.finish();
}

/** The weight update from the sums of `microBatches` gradients, of which it takes the mean. */
export function planUpdate(graph: Graph, optimizer: OptimizerSettings, microBatches: number): Plan {
  const plan = new PlanBuilder();
  plan.declarePersistent(graph, ["gradientSum", "momentum"]);
  plan.call(
    "sgd",
    { ...optimizer, gradientScale: 1 / microBatches, source: "gradientSum" },
    { path: "optimizer", computes: [] },
  );
  return plan.finish();
}
