// Test support: ONNX files that are broken, mean harm or are no DenseNet, by what is wrong with them.
import { onnxModel } from "../../src/export/onnx/write.ts";
import {
  attributeTypes,
  encodeOnnx,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  onnxDtypes,
} from "../../src/formats/onnx/schema.ts";
import { smallNets, smallTrained } from "../export/trained.ts";
import type { HostileFile } from "./hostile.ts";

interface Contents {
  nodes: OnnxNode[];
  tensors: OnnxTensor[];
  inputs: OnnxValueInfo[];
  opset: bigint | undefined;
}

/** A DenseNet of ours without the metadata by which it would be read whole, changed. */
export function changedOnnx(change: (contents: Contents) => void, net = "densenet, 3×3 stem"): Uint8Array {
  const { metadataProps: _, graph, ...model } = onnxModel(smallTrained(smallNets[net]));
  const contents: Contents = {
    nodes: [...(graph?.node ?? [])],
    tensors: [...(graph?.initializer ?? [])],
    inputs: [...(graph?.input ?? [])],
    opset: 17n,
  };
  change(contents);
  const { nodes, tensors, inputs, opset } = contents;
  const changed: OnnxModel = {
    ...model,
    opsetImport: opset === undefined ? [] : [{ domain: "", version: opset }],
    graph: { ...graph, node: nodes, initializer: tensors, input: inputs },
  };
  return encodeOnnx(changed);
}

/** Changes the first node of that operation. */
function node(op: string, change: (node: OnnxNode) => OnnxNode, net?: string): Uint8Array {
  return changedOnnx(({ nodes }) => {
    const at = nodes.findIndex(({ opType }) => opType === op);
    nodes[at] = change(nodes[at]);
  }, net);
}

/** Puts nodes between the image and what reads it. */
function before(made: (image: string) => readonly OnnxNode[]): Uint8Array {
  return changedOnnx(({ nodes }) => {
    const added = made("images");
    const last = added[added.length - 1].output?.[0] ?? "";
    for (const [i, each] of nodes.entries()) {
      nodes[i] = { ...each, input: (each.input ?? []).map((name) => (name === "images" ? last : name)) };
    }
    nodes.unshift(...added);
  });
}

/** `count` nodes of one operation in a row, each reading the one before. */
function chain(
  count: number,
  op: string,
  start: string,
  more: (name: string) => readonly string[] = () => [],
): OnnxNode[] {
  return Array.from({ length: count }, (_, i) => {
    const input = i === 0 ? start : `chain${i - 1}`;
    return { opType: op, input: [input, ...more(input)], output: [`chain${i}`], name: `chain${i}` };
  });
}

function tensor(change: (tensor: OnnxTensor) => OnnxTensor): Uint8Array {
  return changedOnnx(({ tensors }) => {
    tensors[0] = change(tensors[0]);
  });
}

const ints = (name: string, values: readonly number[]) => ({
  name,
  ints: values.map(BigInt),
  type: attributeTypes.ints,
});
const int = (name: string, value: number) => ({ name, i: BigInt(value), type: attributeTypes.int });

const repeated = (count: number, ...bytes: readonly number[]): Uint8Array => {
  const out = new Uint8Array(count * bytes.length);
  for (let i = 0; i < out.length; i++) out[i] = bytes[i % bytes.length];
  return out;
};

/** A field of a length that is written before it. */
function field(number: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, bytes) => sum + bytes.length, 0);
  const head = [...varint((number << 3) | 2), ...varint(length)];
  return Uint8Array.from(Buffer.concat([Uint8Array.from(head), ...contents]));
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

