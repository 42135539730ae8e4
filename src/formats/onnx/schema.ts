// formats/onnx: the messages of onnx.proto (IR version 8) that networks of images need, as a table, and their bytes.
// Portable, but no part of the browser's bundles.
//
// A field is [number, type] or [number, type, "many"], as onnx.proto has it, with two exceptions that are the same on
// the wire: enumerations are int32, and a tensor's packed numbers (`float_data` …) are bytes, so that they stay where
// they are in the file. What the table does not name is skipped when it is read. The types of messages follow from the
// table, and protobuf-es writes and reads them.
import { create, createFileRegistry, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import {
  type FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";

const messages = {
  ModelProto: {
    ir_version: [1, "int64"],
    producer_name: [2, "string"],
    producer_version: [3, "string"],
    graph: [7, "GraphProto"],
    opset_import: [8, "OperatorSetIdProto", "many"],
    metadata_props: [14, "StringStringEntryProto", "many"],
  },
  OperatorSetIdProto: { domain: [1, "string"], version: [2, "int64"] },
  StringStringEntryProto: { key: [1, "string"], value: [2, "string"] },
  GraphProto: {
    node: [1, "NodeProto", "many"],
    name: [2, "string"],
    initializer: [5, "TensorProto", "many"],
    input: [11, "ValueInfoProto", "many"],
    output: [12, "ValueInfoProto", "many"],
  },
  NodeProto: {
    input: [1, "string", "many"],
    output: [2, "string", "many"],
    name: [3, "string"],
    op_type: [4, "string"],
    attribute: [5, "AttributeProto", "many"],
    domain: [7, "string"],
  },
  AttributeProto: {
    name: [1, "string"],
    f: [2, "float"],
    i: [3, "int64"],
    s: [4, "bytes"],
    t: [5, "TensorProto"],
    ints: [8, "int64", "many"],
    type: [20, "int32"],
  },
  TensorProto: {
    dims: [1, "int64", "many"],
    data_type: [2, "int32"],
    float_data: [4, "bytes"],
    int32_data: [5, "bytes"],
    int64_data: [7, "bytes"],
    name: [8, "string"],
    raw_data: [9, "bytes"],
    double_data: [10, "bytes"],
    external_data: [13, "StringStringEntryProto", "many"],
    data_location: [14, "int32"],
  },
  ValueInfoProto: { name: [1, "string"], type: [2, "TypeProto"] },
  TypeProto: { tensor_type: [1, "TensorTypeProto"] },
  TensorTypeProto: { elem_type: [1, "int32"], shape: [2, "TensorShapeProto"] },
  TensorShapeProto: { dim: [1, "DimensionProto", "many"] },
  DimensionProto: { dim_value: [1, "int64"], dim_param: [2, "string"] },
} as const satisfies Record<string, Record<string, readonly [number, string, "many"?]>>;

interface Scalars {
  readonly int64: bigint;
  readonly int32: number;
  readonly float: number;
  readonly string: string;
  readonly bytes: Uint8Array;
}

const scalars: Readonly<Record<keyof Scalars, FieldDescriptorProto_Type>> = {
  int64: FieldDescriptorProto_Type.INT64,
  int32: FieldDescriptorProto_Type.INT32,
  float: FieldDescriptorProto_Type.FLOAT,
  string: FieldDescriptorProto_Type.STRING,
  bytes: FieldDescriptorProto_Type.BYTES,
};

type Messages = typeof messages;
type Value<T> = T extends keyof Scalars ? Scalars[T] : T extends keyof Messages ? OnnxMessage<T> : never;
/** protobuf-es names fields in camel case. */
type Camel<S> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

/** A message of onnx.proto. Of one that was read, fields that the bytes lack have their type's zero. */
export type OnnxMessage<M extends keyof Messages> = {
  readonly [F in keyof Messages[M] as Camel<F> & string]?: Messages[M][F] extends readonly [number, infer T, "many"]
    ? readonly Value<T>[]
    : Messages[M][F] extends readonly [number, infer T]
      ? Value<T>
      : never;
};
export type OnnxModel = OnnxMessage<"ModelProto">;
export type OnnxNode = OnnxMessage<"NodeProto">;
export type OnnxTensor = OnnxMessage<"TensorProto">;
export type OnnxAttribute = OnnxMessage<"AttributeProto">;
export type OnnxValueInfo = OnnxMessage<"ValueInfoProto">;

/** TensorProto.DataType, by the names that safetensors has for them. */
export const onnxDtypes: Readonly<Record<string, number>> = {
  F32: 1,
  U8: 2,
  I8: 3,
  I32: 6,
  I64: 7,
  BOOL: 9,
  F16: 10,
  F64: 11,
  BF16: 16,
};

/** AttributeProto.AttributeType. */
export const attributeTypes = { float: 1, int: 2, ints: 7 } as const;

/** FieldDescriptorProto.Label. */
const LABEL = { optional: 1, repeated: 3 } as const satisfies Record<string, FieldDescriptorProto_Label>;

const registry = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: "onnx.proto",
    package: "onnx",
    syntax: "proto2",
    messageType: Object.entries(messages).map(([name, fields]) => ({
      name,
      field: Object.entries(fields).map(
        ([field, [number, type, many]]: [string, readonly [number, string, "many"?]]) => ({
          name: field,
          number,
          label: many ? LABEL.repeated : LABEL.optional,
          ...(type in scalars
            ? { type: scalars[type as keyof Scalars] }
            : { type: FieldDescriptorProto_Type.MESSAGE, typeName: `.onnx.${type}` }),
        }),
      ),
    })),
  }),
  () => undefined,
);

