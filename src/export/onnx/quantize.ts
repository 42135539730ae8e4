// export/onnx: the inference graph as int8 wants it, and the integers that stand for its numbers. Portable.
//
// Static quantisation in ONNX's QDQ form: what a convolution or the classifier reads and what a convolution leaves go
// through QuantizeLinear → DequantizeLinear, weights and biases come out of a DequantizeLinear, and a runtime fuses
// each such convolution into one of integers (QLinearConv). Batch norms that read a concatenation stay f32 between
// them: each consumer has its own. A batch norm that alone reads a convolution is folded into it, and a transition
// pools before it mixes, as our own plans do: the two commute.
import type { Graph, GraphNode, GraphTensor, TensorId } from "../../graph/graph.ts";
import { sizeOf } from "../../ops/op.ts";

interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A graph with the values that its nodes read, of which some go through eight bits. */
export interface QuantizableNetwork {
  /** Convolutions may have a third input, a bias. */
  readonly graph: Graph;
  /** Weights, biases and the statistics of batch norms, by the name of their tensor. */
  readonly state: ReadonlyMap<string, Values>;
  /** The feature maps that are stored as eight bits; images among them. */
  readonly quantized: ReadonlySet<TensorId>;
}

/** What the values of a tensor lie in, 0 included; by the tensor's name, which does not depend on the image size. */
export type ActivationRanges = ReadonlyMap<string, { readonly min: number; readonly max: number }>;

/** @param graph of inference @param state of the network, by path */
export function quantizableNetwork(graph: Graph, state: ReadonlyMap<string, Values>): QuantizableNetwork {
  const folded = foldNorms(poolFirst(graph), state);
  return { ...folded, quantized: quantizedTensors(folded.graph) };
}

/** Every 2×2 average pool behind a 1×1 convolution in front of it: the same values for a quarter of the work. */
export function poolFirst(graph: Graph): Graph {
  const tensors = [...graph.tensors];
  const moved = new Map<GraphNode, readonly GraphNode[]>();
  for (const pool of graph.nodes) {
    const conv = graph.nodes.find(({ outputs }) => outputs[0] === pool.inputs[0]);
    if (pool.op !== "avgPool2d" || conv?.op !== "conv2d" || soleReader(graph, conv.outputs[0]) !== pool) continue;
    const [x, weight] = conv.inputs;
    if (sizeOf(tensors[weight].shape.slice(2)) !== 1) continue;
    const [batch, , height, width] = tensors[pool.outputs[0]].shape;
    const shape = [batch, tensors[x].shape[1], height, width];
    const pooled: GraphTensor = { id: tensors.length, name: `${pool.path}:first`, shape, kind: "value" };
    tensors.push(pooled);
    moved.set(conv, []);
    moved.set(pool, [
      { ...pool, inputs: [x], outputs: [pooled.id] },
      { ...conv, inputs: [pooled.id, weight], outputs: pool.outputs },
    ]);
  }
  return { ...graph, tensors, nodes: graph.nodes.flatMap((node) => moved.get(node) ?? [node]) };
}

/**
 * γ(Wx − μ)/σ + β = (γ/σ·W)x + (β − γμ/σ), a channel at a time: the convolution's output is then the norm's. In doubles,
 * rounded once.
 */
