// formats: the numbers of an HDF5 data set: their type, where they lie, and the filters that packed them. Portable.
import { Unzlib } from "fflate";
import type { Hdf5Bytes } from "./hdf5Bytes.ts";
import { inflateExactly } from "./inflate.ts";

/** Of an element; numbers are little-endian. */
export interface DataType {
  /** A name of safetensors (F32, I64 …), `text` of fixed length, `long text` in a heap, or what it is in words. */
  readonly kind: string;
  readonly bytes: number;
}

export type DataLayout =
  | { readonly kind: "contiguous"; readonly at: number | undefined; readonly bytes: number }
  | { readonly kind: "chunked"; readonly tree: number | undefined; readonly chunk: readonly number[] };

/** A step of packing; only these are known. */
export interface Filter {
  readonly kind: "deflate" | "shuffle" | "fletcher32";
}

interface DatasetFacts {
  readonly file: Hdf5Bytes;
  readonly at: number;
  readonly path: string;
  readonly shape: readonly number[];
  readonly type: DataType;
  readonly layout: DataLayout;
  readonly filters: readonly Filter[];
  readonly attribute: (name: string) => string | readonly string[] | undefined;
}

export class Hdf5Dataset {
  readonly path: string;
  readonly shape: readonly number[];
  readonly type: DataType;
  readonly byteLength: number;
  readonly attribute: DatasetFacts["attribute"];
  readonly #facts: DatasetFacts;

  constructor(facts: DatasetFacts) {
    this.path = facts.path;
    this.shape = facts.shape;
    this.type = facts.type;
    this.attribute = facts.attribute;
    this.byteLength = facts.shape.reduce((product, size) => product * size, facts.type.bytes);
    this.#facts = facts;
  }

