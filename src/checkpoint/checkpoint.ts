// checkpoint: a trained or half-trained network as two safetensors files. Portable; store.node.ts reads and writes the
// files.
//
// model.safetensors holds what others can use: weights under torchvision's paths, and in its metadata what it takes to
// run them. training.safetensors holds what only a resumed run needs: momenta and the run's own state, which is JSON
// that the trainer understands.
import { type Interpolation, interpolations } from "../data/resample.ts";
import { InputError, UsageError } from "../errors.ts";
import { isStatistic, type Model, type StateDict } from "../model/model.ts";
import { exportStateDict, importStateDict } from "../model/stateDict.ts";
import type { Tensor } from "../model/tensor.ts";
import { defineSpec, type NetworkSpec } from "../networks/registry.ts";
import { show, showSome } from "../show.ts";
import { type Calibration, readCalibration } from "./calibration.ts";
import { DIGEST_KEY, digestsOf, verifyDigests } from "./digest.ts";
import { beyondHalves, encodeHalves } from "./floats.ts";
import { isRecord } from "./record.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";

export const MODEL_FILE = "model.safetensors";
export const TRAINING_FILE = "training.safetensors";

/** Raised when a reader of the older layout would misunderstand the newer one. */
const FORMAT_VERSION = 1;

/** Metadata key of the JSON in both files; a safetensors file without it was saved by another tool. */
export const KEY = "densenet";

/** How images become the network's input. */
export interface Preprocessing {
  readonly height: number;
  readonly width: number;
  /** Per channel, of pixels in 0…1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Side of the cut-out over the side of the scaled image; without it 224/256 above 64 pixels and 1 up to them. */
  readonly cropRatio?: number;
  /** Of the scaling; without it bicubic. */
  readonly interpolation?: Interpolation;
}

/** Everything that running a network takes. */
export interface TrainedModel {
  readonly model: Model;
  readonly preprocessing: Preprocessing;
  /** Names by class index. */
  readonly classes: readonly string[];
  /** What it was trained on, in words. */
  readonly dataset: string;
  /** A sigmoid for each output, whose labels do not exclude each other; without it one softmax over all. */
  readonly outputs?: "sigmoid";
  /** Fitted on validation images; not of a network with sigmoids, and of none that was saved without. */
  readonly calibration?: Calibration;
}

/** What only a run that goes on needs. */
export interface TrainingState {
  /** Of the parameters, by path; each has its parameter's shape. The velocity of SGD, the first moment of AdamW. */
  readonly momentum: StateDict;
  /** Likewise, of AdamW alone. */
  readonly secondMoment?: StateDict;
  /** JSON of the trainer: configuration, position, metrics. */
  readonly run: unknown;
}

/** A trained network and, if the run can go on from here, its training state. */
export interface Checkpoint {
  readonly trained: TrainedModel;
  readonly training?: TrainingState;
}

/** How `encodeModel` stores numbers. */
export interface EncodeOptions {
  /**
   * "f16": weights of convolutions and the classifier are rounded to the nearest f16, which halves the file; what batch
   * norms have stays f32, because variances may be smaller than f16 can tell apart. Default "f32".
   */
  readonly weights?: "f32" | "f16";
}

/**
 * The bytes of model.safetensors.
 * @throws UsageError for a weight that f16 cannot hold
 */
export function encodeModel(trained: TrainedModel, { weights = "f32" }: EncodeOptions = {}): Uint8Array<ArrayBuffer> {
  const description = describeModel(trained);
  // Readers of PyTorch checkpoints look for format "pt".
  const metadata = { format: "pt" };
  const tensors = exportStateDict(trained.model);
  if (weights === "f32") return encodeDescribed(tensors, description, metadata);
  const halved = new Map([...tensors].map(([path, tensor]): [string, Tensor] => [path, halvedTensor(path, tensor)]));
  return encodeDescribed(halved, description, metadata);
}

/** What runs a network beside its tensors, as JSON. Files keep it under KEY. */
export function describeModel({ model, ...rest }: TrainedModel): Readonly<Record<string, unknown>> {
  return { version: FORMAT_VERSION, spec: model.spec, ...rest };
}

/** A tensor of two dimensions and more, which a weight is, in f16. */
function halvedTensor(path: string, tensor: Tensor): Tensor {
  if (tensor.dtype !== "F32" || tensor.shape.length < 2) return tensor;
  const over = beyondHalves(tensor.data);
  if (over !== undefined)
    throw new UsageError(`${path}: holds ${over}, more than the 65504 that f16 goes to`, { path });
  return { dtype: "F16", shape: tensor.shape, data: encodeHalves(tensor.data) };
}

