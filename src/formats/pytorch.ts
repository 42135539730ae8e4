// formats: what torch.save wrote — `.pth`, `.pt`, `.pth.tar` — as named tensors. Portable.
//
// Two containers: a zip archive (since 1.6: NAME/data.pkl, NAME/data/KEY) and the stream before it (four pickles, then
// each storage as a count of elements and their bytes). In both the pickle refers to storages by persistent ids, and a
// tensor is a strided view of one (torch/serialization.py, torch/_utils.py). The root may be a state dict, a dict
// around one, or a whole module.
import { decodeFloats, dtypeBytes } from "../checkpoint/floats.ts";
import { InputError } from "../errors.ts";
import { EPS } from "../networks/modules.ts";
import { showSome, showText } from "../show.ts";
import { PickleGlobal, PickleProblem, PickleRecord, readPickle } from "./pickle.ts";
import { elementCount, type FileTensor, type WeightFile, withEpsilon } from "./weightFile.ts";
import type { ZipFile } from "./zip.ts";

/**
 * The first pickle of the older container: the integer 0x1950a86a20f9469cfc6c, which protocols from 4 on put into a
 * frame.
 */
const LEGACY_MAGIC = Uint8Array.of(0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19);
const FRAME = 0x95;
const FRAME_BYTES = 9;

export function isLegacyTorch(bytes: Uint8Array): boolean {
  const start = bytes[2] === FRAME ? 2 + FRAME_BYTES : 2;
  return bytes[0] === 0x80 && LEGACY_MAGIC.every((byte, i) => bytes[start + i] === byte);
}

/** @throws InputError naming `source`, the place and what is wrong there */
export function readTorchZip(files: ReadonlyMap<string, ZipFile>, bytes: number, source: string): WeightFile {
  const pickles = [...files.keys()].filter((name) => /(^|\/)data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    const some = [...files.keys()].slice(0, 3).map((name) => `"${showText(name)}"`);
    throw new InputError(
      `${source}: a zip archive with ${pickles.length} files named data.pkl, expected the one of a PyTorch file; it ` +
        `holds ${some.join(", ") || "nothing"}`,
      { file: source },
    );
  }
  const folder = pickles[0].slice(0, -"data.pkl".length);
  const order = files.get(`${folder}byteorder`);
  if (order !== undefined && new TextDecoder().decode(order.read()) !== "little") {
    throw new InputError(`${source}: was saved on a big-endian machine, expected little-endian numbers`, {
      file: source,
    });
  }
  const storages = new Map<string, Storage>();
  const persistent = (id: unknown): unknown => {
    const { key, dtype, count } = storageId(id);
    const known = storages.get(key);
    if (known !== undefined) return known;
    const file = files.get(`${folder}data/${key}`);
    if (file === undefined) throw new PickleProblem(`storage "${showText(key)}" is not in the archive`);
    const storage = storageOf(key, dtype, count, file);
    storages.set(key, storage);
    return storage;
  };
  const { value } = readPickle((files.get(pickles[0]) as ZipFile).read(), `${source}: ${pickles[0]}`, {
    reducers,
    persistent,
  });
  const scripted = files.has(`${folder}constants.pkl`);
  return weightFile(value, scripted ? "a TorchScript archive" : "a PyTorch file (zip)", bytes, source);
}

