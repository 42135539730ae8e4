// export/onnx: a trained network as an ONNX file, opset 17, IR version 8. Portable.
//
// Written op by op from the inference graph, so it holds for every family. The graph was built for one size; nothing in
// ONNX's convolutions, pools and global pool depends on it, so batch, height and width are left open. Initializers have
// the paths of the state dict, and batch norms stay nodes of their own: the file can be read back without loss.

import { describeModel, KEY, type TrainedModel } from "../../checkpoint/checkpoint.ts";
import { beyondHalves, encodeHalves } from "../../checkpoint/floats.ts";
import { UsageError } from "../../errors.ts";
import { CONSTANT, TRACKED } from "../../formats/onnx/read.ts";
import {
  attributeTypes,
  encodeOnnx,
  type OnnxAttribute,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  onnxDtypes,
} from "../../formats/onnx/schema.ts";
import type { Graph, GraphNode } from "../../graph/graph.ts";
import { buildGraph } from "../../networks/registry.ts";
import {
  type ActivationRanges,
  type QuantizableNetwork,
  quantizableNetwork,
  quantizeWeights,
  uint8Scale,
} from "./quantize.ts";

/** How weights are stored without loss or with rounding alone. */
export const weightDtypes = ["f32", "f16"] as const;
/** An entry of `weightDtypes`. */
export type WeightDtype = (typeof weightDtypes)[number];
/** How ONNX stores weights and feature maps. */
export const onnxDtypeNames = [...weightDtypes, "int8"] as const;
/** An entry of `onnxDtypeNames`. */
export type OnnxDtype = (typeof onnxDtypeNames)[number];

export interface OnnxOptions {
  /**
   * f16: weights and feature maps are halves, input and output stay f32. int8: weights are int8 with a scale for each
   * output channel, feature maps uint8 where convolutions and the classifier read and write them. Default f32.
   */
  readonly dtype?: OnnxDtype;
  /** What int8 stores feature maps by: `activationRanges` of calibration images. */
  readonly ranges?: ActivationRanges;
  /** The output is probabilities, by the sigmoids or the calibrated softmax that it predicts with; else logits. */
  readonly probabilities?: boolean;
  /**
   * The input is pixels, uint8 [batch, height, width, channels] as `ImageData` and Pillow have them, alpha left out, and
   * the graph takes mean and deviation off; else f32 [batch, channels, height, width] with that done.
   */
  readonly pixels?: boolean;
  /** Default `images`. */
  readonly inputName?: string;
}

const SCALE = `${CONSTANT}scale`;
const SHIFT = `${CONSTANT}shift`;
const SHARPNESS = `${CONSTANT}1/temperature`;
const OPSET = 17n;
const IR_VERSION = 8n;

/** The bytes of the ONNX file. */
export function encodeOnnxModel(trained: TrainedModel, options: OnnxOptions = {}): Uint8Array<ArrayBuffer> {
  return encodeOnnx(onnxModel(trained, options));
}

/** Name of the output. */
export function onnxOutput({ probabilities }: OnnxOptions): string {
  return probabilities ? "probabilities" : "logits";
}