/**
 * The network in the bytes of a model.safetensors. Tensors and description are compared with the SHA-256 that the file
 * carries.
 * @throws InputError naming `source` and what is wrong with it
 * @throws VerificationError when the file was changed after it was saved
 */
export function decodeModel(bytes: Uint8Array, source: string): TrainedModel {
  return readModel(bytes, source).trained;
}

/** As decodeModel. `verified`: the file carries a SHA-256, which those of the first releases do not. */
export function readModel(
  bytes: Uint8Array,
  source: string,
): { readonly trained: TrainedModel; readonly verified: boolean } {
  const { tensors, description, verified } = decodeDescribed(bytes, source);
  return { trained: trainedModel(tensors, description, source), verified };
}

/** The network of `tensors` and the metadata that stood beside them, whatever file that was. As decodeModel throws. */
export function readDescribedModel(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
  source: string,
): TrainedModel {
  return trainedModel(tensors, readDescription(metadata, source), source);
}

/** What the metadata of a file says about its network, its tensors apart. As decodeModel throws. */
export function describedFacts(
  metadata: Readonly<Record<string, string>>,
  source: string,
): Omit<TrainedModel, "model"> & { readonly spec: NetworkSpec } {
  return readFacts(readDescription(metadata, source), source);
}

function trainedModel(
  tensors: ReadonlyMap<string, Tensor>,
  description: Readonly<Record<string, unknown>>,
  source: string,
): TrainedModel {
  const { spec, ...facts } = readFacts(description, source);
  const { model, ignored } = importStateDict(tensors, { spec, source });
  if (ignored.length > 0) {
    throw new InputError(`${source}: has ${showSome(ignored)}, expected nothing but the network's tensors`, {
      file: source,
    });
  }
  return { model, ...facts };
}

function readFacts(description: Readonly<Record<string, unknown>>, source: string): ReturnType<typeof describedFacts> {
  const spec = readSpec(description.spec, source);
  const preprocessing = readPreprocessing(description.preprocessing, spec, source);
  const { classes, dataset } = description;
  if (!isStrings(classes) || classes.length !== spec.numClasses) {
    throw damaged(source, "classes", `the names of the ${spec.numClasses} classes`);
  }
  if (typeof dataset !== "string") throw damaged(source, "dataset", "the name of the training data");
  const { outputs } = description;
  if (outputs !== undefined && outputs !== "sigmoid") throw damaged(source, "outputs", '"sigmoid"');
  const calibration = readCalibration(description.calibration, spec.numClasses);
  if (description.calibration !== undefined && calibration === undefined) {
    throw damaged(source, "calibration", `a temperature and thresholds for the ${spec.numClasses} classes`);
  }
  return {
    spec,
    preprocessing,
    classes,
    dataset,
    ...(outputs === undefined ? {} : { outputs }),
    ...(calibration === undefined ? {} : { calibration }),
  };
}

/** The bytes of training.safetensors. */
export function encodeTraining({ momentum, secondMoment, run }: TrainingState): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, Tensor>();
  for (const [kind, moments] of Object.entries({ momentum, secondMoment })) {
    for (const [path, { shape, data }] of moments ?? []) tensors.set(`${kind}.${path}`, { dtype: "F32", shape, data });
  }
  return encodeDescribed(tensors, { version: FORMAT_VERSION, run }, {});
}

/**
 * The state of a run in the bytes of a training.safetensors.
 * @throws InputError naming `source` and what is wrong with it, also when its momenta are not those of `model`'s
 * parameters
 * @throws VerificationError when the file was changed after it was saved
 */
export function decodeTraining(bytes: Uint8Array, source: string, model: Model): TrainingState {
  const { tensors, description } = decodeDescribed(bytes, source);
  const { run } = description;
  const momentum = momentsIn(tensors, "momentum", model, source);
  const hasSecond = [...tensors.keys()].some((name) => name.startsWith("secondMoment."));
  const secondMoment = hasSecond ? momentsIn(tensors, "secondMoment", model, source) : undefined;
  const count = momentum.size + (secondMoment?.size ?? 0);
  if (count !== tensors.size) {
    throw new InputError(
      `${source}: has ${tensors.size} tensors, expected the ${hasSecond ? "two moments" : "momenta"} of ` +
        `${momentum.size} parameters`,
      { file: source },
    );
  }
  return { momentum, ...(secondMoment === undefined ? {} : { secondMoment }), run };
}

