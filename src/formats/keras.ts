// formats: what Keras saved — weights and whole models as `.h5`, `.keras` archives — as named tensors. Portable.
//
// Names say little there: hosted files have other layer names than today's code, `.keras` numbers layers per class, a
// model within a model lists its frozen weights last. What all of them keep is the order of the layers of one kind, and
// that is enough: a DenseNet is a chain in which every convolution but the first is fed by the batch norm of its own
// number. So layers are matched by their order and get torchvision's paths here; the channels must then add up.
// Kernels are stored [height, width, in, out], matrices [in, out].

import { decodeFloats } from "../checkpoint/floats.ts";
import { InputError } from "../errors.ts";
import { showSome, showText } from "../show.ts";
import { Hdf5Group, readHdf5 } from "./hdf5.ts";
import type { Hdf5Dataset } from "./hdf5Data.ts";
import { type KerasConfig, readKerasConfig } from "./kerasConfig.ts";
import { elementCount, type FileTensor, type WeightFile, withEpsilon } from "./weightFile.ts";
import type { ZipFile } from "./zip.ts";

const WEIGHTS = "model.weights.h5";
const CONFIG = "config.json";

export function isKerasZip(files: ReadonlyMap<string, ZipFile>): boolean {
  return files.has(WEIGHTS);
}

/** A `.keras` archive. @throws InputError naming `source`, the place and what is wrong there */
export function readKerasZip(files: ReadonlyMap<string, ZipFile>, bytes: number, source: string): WeightFile {
  const [weights, config] = [WEIGHTS, CONFIG].map((name) => files.get(name)?.read());
  if (weights === undefined) throw new InputError(`${source}: has no ${WEIGHTS}`, { file: source });
  const root = readHdf5(weights, `${source}: ${WEIGHTS}`);
  const said = config === undefined ? undefined : readKerasConfig(new TextDecoder().decode(config), source);
  return weightFile(numberedLayers(root, source), said, "a Keras archive (.keras)", bytes, source);
}

/** An `.h5` file: weights or a whole model, of any Keras. @throws InputError likewise */
export function readKerasH5(bytes: Uint8Array, source: string): WeightFile {
  const root = readHdf5(bytes, source);
  const inner = root.members.get("model_weights");
  const holder = inner instanceof Hdf5Group ? inner : root;
  const listed = listedLayers(holder, source);
  if (listed === undefined)
    return weightFile(numberedLayers(root, source), undefined, "Keras weights (.weights.h5)", bytes.length, source);
  const config = root.attribute("model_config");
  const said = typeof config === "string" ? readKerasConfig(config, source) : undefined;
  const format = inner === undefined ? "Keras weights (.h5)" : "a Keras model (.h5)";
  return weightFile(listed, said, format, bytes.length, source);
}

type Kind = "convolution" | "batchNorm" | "dense";

interface Layer {
  readonly kind: Kind;
  readonly name: string;
  /** Where it lies in the file. */
  readonly place: string;
  /** By Keras's names: kernel, bias, gamma, beta, moving_mean, moving_variance. */
  readonly fields: ReadonlyMap<string, Hdf5Dataset>;
}

const FIELDS: Readonly<Record<Kind, readonly string[]>> = {
  convolution: ["kernel", "bias"],
  batchNorm: ["gamma", "beta", "moving_mean", "moving_variance"],
  dense: ["kernel", "bias"],
};

/** Layers by the lists `layer_names` and `weight_names`; undefined where there are none. */
function listedLayers(holder: Hdf5Group, source: string): Layer[] | undefined {
  const names = listOf(holder, "layer_names");
  if (names === undefined) return undefined;
  const layers: Layer[] = [];
  for (const layerName of names) {
    const group = holder.at(layerName);
    if (!(group instanceof Hdf5Group)) {
      throw new InputError(`${source}: lists the layer ${showText(layerName)}, which is missing`, { file: source });
    }
    const weights = listOf(group, "weight_names") ?? [];
    // A model within the model lists the weights of all its layers.
    const inner = new Map<string, Map<string, Hdf5Dataset>>();
    for (const weightName of weights) {
      const dataset = group.at(weightName);
      if (dataset === undefined || dataset instanceof Hdf5Group) {
        throw new InputError(`${source}: lists ${showText(`${layerName}/${weightName}`)}, which is missing`, {
          file: source,
        });
      }
      const slash = weightName.lastIndexOf("/");
      const path = weightName.slice(0, Math.max(0, slash));
      const fields = inner.get(path) ?? new Map<string, Hdf5Dataset>();
      inner.set(path, fields.set(weightName.slice(slash + 1).replace(/:\d+$/, ""), dataset));
    }
    for (const [path, fields] of inner) {
      const name = inner.size === 1 ? layerName : path;
      layers.push({ kind: kindOf(fields, name, source), name, place: layerName, fields });
    }
  }
  return layers;
}