/** @throws UsageError for an op without a counterpart, and for a number that f16 cannot hold */
export function onnxModel(trained: TrainedModel, options: OnnxOptions = {}): OnnxModel {
  const { model, preprocessing, classes, outputs, calibration } = trained;
  const { height, width, mean, std } = preprocessing;
  const { dtype = "f32", pixels = false, probabilities = false, inputName = "images" } = options;
  const built = buildGraph(model.spec, { batch: 1, height, width, mode: "inference" });
  const quantizable = dtype === "int8" ? quantizableNetwork(built, model.state) : undefined;
  const { graph, state } = quantizable ?? { graph: built, state: model.state };
  const channels = model.spec.inChannels;
  const halves = dtype === "f16";
  const initializers: OnnxTensor[] = [];
  const nodes: OnnxNode[] = [];
  const emit: Emit = (op, inputs, output, attributes = {}) => {
    nodes.push(node(op, inputs, output, attributes));
    return output;
  };

  let images = inputName;
  if (pixels) {
    // (byte/255 − mean)/std, per channel.
    const scale = std.map((deviation) => 1 / (255 * deviation));
    const shift = mean.map((value, c) => -value / std[c]);
    initializers.push(floats(SCALE, [channels, 1, 1], Float32Array.from(scale)));
    initializers.push(floats(SHIFT, [channels, 1, 1], Float32Array.from(shift)));
    images = emit("Transpose", [images], "pixels:planar", { perm: [0, 3, 1, 2] });
    images = emit("Cast", [images], "pixels:f32", { to: onnxDtypes.F32 });
    images = emit("Mul", [images, SCALE], "pixels:scaled");
    images = emit("Add", [images, SHIFT], "pixels:normalized");
  }
  if (halves) images = emit("Cast", [images], "images:f16", { to: onnxDtypes.F16 });
  const names = graph.tensors.map(({ name }) => name);
  names[graph.images] = images;
  names[graph.logits] = halves ? "logits:f16" : "logits";
  const integers =
    quantizable && new IntegerWriter(quantizable, options.ranges ?? new Map(), names, emit, initializers);
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs.map((id) => graph.tensors[id].name)));
  for (const [path, { shape, data }] of state) {
    if (!read.has(path) || integers?.stores(path)) continue;
    initializers.push(halves ? halvesOf(path, shape, data) : floats(path, shape, data));
  }
  const constant = (name: string, shape: readonly number[], data: Float32Array): string => {
    initializers.push((halves ? halvesOf : floats)(`${CONSTANT}${name}`, shape, data));
    return `${CONSTANT}${name}`;
  };
  integers?.quantize(graph.images);
  for (const each of graph.nodes) {
    integers?.readWeights(each);
    translate(graph, each, names, emit, constant);
    integers?.quantize(each.outputs[0]);
  }
  if (halves) emit("Cast", ["logits:f16"], "logits", { to: onnxDtypes.F32 });
  if (probabilities && outputs === "sigmoid") emit("Sigmoid", ["logits"], "probabilities");
  else if (probabilities) {
    let scores = "logits";
    if (calibration !== undefined) {
      initializers.push(floats(SHARPNESS, [1], Float32Array.of(1 / calibration.temperature)));
      scores = emit("Mul", [scores, SHARPNESS], "logits:calibrated");
    }
    emit("Softmax", [scores], "probabilities", { axis: 1 });
  }

  const properties: Readonly<Record<string, unknown>> = {
    labels: classes,
    preprocessing: { ...preprocessing, inGraph: pixels },
    activation: outputs ?? "softmax",
    // By these two the file is read back as the network that it was; rounded to eight bits it is another.
    ...(quantizable ? {} : { [KEY]: describeModel(trained), [TRACKED]: model.batchesTracked }),
  };
  return {
    irVersion: IR_VERSION,
    producerName: "densenet",
    opsetImport: [{ domain: "", version: OPSET }],
    graph: {
      name: "densenet",
      node: nodes,
      initializer: initializers,
      input: [
        pixels
          ? valueInfo(inputName, "U8", ["batch", "height", "width", channels])
          : valueInfo(inputName, "F32", ["batch", channels, "height", "width"]),
      ],
      output: [valueInfo(onnxOutput(options), "F32", ["batch", classes.length])],
    },
    metadataProps: Object.entries(properties).map(([key, value]) => ({
      key,
      value: JSON.stringify(value),
    })),
  };
}

type AttributeValue = number | readonly number[] | { readonly float: number };
type Attributes = Readonly<Record<string, AttributeValue>>;
/** Appends a node with one output and returns that output's name. */
type Emit = (op: string, inputs: readonly string[], output: string, attributes?: Attributes) => string;

