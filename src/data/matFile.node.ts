// data: the variables of a MATLAB level 5 .mat file ("MAT-File Format", The MathWorks), as MATLAB, Octave and scipy
// write it with -v6 and -v7. A file is a header of 128 bytes and a list of elements, each a tag (type, bytes) and its
// content: a matrix, or a zlib stream that holds one. A matrix is elements again: flags, dimensions, name, numbers in
// column-major order, which may be stored in a smaller type than their class. Headers are read on their own; the
// numbers come as a stream, so that an array of any size passes through a megabyte of memory.
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createInflate } from "node:zlib";
import { InputError } from "../errors.ts";
import { readFailure, readRegularFile } from "./readFile.node.ts";

/** A variable: what its header says, and its numbers when they are asked for. */
export interface MatVariable {
  readonly name: string;
  /** MATLAB's class, such as `uint8` or `double`. */
  readonly className: string;
  readonly dims: readonly number[];
  readonly isComplex: boolean;
  /**
   * The bytes of the numbers in the type that they are stored in, in column-major order, piece by piece. A piece is
   * valid until the next one is asked for.
   * @throws InputError when the file is cut off or damaged, or the variable has no real numbers
   */
  chunks(): AsyncGenerator<Uint8Array, void, undefined>;
  /** All numbers, in column-major order. For small arrays. @throws InputError as `chunks` */
  values(): Promise<Float64Array>;
  /** Of the stored type. */
  readonly bytesPerValue: number;
}

const EXPECTED = "a MATLAB 5 .mat file (save -v6 or -v7)";
const HEADER_BYTES = 128;
const MAX_FILE_BYTES = 2 ** 33;
const CHUNK_BYTES = 2 ** 20;
/** Each is opened once to see what it is. */
const MAX_VARIABLES = 100;
/** MATLAB's names end at 63 characters. */
const MAX_NAME_BYTES = 255;
const MAX_DIMS = 32;
/** Deflate cannot pack tighter, so a stream cannot hold more than this times its own bytes. */
const MAX_DEFLATE_RATIO = 1032;

const MATRIX = 14;
const COMPRESSED = 15;
const CLASSES: Readonly<Record<number, string>> = {
  1: "cell",
  2: "struct",
  3: "object",
  4: "char",
  5: "sparse",
  6: "double",
  7: "single",
  8: "int8",
  9: "uint8",
  10: "int16",
  11: "uint16",
  12: "int32",
  13: "uint32",
  14: "int64",
  15: "uint64",
};
const FIRST_NUMERIC_CLASS = 6;
const COMPLEX_FLAG = 0x08;

interface StoredType {
  readonly bytes: number;
  read(view: DataView, at: number, little: boolean): number;
}

const TYPES: Readonly<Record<number, StoredType>> = {
  1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  2: { bytes: 1, read: (view, at) => view.getUint8(at) },
  3: { bytes: 2, read: (view, at, little) => view.getInt16(at, little) },
  4: { bytes: 2, read: (view, at, little) => view.getUint16(at, little) },
  5: { bytes: 4, read: (view, at, little) => view.getInt32(at, little) },
  6: { bytes: 4, read: (view, at, little) => view.getUint32(at, little) },
  7: { bytes: 4, read: (view, at, little) => view.getFloat32(at, little) },
  9: { bytes: 8, read: (view, at, little) => view.getFloat64(at, little) },
  12: { bytes: 8, read: (view, at, little) => Number(view.getBigInt64(at, little)) },
  13: { bytes: 8, read: (view, at, little) => Number(view.getBigUint64(at, little)) },
};
const INT32 = 5;
const UINT32 = 6;

/** Where an element of the file lies. */
interface Place {
  readonly file: string;
  readonly little: boolean;
  readonly compressed: boolean;
  readonly from: number;
  readonly to: number;
}

/**
 * The variables of the file, in its order; their numbers are not read.
 * @throws InputError when the file is none of MATLAB 5, is cut off, or its headers contradict themselves or its size
 * @throws ResourceError when the process or the system has run out of files or memory
 */
export async function openMat(file: string): Promise<readonly MatVariable[]> {
  const header = await readRegularFile(file, { expected: EXPECTED, maxBytes: MAX_FILE_BYTES, first: HEADER_BYTES });
  const little = byteOrder(file, header);
  const variables: MatVariable[] = [];
  for (const place of await placesOf(file, little)) variables.push(await variableAt(place));
  return variables;
}