function kindOf(fields: ReadonlyMap<string, Hdf5Dataset>, name: string, source: string): Kind {
  const rank = fields.get("kernel")?.shape.length;
  const kind = fields.has("moving_mean") ? "batchNorm" : rank === 4 ? "convolution" : rank === 2 ? "dense" : undefined;
  const odd =
    kind === undefined ? [...fields.keys()] : [...fields.keys()].filter((field) => !FIELDS[kind].includes(field));
  if (kind !== undefined && odd.length === 0) return kind;
  throw new InputError(
    `${source}: the layer ${showText(name)} has ${showSome(odd.map((field) => showText(field)))}, expected the ` +
      "weights of Conv2D, BatchNormalization and Dense layers",
    { file: source },
  );
}

/** A list in one attribute, or in several (`layer_names0`, `layer_names1` …) where it is long. */
function listOf(group: Hdf5Group, name: string): readonly string[] | undefined {
  const whole = group.attribute(name);
  if (whole !== undefined) return typeof whole === "string" ? [whole] : whole;
  const pieces: string[] = [];
  for (let i = 0; ; i++) {
    const piece = group.attribute(`${name}${i}`);
    if (piece === undefined) return i === 0 ? undefined : pieces;
    pieces.push(...(typeof piece === "string" ? [piece] : piece));
  }
}

const CLASSES: readonly (readonly [pattern: RegExp, kind: Kind])[] = [
  [/^conv2d(_\d+)?$/, "convolution"],
  [/^batch_normalization(_\d+)?$/, "batchNorm"],
  [/^dense(_\d+)?$/, "dense"],
];

/** What training keeps beside the layers. */
const NO_LAYERS: readonly string[] = ["optimizer", "metrics", "loss", "compile_metrics"];

/** Layers by groups `…/CLASS_N/vars` of numbered variables. */
function numberedLayers(root: Hdf5Group, source: string): Layer[] {
  const found: Layer[] = [];
  const visit = (group: Hdf5Group): void => {
    for (const [name, member] of group.members) {
      if (!(member instanceof Hdf5Group) || (group === root && NO_LAYERS.includes(name))) continue;
      if (name === "vars") found.push(...layerOf(group, member, source));
      else visit(member);
    }
  };
  visit(root);
  if (found.length === 0) {
    const names = [...root.members.keys()].map((name) => showText(name));
    throw new InputError(
      `${source}: is an HDF5 file without Keras's layers; its root holds ${showSome(names) || "nothing"}, expected ` +
        "layers, model_weights, or the attribute layer_names",
      { file: source },
    );
  }
  return found.sort((a, b) => a.place.localeCompare(b.place, "en", { numeric: true }));
}

function layerOf(group: Hdf5Group, vars: Hdf5Group, source: string): Layer[] {
  const variables = [...vars.members.values()];
  // Keras 2.13 on Windows joined them by backslashes.
  const className = group.path.slice(Math.max(group.path.lastIndexOf("/"), group.path.lastIndexOf("\\")) + 1);
  // Dropout's generator of random numbers computes nothing.
  if (variables.length === 0 || className.startsWith("seed_generator")) return [];
  const kind = CLASSES.find(([pattern]) => pattern.test(className))?.[1];
  if (kind === undefined || variables.some((variable) => variable instanceof Hdf5Group)) {
    throw new InputError(
      `${source}: ${showText(group.path)} has weights, expected those of conv2d, batch_normalization and dense layers`,
      { file: source },
    );
  }
  // Without scale and center a batch norm keeps its statistics only.
  const names = kind === "batchNorm" && variables.length === 2 ? FIELDS[kind].slice(2) : FIELDS[kind];
  if (variables.length > names.length || (kind === "batchNorm" && variables.length !== names.length)) {
    throw new InputError(
      `${source}: ${showText(group.path)} has ${variables.length} weights, expected ${names.join(", ")}`,
      {
        file: source,
      },
    );
  }
  const fields = new Map<string, Hdf5Dataset>();
  for (const [i, field] of names.entries()) {
    const variable = vars.members.get(String(i));
    if (variable !== undefined && !(variable instanceof Hdf5Group)) fields.set(field, variable);
  }
  // Since 3.10 the layer's name stands there too.
  const name = vars.attribute("name");
  return [{ kind, name: typeof name === "string" && name !== "" ? name : group.path, place: group.path, fields }];
}

/** ε of keras.applications' DenseNets, and of a batch norm that is asked for none. */
const APPLICATIONS_EPSILON = 1.001e-5;
const DEFAULT_EPSILON = 1e-3;