function foldNorms(graph: Graph, given: ReadonlyMap<string, Values>): Pick<QuantizableNetwork, "graph" | "state"> {
  const tensors = [...graph.tensors];
  const state = new Map(given);
  const valuesOf = (id: TensorId): Values => {
    const found = given.get(tensors[id].name);
    if (found === undefined) throw new RangeError(`the network has no ${tensors[id].name}`);
    return found;
  };
  const folded = new Map<GraphNode, readonly GraphNode[]>();
  for (const conv of graph.nodes) {
    const norm = conv.op === "conv2d" ? soleReader(graph, conv.outputs[0]) : undefined;
    if (norm?.op !== "normalize") continue;
    const [x, weight] = conv.inputs;
    const { shape, data } = valuesOf(weight);
    const [mean, variance, gamma, beta] = norm.inputs.slice(1).map((id) => valuesOf(id).data);
    const scale = Float64Array.from(gamma, (value, c) => value / Math.sqrt(variance[c] + Number(norm.attrs.eps)));
    const fanIn = sizeOf(shape.slice(1));
    state.set(tensors[weight].name, { shape, data: data.map((value, i) => value * scale[Math.floor(i / fanIn)]) });
    const bias: GraphTensor = {
      ...{ id: tensors.length, name: `${conv.path}.bias`, shape: [shape[0]] },
      ...{ kind: "parameter", role: "shift" },
    };
    tensors.push(bias);
    state.set(bias.name, { shape: bias.shape, data: beta.map((value, c) => value - mean[c] * scale[c]) });
    folded.set(conv, [{ ...conv, inputs: [x, weight, bias.id], outputs: norm.outputs }]);
    folded.set(norm, []);
  }
  return { graph: { ...graph, tensors, nodes: graph.nodes.flatMap((node) => folded.get(node) ?? [node]) }, state };
}

/** Operands of convolutions and of the classifier, and results of convolutions: behind their ReLU, where it alone reads them. */
function quantizedTensors(graph: Graph): Set<TensorId> {
  const quantized = new Set<TensorId>();
  for (const { op, inputs, outputs } of graph.nodes) {
    if (op === "conv2d" || op === "linear") quantized.add(inputs[0]);
    if (op !== "conv2d") continue;
    const reader = soleReader(graph, outputs[0]);
    quantized.add(reader?.op === "relu" ? reader.outputs[0] : outputs[0]);
  }
  return quantized;
}

function soleReader({ nodes }: Graph, id: TensorId): GraphNode | undefined {
  const readers = nodes.filter(({ inputs }) => inputs.includes(id));
  return readers.length === 1 ? readers[0] : undefined;
}

/** Scale and zero point of uint8, from the range of the values; 0 is itself, as padding must be. */
export function uint8Scale({ min, max }: { readonly min: number; readonly max: number }): {
  readonly scale: number;
  readonly zero: number;
} {
  const scale = Math.fround((Math.max(max, 0) - Math.min(min, 0)) / 255) || 1;
  return { scale, zero: Math.min(255, Math.round(Math.max(-min, 0) / scale)) };
}

/** Weights [out, …] and biases [out] as integers: w ≈ scale[out]·weight, b ≈ inputScale·scale[out]·bias. */
export interface QuantizedWeights {
  readonly weight: Int8Array<ArrayBuffer>;
  readonly scale: Float32Array<ArrayBuffer>;
  readonly bias: Int32Array<ArrayBuffer> | undefined;
  readonly biasScale: Float32Array<ArrayBuffer>;
}

/**
 * Symmetric int8 with a scale for each output channel, −127…127. The scale of a bias is what ONNX Runtime asks for, that
 * of the products; where a channel's weights are so small that its bias would leave int32, they get a coarser scale.
 */
export function quantizeWeights(weight: Values, bias: Float32Array | undefined, inputScale: number): QuantizedWeights {
  const [outputs] = weight.shape;
  const fanIn = weight.data.length / outputs;
  const scale = Float32Array.from({ length: outputs }, (_, c) => {
    const peak = weight.data.subarray(c * fanIn, (c + 1) * fanIn).reduce((most, w) => Math.max(most, Math.abs(w)), 0);
    const least = Math.abs(bias?.[c] ?? 0) / (inputScale * MOST_BIAS);
    return Math.max(peak / 127, least) || 1;
  });
  const biasScale = scale.map((each) => each * inputScale);
  return {
    weight: Int8Array.from(weight.data, (w, i) => {
      const steps = roundHalfEven(w / scale[Math.floor(i / fanIn)]);
      return Math.max(-127, Math.min(127, steps));
    }),
    scale,
    bias: bias && Int32Array.from(bias, (b, c) => roundHalfEven(b / biasScale[c])),
    biasScale,
  };
}

/** Leaves the sum of products room in int32. */
const MOST_BIAS = 2 ** 30;

/** As QuantizeLinear rounds. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
