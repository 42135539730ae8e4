// formats/onnx: a TensorProto → a tensor of the file, in whichever of its fields the numbers lie. Portable.
import { decodeFloats, dtypeBytes } from "../../checkpoint/floats.ts";
import { InputError } from "../../errors.ts";
import { showText } from "../../show.ts";
import { elementCount, type FileTensor } from "../weightFile.ts";
import { type OnnxModel, type OnnxTensor, onnxDtypes } from "./schema.ts";

/** The files beside an ONNX file that hold its weights, by the name that it calls them. */
export type ExternalFiles = ReadonlyMap<string, Uint8Array>;

/** data_location of numbers in another file. */
const EXTERNAL = 1;

const NO_BYTES = new Uint8Array(0);

/** The dtype of an initializer by the name that safetensors has for it. */
export function onnxDtype({ dataType = 0 }: OnnxTensor): string {
  return Object.entries(onnxDtypes).find(([, number]) => number === dataType)?.[0] ?? `ONNX's number ${dataType}`;
}

/** Names of the files beside it that the model keeps numbers in, each once. */
export function externalFiles({ graph }: OnnxModel): readonly string[] {
  const tensors = [
    ...(graph?.initializer ?? []),
    ...(graph?.node ?? []).flatMap(({ attribute = [] }) => attribute.flatMap(({ t }) => (t === undefined ? [] : [t]))),
  ];
  const external = tensors.filter(({ dataLocation }) => dataLocation === EXTERNAL);
  return [...new Set(external.map((tensor) => externalEntry(tensor, "location") ?? ""))];
}

function externalEntry({ externalData = [] }: OnnxTensor, key: string): string | undefined {
  return externalData.find((entry) => entry.key === key)?.value;
}

/** @throws InputError naming the tensor where it has not as many bytes as its shape takes */
export function fileTensor(tensor: OnnxTensor, source: string, external: ExternalFiles): FileTensor {
  const { name = "", dims = [] } = tensor;
  const shape = dims.map(Number);
  const dtype = onnxDtype(tensor);
  const fail = (what: string): InputError =>
    new InputError(`${source}: the tensor "${showText(name)}" ${what}`, { file: source, name });
  const count = elementCount(shape);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(count)) {
    throw fail(`has the shape [${shape.slice(0, 8).join(", ")}], expected sizes that can be`);
  }
  const numbers = numbersOf(tensor, dtype, count, external, fail);
  if (numbers.count !== count) {
    throw fail(`of shape [${shape.join(", ")}] and type ${dtype} has ${numbers.bytes} bytes`);
  }
  return { shape, dtype, read: numbers.read };
}

interface Numbers {
  readonly count: number;
  readonly bytes: number;
  read(): Float32Array<ArrayBuffer>;
}

function numbersOf(
  tensor: OnnxTensor,
  dtype: string,
  count: number,
  external: ExternalFiles,
  fail: (what: string) => InputError,
): Numbers {
  const { rawData = NO_BYTES, floatData = NO_BYTES, doubleData = NO_BYTES, dataLocation } = tensor;
  const { int32Data = NO_BYTES, int64Data = NO_BYTES } = tensor;
  if (dataLocation === EXTERNAL) {
    return plain(externalBytes(tensor, count * (dtypeBytes[dtype] ?? Number.NaN), external, fail), dtype);
  }
  if (dtype === "F32" && floatData.length > 0) return plain(floatData, dtype);
  if (dtype === "F64" && doubleData.length > 0) return plain(doubleData, dtype);
  // Everything narrower than 32 bits is written as integers of 32, halves by their bits.
  const integers = dtype === "I64" ? int64Data : int32Data;
  if (rawData.length === 0 && integers.length > 0) return varints(integers, dtype);
  return plain(rawData, dtype);
}

function plain(bytes: Uint8Array, dtype: string): Numbers {
  return {
    count: bytes.length / (dtypeBytes[dtype] ?? Number.NaN),
    bytes: bytes.length,
    read: () => (dtype === "BOOL" || dtype === "U8" ? Float32Array.from(bytes) : decodeFloats(bytes, dtype)),
  };
}

/** 64 bits, seven a byte. */
const MAX_VARINT_BYTES = 10;

/** Packed integers, seven bits a byte, the lowest first, in two's complement of 64 bits. */
function varints(bytes: Uint8Array, dtype: string): Numbers {
  let count = 0;
  let [longest, length] = [0, 0];
  for (const byte of bytes) {
    longest = Math.max(longest, ++length);
    if (byte >= 0x80) continue;
    count++;
    length = 0;
  }
  if (longest > MAX_VARINT_BYTES) count = Number.NaN;
  const read = (): Float32Array<ArrayBuffer> => {
    const values = new BigInt64Array(count);
    for (let i = 0, at = 0; i < count; i++) {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = bytes[at++];
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
      values[i] = BigInt.asIntN(64, value);
    }
    if (dtype !== "F16" && dtype !== "BF16") return Float32Array.from(values, Number);
    const bits = Uint16Array.from(values, (value) => Number(value & 0xffffn));
    return decodeFloats(new Uint8Array(bits.buffer), dtype);
  };
  return { count, bytes: bytes.length, read };
}

function externalBytes(
  tensor: OnnxTensor,
  length: number,
  external: ExternalFiles,
  fail: (what: string) => InputError,
): Uint8Array {
  const location = externalEntry(tensor, "location") ?? "";
  const file = external.get(location);
  if (file === undefined) throw fail(`lies in another file, ${showText(location)}, which was not opened with this one`);
  const offset = Number(externalEntry(tensor, "offset") ?? 0);
  const said = Number(externalEntry(tensor, "length") ?? length);
  if (!Number.isSafeInteger(offset) || offset < 0 || said !== length || offset + length > file.length) {
    throw fail(
      `takes ${length} bytes, and is said to be ${said} from byte ${offset} of ${showText(location)}, which has ` +
        `${file.length}`,
    );
  }
  return file.subarray(offset, offset + length);
}