/** @throws InputError naming `source`, the place and what is wrong there */
export function readTorchLegacy(bytes: Uint8Array, source: string): WeightFile {
  const magic = readPickle(bytes, source);
  const version = readPickle(bytes, source, {}, magic.end);
  if (version.value !== 1001) {
    throw new InputError(`${source}: protocol ${String(version.value)} of PyTorch's older files, expected 1001`, {
      file: source,
    });
  }
  const system = readPickle(bytes, source, {}, version.end);
  if (system.value instanceof Map && system.value.get("little_endian") === false) {
    throw new InputError(`${source}: was saved on a big-endian machine, expected little-endian numbers`, {
      file: source,
    });
  }
  const storages = new Map<string, LegacyStorage>();
  const persistent = (id: unknown): unknown => {
    // Containers of a whole module: ("module", class, file, source text).
    if (Array.isArray(id) && id[0] === "module" && id[1] instanceof PickleGlobal) return id[1];
    const { key, dtype, count, part } = storageId(id);
    const known = storages.get(key) ?? new LegacyStorage(key, dtype, count);
    storages.set(key, known);
    return part === undefined ? known : { storage: known, ...part };
  };
  const root = readPickle(bytes, source, { reducers, persistent }, system.end);
  const keys = readPickle(bytes, source, {}, root.end);
  let at = keys.end;
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const key of Array.isArray(keys.value) ? keys.value : []) {
    const storage = storages.get(String(key));
    const count = at + 8 <= bytes.length ? Number(data.getBigInt64(at, true)) : -1;
    const end = at + 8 + count * (dtypeBytes[storage?.dtype ?? ""] ?? 0);
    if (storage === undefined || count !== storage.count || end > bytes.length) {
      throw new InputError(
        `${source}: byte ${at}: storage "${showText(String(key))}" ` +
          `${storage === undefined ? "is used by no tensor" : count < 0 || end > bytes.length ? "ends behind the file: it was cut short" : `has ${count} elements, its tensors expect ${storage.count}`}`,
        { file: source, at },
      );
    }
    storage.bytes = bytes.subarray(at + 8, end);
    at = end;
  }
  for (const { key, bytes: content } of storages.values()) {
    if (content === undefined) {
      throw new InputError(`${source}: storage "${showText(key)}" is not in the file`, { file: source });
    }
  }
  return weightFile(root.value, "a PyTorch file of before 1.6", bytes.length, source);
}

/** Elements in a row that tensors are views of. */
interface Storage {
  readonly dtype: string;
  readonly count: number;
  read(): Uint8Array;
}

/** A storage whose bytes come behind all pickles. */
class LegacyStorage implements Storage {
  readonly key: string;
  readonly dtype: string;
  readonly count: number;
  bytes: Uint8Array | undefined;

  constructor(key: string, dtype: string, count: number) {
    this.key = key;
    this.dtype = dtype;
    this.count = count;
  }

  read(): Uint8Array {
    return this.bytes ?? new Uint8Array();
  }
}

/** Files of before 0.2 could refer to a run of another storage's elements. */
interface StoragePart {
  readonly storage: Storage;
  readonly offset: number;
}

interface StorageId {
  readonly key: string;
  readonly dtype: string;
  readonly count: number;
  readonly part?: { readonly offset: number };
}

/** ("storage", class, key, device, elements[, (key of the part, offset, elements)]) */
function storageId(id: unknown): StorageId {
  const [tag, type, key, , count, part]: unknown[] = Array.isArray(id) ? id : [];
  if (tag !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string" || !isCount(count)) {
    throw new PickleProblem('data outside the pickle that are no ("storage", class, key, device, count)');
  }
  const dtype = STORAGE_DTYPES[type.name];
  if (dtype === undefined) throw new PickleProblem(`a storage of class ${type.path}, which is not known`);
  if (!Array.isArray(part)) return { key, dtype, count };
  if (!isCount(part[1])) throw new PickleProblem("a part of a storage without an offset");
  return { key, dtype, count, part: { offset: part[1] } };
}

function storageOf(key: string, dtype: string, count: number, file: ZipFile): Storage {
  const expected = count * dtypeBytes[dtype];
  if (file.size !== expected) {
    throw new PickleProblem(
      `storage "${showText(key)}" is said to hold ${count} elements of ${dtype}, ${expected} bytes; it has ` +
        `${file.size}`,
    );
  }
  let content: Uint8Array | undefined;
  return {
    dtype,
    count,
    read: () => {
      content ??= file.read();
      return content;
    },
  };
}

const STORAGE_DTYPES: Readonly<Record<string, string>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
  UntypedStorage: "U8",
  ComplexFloatStorage: "C64",
  ComplexDoubleStorage: "C128",
};

/**
 * A tensor as the pickle describes it: element (i, j, …) is the storage's at offset + i·strides[0] + j·strides[1] + …
 */
class TorchTensor implements FileTensor {
  readonly shape: readonly number[];
  readonly #storage: Storage;
  readonly #offset: number;
  readonly #strides: readonly number[];

