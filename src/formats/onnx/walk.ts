// formats/onnx: an ONNX graph → the expression that it computes, from its image to its output. Portable.
//
// The nodes are followed in the file's order, which ONNX demands to be one in which they can be computed. Each value is
// a constant, feature maps, or integers that are computed from the sizes of feature maps. Feature maps carry the order
// of their axes, so a Transpose around a part of the graph that has channels last moves no number. Where opsets differ
// in whether a number is an attribute or an input (axes of Squeeze from 13, of ReduceMean from 18, pads from 11), either
// is read.
import { InputError } from "../../errors.ts";
import { showSome, showText } from "../../show.ts";
import { elementCount, type FileTensor, withEpsilon } from "../weightFile.ts";
import {
  type Constant,
  constantOf,
  expanded,
  filled,
  integersOf,
  perChannel,
  reshaped,
  transposed,
  viewOf,
} from "./constant.ts";
import { isOrder, NodeReader } from "./node.ts";
import { type OnnxModel, onnxDtypes } from "./schema.ts";
import type { Sides, Step } from "./steps.ts";
import { type ExternalFiles, fileTensor } from "./tensor.ts";

export interface Walked {
  /** Of the output that classifies, where there are several. */
  readonly output: Step;
  readonly height: number | undefined;
  readonly width: number | undefined;
  /** Whether the graph takes bytes, 0…255. */
  readonly takesBytes: boolean;
  /** Whether its batch norms take the statistics of the batch. */
  readonly training: boolean;
}

interface Maps {
  readonly kind: "maps";
  readonly step: Step;
  /** What each axis is: "NCHW", "NHWC"; behind the global pool "NC", or with H and W of 1. */
  readonly axes: string;
  readonly sides: Sides | undefined;
  /** Whether the height and width are 1, whatever the image. */
  readonly pooled: boolean;
}

type Value =
  | Maps
  | { readonly kind: "constant"; readonly constant: Constant }
  /** Integers that are computed from sizes. */
  | { readonly kind: "sizes" }
  /** What no network needs: masks of Dropout, statistics of the batch. */
  | { readonly kind: "unused" };

const QUANTIZED: readonly string[] = [
  ..."QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul".split(" "),
  ..."ConvInteger MatMulInteger".split(" "),
];
const OPSETS = { least: 7, most: 21 };

/** @throws InputError naming the node that cannot be followed, and why */
export function walkGraph(model: OnnxModel, source: string, external: ExternalFiles): Walked {
  return new Walk(model, source, external).run();
}

class Walk {
  readonly #model: OnnxModel;
  readonly #source: string;
  readonly #external: ExternalFiles;
  readonly #values = new Map<string, Value>();
  #training = false;

  constructor(model: OnnxModel, source: string, external: ExternalFiles) {
    this.#model = model;
    this.#source = source;
    this.#external = external;
  }

