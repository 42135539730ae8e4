// checkpoint: the safetensors file format (github.com/huggingface/safetensors, "Format"), read strictly and written
// aligned. Portable.
//
// 8 bytes little-endian length of the header, the header (JSON: name → dtype, shape, data_offsets [begin, end);
// "__metadata__" holds strings), then the data of all tensors back to back, little-endian, row-major, without holes.
import { InputError } from "../errors.ts";
import type { Tensor, TensorDtype } from "../model/tensor.ts";
import { showText } from "../show.ts";
import { decodeFloats, dtypeBytes } from "./floats.ts";
import { isRecord } from "./record.ts";

export interface Safetensors {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const BYTES_PER_ELEMENT: Readonly<Record<TensorDtype, number>> = { F64: 8, F32: 4, F16: 2, I64: 8, I32: 4, U8: 1 };

/** Of the others a file of ours is made; F16 and BF16 are read as F32, which holds them exactly. */
const READ: readonly string[] = [...Object.keys(BYTES_PER_ELEMENT), "BF16"];

/** The reference implementation's limit. */
export const MAX_HEADER_BYTES = 100_000_000;

/** A tensor as the header lists it. */
export interface ListedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** A tensor of a file. */
export interface SafetensorsEntry extends ListedTensor {
  /** Its little-endian elements, as a view of the file. */
  bytes(): Uint8Array;
}

/** Of lists and objects in the header, of which a tensor takes three: a few bytes could ask for very many. */
const MAX_CONTAINERS = 90_000;

interface Entry extends ListedTensor {
  readonly begin: number;
  readonly end: number;
}

/**
 * The file's bytes. Tensors lie by falling alignment, otherwise in the map's order, so that each begins at a multiple
 * of its element size.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const ordered = [...tensors].sort(([, a], [, b]) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    if (name === "__metadata__" || data.length !== elementCount(shape)) {
      throw new RangeError(`tensor "${name}" of shape [${shape.join(", ")}] cannot hold ${data.length} numbers`);
    }
    const begin = end;
    end += data.byteLength;
    header.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + headerBytes + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(json, 8);
  bytes.fill(0x20, 8 + json.length, 8 + headerBytes);
  let at = 8 + headerBytes;
  for (const [, { data }] of ordered) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

/**
 * Tensors (copies) and metadata of a file. `source` names it in messages.
 * @throws InputError for whatever is not exactly a safetensors file of F64, F32, F16, BF16, I64, I32 and U8
 */
export function decodeSafetensors(bytes: Uint8Array, source: string): Safetensors {
  const { entries, metadata } = readSafetensors(bytes, source);
  const tensors = new Map<string, Tensor>();
  for (const entry of entries) {
    if (!READ.includes(entry.dtype)) {
      throw new InputError(
        `${source}: tensor "${entry.name}" has dtype ${entry.dtype}, expected one of ${READ.join(", ")}`,
        { file: source },
      );
    }
    tensors.set(entry.name, readTensor(entry));
  }
  return { tensors, metadata };
}

/**
 * What a file's header lists, in its order, with views of the data. `source` names it in messages.
 * @throws InputError for whatever is not exactly a safetensors file
 */
export function readSafetensors(
  bytes: Uint8Array,
  source: string,
): { readonly entries: readonly SafetensorsEntry[]; readonly metadata: Readonly<Record<string, string>> } {
  const fail = failOf(source);
  if (bytes.length < 8) {
    throw fail(
      `${bytes.length} bytes are too few for a safetensors file, which begins with the 8-byte length of its header`,
    );
  }
  const declared = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (declared > BigInt(bytes.length - 8)) {
    throw fail(
      "not a safetensors file, or one that was cut short: its first 8 bytes give a header longer than the file's " +
        `${bytes.length} bytes`,
    );
  }
  if (declared > BigInt(MAX_HEADER_BYTES)) {
    throw fail(`its header has ${declared} bytes, expected at most ${MAX_HEADER_BYTES}`);
  }
  const dataStart = 8 + Number(declared);
  const { entries, metadata } = readHeader(bytes.subarray(8, dataStart), fail, bytes.length - dataStart);
  return {
    entries: entries.map(({ begin, end, ...listed }) => ({
      ...listed,
      bytes: () => bytes.subarray(dataStart + begin, dataStart + end),
    })),
    metadata,
  };
}

/**
 * What a header lists, for those who have no more of the file. `header`: the bytes between its length and the data, of
 * which there are `dataBytes`, where that is known.
 * @throws InputError as readSafetensors, but for what only the data show
 */
export function readSafetensorsHeader(
  header: Uint8Array,
  source: string,
  dataBytes?: number,
): { readonly entries: readonly ListedTensor[]; readonly metadata: Readonly<Record<string, string>> } {
  return readHeader(header, failOf(source), dataBytes);
}

const failOf =
  (source: string) =>
  (what: string): InputError =>
    new InputError(`${source}: ${showText(what, 600)}`, { file: source });

function readHeader(
  bytes: Uint8Array,
  fail: (what: string) => InputError,
  dataBytes: number | undefined,
): { readonly entries: readonly Entry[]; readonly metadata: Readonly<Record<string, string>> } {
  const containers = bytes.reduce((sum, byte) => sum + Number(byte === 0x5b || byte === 0x7b), 0);
  if (containers > MAX_CONTAINERS) {
    throw fail(
      `its header has ${containers} lists and objects, expected at most ${MAX_CONTAINERS}: three for each tensor`,
    );
  }
  const header = parseHeader(bytes, fail);

  const metadata: [string, string][] = [];
  const entries: Entry[] = [];
  for (const name of Object.keys(header)) {
    const value = header[name];
    if (name !== "__metadata__") {
      entries.push(parseEntry(name, value, fail));
      continue;
    }
    if (!isRecord(value)) throw fail("__metadata__ in the header must be an object of strings");
    for (const [key, text] of Object.entries(value)) {
      if (typeof text !== "string") throw fail(`__metadata__.${key} in the header must be a string`);
      metadata.push([key, text]);
    }
  }

  let expectedBegin = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== expectedBegin) {
      throw fail(
        `tensor "${name}" begins at byte ${begin} of the data, expected ${expectedBegin}: tensors may neither ` +
          "overlap nor leave holes",
      );
    }
    expectedBegin = end;
  }
  if (dataBytes !== undefined && expectedBegin !== dataBytes) {
    throw fail(
      `${expectedBegin > dataBytes ? "the file is truncated" : "bytes follow the last tensor"}: the header ` +
        `describes ${expectedBegin} bytes of data, the file has ${dataBytes}`,
    );
  }
  return { entries, metadata: Object.fromEntries(metadata) };
}

