// formats: what Keras's config.json says about a model: the order of its layers, ε, what its input and its last layer
// are. Portable.
import { isRecord } from "../checkpoint/record.ts";
import { InputError } from "../errors.ts";
import type { FilePreprocessing } from "./weightFile.ts";

export interface KerasConfig {
  /** Names of all layers, those of inner models where their model stands. */
  readonly layers: readonly string[];
  /** ε of the batch norms, in the layers' order. */
  readonly epsilons: readonly number[];
  readonly preprocessing: FilePreprocessing;
  readonly sigmoid: boolean;
}

/** A layer takes about ten; DenseNet-201 has 707 layers. */
const MAX_CONTAINERS = 90_000;
const MAX_DEPTH = 20;

/** @throws InputError when `text` is no JSON of a model of layers */
export function readKerasConfig(text: string, source: string): KerasConfig {
  const fail = (what: string): InputError => new InputError(`${source}: its config ${what}`, { file: source });
  let containers = 0;
  for (const character of text) if (character === "[" || character === "{") containers++;
  if (containers > MAX_CONTAINERS) {
    throw fail(`has ${containers} lists and objects, expected at most ${MAX_CONTAINERS}`);
  }
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    throw fail("cannot be read as JSON");
  }
  const layers: Layer[] = [];
  collect(config, 0, layers);
  if (layers.length === 0) throw fail("lists no layers, expected a Sequential or functional model");
  const epsilons = layers.filter(({ kind }) => kind === "BatchNormalization").map(({ config: { epsilon } }) => epsilon);
  const last = layers.findLast(({ kind }) => kind === "Dense" || kind === "Activation");
  return {
    layers: layers.map(({ name }) => name),
    epsilons: epsilons.every((value) => typeof value === "number" && value >= 0 && value < 1)
      ? (epsilons as number[])
      : [],
    preprocessing: preprocessingOf(layers),
    sigmoid: last?.config.activation === "sigmoid",
  };
}

interface Layer {
  readonly kind: string;
  readonly name: string;
  readonly config: Record<string, unknown>;
}

function collect(value: unknown, depth: number, layers: Layer[]): void {
  if (!isRecord(value) || !isRecord(value.config) || depth > MAX_DEPTH) return;
  const { config } = value;
  if (Array.isArray(config.layers)) {
    for (const layer of config.layers) collect(layer, depth + 1, layers);
  } else if (typeof value.class_name === "string" && typeof config.name === "string") {
    layers.push({ kind: value.class_name, name: config.name, config });
  }
}

/**
 * The input's size; and of a Rescaling, y = 255·scale·p + offset for pixels p in 0…1, the mean and deviation that do
 * the same: (p − μ)/σ with σ = 1/(255·scale) and μ = −offset·σ.
 */
function preprocessingOf(layers: readonly Layer[]): FilePreprocessing {
  const input = layers.find(({ kind }) => kind === "InputLayer")?.config;
  const shape = [input?.batch_shape, input?.batch_input_shape].find(Array.isArray) ?? [];
  const [, height, width] = shape.map((size: unknown) =>
    typeof size === "number" && Number.isInteger(size) && size > 0 && size <= 65_535 ? size : undefined,
  );
  const rescaling = layers.find(({ kind }) => kind === "Rescaling")?.config;
  const scales = numbers(rescaling?.scale);
  const offsets = numbers(rescaling?.offset);
  const known = scales.length > 0 && offsets.length > 0 && scales.every((scale) => scale > 0);
  const std = Array.from({ length: Math.max(scales.length, offsets.length) }, (_, i) => 1 / (255 * at(scales, i)));
  return {
    ...(height === undefined || width === undefined ? {} : { height, width }),
    ...(known ? { std, mean: std.map((deviation, i) => 0 - at(offsets, i) * deviation) } : {}),
  };
}

/** One for all channels, or one for each. */
function at(values: readonly number[], channel: number): number {
  return values[values.length === 1 ? 0 : channel];
}

function numbers(value: unknown): readonly number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.every((item) => typeof item === "number" && Number.isFinite(item)) ? (list as number[]) : [];
}
