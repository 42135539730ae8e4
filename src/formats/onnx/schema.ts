// formats/onnx: the messages of onnx.proto (IR version 8) that networks of images need, as a table, and their bytes.
// Portable, but no part of the browser's bundles.
//
// A field is [number, type] or [number, type, "many"], as onnx.proto has it; enumerations are int32, which is the same
// on the wire. What the table does not name is skipped when it is read. The types of messages follow from the table,
// and protobuf-es writes and reads them.
import { create, createFileRegistry, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
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
    ints: [8, "int64", "many"],
    type: [20, "int32"],
  },
  TensorProto: {
    dims: [1, "int64", "many"],
    data_type: [2, "int32"],
    float_data: [4, "float", "many"],
    name: [8, "string"],
    raw_data: [9, "bytes"],
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
export const onnxDtypes: Readonly<Record<string, number>> = { F32: 1, U8: 2, I8: 3, I32: 6, I64: 7, F16: 10, F64: 11 };

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

/** @throws Error where the bytes are no protocol buffer of this schema */
export function decodeOnnx(bytes: Uint8Array): OnnxModel {
  return fromBinary(modelDescription, bytes, { readUnknownFields: false }) as OnnxModel;
}