/** One node of ours as one of ONNX's, or two. */
function translate(
  { tensors }: Graph,
  each: GraphNode,
  names: readonly string[],
  emit: Emit,
  constant: (name: string, shape: readonly number[], data: Float32Array) => string,
): void {
  const { op, attrs, path } = each;
  const inputs = each.inputs.map((id) => names[id]);
  const output = names[each.outputs[0]];
  const window = { strides: twice(attrs.stride), pads: [...twice(attrs.padding), ...twice(attrs.padding)] };
  switch (op) {
    case "conv2d":
      emit("Conv", inputs, output, { kernel_shape: tensors[each.inputs[1]].shape.slice(2), ...window });
      return;
    case "normalize": {
      const [x, mean, variance, gamma, beta] = inputs;
      emit("BatchNormalization", [x, gamma, beta, mean, variance], output, { epsilon: { float: Number(attrs.eps) } });
      return;
    }
    case "relu":
      emit("Relu", inputs, output);
      return;
    case "add":
      emit("Add", inputs, output);
      return;
    case "expectedGate":
      emit("Mul", [...inputs, constant(path, [1], Float32Array.of(Number(attrs.keepProbability)))], output);
      return;
    case "concat":
      emit("Concat", inputs, output, { axis: 1 });
      return;
    case "avgPool2d": {
      const sides = attrs.window as readonly number[];
      emit("AveragePool", inputs, output, { kernel_shape: sides, strides: sides });
      return;
    }
    case "maxPool2d":
      emit("MaxPool", inputs, output, { kernel_shape: twice(attrs.kernel), ...window });
      return;
    case "identityShortcut": {
      // A 1×1 convolution of ones on the diagonal: sums of one term and zeros are exact.
      const [, channels] = tensors[each.inputs[0]].shape;
      const wider = Number(attrs.channels);
      const diagonal = Float32Array.from({ length: wider * channels }, (_, i) =>
        Math.floor(i / channels) === i % channels ? 1 : 0,
      );
      const weight = constant(path, [wider, channels, 1, 1], diagonal);
      emit("Conv", [...inputs, weight], output, { kernel_shape: [1, 1], strides: twice(attrs.stride) });
      return;
    }
    case "globalAvgPool":
      emit("Flatten", [emit("GlobalAveragePool", inputs, `${output}:1x1`)], output, { axis: 1 });
      return;
    case "linear":
      emit("Gemm", inputs, output, { transB: 1 });
      return;
    default:
      throw new UsageError(`${path}: the op ${op} cannot be written as ONNX`, { op, path });
  }
}

/** Writes the tensors of a network that go through eight bits, and renames them to what comes out again. */
class IntegerWriter {
  readonly #network: QuantizableNetwork;
  readonly #ranges: ActivationRanges;
  /** By tensor, the name under which ONNX's nodes read it. */
  readonly #names: string[];
  readonly #emit: Emit;
  readonly #initializers: OnnxTensor[];
  readonly #weights: ReadonlySet<string>;

  constructor(
    network: QuantizableNetwork,
    ranges: ActivationRanges,
    names: string[],
    emit: Emit,
    initializers: OnnxTensor[],
  ) {
    this.#network = network;
    this.#ranges = ranges;
    this.#names = names;
    this.#emit = emit;
    this.#initializers = initializers;
    const { nodes, tensors } = network.graph;
    this.#weights = new Set(nodes.flatMap((node) => weightsOf(node).map((id) => tensors[id].name)));
  }

  /** Whether a parameter is written by `readWeights`. */
  stores(path: string): boolean {
    return this.#weights.has(path);
  }

  /** Weight and bias of a convolution or classifier as integers, before the node that reads them. */
  readWeights(each: GraphNode): void {
    const { graph, state } = this.#network;
    const [weight, bias] = weightsOf(each);
    if (weight === undefined) return;
    const { scale: inputScale } = uint8Scale(this.#rangeOf(each.inputs[0]));
    const nameOf = (id: number): string => graph.tensors[id].name;
    const values = state.get(nameOf(weight)) as { readonly shape: readonly number[]; readonly data: Float32Array };
    const found = quantizeWeights(values, bias === undefined ? undefined : state.get(nameOf(bias))?.data, inputScale);
    const zeros = integersOf("", [found.scale.length], "I8", new Int8Array(found.scale.length));
    this.#dequantize(weight, integersOf(nameOf(weight), values.shape, "I8", found.weight), found.scale, zeros);
    if (bias === undefined || found.bias === undefined) return;
    // Of int32 ONNX knows no zero point.
    this.#dequantize(bias, integersOf(nameOf(bias), [found.bias.length], "I32", found.bias), found.biasScale);
  }

  #dequantize(id: number, stored: OnnxTensor, scale: Float32Array, zeros?: OnnxTensor): void {
    const name = stored.name ?? "";
    const inputs = [name, `${CONSTANT}${name}:scale`];
    this.#initializers.push(stored, floats(inputs[1], [scale.length], scale));
    if (zeros !== undefined) {
      inputs.push(`${CONSTANT}${name}:zero`);
      this.#initializers.push({ ...zeros, name: inputs[2] });
    }
    this.#names[id] = this.#emit("DequantizeLinear", inputs, `${name}:f32`, { axis: 0 });
  }

