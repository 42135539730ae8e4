// formats/onnx: an ONNX file → its weights by name, with what it says about them. Portable, but no part of the browser's
// bundles.
//
// A file that `densenet export` wrote is a network of ours whole, of any family. Of other tools' files the graph says
// which initializer is which weight, not its name.
import { KEY, readDescribedModel, type TrainedModel } from "../../checkpoint/checkpoint.ts";
import { InputError } from "../../errors.ts";
import type { Tensor } from "../../model/tensor.ts";
import { showSome } from "../../show.ts";
import type { FilePreprocessing, WeightFile } from "../weightFile.ts";
import { type FoundDenseNet, findDenseNet } from "./denseNet.ts";
import { decodeOnnx, type OnnxModel, TooManyItems } from "./schema.ts";
import { type ExternalFiles, externalFiles, fileTensor } from "./tensor.ts";
import { type Walked, walkGraph } from "./walk.ts";

/** Before the names of initializers that are no tensors of the network, in a graph of ours. */
export const CONSTANT = "constant:";
/** Metadata key of num_batches_tracked in files of ours. */
export const TRACKED = "num_batches_tracked";

/** @throws InputError where the bytes are no ONNX model, or hold more than one has */
export function parseOnnx(bytes: Uint8Array, source: string): OnnxModel {
  try {
    const model = decodeOnnx(bytes);
    if ((model.graph?.node?.length ?? 0) > 0) return model;
  } catch (cause) {
    if (cause instanceof TooManyItems) {
      throw new InputError(
        `${source}: ${cause.message}, expected an ONNX file of one network`,
        { file: source },
        { cause },
      );
    }
    throw new InputError(`${source}: is a damaged ONNX file, or another protocol buffer`, { file: source }, { cause });
  }
  throw new InputError(`${source}: is an ONNX file without a graph, or another protocol buffer`, { file: source });
}

/** An ONNX file, parsed. */
export interface OnnxFile {
  readonly model: OnnxModel;
  readonly bytes: number;
  /** Names of files beside it that hold weights of it. */
  readonly externalFiles: readonly string[];
  /** Whether `densenet export` wrote it. */
  readonly own: boolean;
}

/** @throws InputError as parseOnnx */
export function openOnnx(bytes: Uint8Array, source: string): OnnxFile {
  const model = parseOnnx(bytes, source);
  const own = (model.metadataProps ?? []).some(({ key }) => key === KEY);
  return { model, bytes: bytes.length, externalFiles: externalFiles(model), own };
}

/**
 * The network in a file of ours.
 * @throws InputError where a tensor or the metadata is damaged
 */
export function readOwnOnnx({ model, own }: OnnxFile, source: string): TrainedModel | undefined {
  if (!own) return undefined;
  const { graph, metadataProps = [] } = model;
  const metadata = Object.fromEntries(metadataProps.map(({ key = "", value = "" }) => [key, value]));
  const floats = new Map<string, Tensor>();
  for (const tensor of graph?.initializer ?? []) {
    const { name = "" } = tensor;
    if (name.startsWith(CONSTANT)) continue;
    const { shape, read } = fileTensor(tensor, source, new Map());
    floats.set(name, { dtype: "F32", shape, data: read() });
  }
  const trained = readDescribedModel(floats, metadata, source);
  const tracked = Number(metadata[TRACKED]);
  const batchesTracked = Number.isSafeInteger(tracked) && tracked > 0 ? tracked : 0;
  return { ...trained, model: { ...trained.model, batchesTracked } };
}

/**
 * The weights of the DenseNet that the file's graph computes, under torchvision's names.
 * @throws InputError naming the node that no DenseNet has, or the tensor that is damaged
 */
export function readOnnx(file: OnnxFile, source: string, external: ExternalFiles = new Map()): WeightFile {
  const walked = walkGraph(file.model, source, external);
  const found = findDenseNet(walked.output, source);
  const { tensors, sigmoid, foldedNorms, bareNorms, lastWindow } = found;
  const { producerName = "" } = file.model;
  let bytes = file.bytes;
  for (const { length } of external.values()) bytes += length;
  const notes = [
    ...(foldedNorms === 0
      ? []
      : [`${foldedNorms} batch norms were folded into their convolutions; they begin as the identity`]),
    ...(bareNorms === 0
      ? []
      : [`${bareNorms} batch norms are factors and shifts; they begin with a mean of 0 and a variance of 1`]),
    ...(walked.training
      ? ["the graph is in training mode: its batch norms are taken with their running statistics"]
      : []),
    ...(lastWindow === undefined
      ? []
      : [
          `its last pool averages ${lastWindow.join("×")}: the answers are the same for images that leave maps of that size`,
        ]),
    ...(CAFFE.test(producerName) ? [`networks of Caffe2 want ${CAFFE_INPUT}`] : []),
  ];
  const preprocessing = preprocessingOf(walked, found, source);
  return {
    format: "an ONNX file",
    tensors,
    bytes,
    notes,
    ...(Object.keys(preprocessing).length === 0 ? {} : { preprocessing }),
    ...(sigmoid ? { outputs: "sigmoid" } : {}),
    ...(producerName === "" ? {} : { origin: /keras|tf2onnx/.test(producerName) ? "Keras" : producerName }),
  };
}

const CAFFE = /caffe/i;
const CAFFE_INPUT = "--channel-order bgr --mean 0.4076,0.458,0.485 --std 0.2307";

/** Deviations above this are of pixels in 0…255, not in 0…1. */
const LARGEST_DEVIATION = 2;

/**
 * The input's size; and of a graph that takes mean and deviation off on its own, factor · p + shift for pixels p, the
 * mean and deviation that do the same: σ = 1/factor and μ = −shift·σ.
 */
function preprocessingOf(
  { height, width, takesBytes }: Walked,
  { normalization }: FoundDenseNet,
  source: string,
): FilePreprocessing {
  const size = height === undefined || width === undefined ? {} : { height, width };
  if (normalization === undefined) return takesBytes ? { ...size, mean: [0], std: [1 / 255] } : size;
  const std = [...normalization.factor.read()].map((factor) => 1 / factor);
  const mean = [...normalization.shift.read()].map((shift, c) => 0 - shift * std[c]);
  if (![...std, ...mean].every(Number.isFinite) || std.some((deviation) => deviation <= 0)) {
    throw new InputError(
      `${source}: its graph multiplies images by ${showSome(std.map((deviation) => String(1 / deviation)))}, expected factors above 0`,
      { file: source },
    );
  }
  const range = takesBytes || std.some((deviation) => deviation > LARGEST_DEVIATION) ? 255 : 1;
  return { ...size, mean: mean.map((value) => value / range), std: std.map((value) => value / range) };
}