const modelDescription = registry.getMessage("onnx.ModelProto") as DescMessage;

export function encodeOnnx(model: OnnxModel): Uint8Array<ArrayBuffer> {
  return toBinary(modelDescription, create(modelDescription, { ...model }));
}

/**
 * Messages, texts and repeated numbers in a file, each of which takes up to a few hundred bytes once it is decoded,
 * however few it has there. DenseNet-201 has 25,000.
 */
const MAX_ITEMS = 120_000;

/** What `decodeOnnx` throws before it decodes anything. */
export class TooManyItems extends Error {
  constructor() {
    super(`holds more than ${MAX_ITEMS} nodes, tensors, names and numbers`);
  }
}

/**
 * @throws TooManyItems where the bytes hold more than any network has
 * @throws Error where they are no protocol buffer of this schema
 */
export function decodeOnnx(bytes: Uint8Array): OnnxModel {
  countItems(new BinaryReader(bytes), bytes.length, "ModelProto", 0);
  return fromBinary(modelDescription, bytes, { readUnknownFields: false }) as OnnxModel;
}

const fieldsByNumber = Object.fromEntries(
  Object.entries(messages).map(([name, fields]) => [
    name,
    new Map(
      Object.values(fields).map(([number, type, many]: readonly [number, string, "many"?]) => [number, { type, many }]),
    ),
  ]),
);

const wireTypes: Readonly<Record<keyof Scalars, WireType>> = {
  int64: WireType.Varint,
  int32: WireType.Varint,
  float: WireType.Bit32,
  string: WireType.LengthDelimited,
  bytes: WireType.LengthDelimited,
};

/** `found` and the items up to `end`, which is where the message that the reader is in ends. */
function countItems(reader: BinaryReader, end: number, message: string, found: number): number {
  let items = found;
  while (reader.pos < end) {
    const [number, wire] = reader.tag();
    const field = fieldsByNumber[message].get(number);
    if (field === undefined) {
      reader.skip(wire, number);
      continue;
    }
    const { type, many } = field;
    const expected = type in wireTypes ? wireTypes[type as keyof Scalars] : WireType.LengthDelimited;
    const packed = many !== undefined && wire === WireType.LengthDelimited;
    if (wire !== expected && !packed) throw new Error(`field ${number} of ${message} has wire type ${wire}`);
    if (type in messages) {
      const length = reader.uint32();
      const inner = reader.pos + length;
      if (inner > end) throw new Error(`a ${type} of ${length} bytes reaches beyond its ${message}`);
      items = countItems(reader, inner, type, items + 1);
    } else {
      const from = reader.pos;
      reader.skip(wire, number);
      // A packed number has at least one byte.
      if (many !== undefined || type === "string") items += packed && type !== "string" ? reader.pos - from : 1;
    }
    if (items > MAX_ITEMS) throw new TooManyItems();
  }
  if (reader.pos !== end) throw new Error(`the ${message} is cut off`);
  return items;
}
