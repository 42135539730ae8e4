// formats: named tensors → the modules they belong to (convolutions, batch norms, linear layers), whatever they are
// called. Portable.
import { nearestName } from "../nearestName.ts";
import { currentDenseNetPath } from "../networks/densenet/stateDict.ts";
import { elementCount, type FileTensor } from "./weightFile.ts";

export interface Convolution {
  readonly kind: "convolution";
  readonly path: string;
  /** [O, I, kh, kw] */
  readonly weight: FileTensor;
  readonly bias: FileTensor | undefined;
}

export interface BatchNorm {
  readonly kind: "batchNorm";
  readonly path: string;
  /** Each [C]; without gamma and beta they are 1 and 0. */
  readonly gamma: FileTensor | undefined;
  readonly beta: FileTensor | undefined;
  readonly mean: FileTensor;
  readonly variance: FileTensor;
  readonly batches: FileTensor | undefined;
}

export interface Linear {
  readonly kind: "linear";
  readonly path: string;
  /** [O, I] */
  readonly weight: FileTensor;
  readonly bias: FileTensor | undefined;
}

export type Module = Convolution | BatchNorm | Linear;

export interface Modules {
  /** In the file's order. */
  readonly modules: readonly Module[];
  /**
   * Keys that belong to no such module but could change what a network computes: fields of modules that are none of
   * these, misspelt fields.
   */
  readonly suspicious: readonly string[];
  /** Keys of other things, such as `epoch`. */
  readonly unexpected: readonly string[];
}

const FIELDS = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"] as const;
type Field = (typeof FIELDS)[number];

export function modulesOf(tensors: ReadonlyMap<string, FileTensor>): Modules {
  const fields = new Map<string, Map<Field, FileTensor>>();
  const keys = new Map<string, string[]>();
  const suspicious: string[] = [];
  const others: string[] = [];
  for (const [key, tensor] of tensors) {
    const joined = currentDenseNetPath(key);
    const dot = joined.lastIndexOf(".");
    const path = joined.slice(0, Math.max(0, dot));
    const field = FIELDS.find((name) => name === joined.slice(dot + 1));
    const module = fields.get(path) ?? new Map<Field, FileTensor>();
    if (field === undefined) others.push(key);
    else if (module.has(field)) suspicious.push(key);
    else {
      fields.set(path, module.set(field, tensor));
      keys.set(path, [...(keys.get(path) ?? []), key]);
    }
  }
  const modules: Module[] = [];
  const unexpected: string[] = [];
  for (const [path, module] of fields) {
    const made = moduleOf(path, module);
    if (made !== undefined) modules.push(made);
    // The weights of classes in a loss are nothing that a network computes with.
    else (/(^|\.)(criterion|loss\w*)$/i.test(path) ? unexpected : suspicious).push(...(keys.get(path) ?? []));
  }
  const misspelt: string[] = [];
  for (const key of others) (nearestKey(key) === undefined ? unexpected : misspelt).push(key);
  return { modules, suspicious: [...misspelt, ...suspicious.filter((key) => !isCounter(key))], unexpected };
}

/** Counters say nothing about what a network computes. */
export function isCounter(key: string): boolean {
  return key.endsWith("num_batches_tracked");
}

const FLOATS: readonly string[] = ["F32", "F16", "BF16", "F64"];

function moduleOf(path: string, fields: ReadonlyMap<Field, FileTensor>): Module | undefined {
  const weight = fields.get("weight");
  const bias = fields.get("bias");
  const mean = fields.get("running_mean");
  const variance = fields.get("running_var");
  if ([weight, bias, mean, variance].some((tensor) => tensor !== undefined && !FLOATS.includes(tensor.dtype)))
    return undefined;
  if (mean !== undefined || variance !== undefined) {
    const sizes = [mean, variance, weight ?? mean, bias ?? mean].map((tensor) => tensor?.shape);
    if (mean === undefined || variance === undefined || sizes.some((size) => size?.length !== 1)) return undefined;
    if ((weight === undefined) !== (bias === undefined)) return undefined;
    if (new Set(sizes.map((size) => size?.[0])).size !== 1) return undefined;
    return {
      kind: "batchNorm",
      path,
      gamma: weight,
      beta: bias,
      mean,
      variance,
      batches: fields.get("num_batches_tracked"),
    };
  }
  if (weight === undefined || elementCount(weight.shape) === 0) return undefined;
  if (bias !== undefined && (bias.shape.length !== 1 || bias.shape[0] !== weight.shape[0])) return undefined;
  if (weight.shape.length === 4) return { kind: "convolution", path, weight, bias };
  return weight.shape.length === 2 ? { kind: "linear", path, weight, bias } : undefined;
}

/**
 * What a misspelt key was meant to be: `norm5.weigth` → `norm5.weight`. Undefined for fields that are no misspelling.
 */
export function nearestKey(key: string): string | undefined {
  const dot = key.lastIndexOf(".");
  const field = key.slice(dot + 1);
  if ((FIELDS as readonly string[]).includes(field) || field.length < 3 || field.length > 30) return undefined;
  const nearest = nearestName(field, FIELDS);
  return nearest === undefined ? undefined : key.slice(0, dot + 1) + nearest;
}