/** IR version 8, then fields of ModelProto. */
const model = (...fields: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from(Buffer.concat([Uint8Array.of(8, 8), field(2, Buffer.from("hostile")), ...fields]));

const SMALLEST_NODE = [0x0a, 0];

export function onnxFaults(): readonly HostileFile[] {
  const cases: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
    [
      "a graph in a circle",
      node("Relu", (each) => ({ ...each, input: ["logits"] })),
      /reads "logits", which no node before it computes: the graph is cut or in a circle/,
    ],
    [
      "a node that reads what is not there",
      node("Conv", (each) => ({ ...each, input: ["images", "nothing"] })),
      /\(Conv\) reads "nothing", which no node/,
    ],
    [
      "two nodes that write one name",
      changedOnnx(({ nodes }) => nodes.splice(1, 0, nodes[0])),
      /computes the value ".*" twice, again by the node ".*" \(Conv\)/,
    ],
    [
      "a node that writes an initializer's name",
      node("Relu", (each) => ({ ...each, output: ["classifier.bias"] })),
      /computes the value "classifier\.bias" twice/,
    ],
    [
      "a node that writes nothing",
      node("Relu", (each) => ({ ...each, output: [] })),
      /has a value without a name by the node/,
    ],
    [
      "two initializers of one name",
      changedOnnx(({ tensors }) => tensors.push(tensors[0])),
      /computes the value "features\.conv0\.weight" twice/,
    ],
    [
      "another activation",
      node("Relu", (each) => ({ ...each, opType: "LeakyRelu" })),
      /\(LeakyRelu\) is no operation of a DenseNet, and other networks of ONNX are not run/,
    ],
    [
      "an operation of another domain",
      node("Relu", (each) => ({ ...each, domain: "com.microsoft" })),
      /\(com\.microsoft\.Relu\) is no operation/,
    ],
    [
      "an operation of a name that a terminal obeys",
      node("Relu", (each) => ({ ...each, opType: "\u001b[2J" })),
      /\(\\u001b\[2J\) is no operation/,
    ],
    [
      "a quantized network",
      before((image) => [{ opType: "QuantizeLinear", input: [image, "features.norm5.bias"], output: ["q"] }]),
      /"q" \(QuantizeLinear\) is a quantized network's, expected weights in f32, f16, bf16 or f64/,
    ],
    [
      "quantized weights",
      changedOnnx(({ nodes }) =>
        nodes.unshift({
          opType: "DequantizeLinear",
          input: ["features.conv0.weight", "features.norm5.bias"],
          output: ["w"],
        }),
      ),
      /"w" \(DequantizeLinear\) is a quantized network's/,
    ],
    ["opset 6", changedOnnx((contents) => Object.assign(contents, { opset: 6n })), /is of opset 6, expected 7 to 21/],
    [
      "opset 22",
      changedOnnx((contents) => Object.assign(contents, { opset: 22n })),
      /is of opset 22, expected 7 to 21/,
    ],
    [
      "no opset",
      changedOnnx((contents) => Object.assign(contents, { opset: undefined })),
      /is of no opset, expected 7 to 21/,
    ],
    ["no image", changedOnnx(({ inputs }) => inputs.splice(0)), /takes nothing, expected one image of four axes/],
    [
      "two images",
      changedOnnx(({ inputs, nodes }) => {
        inputs.push({ ...inputs[0], name: "more" });
        nodes.push({ opType: "Relu", input: ["more"], output: ["end"] });
      }),
      /takes images of 4 axes, more of 4 axes, expected one image/,
    ],
    [
      "an output that nothing computes",
      changedOnnx(({ nodes }) => nodes.pop()),
      /gives "logits", which is not computed from its image/,
    ],
    [
      "an output that is a constant",
      changedOnnx(({ nodes }) =>
        nodes.splice(-1, 1, { opType: "Identity", input: ["classifier.bias"], output: ["logits"] }),
      ),
      /gives "logits", which is not computed from its image/,
    ],
    [
      "sizes that no tensor has",
      tensor((each) => ({ ...each, dims: [2n ** 40n, 2n ** 40n] })),
      /"features\.conv0\.weight" has the shape \[1099511627776, 1099511627776\]/,
    ],
    ["sizes below zero", tensor((each) => ({ ...each, dims: [-1n] })), /has the shape \[-1\]/],
    [
      "more numbers than bytes",
      tensor((each) => ({ ...each, dims: [3n] })),
      /of shape \[3\] and type F32 has \d+ bytes/,
    ],
    [
      "a type of tensor that weights do not have",
      tensor((each) => ({ ...each, dataType: 8 })),
      /type ONNX's number 8 has/,
    ],
    [
      "weights in another file",
      tensor((each) => ({
        ...each,
        rawData: new Uint8Array(0),
        dataLocation: 1,
        externalData: [{ key: "location", value: "w.bin" }],
      })),
      /lies in another file, w\.bin, which was not opened with this one/,
    ],
    [
      "integers that do not end",
      tensor((each) => ({
        ...each,
        rawData: new Uint8Array(0),
        dims: [1n],
        dataType: onnxDtypes.I64,
        int64Data: new Uint8Array(300_000).fill(0x80),
      })),
      /has 300000 bytes/,
    ],
    [
      "a sum of feature maps",
      node("Concat", (each) => ({ ...each, opType: "Add", attribute: [] })),
      /\(Add\) joins two feature maps by numbers, which no DenseNet does/,
    ],
    [
      "a convolution in groups",
      node("Conv", (each) => ({ ...each, attribute: [...(each.attribute ?? []), int("group", 2)] })),
      /in 2 groups/,
    ],
    [
      "a dilated convolution",
      node("Conv", (each) => ({ ...each, attribute: [...(each.attribute ?? []), ints("dilations", [2, 2])] })),
      /is dilated/,
    ],
    [
      "a convolution with another stride",
      node("Conv", (each) => ({ ...each, attribute: [ints("strides", [2, 2]), ints("pads", [1, 1, 1, 1])] })),
      /is a stem of 3×3 with strides 2, 2 and pads 1, 1, 1, 1, expected a 3×3 convolution with stride 1/,
    ],
    [
      "a convolution of three strides",
      node("Conv", (each) => ({ ...each, attribute: [ints("strides", [1, 1, 1])] })),
      /has a window of 3×3 and strides of 1, 1, 1/,
    ],
    [
      "a stem's pool with other pads",
      node(
        "MaxPool",
        (each) => ({
          ...each,
          attribute: [ints("kernel_shape", [3, 3]), ints("strides", [2, 2]), ints("pads", [0, 0, 1, 1])],
        }),
        "densenet, 7×7 stem",
      ),
      /belongs to a stem of 7×7 with strides 2, 2 and pads 3, 3, 3, 3 and 3×3 with strides 2, 2 and pads 0, 0, 1, 1/,
    ],
    [
      "a transition's pool of 3×3",
      node("AveragePool", (each) => ({ ...each, attribute: [ints("kernel_shape", [3, 3]), ints("strides", [2, 2])] })),
      /\(AveragePool\) comes into a block, but is neither a transition's/,
    ],
    [
      "a pool that rounds up",
      node("AveragePool", (each) => ({ ...each, attribute: [...(each.attribute ?? []), int("ceil_mode", 1)] })),
      /rounds the size of its maps up/,
    ],
    [
      "a norm of each pixel",
      node("BatchNormalization", (each) => ({ ...each, attribute: [int("spatial", 0)] })),
      /normalizes each pixel on its own/,
    ],
    [
      "a norm with an epsilon of 7",
      node("BatchNormalization", (each) => ({
        ...each,
        attribute: [{ name: "epsilon", f: 7, type: attributeTypes.float }],
      })),
      /has the epsilon 7/,
    ],
    [
      "a norm of too few numbers",
      node("BatchNormalization", (each) => ({ ...each, input: (each.input ?? []).with(1, "classifier.bias") })),
      /has \[5\] numbers for 8 maps/,
    ],
    [
      "a join along the height",
      node("Concat", (each) => ({ ...each, attribute: [int("axis", 2)] })),
      /joins along axis 2, which is not that of the channels/,
    ],
    [
      "a layer that reads not all before it",
      changedOnnx(({ nodes }) => {
        const joins = nodes.filter(({ opType }) => opType === "Concat");
        const at = nodes.indexOf(joins[joins.length - 1]);
        nodes[at] = { ...nodes[at], input: (joins.at(-1)?.input ?? []).toSpliced(1, 1) };
      }),
      /joins \d+ values where a dense layer reads all|has .* numbers for .* maps/,
    ],
    [
      "features of another size",
      node("Gemm", (each) => ({ ...each, attribute: [int("transB", 0)] })),
      /reads 5 features where \d+ come/,
    ],
    [
      "feature maps that are flattened",
      node("GlobalAveragePool", (each) => ({ ...each, opType: "Identity" })),
      /changes the shape of feature maps that are not averaged to one pixel/,
    ],
    [
      "negative pads",
      before((image) => [
        { opType: "Pad", input: [image], output: ["padded"], attribute: [ints("pads", [0, 0, -1, 0, 0, 0, 0, 0])] },
      ]),
      /pads by -1, 0, 0, 0/,
    ],
    [
      "pads of a million",
      before((image) => [
        { opType: "Pad", input: [image], output: ["padded"], attribute: [ints("pads", [0, 0, 1e6, 0, 0, 0, 0, 0])] },
      ]),
      /pads by 1000000, 0, 0, 0/,
    ],
    [
      "100 batch norms in a row",
      before((image) => chain(100, "BatchNormalization", image, () => ["b", "b", "b", "b"])),
      /reads "b", which no node/,
    ],
    [
      "10,000 shifts in a row",
      before((image) => [
        { opType: "Constant", output: ["one"], attribute: [{ name: "value_float", f: 1, type: attributeTypes.float }] },
        ...chain(10_000, "Add", image, () => ["one"]),
      ]),
      /is one of many factors and shifts in a row/,
    ],
    [
      "20,000 views of a constant",
      changedOnnx(({ nodes }) => nodes.unshift(...chain(20_000, "Transpose", "features.conv0.weight"))),
      /is the 24th view of one constant/,
    ],
    [
      "20,000 ReLUs in a row",
      before((image) => chain(20_000, "Relu", image)),
      /\(Concat\) is joined with others, but is no dense layer's/,
    ],
    [
      "maps that are doubled 60 times",
      before((image) => chain(60, "Concat", image, (name) => [name])),
      /joins 1572864 maps, expected at most 1000000|joins \d+ maps/,
    ],
    [
      "5,000 values that are one",
      node("Concat", (each) => ({ ...each, input: new Array(5000).fill((each.input ?? [])[0]) })),
      /has .* numbers for 40000 maps|joins more than 4096 values|reads .* maps with weights/,
    ],
    [
      "five million empty nodes",
      model(field(7, repeated(5_000_000, ...SMALLEST_NODE))),
      /holds more than 120000 nodes, tensors, names and numbers/,
    ],
    [
      "ten million sizes in a few bytes",
      model(field(7, field(1, repeated(1, 0x22, 0)), field(5, field(1, repeated(10_000_000, 1))))),
      /holds more than 120000/,
    ],
    [
      "a million entries of metadata",
      model(field(7, field(1, repeated(1, 0x22, 0))), repeated(1_000_000, 0x72, 0)),
      /holds more than 120000/,
    ],
    ["50,000 groups within each other", model(repeated(50_000, 0x1b)), /is a damaged ONNX file/],
    ["a length beyond the end", model(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x07)), /is a damaged ONNX file/],
    ["a number where a text belongs", model(Uint8Array.of(0x18, 1)), /is a damaged ONNX file/],
    [
      "a message that is cut off in its parent",
      model(field(7, Uint8Array.of(0x0a, 0x70, 0))),
      /is a damaged ONNX file/,
    ],
  ];
  return cases.map(([what, bytes, says]) => ({ what, bytes, says }));
}
