// bench: an inference graph as an ONNX file, so that another runtime can be timed on the same network and weights.
// Protocol buffers by hand: the few messages of onnx.proto3 (version 1.17, opset 17) that a DenseNet needs.

import type { Graph, GraphNode, GraphTensor } from "../../src/graph/graph.ts";
import type { ModelTensor } from "../../src/model/model.ts";

const encoder = new TextEncoder();

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

type Bytes = Uint8Array;

function joined(parts: readonly Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A field of wire type 0. */
const whole = (field: number, value: number): Bytes => Uint8Array.from([...varint(field * 8), ...varint(value)]);
/** A field of wire type 2: a message, a string or raw bytes. */
const block = (field: number, content: Bytes | string): Bytes => {
  const bytes = typeof content === "string" ? encoder.encode(content) : content;
  return joined([Uint8Array.from([...varint(field * 8 + 2), ...varint(bytes.length)]), bytes]);
};
/** A field of wire type 5. */
const float = (field: number, value: number): Bytes =>
  joined([Uint8Array.from(varint(field * 8 + 5)), new Uint8Array(Float32Array.of(value).buffer)]);

type Attribute = readonly [name: string, value: number | readonly number[] | { readonly float: number }];

function attribute([name, value]: Attribute): Bytes {
  if (typeof value === "number") return joined([block(1, name), whole(3, value), whole(20, 2)]);
  if ("float" in value) return joined([block(1, name), float(2, value.float), whole(20, 1)]);
  return joined([block(1, name), ...value.map((item) => whole(8, item)), whole(20, 7)]);
}

/** A node named like its output: names must be unique. */
function node(op: string, inputs: readonly string[], output: string, attributes: readonly Attribute[] = []): Bytes {
  return joined([
    ...inputs.map((input) => block(1, input)),
    block(2, output),
    block(3, output),
    block(4, op),
    ...attributes.map((each) => block(5, attribute(each))),
  ]);
}

const square = (value: unknown): number[] => [Number(value), Number(value)];
const frame = (value: unknown): number[] => [...square(value), ...square(value)];

/** One node of ours as one or two of ONNX's. */
function nodesOf({ tensors }: Graph, { op, path, attrs, inputs, outputs }: GraphNode): Bytes[] {
  const tensor = (id: number | undefined): GraphTensor => {
    const found = id === undefined ? undefined : tensors[id];
    if (!found) throw new RangeError(`${path}: a tensor is missing`);
    return found;
  };
  const names = inputs.map((id) => tensor(id).name);
  const { name: output, shape } = tensor(outputs[0]);
  switch (op) {
    case "conv2d": {
      const kernel = tensor(inputs[1]).shape[2];
      return [
        node("Conv", names, output, [
          ["kernel_shape", square(kernel)],
          ["strides", square(attrs.stride)],
          ["pads", frame(attrs.padding)],
        ]),
      ];
    }
    case "normalize": {
      const [x = "", mean = "", variance = "", gamma = "", beta = ""] = names;
      return [
        node("BatchNormalization", [x, gamma, beta, mean, variance], output, [
          ["epsilon", { float: Number(attrs.eps) }],
        ]),
      ];
    }
    case "relu":
      return [node("Relu", names, output)];
    case "concat":
      return [node("Concat", names, output, [["axis", 1]])];
    case "avgPool2d": {
      const window = Array.isArray(attrs.window) ? attrs.window : [];
      return [
        node("AveragePool", names, output, [
          ["kernel_shape", window],
          ["strides", window],
        ]),
      ];
    }
    case "maxPool2d":
      return [
        node("MaxPool", names, output, [
          ["kernel_shape", square(attrs.kernel)],
          ["strides", square(attrs.stride)],
          ["pads", frame(attrs.padding)],
        ]),
      ];
    case "globalAvgPool":
      return [
        node("GlobalAveragePool", names, `${output}:4d`),
        ...(shape.length === 2 ? [node("Flatten", [`${output}:4d`], output, [["axis", 1]])] : []),
      ];
    case "linear":
      return [node("Gemm", names, output, [["transB", 1]])];
    default:
      throw new RangeError(`${path}: ${op} has no translation to ONNX here`);
  }
}

const valueInfo = ({ name, shape }: GraphTensor): Bytes => {
  const dims = shape.map((side) => block(1, whole(1, side)));
  return joined([block(1, name), block(2, block(1, joined([whole(1, 1), block(2, joined(dims))])))]);
};

/** The ONNX file of an inference graph without a loss. @throws RangeError for an op without a counterpart. */
export function onnxModel(graph: Graph, parameters: ReadonlyMap<string, ModelTensor>): Uint8Array {
  const ends = [graph.images, graph.logits].map((id) => graph.tensors[id]);
  const [input, output] = ends;
  if (!input || !output) throw new RangeError("the graph has no images or no logits");
  const initializers = [...parameters].map(([name, { shape, data }]) =>
    joined([
      ...shape.map((side) => whole(1, side)),
      whole(2, 1),
      block(8, name),
      block(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    ]),
  );
  const content = joined([
    ...graph.nodes.flatMap((each) => nodesOf(graph, each).map((bytes) => block(1, bytes))),
    block(2, "densenet"),
    ...initializers.map((bytes) => block(5, bytes)),
    block(11, valueInfo(input)),
    block(12, valueInfo(output)),
  ]);
  return joined([whole(1, 8), block(7, content), block(8, whole(2, 17))]);
}