  run(): Walked {
    const { graph, opsetImport = [] } = this.#model;
    const opset = opsetImport.find(({ domain = "" }) => domain === "" || domain === "ai.onnx")?.version;
    if (opset === undefined || opset < OPSETS.least || opset > OPSETS.most) {
      throw this.#fail(
        `is of ${opset === undefined ? "no opset" : `opset ${opset}`}, expected ${OPSETS.least} to ${OPSETS.most}`,
      );
    }
    for (const tensor of graph?.initializer ?? []) {
      this.#define(tensor.name ?? "", {
        kind: "constant",
        constant: constantOf(fileTensor(tensor, this.#source, this.#external)),
      });
    }
    const nodes = (graph?.node ?? []).map((node) => new NodeReader(node, this.#source));
    const image = this.#image(nodes);
    for (const node of nodes) {
      const [first, ...others] = node.outputs;
      this.#define(first ?? "", this.#compute(node), node);
      for (const other of others) if (other !== "") this.#define(other, { kind: "unused" }, node);
    }
    return { output: this.#output(), ...image, training: this.#training };
  }

  #fail(what: string): InputError {
    return new InputError(`${this.#source}: ${what}`, { file: this.#source });
  }

  #define(name: string, value: Value, node?: NodeReader): void {
    const at = node === undefined ? "" : ` by the node ${node.title}`;
    if (name === "") throw this.#fail(`has a value without a name${at}`);
    if (this.#values.has(name)) throw this.#fail(`computes the value "${showText(name)}" twice${at && `, again${at}`}`);
    this.#values.set(name, value);
  }

  /** Defines the input that is no initializer (before IR version 4 those were inputs, too). */
  #image(nodes: readonly NodeReader[]): Pick<Walked, "height" | "width" | "takesBytes"> {
    const used = new Set(nodes.flatMap(({ inputs }) => inputs));
    const inputs = (this.#model.graph?.input ?? []).filter(
      ({ name = "" }) => !this.#values.has(name) && used.has(name),
    );
    const dims = inputs[0]?.type?.tensorType?.shape?.dim;
    if (inputs.length !== 1 || (dims !== undefined && dims.length !== 4)) {
      const listed = inputs.map(
        ({ name = "", type }) => `${showText(name)} of ${type?.tensorType?.shape?.dim?.length} axes`,
      );
      throw this.#fail(`takes ${showSome(listed) || "nothing"}, expected one image of four axes`);
    }
    const [{ name = "", type }] = inputs;
    const first = nodes.find(({ op }) => op === "Conv" || op === "Transpose");
    const axes = first?.op === "Transpose" && String(first.ints("perm")) === "0,3,1,2" ? "NHWC" : "NCHW";
    const sizeOf = (axis: string): number | undefined => {
      const size = Number(dims?.[axes.indexOf(axis)]?.dimValue ?? 0n);
      return size >= 1 && size <= MAX_SIDE ? size : undefined;
    };
    const [channels, height, width] = ["C", "H", "W"].map(sizeOf);
    const sides = height === undefined || width === undefined ? undefined : ([height, width] as const);
    const step: Step = { op: "image", node: `"${showText(name)}"`, channels };
    this.#define(name, { kind: "maps", step, axes, sides, pooled: false });
    return { height, width, takesBytes: type?.tensorType?.elemType === onnxDtypes.U8 };
  }

  #output(): Step {
    const outputs = (this.#model.graph?.output ?? []).map(({ name = "" }) => ({ name, value: this.#values.get(name) }));
    const maps = outputs.flatMap(({ value }) => (value?.kind === "maps" ? [value.step] : []));
    const output = maps.find(({ op }) => CLASSIFIES.includes(op)) ?? maps[0];
    if (output !== undefined) return output;
    const names = outputs.map(({ name }) => `"${showText(name)}"`);
    throw this.#fail(`gives ${showSome(names) || "nothing"}, which is not computed from its image`);
  }

  #compute(node: NodeReader): Value {
    // Of CastLike's second operand only the type matters, and that is one of floats.
    const read = node.op === "CastLike" ? node.inputs.slice(0, 1) : node.inputs;
    const values = read.map((name) => this.#valueOf(name, node));
    const [first] = values;
    if (QUANTIZED.includes(node.op)) {
      throw node.fail("is a quantized network's, expected weights in f32, f16, bf16 or f64");
    }
    if (node.op === "Constant") return this.#constantNode(node);
    if (first?.kind === "maps") return this.#ofMaps(node, first, values.slice(1));
    if (values.some((value) => value?.kind === "maps")) {
      // Only where the order of operands says nothing may the maps come second.
      const [a, b] = values;
      if ((node.op === "Add" || node.op === "Mul") && b?.kind === "maps" && values.length === 2) {
        return this.#ofMaps(node, b, [a]);
      }
      throw node.fail("reads feature maps in an operand in which a DenseNet has constants");
    }
    if (first?.kind === "constant" && values.every((value) => value?.kind !== "sizes")) {
      const [, second] = values;
      const folded = viewOf(node, first.constant, second?.kind === "constant" ? second.constant : undefined);
      if (folded !== undefined) return { kind: "constant", constant: folded };
    }
    if (SIZES.includes(node.op)) return { kind: "sizes" };
    throw node.fail("is no operation of a DenseNet, and other networks of ONNX are not run");
  }

  #valueOf(name: string, node: NodeReader): Value | undefined {
    if (name === "") return undefined;
    const value = this.#values.get(name);
    if (value === undefined) {
      throw node.fail(`reads "${showText(name)}", which no node before it computes: the graph is cut or in a circle`);
    }
    if (value.kind === "unused") throw node.fail(`reads "${showText(name)}", which only training needs`);
    return value;
  }

  #constantNode(node: NodeReader): Value {
    const value = node.attribute("value")?.t;
    const [float, int, ints] = ["value_float", "value_int", "value_ints"].map((name) => node.attribute(name));
    if (value !== undefined) {
      return { kind: "constant", constant: constantOf(fileTensor(value, this.#source, this.#external)) };
    }
    const list = ints?.ints?.map(Number);
    const number = float?.f ?? (int === undefined ? undefined : Number(int.i));
    if (list === undefined && number === undefined) throw node.fail("has no value that is a tensor or a number");
    const numbers = list ?? [number ?? 0];
    return {
      kind: "constant",
      constant: constantOf({
        shape: list === undefined ? [] : [list.length],
        dtype: float === undefined ? "I64" : "F32",
        read: () => Float32Array.from(numbers),
      }),
    };
  }

  #integers(value: Value | undefined): readonly number[] | undefined {
    return value?.kind === "constant" ? integersOf(value.constant) : undefined;
  }

  #ofMaps(node: NodeReader, x: Maps, others: readonly (Value | undefined)[]): Value {
    const { step } = x;
    const common = { node: node.title, channels: step.channels };
    switch (node.op) {
      case "Identity":
      case "CastLike":
        return x;
      case "Cast":
        if (node.isToFloats()) return x;
        throw node.fail("makes integers of its feature maps");
      case "Dropout":
        return x;
      case "Shape":
        return { kind: "sizes" };
      case "Relu":
        return { ...x, step: { ...common, op: "relu", input: step } };
      case "Softmax":
      case "Sigmoid":
        return { ...x, step: { ...common, op: node.op === "Softmax" ? "softmax" : "sigmoid", input: step } };
      case "Conv":
        return this.#convolution(node, x, others);
      case "BatchNormalization":
        return this.#batchNorm(node, x, others);
      case "Mul":
      case "Add":
      case "Sub":
      case "Div":
        return this.#scale(node, x, others[0]);
      case "Concat":
        return this.#concat(node, x, others);
      case "Pad":
        return this.#pad(node, x, others);
      case "MaxPool":
      case "AveragePool":
        return this.#pool(node, x);
      case "GlobalAveragePool":
        channelsFirst(node, x);
        return globallyPooled(node, x, x.axes);
      case "ReduceMean":
        return this.#mean(node, x, others);
      case "Transpose":
        return this.#transpose(node, x);
      case "Flatten":
      case "Reshape":
      case "Squeeze":
      case "Unsqueeze":
        return this.#flat(node, x, others);
      case "Gemm":
      case "MatMul":
        return this.#linear(node, x, others);
      default:
        throw node.fail("is no operation of a DenseNet, and other networks of ONNX are not run");
    }
  }

  #constant(node: NodeReader, value: Value | undefined, what: string): Constant {
    if (value?.kind === "constant") return value.constant;
    throw node.fail(value === undefined ? `has no ${what}` : `has ${what} that are no constants`);
  }

