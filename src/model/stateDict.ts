// model: state dicts, import and export: a network's numbers under torchvision's keys. Portable; files belong to
// checkpoint/ and formats/.
import { InputError } from "../errors.ts";
import { currentPath, type NetworkSpec, recognizedSpec } from "../networks/registry.ts";
import { show, showSome } from "../show.ts";
import { requireNames, requireUsable } from "./check.ts";
import { type Model, type ModelTensor, networkTensors } from "./model.ts";
import type { Tensor } from "./tensor.ts";

/** What is known of the tensors beside their names. */
export interface ImportOptions {
  /**
   * The network that the tensors belong to. Without it the families recognise theirs by names and shapes; dropout,
   * which leaves no trace, is then 0.
   */
  readonly spec?: NetworkSpec;
  /** Where the tensors come from, for messages. */
  readonly source?: string;
}

/** A model made of others' tensors, and which of them it did not need. */
export interface ImportedModel {
  readonly model: Model;
  /** Keys that were passed over, such as `epoch`: their names lie in no module. */
  readonly ignored: readonly string[];
}

/** What DataParallel puts before every key. */
const WRAPPER = "module.";

/**
 * As torchvision's model.state_dict() has it: `num_batches_tracked` (I64, no dimensions) behind each running variance.
 */
export function exportStateDict({ state, batchesTracked }: Model): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const [path, { role, shape, data }] of state) {
    tensors.set(path, { dtype: "F32", shape, data });
    if (role === "variance") {
      tensors.set(counterBeside(path), { dtype: "I64", shape: [], data: BigInt64Array.of(BigInt(batchesTracked)) });
    }
  }
  return tensors;
}

/**
 * A model of named tensors, such as PyTorch saves them. Weights are Float32Arrays, or Float64Arrays, which are rounded.
 * Understood are the keys of today and of the files published in 2017 (`norm.1` for `norm1`), with or without
 * DataParallel's `module.` before them; num_batches_tracked may be any whole number, or missing. A key without a dot
 * (`epoch`, `best_acc1`) names no tensor of a module: it is passed over and listed in `ignored`.
 * @throws InputError that says how many of the network's tensors match, which are missing and which unexpected, or
 * which has another shape or a value that cannot be used; without `spec` also when no family knows such a network
 */
export function importStateDict(tensors: ReadonlyMap<string, unknown>, options: ImportOptions = {}): ImportedModel {
  const { source = "the state dict" } = options;
  if (!(tensors instanceof Map)) {
    throw new InputError(`${source}: got ${show(tensors)}, expected a Map of tensors by name`);
  }
  const ignored: string[] = [];
  const named = new Map<string, unknown>();
  for (const [key, value] of tensors) {
    const path = key.startsWith(WRAPPER) ? key.slice(WRAPPER.length) : key;
    if (!path.includes(".")) ignored.push(key);
    else if (named.has(path))
      throw new InputError(`${source}: has ${path} twice, with "${WRAPPER}" and without`, { path });
    else named.set(path, value);
  }
  const spec = options.spec ?? recognized(named, source);
  const found = new Map<string, unknown>();
  for (const [name, value] of named) {
    const path = currentPath(spec, name);
    if (found.has(path)) {
      throw new InputError(`${source}: has ${path} twice, under its old name and its new one`, { path });
    }
    found.set(path, value);
  }

  const expected = networkTensors(spec);
  const counters = [...expected].flatMap(([path, { role }]) => (role === "variance" ? [counterBeside(path)] : []));
  const counting = new Set(counters);
  requireNames(
    expected,
    [...found.keys()].filter((path) => !counting.has(path)),
    source,
  );
  const state = new Map<string, ModelTensor>();
  for (const [path, { role }] of expected) state.set(path, { role, ...floats(path, found.get(path), source) });
  const counts = counters.filter((path) => found.has(path)).map((path) => countOf(path, found.get(path), source));
  const model = { spec, state, batchesTracked: Math.max(0, ...counts) };
  requireUsable(model, source);
  return { model, ignored };
}

function counterBeside(variance: string): string {
  return `${variance.slice(0, variance.lastIndexOf("."))}.num_batches_tracked`;
}

function recognized(named: ReadonlyMap<string, unknown>, source: string): NetworkSpec {
  const shapes = new Map<string, readonly number[]>();
  for (const [path, value] of named) if (isTensor(value)) shapes.set(path, value.shape);
  const spec = recognizedSpec(shapes);
  if (spec) return spec;
  throw new InputError(
    `${source}: ${named.size === 0 ? "holds no tensors" : `no network here has tensors as these: ${showSome([...named.keys()])}`}; expected a network's state dict, or say which network it is (spec)`,
    { keys: [...named.keys()] },
  );
}

function isTensor(value: unknown): value is Pick<Tensor, "shape" | "data"> {
  if (typeof value !== "object" || value === null) return false;
  const { shape, data }: { shape?: unknown; data?: unknown } = value;
  return Array.isArray(shape) && ArrayBuffer.isView(data) && !(data instanceof DataView);
}

/** What typed arrays are called in files. */
const dtypes: readonly (readonly [new () => ArrayBufferView, Tensor["dtype"]])[] = [
  [Float64Array, "F64"],
  [Float32Array, "F32"],
  [BigInt64Array, "I64"],
  [Int32Array, "I32"],
  [Uint8Array, "U8"],
];

function dtypeOf(data: ArrayBufferView): string {
  return dtypes.find(([kind]) => data instanceof kind)?.[1] ?? data.constructor.name;
}

function floats(path: string, value: unknown, source: string): Pick<ModelTensor, "shape" | "data"> {
  if (!isTensor(value)) {
    throw new InputError(`${source}: ${path} is ${show(value)}, expected a tensor with shape and data`, { path });
  }
  const { shape, data } = value;
  if (data instanceof Float32Array) return { shape, data };
  if (data instanceof Float64Array) return { shape, data: Float32Array.from(data) };
  throw new InputError(`${source}: ${path} has dtype ${dtypeOf(data)}, expected F32 or F64`, { path });
}

function countOf(path: string, value: unknown, source: string): number {
  const count = isTensor(value) && value.data.length === 1 ? Number(value.data[0]) : value;
  if (Number.isSafeInteger(count) && Number(count) >= 0) return Number(count);
  const what = isTensor(count) ? `a ${dtypeOf(count.data)} of shape [${count.shape.join(", ")}]` : show(count);
  throw new InputError(`${source}: ${path} is ${what}, expected one whole number of at least 0`, { path });
}
