// formats: a path → a network that can be run, whoever saved it: a run of ours or weights of another tool.
import { existsSync } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KEY, MODEL_FILE, type TrainedModel, type TrainingState } from "../checkpoint/checkpoint.ts";
import { DIGEST_KEY } from "../checkpoint/digest.ts";
import { readSafetensors } from "../checkpoint/safetensors.ts";
import { FOLDER, loadCheckpoint, MANIFEST, type Pointer } from "../checkpoint/store.node.ts";
import { InputError } from "../errors.ts";
import { fetchFromHub } from "../hub/hub.node.ts";
import { isHubName } from "../hub/hubName.ts";
import { describeWeights } from "./describe.ts";
import { type OnnxFile, openOnnx, readOwnOnnx } from "./onnx/read.ts";
import { isWeightsName, openOnnxWeights, openWeights } from "./open.node.ts";
import { isPretrainedName, loadPretrained, pretrainedNames } from "./pretrained.ts";
import { isOnnx, isSafetensors } from "./read.ts";

/** A network from a file or folder, and what had to be assumed to read it. */
export interface LoadedNetwork {
  readonly trained: TrainedModel;
  /** Of a run of ours that can go on. */
  readonly training?: TrainingState;
  /** False for weights of a feature extractor, whose classifier must be made anew before it can classify. */
  readonly hasHead: boolean;
  /** False where `trained.classes` are numbers only: weights of another tool seldom name them. */
  readonly namesClasses: boolean;
  /** Whether this package saved it; else it is weights of another tool. */
  readonly own: boolean;
  /** What was matched, changed and assumed of another tool's weights, and what no checksum proves; one line each. */
  readonly notes: readonly string[];
}

/**
 * The network that `path` leads to: a run's folder (then `pointer` chooses), a checkpoint's folder or a model file of
 * ours; or weights of another tool: a PyTorch, safetensors, Keras or ONNX file, a timm or Hugging Face folder. Or it is
 * the name of a model that comes with the package, where no file has that name, or of one on the Hugging Face hub
 * (`hf:timm/densenet121.ra_in1k@main`, `torchvision:densenet121`), which is fetched into the cache of the hub's tools;
 * `report` gets a line for each file that is.
 * @throws InputError when there is no such file, or it is neither, or damaged
 * @throws VerificationError when a file's SHA-256 is not that of its manifest, or not the one that it carries
 */
export async function loadNetwork(
  path: string,
  pointer: Pointer = "last",
  report?: (line: string) => void,
): Promise<LoadedNetwork> {
  if (isHubName(path)) {
    const { folder, notes } = await fetchFromHub(path, report);
    const opened = describeWeights(await openWeights(folder), path);
    return { ...opened, own: false, notes: [...notes, ...opened.notes] };
  }
  if (isPretrainedName(path) && !existsSync(path)) {
    return { trained: await loadPretrained(path), hasHead: true, namesClasses: true, own: true, notes: [] };
  }
  const unverified = "the file has no checksum: nothing proves it unchanged";
  const onnx = await onnxAt(path);
  const own = onnx && readOwnOnnx(onnx.opened, onnx.file);
  if (own !== undefined) {
    return { trained: own, hasHead: true, namesClasses: true, own: true, notes: [unverified] };
  }
  if (onnx === undefined && (await isOwn(path))) {
    const { verified, ...checkpoint } = await loadCheckpoint((await modelFileIn(path)) ?? path, pointer);
    const notes = verified ? [] : ["saved by an earlier release without a SHA-256: nothing proves it unchanged"];
    return { ...checkpoint, hasHead: true, namesClasses: true, own: true, notes };
  }
  const weights = onnx === undefined ? await openWeights(path) : await openOnnxWeights(onnx.opened, onnx.file);
  const opened = describeWeights(weights, path);
  return { ...opened, own: false, notes: [...opened.notes, unverified] };
}

/** Where a folder keeps its network in an ONNX file: an export of ours, a folder of transformers.js. */
const ONNX_FILES = ["model.onnx", "onnx/model.onnx", "onnx/model_fp16.onnx"];

/**
 * An ONNX file, opened; undefined where there is none at `path`. In a folder, a run, a checkpoint and other weights
 * come first: an ONNX file beside them is a copy, perhaps of an earlier epoch.
 */
async function onnxAt(path: string): Promise<{ readonly file: string; readonly opened: OnnxFile } | undefined> {
  const names: readonly string[] = await readdir(path).catch(() => []);
  if (names.some((name) => name === MANIFEST || name === FOLDER || isWeightsName(name))) return undefined;
  for (const file of [path, ...ONNX_FILES.map((name) => join(path, name))]) {
    const found = await stat(file).catch(() => undefined);
    if (found?.isFile() && isOnnx(await firstBytes(file)))
      return { file, opened: openOnnx(await readFile(file), file) };
  }
  return undefined;
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(16), 0, 16, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** As loadNetwork, for those who want to classify. @throws InputError also when there is no classifier */
export async function loadClassifier(
  path: string,
  pointer: Pointer = "last",
  report?: (line: string) => void,
): Promise<LoadedNetwork> {
  const network = await loadNetwork(path, pointer, report);
  if (network.hasHead) return network;
  throw new InputError(`${path}: has no classifier, expected a network that was trained to classify`, { path });
}

/** The model file in the folder of an export, which has no manifest; it may be another tool's. */
async function modelFileIn(path: string): Promise<string | undefined> {
  const names: readonly string[] = await readdir(path).catch(() => []);
  const isExport = names.includes(MODEL_FILE) && !names.includes(MANIFEST) && !names.includes(FOLDER);
  return isExport ? join(path, MODEL_FILE) : undefined;
}

async function isOwn(path: string): Promise<boolean> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new InputError(
      `${path || '""'}: there is no such checkpoint; expected the folder of a run, a checkpoint's folder, or ` +
        "weights: a .safetensors, PyTorch, Keras or ONNX file, a timm folder; or a model that comes with the " +
        "package: " +
        pretrainedNames.join(", "),
      { path },
      { cause },
    );
  });
  const inside = await modelFileIn(path);
  if (inside !== undefined) return isOwn(inside);
  const names = await readdir(found.isDirectory() ? path : dirname(path));
  if (found.isDirectory()) return names.includes(MANIFEST) || names.includes(FOLDER) || !names.some(isWeightsName);
  // Its manifest proves the file, whatever its header has become.
  if (basename(path) === MODEL_FILE && names.includes(MANIFEST)) return true;
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read`, { path }, { cause });
  });
  if (!isSafetensors(bytes)) return false;
  // Either key: a file of ours with one of them damaged must not pass for another tool's, whose mean and names are
  // assumed.
  const { metadata } = readSafetensors(bytes, path);
  return KEY in metadata || DIGEST_KEY in metadata;
}