  /** All elements in row-major order; a view of the file where they lie in one piece. @throws InputError when damaged */
  read(): Uint8Array {
    const { file, at, path, layout } = this.#facts;
    if (this.byteLength === 0) return new Uint8Array();
    if (layout.kind === "chunked") return readChunks(this.#facts, layout, this.byteLength);
    if (layout.at === undefined) throw file.fail(at, `${path} was never written`);
    if (layout.bytes < this.byteLength) {
      throw file.fail(at, `${path} needs ${this.byteLength} bytes, its place has ${layout.bytes}`);
    }
    return file.slice(layout.at, this.byteLength);
  }
}

/** Where sign, exponent and fraction lie, and the exponent's bias, of the floats that have names. */
const FLOATS: ReadonlyMap<string, string> = new Map([
  ["16 10 5 0 10 15", "F16"],
  ["16 7 8 0 7 127", "BF16"],
  ["32 23 8 0 23 127", "F32"],
  ["64 52 11 0 52 1023", "F64"],
]);

const CLASSES: readonly string[] =
  "whole numbers|floats|times|text|bits|opaque bytes|records|references|an enumeration|lists|arrays".split("|");

export function typeOf(file: Hdf5Bytes, at: number): DataType {
  const kind = file.u8(at) & 15;
  const flags = file.u8(at + 1);
  const bytes = file.u32(at + 4);
  const bigEndian = (kind === 0 || kind === 1) && (flags & 1) === 1;
  if (kind === 0 && !bigEndian && [1, 2, 4, 8].includes(bytes)) {
    return { kind: `${flags & 8 ? "I" : "U"}${8 * bytes}`, bytes };
  }
  if (kind === 1 && !bigEndian) {
    const precision = file.u16(at + 10);
    const [exponentAt, exponent, fractionAt, fraction] = [12, 13, 14, 15].map((field) => file.u8(at + field));
    const bits = [precision, exponentAt, exponent, fractionAt, fraction, file.u32(at + 16)].join(" ");
    const name = precision === 8 * bytes ? FLOATS.get(bits) : undefined;
    return { kind: name ?? `floats of ${precision} bits in an unknown form`, bytes };
  }
  if (kind === 3) return { kind: "text", bytes };
  if (kind === 9 && (flags & 15) === 1) return { kind: "long text", bytes };
  return { kind: `${bigEndian ? "big-endian " : ""}${CLASSES[kind] ?? `class ${kind}`}`, bytes };
}

export function dataLayout(file: Hdf5Bytes, at: number, path: string): DataLayout {
  const [version, kind] = [file.u8(at), file.u8(at + 1)];
  if (version !== 3 && version !== 4) {
    throw file.fail(at, `${path} has a layout of version ${version}, expected 3: HDF5 of 1.6.3 or later`);
  }
  if (kind === 0) return { kind: "contiguous", at: at + 4, bytes: file.u16(at + 2) };
  if (kind === 1) return { kind: "contiguous", at: file.address(at + 2), bytes: file.u64(at + 10) };
  if (kind === 3) throw file.fail(at, `${path} is a virtual data set, whose numbers lie elsewhere`);
  if (kind !== 2) throw file.fail(at, `${path} has a layout of class ${kind}, expected 0 to 2`);
  if (version === 4) {
    throw file.fail(
      at,
      `${path} indexes its chunks as h5py does with libver="latest"; expected the default that Keras writes`,
    );
  }
  // The last size is an element's.
  const axes = file.u8(at + 2) - 1;
  const chunk = Array.from({ length: Math.max(0, axes) }, (_, axis) => file.u32(at + 11 + 4 * axis));
  return { kind: "chunked", tree: file.address(at + 3), chunk };
}

const FILTER_KINDS: readonly (Filter["kind"] | undefined)[] = [undefined, "deflate", "shuffle", "fletcher32"];

export function filtersOf(file: Hdf5Bytes, at: number, path: string): Filter[] {
  const [version, count] = [file.u8(at), file.u8(at + 1)];
  if (version !== 1 && version !== 2) throw file.fail(at, `${path} has filters of version ${version}, expected 1 or 2`);
  let next = at + (version === 1 ? 8 : 2);
  const filters: Filter[] = [];
  for (let i = 0; i < count; i++) {
    const id = file.u16(next);
    const kind = FILTER_KINDS[id];
    if (kind === undefined || filters.some((filter) => filter.kind === kind)) {
      throw file.fail(next, `${path} is packed by filter ${id}, expected deflate, shuffle and fletcher32, each once`);
    }
    filters.push({ kind });
    // Version 2 leaves out the names of the library's own filters.
    const nameBytes = version === 1 ? Math.ceil(file.u16(next + 2) / 8) * 8 : 0;
    const values = file.u16(next + (version === 1 ? 6 : 4));
    const padding = version === 1 && values % 2 === 1 ? 4 : 0;
    next += (version === 1 ? 8 : 6) + nameBytes + 4 * values + padding;
  }
  return filters;
}

interface Chunk {
  readonly at: number;
  readonly bytes: number;
  /** Bit i: filter i was left out. */
  readonly mask: number;
  readonly offset: readonly number[];
}

function readChunks(
  { file, at, path, shape, type, filters }: DatasetFacts,
  { tree, chunk }: Extract<DataLayout, { kind: "chunked" }>,
  byteLength: number,
): Uint8Array<ArrayBuffer> {
  const chunkBytes = chunk.reduce((product, size) => product * size, type.bytes);
  const said = `chunks of [${chunk.join(", ")}] for a shape of [${shape.join(", ")}]`;
  // h5py's chunks never leave the data's axes; others may, by less than a chunk.
  if (
    chunk.length !== shape.length ||
    !chunk.every((size, axis) => size > 0 && size <= 2 * shape[axis] + 64) ||
    chunkBytes > 4 * byteLength + 2 ** 16
  ) {
    throw file.fail(at, `${path} has ${said}`);
  }
  const expected = shape.reduce((product, size, axis) => product * Math.ceil(size / chunk[axis]), 1);
  const out = new Uint8Array(byteLength);
  const seen = new Set<string>();
  for (const piece of tree === undefined ? [] : chunksOf(file, tree, chunk.length, path)) {
    const place = piece.offset.join();
    if (seen.has(place) || piece.offset.some((start, axis) => start % chunk[axis] !== 0 || start >= shape[axis])) {
      throw file.fail(piece.at, `${path} has a chunk at [${place}], twice or outside, of ${said}`);
    }
    seen.add(place);
    const content = unpacked(file, piece, chunkBytes, type.bytes, filters, path);
    copyChunk(content, chunk, piece.offset, out, shape, type.bytes);
  }
  if (seen.size !== expected) throw file.fail(at, `${path} has ${seen.size} of its ${expected} ${said}`);
  return out;
}

/** The chunks of a B-tree of version 1. */
function chunksOf(file: Hdf5Bytes, tree: number, axes: number, path: string): Chunk[] {
  const chunks: Chunk[] = [];
  const nodes = new Set<number>();
  const keyBytes = 8 + 8 * (axes + 1);
  const visit = (node: number, level: number | undefined): void => {
    file.step(node);
    if (nodes.has(node)) throw file.fail(node, `a node of the chunks of ${path} is referred to twice`);
    nodes.add(node);
    file.requireMark(node, "TREE");
    const own = file.u8(node + 5);
    if (file.u8(node + 4) !== 1 || (level !== undefined && own !== level - 1)) {
      throw file.fail(
        node,
        `a node of level ${own} in the chunks of ${path}, expected ${level === undefined ? 0 : level - 1}`,
      );
    }
    const used = file.u16(node + 6);
    for (let i = 0, key = node + 24; i < used; i++, key += keyBytes + 8) {
      const child = file.address(key + keyBytes);
      if (child === undefined) throw file.fail(key, `the chunks of ${path} lie nowhere`);
      if (own > 0) {
        visit(child, own);
        continue;
      }
      file.step(key);
      const offset = Array.from({ length: axes }, (_, axis) => file.u64(key + 8 + 8 * axis));
      chunks.push({ at: child, bytes: file.u32(key), mask: file.u32(key + 4), offset });
    }
  };
  visit(tree, undefined);
  return chunks;
}

/** A chunk's elements: its filters undone, the last first. */
function unpacked(
  file: Hdf5Bytes,
  { at, bytes, mask }: Chunk,
  chunkBytes: number,
  elementBytes: number,
  filters: readonly Filter[],
  path: string,
): Uint8Array {
  const applied = filters.filter((_, i) => !(mask & (1 << i)));
  let content = file.slice(at, bytes);
  for (let i = applied.length - 1; i >= 0; i--) {
    const { kind } = applied[i];
    if (kind === "deflate") {
      // A checksum that was added before packing is packed too.
      const size = chunkBytes + (applied.slice(0, i).some((before) => before.kind === "fletcher32") ? 4 : 0);
      const inflated = inflateExactly((receive) => new Unzlib(receive), content, size);
      if (typeof inflated === "string") throw file.fail(at, `a chunk of ${path} ${inflated}`);
      content = inflated;
    } else if (kind === "fletcher32") {
      if (content.length < 4 || !hasFletcher32(content)) {
        throw file.fail(at, `a chunk of ${path} is damaged: its checksum is another`);
      }
      content = content.subarray(0, -4);
    } else content = unshuffled(content, elementBytes);
  }
  if (content.length !== chunkBytes) {
    throw file.fail(at, `a chunk of ${path} has ${content.length} bytes, expected ${chunkBytes}`);
  }
  return content;
}

/** First bytes of all elements, then second bytes …; leftover bytes stay at the end. */
function unshuffled(bytes: Uint8Array, elementBytes: number): Uint8Array {
  const out = Uint8Array.from(bytes);
  const count = Math.floor(bytes.length / elementBytes);
  for (let b = 0; b < elementBytes; b++) {
    for (let i = 0; i < count; i++) out[i * elementBytes + b] = bytes[b * count + i];
  }
  return out;
}

/** The sum over big-endian 16-bit words, stored little-endian after them (H5checksum.c); 0 and 65,535 are one value. */
function hasFletcher32(bytes: Uint8Array): boolean {
  const end = bytes.length - 4;
  let [first, second] = [0, 0];
  for (let i = 0; i < end; i += 2) {
    first = (first + bytes[i] * 256 + (i + 1 < end ? bytes[i + 1] : 0)) % 65_535;
    second = (second + first) % 65_535;
  }
  const stored = [bytes[end] + bytes[end + 1] * 256, bytes[end + 2] + bytes[end + 3] * 256];
  return stored[0] % 65_535 === first && stored[1] % 65_535 === second;
}

/** The rows of a chunk that lie within the data, to their places. */
function copyChunk(
  content: Uint8Array,
  chunk: readonly number[],
  offset: readonly number[],
  out: Uint8Array,
  shape: readonly number[],
  elementBytes: number,
): void {
  const last = shape.length - 1;
  const row = Math.min(chunk[last], shape[last] - offset[last]) * elementBytes;
  const visit = (axis: number, from: number, to: number): void => {
    if (axis === last) {
      const [begin, place] = [from * chunk[last], to * shape[last] + offset[last]].map((at) => at * elementBytes);
      out.set(content.subarray(begin, begin + row), place);
      return;
    }
    const size = Math.min(chunk[axis], shape[axis] - offset[axis]);
    for (let i = 0; i < size; i++) visit(axis + 1, from * chunk[axis] + i, to * shape[axis] + offset[axis] + i);
  };
  if (last >= 0) visit(0, 0, 0);
}