  #convolution(node: NodeReader, x: Maps, [weights, biases]: readonly (Value | undefined)[]): Value {
    channelsFirst(node, x);
    const weight = this.#constant(node, weights, "weights");
    const bias = biases === undefined ? undefined : this.#constant(node, biases, "biases");
    const { shape } = weight;
    const channels = x.step.channels ?? shape[1];
    if (shape.length !== 4 || node.int("group", 1) !== 1 || shape[1] !== channels) {
      throw node.fail(`reads ${channels} maps with weights [${shape.join(", ")}] in ${node.int("group", 1)} groups`);
    }
    if (bias !== undefined && String(bias.shape) !== String([shape[0]])) {
      throw node.fail(`has biases [${bias.shape.join(", ")}] for ${shape[0]} maps`);
    }
    const { strides, pads, after } = node.window(shape.slice(2), x.sides);
    const step: Step = { op: "conv", node: node.title, channels: shape[0], input: x.step, weight, bias, strides, pads };
    return { ...x, step, sides: after, pooled: x.pooled && String(shape.slice(2)) === "1,1" };
  }

  #batchNorm(node: NodeReader, x: Maps, others: readonly (Value | undefined)[]): Value {
    if (x.axes[1] !== "C") throw node.fail("normalizes another axis than that of the channels");
    if (node.int("spatial", 1) !== 1) throw node.fail("normalizes each pixel on its own (spatial = 0)");
    // Up to opset 13 no attribute says it, but a node for training has the statistics as outputs, too.
    if (node.int("training_mode", 0) !== 0 || node.outputs.length > 3) this.#training = true;
    const [gamma, beta, mean, variance] = ["factors", "shifts", "means", "variances"].map((what, i) =>
      this.#constant(node, others[i], what),
    );
    const channels = x.step.channels ?? elementCount(gamma.shape);
    for (const { shape } of [gamma, beta, mean, variance]) {
      if (shape.length !== 1 || shape[0] !== channels)
        throw node.fail(`has [${shape.join(", ")}] numbers for ${channels} maps`);
    }
    const epsilon = node.float("epsilon", 1e-5);
    if (!(epsilon >= 0 && epsilon < 1)) throw node.fail(`has the epsilon ${epsilon}`);
    const step: Step = {
      ...{ op: "norm", node: node.title, channels, input: x.step },
      ...{ gamma, beta, mean, variance: withEpsilon(variance, epsilon) },
    };
    return { ...x, step };
  }

  #scale(node: NodeReader, x: Maps, other: Value | undefined): Value {
    if (other?.kind === "maps") throw node.fail("joins two feature maps by numbers, which no DenseNet does");
    const constant = this.#constant(node, other, "operand");
    const many = elementCount(constant.shape);
    const channels = x.step.channels ?? many;
    const each = alongChannels(constant, x.axes, channels);
    if (each === undefined) {
      throw node.fail(
        `has a constant of [${constant.shape.join(", ")}], expected one number for each of ${channels} maps`,
      );
    }
    const [one, zero] = [filled(channels, 1), filled(channels, 0)];
    const [factor, shift] = {
      Mul: [each, zero],
      Div: [perChannel(channels, [each], (value) => 1 / value), zero],
      Add: [one, each],
      Sub: [one, perChannel(channels, [each], (value) => 0 - value)],
    }[node.op as "Mul" | "Div" | "Add" | "Sub"];
    return { ...x, step: { op: "scale", node: node.title, channels, input: x.step, factor, shift } };
  }

  #concat(node: NodeReader, x: Maps, others: readonly (Value | undefined)[]): Value {
    const rest = others.map((value) => {
      if (value?.kind === "maps" && value.axes === x.axes) return value;
      throw node.fail("joins feature maps with something else, or with maps in another order of axes");
    });
    const axis = node.int("axis", 1);
    if (x.axes.at(axis) !== "C") throw node.fail(`joins along axis ${axis}, which is not that of the channels`);
    const inputs = [x, ...rest].map(({ step }) => step);
    const channels = inputs.reduce((sum, input) => sum + (input.channels ?? Number.NaN), 0);
    if (!(channels <= MAX_CHANNELS)) throw node.fail(`joins ${channels} maps, expected at most ${MAX_CHANNELS}`);
    if (inputs.length === 1) return x;
    return { ...x, step: { op: "concat", node: node.title, channels, inputs } };
  }

  #pad(node: NodeReader, x: Maps, [list, value, chosen]: readonly (Value | undefined)[]): Value {
    const given = node.ints("pads") ?? this.#integers(list) ?? [];
    const axes = this.#integers(chosen)?.map((axis) => x.axes.at(axis)) ?? [...x.axes];
    const fill = value?.kind === "constant" ? value.constant.read()[0] : node.float("value", 0);
    if (node.text("mode", "constant") !== "constant" || fill !== 0 || given.length !== 2 * axes.length) {
      throw node.fail("pads with something else than zeros on every axis");
    }
    const around = (axis: string): readonly [number, number] => {
      const at = axes.indexOf(axis);
      return at < 0 ? [0, 0] : [given[at], given[at + axes.length]];
    };
    if ([...around("N"), ...around("C")].some((count) => count !== 0)) throw node.fail("pads images or channels");
    const [[top, bottom], [left, right]] = [around("H"), around("W")];
    const pads = [top, left, bottom, right] as const;
    if (pads.every((count) => count === 0)) return x;
    if (!pads.every((count) => count >= 0 && count <= 64)) throw node.fail(`pads by ${pads.join(", ")}`);
    const sides = x.sides && ([x.sides[0] + top + bottom, x.sides[1] + left + right] as const);
    return { ...x, sides, step: { op: "pad", node: node.title, channels: x.step.channels, input: x.step, pads } };
  }

  #pool(node: NodeReader, x: Maps): Value {
    channelsFirst(node, x);
    const { kernel, strides, pads, after } = node.window(node.ints("kernel_shape") ?? [], x.sides);
    if (after === undefined && node.int("ceil_mode", 0) !== 0) {
      throw node.fail("rounds the size of its maps up, which ours does not");
    }
    const whole = x.sides?.join() === kernel.join() && pads.every((count) => count === 0);
    if (node.op === "AveragePool" && whole) {
      return globallyPooled(node, x, x.axes);
    }
    const op = node.op === "MaxPool" ? "maxPool" : "averagePool";
    return {
      ...x,
      sides: after,
      step: { op, node: node.title, channels: x.step.channels, input: x.step, kernel, strides, pads },
    };
  }

  #mean(node: NodeReader, x: Maps, [list]: readonly (Value | undefined)[]): Value {
    const axes = (node.ints("axes") ?? this.#integers(list) ?? []).map((axis) => x.axes.at(axis)).sort();
    if (axes.join("") !== "HW") throw node.fail("averages over other axes than height and width");
    return globallyPooled(node, x, node.int("keepdims", 1) === 1 ? x.axes : x.axes.replace(/[HW]/g, ""));
  }

  #transpose(node: NodeReader, x: Maps): Value {
    const order = node.ints("perm") ?? [...x.axes].map((_, i) => i).reverse();
    if (!isOrder(order, x.axes.length)) throw node.fail(`has the order ${order.join(", ")} for ${x.axes.length} axes`);
    return { ...x, axes: order.map((axis) => x.axes[axis]).join("") };
  }

  /** To features [N, C], by whichever operation; or from these to maps of one pixel. */
  #flat(node: NodeReader, x: Maps, [list]: readonly (Value | undefined)[]): Value {
    const given = node.ints("axes") ?? this.#integers(list);
    const pooled = onePixel(x);
    if (pooled === undefined) throw node.fail("changes the shape of feature maps that are not averaged to one pixel");
    switch (node.op) {
      case "Squeeze": {
        const dropped = given?.map((axis) => x.axes.at(axis)) ?? ["H", "W"];
        if (dropped.some((axis) => axis !== "H" && axis !== "W"))
          throw node.fail("drops another axis than height and width");
        return { ...pooled, axes: [...x.axes].filter((axis) => !dropped.includes(axis)).join("") };
      }
      case "Unsqueeze":
        if (x.axes === "NC" && String(given) === "2,3") return { ...pooled, axes: "NCHW" };
        throw node.fail("adds axes that are not height and width");
      case "Flatten":
        if (node.int("axis", 1) !== 1) throw node.fail("makes one axis of images and channels");
        return { ...pooled, axes: "NC" };
      default: {
        // The sizes of a Reshape may be computed; then what reads its result shows that it is [N, C].
        const maps = given?.length === 4 && given.slice(2).every((size) => size === 1);
        if (given !== undefined && given.length !== 2 && !maps)
          throw node.fail(`makes [${given.join(", ")}] of features`);
        const channels = given?.[1] ?? -1;
        if (channels > 0 && channels !== x.step.channels)
          throw node.fail(`makes ${channels} features of ${x.step.channels}`);
        return { ...pooled, axes: maps ? "NCHW" : "NC" };
      }
    }
  }

  #linear(node: NodeReader, x: Maps, [weights, biases]: readonly (Value | undefined)[]): Value {
    const given = this.#constant(node, weights, "weights");
    const rows = node.op === "Gemm" && node.int("transB", 0) === 1;
    if (given.shape.length !== 2) throw node.fail(`has weights [${given.shape.join(", ")}]`);
    const weight = rows ? given : transposed(given, [1, 0]);
    const [classes, inputs] = weight.shape;
    if (x.axes !== "NC" || inputs !== x.step.channels || node.int("transA", 0) !== 0) {
      throw node.fail(`reads ${inputs} features where ${x.step.channels} come, as ${x.axes}`);
    }
    const scaledBy = (tensor: FileTensor, factor: number): FileTensor =>
      factor === 1 ? tensor : { ...tensor, read: () => tensor.read().map((value) => factor * value) };
    let bias: FileTensor | undefined;
    if (biases !== undefined) {
      const constant = this.#constant(node, biases, "biases");
      bias = alongChannels(constant, "NC", classes);
      if (bias === undefined) throw node.fail(`has biases [${constant.shape.join(", ")}] for ${classes} classes`);
      bias = scaledBy(bias, node.float("beta", 1));
    }
    const step: Step = {
      ...{ op: "linear", node: node.title, channels: classes, input: x.step },
      ...{ weight: scaledBy(weight, node.float("alpha", 1)), bias },
    };
    return { ...x, step };
  }
}

