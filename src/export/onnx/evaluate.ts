// export/onnx: an ONNX file, parsed again and computed node by node with the references of our ops: a second reading of
// what was written, for machines without an ONNX runtime. Thousands of times slower than one. Portable.
import { decodeFloats, roundToHalves } from "../../checkpoint/floats.ts";
import { UsageError } from "../../errors.ts";
import { decodeOnnx, type OnnxNode, onnxDtypes } from "../../formats/onnx/schema.ts";
import { onnxDtype } from "../../formats/onnx/tensor.ts";
import { sigmoid, softmax } from "../../infer/scores.ts";
import { add } from "../../ops/add.ts";
import { avgPool2d } from "../../ops/avgPool2d.ts";
import { concat } from "../../ops/concat.ts";
import { conv2d } from "../../ops/conv2d.ts";
import { globalAvgPool } from "../../ops/globalAvgPool.ts";
import { linear } from "../../ops/linear.ts";
import { maxPool2d } from "../../ops/maxPool2d.ts";
import { normalize } from "../../ops/normalize.ts";
import { type Attrs, applyOp, type Op, sizeOf, type Tensor } from "../../ops/op.ts";
import { relu } from "../../ops/relu.ts";
import { roundHalfEven } from "./quantize.ts";

/**
 * The first output for one input. Halves are computed in f32 and rounded where a node leaves them.
 * @throws UsageError for a node that files of ours do not have
 */
export function evaluateOnnx(bytes: Uint8Array, input: Tensor): Tensor {
  const { graph } = decodeOnnx(bytes);
  const values = new Map<string, Tensor>();
  const halves = new Set<string>();
  for (const tensor of graph?.initializer ?? []) {
    const { name = "", dims = [], rawData = new Uint8Array(0) } = tensor;
    values.set(name, { shape: dims.map(Number), data: decodeNumbers(rawData, onnxDtype(tensor)) });
    if (onnxDtype(tensor) === "F16") halves.add(name);
  }
  values.set(graph?.input?.[0]?.name ?? "", input);
  for (const node of graph?.node ?? []) {
    const inputs = (node.input ?? []).map((name) => lookUp(values, name));
    const [output = ""] = node.output ?? [];
    const [result] = compute(node, inputs);
    const { to } = numbersOf(node);
    const half = to === undefined ? halves.has(node.input?.[0] ?? "") : Number(to) === onnxDtypes.F16;
    if (half) halves.add(output);
    values.set(output, half ? { shape: result.shape, data: roundToHalves(Float32Array.from(result.data)) } : result);
  }
  return lookUp(values, graph?.output?.[0]?.name ?? "");
}

function lookUp(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const found = values.get(name);
  if (found === undefined) throw new UsageError(`the ONNX graph uses "${name}" before it is computed`, { name });
  return found;
}

function decodeNumbers(bytes: Uint8Array, dtype: string): Tensor["data"] {
  if (dtype === "U8") return Float32Array.from(bytes);
  const { buffer } = Uint8Array.from(bytes);
  if (dtype === "I8") return Float32Array.from(new Int8Array(buffer));
  // Biases are larger than f32 counts.
  return dtype === "I32" ? new Int32Array(buffer) : decodeFloats(bytes, dtype);
}

type Numbers = Readonly<Record<string, number | readonly number[] | undefined>>;

function numbersOf({ attribute = [] }: OnnxNode): Numbers {
  return Object.fromEntries(
    attribute.map(({ name = "", ints = [], f = 0, i = 0n, type }): [string, number | number[]] => {
      if (ints.length > 0) return [name, ints.map(Number)];
      return [name, type === 1 ? f : Number(i)];
    }),
  );
}