  constructor(storage: Storage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.shape = shape;
    this.#storage = storage;
    this.#offset = offset;
    this.#strides = strides;
  }

  get dtype(): string {
    return this.#storage.dtype;
  }

  read(): Float32Array<ArrayBuffer> {
    const bytes = this.#storage.read();
    const width = dtypeBytes[this.dtype];
    const count = elementCount(this.shape);
    if (isRowMajor(this.shape, this.#strides)) {
      return decodeFloats(bytes.subarray(this.#offset * width, (this.#offset + count) * width), this.dtype);
    }
    const gathered = new Uint8Array(count * width);
    const index = this.shape.map(() => 0);
    for (let i = 0, at = this.#offset; i < count; i++) {
      for (let b = 0; b < width; b++) gathered[i * width + b] = bytes[at * width + b];
      for (let axis = index.length - 1; axis >= 0; axis--) {
        at += this.#strides[axis];
        if (++index[axis] < this.shape[axis]) break;
        at -= this.#strides[axis] * this.shape[axis];
        index[axis] = 0;
      }
    }
    return decodeFloats(gathered, this.dtype);
  }
}

/** @throws PickleProblem when the view leaves its storage or names an element twice, which no saved weight does */
function tensorOf(args: readonly unknown[]): TorchTensor {
  const [from, first, shape, strides] = args;
  const { storage, offset } = isPart(from) ? from : { storage: from, offset: 0 };
  if (!isStorage(storage)) throw new PickleProblem("a tensor without a storage");
  if (!isCounts(shape) || !isCount(first) || !Array.isArray(strides) || strides.length !== shape.length) {
    throw new PickleProblem("a tensor whose offset, shape and strides are not whole numbers of at least 0");
  }
  const named =
    `a tensor of shape [${shape.slice(0, 8).join(", ")}] and strides ` +
    `[${strides.slice(0, 8).map(String).join(", ")}]`;
  if (!isCounts(strides)) throw new PickleProblem(`${named}, expected strides of at least 0`);
  if (elementCount(shape) > 0) {
    const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis], first + offset);
    if (last >= storage.count) {
      throw new PickleProblem(`${named} at ${first + offset} ends behind its storage of ${storage.count} elements`);
    }
    if (overlaps(shape, strides)) throw new PickleProblem(`${named} has elements that overlap`);
  }
  return new TorchTensor(storage, first + offset, shape, strides);
}

/** Whether a step along an axis can land on an element that the axes of smaller strides reach. */
function overlaps(shape: readonly number[], strides: readonly number[]): boolean {
  const axes = [...shape.keys()].filter((axis) => shape[axis] > 1).sort((a, b) => strides[a] - strides[b]);
  let reach = 0;
  for (const axis of axes) {
    if (strides[axis] <= reach) return true;
    reach += (shape[axis] - 1) * strides[axis];
  }
  return false;
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/**
 * torch/_utils.py's constructors of tensors. Parameters are their tensors; sparse, quantised and nested tensors are
 * nothing that weights of a DenseNet come in, so they are none here.
 */
const reducers: ReadonlyMap<string, (args: readonly unknown[]) => unknown> = new Map([
  ["torch._utils._rebuild_tensor", tensorOf],
  ["torch._utils._rebuild_tensor_v2", tensorOf],
  ["torch._utils._rebuild_parameter", firstOf],
  ["torch._utils._rebuild_parameter_with_state", firstOf],
  ["torch._tensor._rebuild_from_type_v2", subclassOf],
  ["torch.nn.parameter.Parameter", firstOf],
  ["torch.autograd.variable.Variable", firstOf],
  ["torch.Size", firstOf],
  ...[
    "tensor_v3",
    "sparse_tensor",
    "qtensor",
    "nested_tensor",
    "meta_tensor_no_storage",
    "device_tensor_from_numpy",
  ].map((kind): [string, () => null] => [`torch._utils._rebuild_${kind}`, () => null]),
  ["torch.serialization._get_layout", () => null],
  ...["intlist", "doublelist", "boollist", "tensorlist"].map((kind): [string, typeof firstOf] => [
    `torch.jit._pickle.build_${kind}`,
    firstOf,
  ]),
  ["torch.jit._pickle.restore_type_tag", firstOf],
]);

/** (constructor, subclass of Tensor, its arguments, attributes) */
function subclassOf([rebuild, , args]: readonly unknown[]): unknown {
  const plain = rebuild instanceof PickleGlobal && rebuild.path.startsWith("torch._utils._rebuild_tensor");
  return plain && Array.isArray(args) ? tensorOf(args) : null;
}

function firstOf([first]: readonly unknown[]): unknown {
  return first;
}

/**
 * Finds the weights under the root: in a state dict, in a dict around it, or in a module's `_modules`, `_parameters`
 * and `_buffers`.
 */
function weightFile(root: unknown, format: string, bytes: number, source: string): WeightFile {
  const notes: string[] = [];
  let holder = root;
  if (root instanceof Map || root instanceof PickleRecord) {
    const found = findWeights(root);
    if (found === undefined) {
      const keys = [...(root instanceof Map ? root : root.state).keys()]
        .slice(0, 6)
        .map((key) => showText(typeof key === "string" ? key : String(typeof key)));
      throw new InputError(
        `${source}: is ${format} without weights; ` +
          `${root instanceof PickleRecord ? `its object is a ${root.type.slice(0, 100)}, whose attributes` : "its entries"} are ${keys.join(", ") || "none"}; expected a state dict, a dict with one under state_dict, or a whole module`,
        { file: source },
      );
    }
    holder = found.holder;
    if (found.under !== "") notes.push(`weights under ${showText(found.under)}`);
    if (found.others.length > 0) notes.push(`left aside: ${showSome(found.others.map((text) => showText(text)))}`);
  }
  const tensors = new Map<string, FileTensor>();
  if (holder instanceof Map) {
    for (const [key, value] of holder) if (value instanceof TorchTensor) tensors.set(String(key), value);
  } else if (holder instanceof PickleRecord) {
    const otherEpsilons = collectModule(holder, tensors);
    notes.push(`a whole module of class ${showText(holder.type)}`);
    if (otherEpsilons > 0) notes.push(`ε of ${otherEpsilons} batch norms taken into their variances`);
  }
  if (tensors.size === 0) {
    throw new InputError(`${source}: is ${format} that holds ${kindOf(root)}, expected named weights`, {
      file: source,
    });
  }
  const classes = classNames(root) ?? classNames(holder);
  return {
    format,
    tensors,
    bytes,
    notes,
    ...(classes === undefined ? {} : { classes }),
    ...(holder instanceof PickleRecord ? { origin: holder.type } : {}),
  };
}

function kindOf(root: unknown): string {
  if (root instanceof TorchTensor) return `one tensor of shape [${root.shape.join(", ")}]`;
  if (Array.isArray(root)) return `a list of ${root.length}`;
  if (root === null) return "None";
  return root instanceof PickleRecord ? `an object of ${showText(root.type)}` : `a ${typeof root}`;
}

/** Under these names weights are saved; earlier ones are preferred, so that averages of weights come last. */
const WEIGHT_KEYS = ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"];

/** How deep a wrapper may lie in others. */
const MAX_WRAPPERS = 4;

interface FoundWeights {
  readonly holder: Map<unknown, unknown> | PickleRecord;
  /** Keys from the root, joined by dots. */
  readonly under: string;
  /** Other things that hold weights too. */
  readonly others: readonly string[];
}

/** Each dict is looked through once: a pickle can refer to one from many places. */
function findWeights(
  root: Map<unknown, unknown> | PickleRecord,
  seen = new Set<unknown>(),
  depth = 0,
): FoundWeights | undefined {
  if (seen.has(root)) return undefined;
  seen.add(root);
  if (root instanceof PickleRecord && root.state.get("_modules") instanceof Map)
    return { holder: root, under: "", others: [] };
  if (isStateDict(root)) return { holder: root, under: "", others: [] };
  // A scripted module keeps its parts as plain attributes.
  if (root instanceof PickleRecord && root.type.startsWith("__torch__."))
    return { holder: root, under: "", others: [] };
  if (depth === MAX_WRAPPERS) return undefined;
  const entries = root instanceof Map ? root : root.state;
  const inside: { key: string; found: FoundWeights }[] = [];
  for (const [key, value] of entries) {
    if (typeof key !== "string" || !(value instanceof Map || value instanceof PickleRecord)) continue;
    const found = findWeights(value, seen, depth + 1);
    if (found !== undefined) inside.push({ key, found });
  }
  const rank = (key: string): number => (WEIGHT_KEYS.includes(key) ? WEIGHT_KEYS.indexOf(key) : WEIGHT_KEYS.length);
  inside.sort((a, b) => rank(a.key) - rank(b.key));
  const [first, ...rest] = inside;
  if (first === undefined) return undefined;
  return {
    holder: first.found.holder,
    under: [first.key, first.found.under].filter((part) => part !== "").join("."),
    others: [...first.found.others, ...rest.map(({ key }) => key)],
  };
}

/** A dict of which some entry is a weight by its name and has four axes. */
function isStateDict(value: unknown): value is Map<unknown, unknown> {
  if (!(value instanceof Map)) return false;
  for (const [key, tensor] of value) {
    if (typeof key === "string" && tensor instanceof TorchTensor && tensor.shape.length === 4) return true;
  }
  return false;
}

/** Modules are deep by a dozen; a pickle can make a ring of them. */
const MAX_MODULE_DEPTH = 40;
const MAX_MODULES = 50_000;

/** @returns how many batch norms have another ε than ours */
function collectModule(root: PickleRecord, tensors: Map<string, FileTensor>): number {
  const open = new Set<PickleRecord>();
  let modules = 0;
  let otherEpsilons = 0;
  const visit = (module: PickleRecord, path: string): void => {
    if (open.has(module) || open.size === MAX_MODULE_DEPTH || ++modules > MAX_MODULES) return;
    open.add(module);
    const scripted = !(module.state.get("_modules") instanceof Map);
    for (const kind of scripted ? [""] : ["_parameters", "_buffers", "_modules"]) {
      const members = scripted ? module.state : module.state.get(kind);
      if (!(members instanceof Map)) continue;
      for (const [name, value] of members) {
        const at = path === "" ? String(name) : `${path}.${String(name)}`;
        if (value instanceof TorchTensor) tensors.set(at, value);
        else if (value instanceof PickleRecord) visit(value, at);
      }
    }
    if (withOurEpsilon(module, `${path}.running_var`, tensors)) otherEpsilons++;
    open.delete(module);
  };
  visit(root, "");
  return otherEpsilons;
}

/**
 * A module keeps the ε of its batch norm, which a state dict does not; what it differs from ours by is added to the
 * variance, where it stands too.
 */
function withOurEpsilon(module: PickleRecord, key: string, tensors: Map<string, FileTensor>): boolean {
  const variance = tensors.get(key);
  const epsilon = module.state.get("eps");
  if (variance === undefined || typeof epsilon !== "number" || epsilon === EPS) return false;
  tensors.set(key, withEpsilon(variance, epsilon));
  return true;
}

/** A list of names, or an index by name, under a key that says so. */
function classNames(value: unknown): readonly string[] | undefined {
  const entries = value instanceof PickleRecord ? value.state : value;
  if (!(entries instanceof Map)) return undefined;
  for (const [key, names] of entries) {
    if (typeof key !== "string" || !/class|label|patholog|target/i.test(key)) continue;
    if (Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === "string")) return names;
    if (names instanceof Map && names.size > 0) {
      const listed = new Array<string>(names.size);
      for (const [name, index] of names) {
        if (typeof name === "string" && isCount(index) && index < listed.length) listed[index] = name;
        else if (typeof index === "string" && isCount(name) && name < listed.length) listed[name] = index;
      }
      if (Object.keys(listed).length === listed.length) return listed;
    }
  }
  return undefined;
}

function isStorage(value: unknown): value is Storage {
  return typeof value === "object" && value !== null && "count" in value && "dtype" in value && "read" in value;
}

function isPart(value: unknown): value is StoragePart {
  return typeof value === "object" && value !== null && "storage" in value && "offset" in value;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 16 && value.every(isCount);
}