  /** Puts a feature map through uint8, if it goes through it. */
  quantize(id: number): void {
    if (!this.#network.quantized.has(id)) return;
    const { name } = this.#network.graph.tensors[id];
    const { scale, zero } = uint8Scale(this.#rangeOf(id));
    const [scaleName, zeroName] = [`${CONSTANT}${name}:scale`, `${CONSTANT}${name}:zero`];
    this.#initializers.push(floats(scaleName, [], Float32Array.of(scale)));
    this.#initializers.push(integersOf(zeroName, [], "U8", Uint8Array.of(zero)));
    const stored = this.#emit("QuantizeLinear", [this.#names[id], scaleName, zeroName], `${name}:u8`);
    this.#names[id] = this.#emit("DequantizeLinear", [stored, scaleName, zeroName], `${name}:f32`);
  }

  /** @throws UsageError where calibration did not see the tensor */
  #rangeOf(id: number): { readonly min: number; readonly max: number } {
    const { name } = this.#network.graph.tensors[id];
    const found = this.#ranges.get(name);
    if (found !== undefined) return found;
    throw new UsageError(`--dtype int8: needs the range of ${name}, expected ranges of calibration images`, { name });
  }
}

/** Weight and bias of a node that computes with integers. */
function weightsOf({ op, inputs }: GraphNode): readonly number[] {
  return op === "conv2d" || op === "linear" ? inputs.slice(1) : [];
}

function integersOf(
  name: string,
  shape: readonly number[],
  dtype: "I8" | "U8" | "I32",
  { buffer, byteOffset, byteLength }: Int8Array | Uint8Array | Int32Array,
): OnnxTensor {
  const rawData = new Uint8Array(buffer, byteOffset, byteLength);
  return { name, dims: shape.map(BigInt), dataType: onnxDtypes[dtype], rawData };
}

const twice = (side: unknown): [number, number] => [Number(side), Number(side)];

/** Named like its output, for names must be unique. */
function node(opType: string, input: readonly string[], output: string, attributes: Attributes): OnnxNode {
  const attribute = Object.entries(attributes).map(([name, value]): OnnxAttribute => {
    if (typeof value === "number") return { name, i: BigInt(value), type: attributeTypes.int };
    if ("float" in value) return { name, f: value.float, type: attributeTypes.float };
    return { name, ints: value.map(BigInt), type: attributeTypes.ints };
  });
  return { opType, input, output: [output], name: output, attribute };
}

function floats(name: string, shape: readonly number[], data: Float32Array): OnnxTensor {
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dims: shape.map(BigInt), dataType: onnxDtypes.F32, rawData };
}

/** @throws UsageError for a number that f16 cannot hold */
function halvesOf(name: string, shape: readonly number[], data: Float32Array): OnnxTensor {
  const over = beyondHalves(data);
  if (over !== undefined) {
    throw new UsageError(`--dtype f16: ${name} holds ${over}, more than the 65504 that f16 goes to; expected f32`, {
      path: name,
    });
  }
  return {
    name,
    dims: shape.map(BigInt),
    dataType: onnxDtypes.F16,
    rawData: new Uint8Array(encodeHalves(data).buffer),
  };
}

/** A dimension that is named is left open. */
function valueInfo(name: string, dtype: string, shape: readonly (number | string)[]): OnnxValueInfo {
  const dim = shape.map((side) => (typeof side === "string" ? { dimParam: side } : { dimValue: BigInt(side) }));
  return { name, type: { tensorType: { elemType: onnxDtypes[dtype], shape: { dim } } } };
}