function compute(node: OnnxNode, inputs: readonly Tensor[]): readonly Tensor[] {
  const attrs = numbersOf(node);
  const run = <A extends Attrs>(op: Op<A>, given: A, operands = inputs) => applyOp(op, operands, given, "f32");
  const [x, w] = inputs;
  const first = (name: string, otherwise: number): number => [attrs[name] ?? otherwise].flat()[0];
  const window = { stride: first("strides", 1), padding: first("pads", 0) };
  switch (node.opType) {
    case "Conv": {
      const [, , bias] = inputs;
      const [y] = run(conv2d, window, [x, w]);
      return bias === undefined ? [y] : [perChannel(y, bias, (a, b) => a + b)];
    }
    case "QuantizeLinear": {
      const [, { data: scale }, { data: zero }] = inputs;
      const store = (value: number): number => roundHalfEven(Math.fround(value / scale[0])) + zero[0];
      return [{ shape: x.shape, data: Float32Array.from(x.data, (value) => Math.max(0, Math.min(255, store(value)))) }];
    }
    case "DequantizeLinear": {
      const [, { data: scale }, zero] = inputs;
      const slice = scale.length === 1 ? x.data.length : sizeOf(x.shape.slice(1));
      const of = (value: number, c: number): number => (value - (zero?.data[c] ?? 0)) * scale[c];
      return [{ shape: x.shape, data: Float32Array.from(x.data, (value, i) => of(value, Math.floor(i / slice))) }];
    }
    case "BatchNormalization": {
      const [, gamma, beta, mean, variance] = inputs;
      return run(normalize, { eps: first("epsilon", 1e-5) }, [x, mean, variance, gamma, beta]);
    }
    case "Relu":
      return run(relu, {});
    case "Concat":
      return run(concat, {});
    case "AveragePool":
      return run(avgPool2d, { window: attrs.kernel_shape as readonly number[] });
    case "MaxPool":
      return run(maxPool2d, { kernel: first("kernel_shape", 1), ...window });
    case "GlobalAveragePool": {
      const [{ shape, data }] = run(globalAvgPool, {});
      return [{ shape: [...shape, 1, 1], data }];
    }
    case "Flatten":
      return [{ shape: [x.shape[0], sizeOf(x.shape.slice(1))], data: x.data }];
    case "Gemm":
      return run(linear, {});
    case "Add":
      return sizeOf(w.shape) === sizeOf(x.shape) ? run(add, {}) : [perChannel(x, w, (a, b) => a + b)];
    case "Mul":
      return [perChannel(x, w, (a, b) => a * b)];
    case "Cast":
      return [{ shape: x.shape, data: Float32Array.from(x.data) }];
    case "Transpose":
      return [channelsFirst(x)];
    case "Sigmoid":
      return [eachRow(x, sigmoid)];
    case "Softmax":
      return [eachRow(x, softmax)];
    default:
      throw new UsageError(`the ONNX node ${node.opType} is none that is written here`, { op: node.opType });
  }
}

/** x [N,C,H,W] with a number a channel [C,1,1], or anything with one number [1]. */
function perChannel({ shape, data }: Tensor, { data: each }: Tensor, of: (a: number, b: number) => number): Tensor {
  const plane = sizeOf(shape.slice(2));
  return { shape, data: Float32Array.from(data, (value, i) => of(value, each[Math.floor(i / plane) % each.length])) };
}

/** [N,H,W,C] → [N,C,H,W] */
function channelsFirst({ shape, data }: Tensor): Tensor {
  const [batch, height, width, channels] = shape;
  const plane = height * width;
  const out = new Float32Array(data.length);
  for (let n = 0; n < batch; n++) {
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < channels; c++) out[(n * channels + c) * plane + i] = data[(n * plane + i) * channels + c];
    }
  }
  return { shape: [batch, channels, height, width], data: out };
}

/** The probabilities of each row of [N, classes]. */
function eachRow({ shape, data }: Tensor, probabilities: (logits: ArrayLike<number>) => Float64Array): Tensor {
  const out = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += shape[1]) {
    out.set(probabilities(data.subarray(row, row + shape[1])), row);
  }
  return { shape, data: out };
}
