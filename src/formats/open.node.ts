// formats: a path → the weights there: a file, a timm or Hugging Face folder, an index of shards.
import { lstat, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isRecord } from "../checkpoint/record.ts";
import { InputError } from "../errors.ts";
import { HUB_CONFIG, HUB_WEIGHTS } from "../hub/hubName.ts";
import { readHubConfig } from "./hubConfig.ts";
import { type OnnxFile, openOnnx, readOnnx } from "./onnx/read.ts";
import { isOnnx, readWeights } from "./read.ts";
import type { FileTensor, WeightFile } from "./weightFile.ts";

/**
 * Weights at `path`. A config.json beside them says labels and preprocessing.
 * @throws InputError naming the file and what is wrong with it
 */
export async function openWeights(path: string): Promise<WeightFile> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new InputError(`${path || '""'}: there is no such file`, { path }, { cause });
  });
  const file = found.isDirectory() ? await weightsIn(path) : path;
  const weights = file.endsWith(".index.json") ? await readShards(file) : await openFile(file);
  const config = join(dirname(file), HUB_CONFIG);
  const beside = found.isDirectory() || HUB_WEIGHTS.includes(basename(file));
  const text = beside ? await readFile(config, "utf8").catch(() => undefined) : undefined;
  return text === undefined ? weights : { ...weights, ...readHubConfig(text, config) };
}

async function openFile(file: string): Promise<WeightFile> {
  const bytes = await read(file);
  return isOnnx(bytes) ? openOnnxWeights(openOnnx(bytes, file), file) : readWeights(bytes, file);
}

/**
 * The weights of an ONNX file that was opened, with those that lie in other files of its folder.
 * @throws InputError where they lie elsewhere, or behind a link
 */
export async function openOnnxWeights(onnx: OnnxFile, file: string): Promise<WeightFile> {
  const external = new Map<string, Uint8Array>();
  for (const name of onnx.externalFiles) {
    const path = join(dirname(file), name);
    if (
      basename(name) !== name ||
      /[\\/]|^\.{0,2}$/.test(name) ||
      !(await lstat(path).catch(() => undefined))?.isFile()
    ) {
      throw new InputError(
        `${file}: keeps weights in ${JSON.stringify(name)}, expected a file that lies beside it and is no link`,
        { file },
      );
    }
    external.set(name, await read(path));
  }
  return readOnnx(onnx, file, external);
}

/** Whether a file of that name is taken for weights. */
export function isWeightsName(name: string): boolean {
  return HUB_WEIGHTS.includes(name) || /\.(safetensors|pth|pt|bin|keras|h5|hdf5)$|\.pth\.tar$/.test(name);
}

async function weightsIn(folder: string): Promise<string> {
  const names = await readdir(folder);
  const known = HUB_WEIGHTS.find((name) => names.includes(name));
  if (known !== undefined) return join(folder, known);
  const weights = names.filter(isWeightsName);
  if (weights.length === 1) return join(folder, weights[0]);
  throw new InputError(
    `${folder}: has ${weights.length === 0 ? "no file of weights" : `${weights.length} files of weights (${weights.slice(0, 3).join(", ")})`}, expected one of ${HUB_WEIGHTS.join(", ")}`,
    { path: folder },
  );
}

/** {"weight_map": {tensor: file}}; the files lie beside the index. */
async function readShards(index: string): Promise<WeightFile> {
  const fail = (what: string): InputError => new InputError(`${index}: ${what}`, { file: index });
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(await read(index)));
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw fail("cannot be read as JSON");
  }
  const map = isRecord(value) ? value.weight_map : undefined;
  if (!isRecord(map)) throw fail('has no object "weight_map" of file names by tensor');
  const files = [...new Set(Object.values(map))];
  const tensors = new Map<string, FileTensor>();
  let bytes = 0;
  for (const name of files) {
    if (typeof name !== "string" || name === "" || basename(name) !== name || /[\\/]|^\.\.?$/.test(name)) {
      throw fail(`names the file ${JSON.stringify(name)}, expected one beside the index`);
    }
    const shard = join(dirname(index), name);
    const weights = readWeights(await read(shard), shard);
    bytes += weights.bytes;
    for (const [key, tensor] of weights.tensors) {
      if (map[key] === name) tensors.set(key, tensor);
    }
  }
  const missing = Object.keys(map).filter((key) => !tensors.has(key));
  if (missing.length > 0)
    throw fail(`lists ${missing.slice(0, 3).join(", ")}${missing.length > 3 ? " …" : ""}, which its files lack`);
  return { format: `${files.length} files of weights`, tensors, bytes, notes: [] };
}

async function read(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read`, { file: path }, { cause });
  });
}