/** The tensors of one kind, one of every parameter. */
function momentsIn(
  tensors: ReadonlyMap<string, Tensor>,
  kind: "momentum" | "secondMoment",
  model: Model,
  source: string,
): StateDict {
  const moments = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [path, parameter] of model.state) {
    if (isStatistic(parameter.role)) continue;
    const tensor = tensors.get(`${kind}.${path}`);
    if (tensor?.dtype !== "F32" || tensor.shape.join() !== parameter.shape.join()) {
      throw new InputError(
        `${source}: ${kind}.${path} is ` +
          `${tensor === undefined ? "missing" : `${tensor.dtype} [${tensor.shape.join(", ")}]`}, expected F32 ` +
          `[${parameter.shape.join(", ")}]`,
        { file: source, path },
      );
    }
    moments.set(path, { shape: tensor.shape, data: tensor.data });
  }
  return moments;
}

function encodeDescribed(
  tensors: ReadonlyMap<string, Tensor>,
  description: Readonly<Record<string, unknown>>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const json = JSON.stringify(description);
  return encodeSafetensors(tensors, { ...metadata, [KEY]: json, [DIGEST_KEY]: digestsOf(tensors, json) });
}

function decodeDescribed(
  bytes: Uint8Array,
  source: string,
): {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly description: Readonly<Record<string, unknown>>;
  readonly verified: boolean;
} {
  const { tensors, metadata } = decodeSafetensors(bytes, source);
  const description = readDescription(metadata, source);
  const carried = metadata[DIGEST_KEY];
  if (carried !== undefined) verifyDigests(tensors, metadata[KEY], carried, source);
  return { tensors, description, verified: carried !== undefined };
}

function readDescription(metadata: Readonly<Record<string, string>>, source: string): Record<string, unknown> {
  const json = metadata[KEY];
  if (json === undefined) {
    throw new InputError(
      `${source}: its metadata has no "${KEY}", which names the network and its classes; expected a file that this ` +
        "package saved",
      { file: source },
    );
  }
  let description: unknown;
  try {
    description = JSON.parse(json);
  } catch (cause) {
    throw new InputError(`${source}: the metadata "${KEY}" is not JSON`, { file: source }, { cause });
  }
  if (!isRecord(description))
    throw new InputError(`${source}: the metadata "${KEY}" is not a JSON object`, { file: source });
  if (description.version !== FORMAT_VERSION) {
    throw new InputError(
      `${source}: has format version ${show(description.version)}, this release reads version ${FORMAT_VERSION}`,
      { file: source, version: description.version },
    );
  }
  return description;
}

function readSpec(fields: unknown, source: string): NetworkSpec {
  if (!isRecord(fields)) throw damaged(source, "spec", "an object");
  try {
    return defineSpec(fields);
  } catch (error) {
    // The person did not write this spec: what is wrong is the file.
    if (error instanceof UsageError)
      throw new InputError(`${source}: spec.${error.message}`, { ...error.details, file: source });
    throw error;
  }
}

function readPreprocessing(value: unknown, spec: NetworkSpec, source: string): Preprocessing {
  if (!isRecord(value)) throw damaged(source, "preprocessing", "an object");
  const { height, width, mean, std } = value;
  if (!isSize(height) || !isSize(width)) throw damaged(source, "preprocessing", "a height and a width in pixels");
  if (
    !isNumbers(mean, spec.inChannels) ||
    !isNumbers(std, spec.inChannels) ||
    std.some((deviation) => deviation <= 0)
  ) {
    throw damaged(source, "preprocessing", `mean and std of ${spec.inChannels} channels`);
  }
  const { cropRatio, interpolation } = value;
  if (cropRatio !== undefined && !(typeof cropRatio === "number" && cropRatio > 0 && cropRatio <= 1)) {
    throw damaged(source, "preprocessing", "a cropRatio above 0 and at most 1");
  }
  if (interpolation !== undefined && !interpolations.some((name) => name === interpolation)) {
    throw damaged(source, "preprocessing", `an interpolation of ${interpolations.join(", ")}`);
  }
  return {
    height,
    width,
    mean,
    std,
    ...(cropRatio === undefined ? {} : { cropRatio }),
    ...(interpolation === undefined ? {} : { interpolation: interpolation as Interpolation }),
  };
}

function damaged(source: string, field: string, expected: string): InputError {
  return new InputError(`${source}: ${field} in the metadata "${KEY}" is not ${expected}`, { file: source, field });
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isNumbers(value: unknown, length: number): value is number[] {
  return Array.isArray(value) && value.length === length && value.every((item) => Number.isFinite(item));
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0;
}
