// formats/onnx: an ONNX file → its weights by name, with what its metadata says. Portable, but no part of the browser's
// bundles.
//
// Initializers are taken for a state dict: files that `densenet export` wrote keep the paths, and so do other exporters
// that leave batch norms unfolded. The graph itself is not interpreted.
import { KEY, readDescribedModel, type TrainedModel } from "../../checkpoint/checkpoint.ts";
import { decodeFloats, dtypeBytes } from "../../checkpoint/floats.ts";
import { InputError } from "../../errors.ts";
import type { Tensor } from "../../model/tensor.ts";
import { showText } from "../../show.ts";
import { elementCount, type FileTensor, type WeightFile } from "../weightFile.ts";
import { decodeOnnx, type OnnxModel, type OnnxTensor, onnxDtypes } from "./schema.ts";

/** Before the names of initializers that are no tensors of the network, in a graph of ours. */
export const CONSTANT = "constant:";
/** Metadata key of num_batches_tracked in files of ours. */
export const TRACKED = "num_batches_tracked";

/** IR version first, then one of the fields that come next: producer, its version, graph, operator sets. */
export function isOnnx(bytes: Uint8Array): boolean {
  return bytes.length > 4 && bytes[0] === 0x08 && bytes[1] < 32 && [0x12, 0x1a, 0x22, 0x3a, 0x42].includes(bytes[2]);
}

/** @throws InputError where the bytes are no ONNX model, or an initializer is not in them */
export function parseOnnx(bytes: Uint8Array, source: string): OnnxModel {
  try {
    const model = decodeOnnx(bytes);
    if ((model.graph?.node?.length ?? 0) > 0) return model;
  } catch (cause) {
    throw new InputError(`${source}: is a damaged ONNX file, or another protocol buffer`, { file: source }, { cause });
  }
  throw new InputError(`${source}: is an ONNX file without a graph, or another protocol buffer`, { file: source });
}

/** What an ONNX file holds for us. */
export interface OnnxWeights {
  readonly weights: WeightFile;
  /** Of a file that `densenet export` wrote: all of the network. */
  readonly own: TrainedModel | undefined;
}

/** @throws InputError as parseOnnx, and where a tensor or the metadata is damaged */
export function readOnnx(bytes: Uint8Array, source: string): OnnxWeights {
  const { graph, metadataProps = [] } = parseOnnx(bytes, source);
  const tensors = new Map(
    (graph?.initializer ?? [])
      .filter(({ name = "" }) => !name.startsWith(CONSTANT))
      .map((tensor): [string, FileTensor] => [tensor.name ?? "", fileTensor(tensor, source)]),
  );
  const weights: WeightFile = { format: "an ONNX file", tensors, bytes: bytes.length, notes: [] };
  const metadata = Object.fromEntries(metadataProps.map(({ key = "", value = "" }) => [key, value]));
  if (metadata[KEY] === undefined) return { weights, own: undefined };
  const floats = new Map(
    [...tensors].map(([name, { shape, read }]): [string, Tensor] => [name, { dtype: "F32", shape, data: read() }]),
  );
  const trained = readDescribedModel(floats, metadata, source);
  const tracked = Number(metadata[TRACKED]);
  const batchesTracked = Number.isSafeInteger(tracked) && tracked > 0 ? tracked : 0;
  return { weights, own: { ...trained, model: { ...trained.model, batchesTracked } } };
}

/** The dtype of an initializer by the name that safetensors has for it. */
export function onnxDtype({ dataType = 0 }: OnnxTensor): string {
  return Object.entries(onnxDtypes).find(([, number]) => number === dataType)?.[0] ?? `ONNX's number ${dataType}`;
}

function fileTensor(tensor: OnnxTensor, source: string): FileTensor {
  const { name = "", dims = [], rawData = new Uint8Array(0), floatData = [], dataLocation = 0 } = tensor;
  const shape = dims.map(Number);
  const dtype = onnxDtype(tensor);
  const fail = (what: string): InputError =>
    new InputError(`${source}: the initializer "${showText(name)}" ${what}`, { file: source, name });
  if (dataLocation !== 0) throw fail("lies in a file beside it, expected all weights in the ONNX file");
  const count = elementCount(shape);
  const inFloats = floatData.length > 0;
  const found = inFloats ? floatData.length : rawData.length / (dtypeBytes[dtype] ?? Number.NaN);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || found !== count) {
    throw fail(`of shape [${shape.join(", ")}] and type ${dtype} has ${rawData.length} bytes`);
  }
  return { shape, dtype, read: () => (inFloats ? Float32Array.from(floatData) : decodeFloats(rawData, dtype)) };
}