/** An image's height or width, as `Preprocessing` takes them. */
const MAX_SIDE = 65_535;
const MAX_CHANNELS = 1_000_000;

const CLASSIFIES: readonly string[] = ["linear", "softmax", "sigmoid"];

/** What computes the sizes of a Reshape from those of maps. */
const SIZES: readonly string[] = [
  ..."Shape Gather Slice Concat Squeeze Unsqueeze Cast Identity Add Sub Mul Div ReduceProd Reshape Expand".split(" "),
  ..."ConstantOfShape Equal Where Min Max Range".split(" "),
];

function channelsFirst(node: NodeReader, { axes }: Maps): void {
  if (axes !== "NCHW") throw node.fail(`reads feature maps as ${axes}, expected images, channels, height, width`);
}

function globallyPooled(node: NodeReader, x: Maps, axes: string): Maps {
  const { channels } = x.step;
  const step: Step = { op: "globalPool", node: node.title, channels, input: x.step };
  return { kind: "maps", step, axes, sides: axes.length === 4 ? [1, 1] : undefined, pooled: true };
}

/**
 * `x`, of which height and width are 1. An average pool that is flattened covers the whole map, or what comes out has
 * more features than channels, which the linear layer behind it would not fit.
 */
function onePixel(x: Maps): Maps | undefined {
  const { step } = x;
  if (x.pooled) return x;
  if (step.op !== "averagePool" || x.sides !== undefined || step.pads.some((count) => count !== 0)) return undefined;
  const { node, channels, input, kernel } = step;
  return { ...x, step: { op: "globalPool", node, channels, input, window: kernel }, pooled: true };
}

/** [channels] of a constant that is broadcast along `axes`; undefined where it differs along another of them. */
function alongChannels(constant: Constant, axes: string, channels: number): FileTensor | undefined {
  const { shape } = constant;
  if (shape.length > axes.length) return undefined;
  if (elementCount(shape) === 1) return expanded(constant, [channels]);
  const aligned = axes.slice(axes.length - shape.length);
  const fits = shape.every((size, i) => size === (aligned[i] === "C" ? channels : 1));
  return fits ? reshaped(constant, [channels]) : undefined;
}