/** Batch norms of DenseNet-121, 169 and 201. */
const APPLICATIONS_NORMS: readonly number[] = [121, 169, 201];

function weightFile(
  layers: readonly Layer[],
  config: KerasConfig | undefined,
  format: string,
  bytes: number,
  source: string,
): WeightFile {
  const ordered = inOrder(layers, config);
  const [convolutions, norms, heads] = (["convolution", "batchNorm", "dense"] as const).map((kind) =>
    ordered.filter((layer) => layer.kind === kind),
  );
  const tensors = new Map<string, FileTensor>();
  const said = config?.epsilons.length === norms.length ? config.epsilons : undefined;
  const epsilons = said ?? assumedEpsilons(norms);
  const put = (path: string, field: string, from: Layer, name: string, read = tensorOf): void => {
    const dataset = from.fields.get(name);
    if (dataset !== undefined) tensors.set(`${path}.${field}`, read(dataset, source));
  };
  const putConvolution = (path: string, layer: Layer): void => {
    put(path, "weight", layer, "kernel", kernelOf);
    put(path, "bias", layer, "bias");
  };
  const putNorm = (path: string, layer: Layer): void => {
    put(path, "weight", layer, "gamma");
    put(path, "bias", layer, "beta");
    put(path, "running_mean", layer, "moving_mean");
    const epsilon = epsilons[norms.indexOf(layer)];
    put(path, "running_var", layer, "moving_variance", (dataset) => withEpsilon(tensorOf(dataset, source), epsilon));
    const { shape } = tensors.get(`${path}.running_mean`) ?? { shape: [0] };
    // With one of γ and β the other is 1 or 0.
    for (const [field, other, value] of [
      ["weight", "bias", 1],
      ["bias", "weight", 0],
    ] as const) {
      if (tensors.has(`${path}.${other}`) && !tensors.has(`${path}.${field}`)) {
        tensors.set(`${path}.${field}`, {
          shape,
          dtype: "F32",
          read: () => new Float32Array(elementCount(shape)).fill(value),
        });
      }
    }
  };
  for (const { path, norm, convolution } of chainOf(convolutions, norms, source)) {
    if (convolution !== undefined) putConvolution(path.replace("*", "conv"), convolution);
    if (norm !== undefined) putNorm(path.replace("*", "norm"), norm);
  }
  for (const [i, head] of heads.entries()) {
    const path = i === 0 ? "classifier" : `classifier${i + 1}`;
    put(path, "weight", head, "kernel", kernelOf);
    put(path, "bias", head, "bias");
  }
  const same = new Set(epsilons);
  return {
    format,
    tensors,
    bytes,
    notes: [
      `${layers.length} layers of Keras, matched by their order: ${showText(convolutions[0].name)} is the stem`,
      `ε of ${norms.length} batch norms, ${[...same].join(" and ")}${said === undefined ? " (assumed)" : ""}, taken into their variances`,
    ],
    ...(config === undefined ? {} : { preprocessing: config.preprocessing }),
    ...(config?.sigmoid === true ? { outputs: "sigmoid" } : {}),
    origin: "Keras",
  };
}

/**
 * As the model computes them: by the names of keras.applications where all are such, else by the config's list where it
 * has all names, else as the file lists them.
 */