/** Whether numbers begin with their lowest byte. @throws InputError when the header is not MATLAB 5's */
function byteOrder(file: string, header: Uint8Array): boolean {
  const text = new TextDecoder("latin1").decode(header.subarray(0, 116)).replace(/[^ -~]/g, "");
  const mark = String.fromCharCode(header[126] ?? 0, header[127] ?? 0);
  const little = mark === "IM";
  if (header.length === HEADER_BYTES && (little || mark === "MI")) {
    const version = new DataView(header.buffer, header.byteOffset).getUint16(124, little);
    if (version === 0x0100) return little;
    if (version === 0x0200) {
      throw new InputError(`${file}: is a MATLAB 7.3 file (HDF5), expected ${EXPECTED}`, { file, version });
    }
    throw new InputError(`${file}: has the version ${version}, expected 256 of ${EXPECTED}`, { file, version });
  }
  if (text.startsWith("MATLAB 5.0 MAT-file")) {
    throw new InputError(`${file}: ends in its header, expected ${EXPECTED}, whole`, { file, bytes: header.length });
  }
  throw new InputError(`${file}: does not begin as ${EXPECTED} does`, { file, bytes: header.length });
}

async function placesOf(file: string, little: boolean): Promise<Place[]> {
  const { size } = await stat(file);
  const handle = await open(file).catch((cause) => {
    throw readFailure(file, EXPECTED, cause);
  });
  const places: Place[] = [];
  try {
    for (let at = HEADER_BYTES; at < size; ) {
      const tag = new DataView(new ArrayBuffer(8));
      const { bytesRead } = await handle.read(tag, 0, 8, at).catch((cause) => {
        throw readFailure(file, EXPECTED, cause);
      });
      if (bytesRead < 8) throw cutOff(file);
      const type = tag.getUint32(0, little);
      const bytes = tag.getUint32(4, little);
      if (type !== MATRIX && type !== COMPRESSED) {
        throw new InputError(`${file}: has an element of type ${type} at byte ${at}, expected a matrix`, {
          file,
          at,
          type,
        });
      }
      const from = at + 8;
      if (bytes === 0 || from + bytes > size) throw cutOff(file);
      const compressed = type === COMPRESSED;
      places.push({ file, little, compressed, from, to: from + bytes });
      if (places.length > MAX_VARIABLES) {
        throw new InputError(`${file}: holds more than ${MAX_VARIABLES} variables`, { file });
      }
      // Matrices are padded to a multiple of eight bytes, streams are not.
      at = from + (compressed ? bytes : Math.ceil(bytes / 8) * 8);
    }
  } finally {
    await handle.close();
  }
  return places;
}

function cutOff(file: string): InputError {
  return new InputError(`${file}: is cut off, expected ${EXPECTED}, whole`, { file });
}

/** What stands before the numbers of a matrix. */
interface MatrixHeader {
  readonly name: string;
  readonly className: string;
  readonly dims: readonly number[];
  readonly isComplex: boolean;
  /** Undefined for what has no numbers: cells, structures, texts, sparse matrices. */
  readonly stored?: { readonly type: StoredType; readonly bytes: number };
}

async function variableAt(place: Place): Promise<MatVariable> {
  const { file, little } = place;
  const { name, className, dims, isComplex, stored } = await reading(place, readHeader);
  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    if (stored === undefined || isComplex) {
      const what = isComplex ? "complex numbers" : `a ${className}`;
      throw new InputError(`${file}: ${name} holds ${what}, expected real numbers`, { file, name });
    }
    const reader = new ElementReader(place);
    try {
      await readHeader(reader);
      yield* reader.pieces(stored.bytes);
      await reader.end();
    } finally {
      await reader.close();
    }
  }
  return {
    name,
    className,
    dims,
    isComplex,
    bytesPerValue: stored?.type.bytes ?? 0,
    chunks,
    async values() {
      const type = stored?.type ?? TYPES[INT32];
      const bytes = new Uint8Array(stored?.bytes ?? 0);
      let filled = 0;
      for await (const piece of chunks()) {
        bytes.set(piece, filled);
        filled += piece.length;
      }
      const view = new DataView(bytes.buffer);
      return Float64Array.from({ length: bytes.length / type.bytes }, (_, i) =>
        type.read(view, i * type.bytes, little),
      );
    },
  };
}

async function reading<T>(place: Place, read: (reader: ElementReader) => Promise<T>): Promise<T> {
  const reader = new ElementReader(place);
  try {
    return await read(reader);
  } finally {
    await reader.close();
  }
}