function parseHeader(bytes: Uint8Array, fail: (what: string) => InputError): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch {
    throw fail(`not a safetensors file: the header of ${bytes.length} bytes is not JSON`);
  }
  if (!isRecord(header) || !text.startsWith("{")) {
    throw fail("not a safetensors file: its header must be a JSON object that begins with {");
  }
  const twice = firstDuplicateKey(text);
  if (twice !== undefined) throw fail(`the header has the key "${twice}" twice`);
  return header;
}

/**
 * JSON.parse keeps the last of two equal keys in silence. `json` must be valid JSON. Walked without garbage: it may
 * have millions of tokens.
 */
function firstDuplicateKey(json: string): string | undefined {
  const keysOf: Keys[] = [];
  /** Of objects that are closed, to be filled again. */
  const spare: Keys[] = [];
  let keyNext = false;
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case "{":
        keysOf.push(spare.pop()?.clear() ?? new Keys());
        keyNext = true;
        break;
      case "[":
        keysOf.push(NO_KEYS);
        break;
      case "}":
      case "]": {
        const closed = keysOf.pop();
        if (closed !== undefined && closed !== NO_KEYS) spare.push(closed);
        keyNext = false;
        break;
      }
      case ",":
        keyNext = keysOf.at(-1) !== NO_KEYS;
        break;
      case '"': {
        const begin = at;
        for (at++; json[at] !== '"'; at++) if (json[at] === "\\") at++;
        if (!keyNext) break;
        const plain = json.slice(begin + 1, at);
        const key = plain.includes("\\") ? (JSON.parse(`"${plain}"`) as string) : plain;
        if (!keysOf.at(-1)?.add(key)) return key;
        keyNext = false;
      }
    }
  }
  return undefined;
}

/** The keys of one object; nearly all objects have three. */
class Keys {
  readonly #few: string[] = [];
  #many: Set<string> | undefined;

  clear(): this {
    this.#few.length = 0;
    this.#many = undefined;
    return this;
  }

  /** False when `key` is there already. */
  add(key: string): boolean {
    if (this.#few.length === 8) this.#many ??= new Set(this.#few);
    if (this.#many?.has(key) ?? this.#few.includes(key)) return false;
    if (this.#many === undefined) this.#few.push(key);
    else this.#many.add(key);
    return true;
  }
}

/** Marks a list. */
const NO_KEYS = new Keys();

function parseEntry(name: string, value: unknown, fail: (what: string) => InputError): Entry {
  if (!isRecord(value)) throw fail(`the header's entry "${name}" must be an object with dtype, shape and data_offsets`);
  for (const field in value) {
    if (field !== "dtype" && field !== "shape" && field !== "data_offsets") {
      throw fail(`the header's entry "${name}" has an unknown field "${field}"`);
    }
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(dtypeBytes, dtype)) {
    throw fail(
      `tensor "${name}" has dtype ${JSON.stringify(dtype)}, expected one of ${Object.keys(dtypeBytes).join(", ")}`,
    );
  }
  if (!isSizes(shape))
    throw fail(`tensor "${name}" has shape ${JSON.stringify(shape)}, expected whole numbers of at least 0`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw fail(`tensor "${name}" has data_offsets ${JSON.stringify(offsets)}, expected [begin, end]`);
  }
  const [begin, end] = offsets as [number, number];
  const needed = elementCount(shape) * dtypeBytes[dtype];
  if (end - begin !== needed) {
    throw fail(
      `tensor "${name}" of shape [${shape.join(", ")}] and dtype ${dtype} needs ${needed} bytes, data_offsets give ` +
        `${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function readTensor({ dtype, shape, ...entry }: SafetensorsEntry): Tensor {
  const bytes = entry.bytes();
  // Not bytes.slice(): a Buffer of Node gives a view there, at an address that need not be aligned.
  const { buffer } = Uint8Array.from(bytes);
  switch (dtype) {
    case "F64":
      return { dtype, shape, data: new Float64Array(buffer) };
    case "I64":
      return { dtype, shape, data: new BigInt64Array(buffer) };
    case "I32":
      return { dtype, shape, data: new Int32Array(buffer) };
    case "U8":
      return { dtype, shape, data: new Uint8Array(buffer) };
    default:
      return { dtype: "F32", shape, data: decodeFloats(bytes, dtype) };
  }
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