function inOrder(layers: readonly Layer[], config: KerasConfig | undefined): readonly Layer[] {
  const body = layers.filter(({ kind }) => kind !== "dense");
  const places = new Map(body.map((layer): [Layer, number] => [layer, applicationPlace(layer.name) ?? Number.NaN]));
  const listed = new Map(config?.layers.map((name, i) => [name, i]));
  const byName = [...places.values()].every((place) => !Number.isNaN(place));
  if (!byName) for (const layer of body) places.set(layer, listed.get(lastName(layer.name)) ?? Number.NaN);
  if ([...places.values()].some(Number.isNaN)) return layers;
  return [...layers].sort((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
}

/** `conv1_conv` before `conv2_block1_0_bn` before `pool2_conv` before `conv3_…` before `bn`; with slashes in 2017. */
function applicationPlace(name: string): number | undefined {
  const [, block, layer = 0, step = 0, pool, rest] =
    /(?:^|[/_])(?:conv(\d+)(?:_block(\d+)_(\d))?[_/](?:bn|conv)|pool(\d+)_(?:bn|conv)|(bn))$/.exec(name) ?? [];
  if (rest !== undefined) return Number.POSITIVE_INFINITY;
  if (pool !== undefined) return Number(pool) * 1e6 + 1e5;
  return block === undefined ? undefined : Number(block) * 1e6 + Number(layer) * 10 + Number(step);
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function assumedEpsilons(norms: readonly Layer[]): readonly number[] {
  const published =
    APPLICATIONS_NORMS.includes(norms.length) || norms.every(({ name }) => applicationPlace(name) !== undefined);
  return norms.map(() => (published ? APPLICATIONS_EPSILON : DEFAULT_EPSILON));
}

interface Link {
  /** Torchvision's path, with * for `conv` and `norm`. */
  readonly path: string;
  readonly norm?: Layer;
  readonly convolution?: Layer;
}

/** The convolutions, each with the batch norm that feeds it, by their places in a DenseNet. */
function chainOf(convolutions: readonly Layer[], norms: readonly Layer[], source: string): Link[] {
  const fail = (what: string): InputError => new InputError(`${source}: ${what}`, { file: source });
  const [stem, ...fed] = convolutions;
  const spare = norms.length - fed.length;
  if (fed.length === 0 || spare < 1 || spare > 2) {
    throw fail(
      `has ${convolutions.length} Conv2D and ${norms.length} BatchNormalization layers; a DenseNet has a norm before ` +
        "each convolution but the first, one at the end, and perhaps one after the stem",
    );
  }
  const links: Link[] = [{ path: "features.*0", convolution: stem, ...(spare === 2 ? { norm: norms[0] } : {}) }];
  const bottleneck = area(fed[0]) === 1;
  let [block, layer] = [1, 0];
  for (let i = 0; i < fed.length; i++) {
    const norm = norms[i + spare - 1];
    const [channels] = norm.fields.get("moving_mean")?.shape ?? [];
    const inputs = fed[i].fields.get("kernel")?.shape[2];
    if (channels !== inputs) {
      throw fail(
        `${showText(fed[i].name)} reads ${inputs} maps, ${showText(norm.name)} before it has ${channels}: the layers ` +
          "are no DenseNet in this order",
      );
    }
    const wide = area(fed[i]) > 1;
    const transition = bottleneck ? !wide && (fed[i + 1] === undefined || area(fed[i + 1]) === 1) : !wide;
    if (transition) {
      links.push({ path: `features.transition${block}.*`, norm, convolution: fed[i] });
      block++;
      layer = 0;
      continue;
    }
    const second = bottleneck && wide;
    if (!second) layer++;
    links.push({
      path: `features.denseblock${block}.denselayer${layer}.*${second ? 2 : 1}`,
      norm,
      convolution: fed[i],
    });
  }
  links.push({ path: "features.*5", norm: norms[norms.length - 1] });
  return links;
}

/** Of a kernel. */
function area({ fields }: Layer): number {
  const [height = 0, width = 0] = fields.get("kernel")?.shape ?? [];
  return height * width;
}

function tensorOf(dataset: Hdf5Dataset, source: string): FileTensor {
  const dtype = dtypeOf(dataset);
  if (dtype === undefined) {
    throw new InputError(
      `${source}: ${showText(dataset.path)} has ${dataset.type.kind} of ${dataset.type.bytes} bytes, expected F32, ` +
        "F16, BF16 or F64",
      { file: source },
    );
  }
  return { shape: dataset.shape, dtype, read: () => decodeFloats(dataset.read(), dtype) };
}

function dtypeOf({ type, attribute }: Hdf5Dataset): string | undefined {
  if (["F64", "F32", "F16", "BF16"].includes(type.kind)) return type.kind;
  // numpy has no such type: its bytes, marked.
  return type.kind === "opaque bytes" && type.bytes === 2 && attribute("dtype") === "bfloat16" ? "BF16" : undefined;
}

/** [height, width, in, out] → [out, in, height, width]; [in, out] → [out, in]. */
function kernelOf(dataset: Hdf5Dataset, source: string): FileTensor {
  const { shape, dtype, read } = tensorOf(dataset, source);
  const [outputs, inputs] = [shape[shape.length - 1], shape[shape.length - 2]];
  if (shape.length !== 4 && shape.length !== 2) {
    throw new InputError(`${source}: ${showText(dataset.path)} has ${shape.length} axes, expected 2 or 4`, {
      file: source,
    });
  }
  const spatial = shape.slice(0, -2);
  const size = elementCount(spatial);
  const transposed = (): Float32Array<ArrayBuffer> => {
    const from = read();
    const out = new Float32Array(from.length);
    for (let at = 0, place = 0; place < size; place++) {
      for (let i = 0; i < inputs; i++) {
        for (let o = 0; o < outputs; o++) out[(o * inputs + i) * size + place] = from[at++];
      }
    }
    return out;
  };
  return { shape: [outputs, inputs, ...spatial], dtype, read: transposed };
}