async function readHeader(reader: ElementReader): Promise<MatrixHeader> {
  const { file, little, compressed } = reader.place;
  const wrong = (what: string): InputError => new InputError(`${file}: ${what}, expected ${EXPECTED}`, { file });
  if (compressed && (await reader.tag()).type !== MATRIX) throw wrong("a compressed element holds no matrix");
  const flags = await reader.element("flags", 8);
  if (flags.type !== UINT32 || flags.content.length !== 8) throw wrong("a matrix does not begin with its flags");
  const word = viewOf(flags.content).getUint32(0, little);
  const code = word & 0xff;
  const className = CLASSES[code] ?? `class ${code}`;
  const sizes = await reader.element("dimensions", 4 * MAX_DIMS);
  if (sizes.type !== INT32 || sizes.content.length < 8 || sizes.content.length % 4 !== 0) {
    throw wrong("a matrix has no dimensions");
  }
  const dims = Array.from({ length: sizes.content.length / 4 }, (_, i) =>
    viewOf(sizes.content).getInt32(4 * i, little),
  );
  const { content } = await reader.element("name", MAX_NAME_BYTES);
  const name = new TextDecoder("latin1").decode(content).replace(/[^ -~]/g, "?");
  const isComplex = ((word >> 8) & COMPLEX_FLAG) !== 0;
  const header = { name, className, dims, isComplex };
  if (code < FIRST_NUMERIC_CLASS || CLASSES[code] === undefined) return header;
  const tag = await reader.tag();
  const type = TYPES[tag.type];
  const count = dims.reduce((product, length) => product * length, 1);
  if (type === undefined || dims.some((length) => length < 0) || tag.bytes !== count * type.bytes) {
    throw wrong(`${name} of ${dims.join("×")} has ${tag.bytes} bytes of type ${tag.type}`);
  }
  if (tag.bytes > reader.mostBytes) {
    throw wrong(`${name} of ${dims.join("×")} claims ${tag.bytes} bytes, more than the file can hold`);
  }
  return { ...header, stored: { type, bytes: tag.bytes } };
}

/** Reads an element of the file from its start, inflated where it is compressed. */
class ElementReader {
  readonly place: Place;
  /** That can still follow, at the most. */
  readonly mostBytes: number;
  readonly #streams: { destroy(): unknown }[];
  readonly #source: AsyncIterator<Uint8Array>;
  #left: Uint8Array = new Uint8Array(0);

  constructor(place: Place) {
    const { file, from, to, compressed } = place;
    this.place = place;
    this.mostBytes = (to - from) * (compressed ? MAX_DEFLATE_RATIO : 1);
    const stored = createReadStream(file, { start: from, end: to - 1, highWaterMark: CHUNK_BYTES });
    if (!compressed) {
      this.#streams = [stored];
      this.#source = stored[Symbol.asyncIterator]();
      return;
    }
    const inflate = createInflate({ chunkSize: CHUNK_BYTES });
    stored.on("error", (error) => inflate.destroy(error));
    stored.pipe(inflate);
    this.#streams = [stored, inflate];
    this.#source = inflate[Symbol.asyncIterator]();
  }

  /** `count` bytes or fewer at the end of the element, at least one; empty behind it. */
  async #some(count: number): Promise<Uint8Array> {
    if (this.#left.length === 0) {
      const { file } = this.place;
      try {
        const { value, done } = await this.#source.next();
        if (!done) this.#left = value;
      } catch (cause) {
        const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
        if (!code.startsWith("Z_")) throw readFailure(file, EXPECTED, cause);
        // What zlib says: "unexpected end of file", "incorrect data check", …
        const why = cause instanceof Error ? cause.message : code;
        throw new InputError(`${file}: does not unpack (${why}), expected ${EXPECTED}, whole`, { file }, { cause });
      }
    }
    const some = this.#left.subarray(0, count);
    this.#left = this.#left.subarray(count);
    return some;
  }

  async *pieces(count: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let done = 0; done < count; ) {
      const piece = await this.#some(count - done);
      if (piece.length === 0) throw cutOff(this.place.file);
      done += piece.length;
      yield piece;
    }
  }

  async take(count: number): Promise<Uint8Array> {
    const taken = new Uint8Array(count);
    let filled = 0;
    for await (const piece of this.pieces(count)) {
      taken.set(piece, filled);
      filled += piece.length;
    }
    return taken;
  }

  /** The next tag; content of up to four bytes stands in the tag itself and is what is read next. */
  async tag(): Promise<{ readonly type: number; readonly bytes: number; readonly small: boolean }> {
    const { little } = this.place;
    const first = viewOf(await this.take(4)).getUint32(0, little);
    if (first >>> 16 !== 0) return { type: first & 0xffff, bytes: first >>> 16, small: true };
    return { type: first, bytes: viewOf(await this.take(4)).getUint32(0, little), small: false };
  }

  /** The next element with its content. @throws InputError when that is longer than `most` bytes */
  async element(what: string, most: number): Promise<{ readonly type: number; readonly content: Uint8Array }> {
    const { file } = this.place;
    const { type, bytes, small } = await this.tag();
    if (bytes > (small ? 4 : most)) {
      throw new InputError(`${file}: the ${what} of a matrix claim ${bytes} bytes, expected at most ${most}`, { file });
    }
    const padded = await this.take(small ? 4 : Math.ceil(bytes / 8) * 8);
    return { type, content: padded.subarray(0, bytes) };
  }

  /** Reads the padding behind the numbers, and lets zlib compare its checksum. */
  async end(): Promise<void> {
    const { file } = this.place;
    let behind = 0;
    for (let piece = await this.#some(8); piece.length > 0; piece = await this.#some(8)) {
      behind += piece.length;
      if (behind >= 8) throw new InputError(`${file}: a matrix goes on behind its numbers`, { file });
    }
  }

  async close(): Promise<void> {
    await this.#source.return?.();
    for (const stream of this.#streams) stream.destroy();
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
