// formats: the files in a zip archive (PKWARE's APPNOTE 6.3, with Zip64, which PyTorch always writes), as views where
// they are stored. Portable.
//
// Read from the central directory alone. An archive is refused whole when it could mislead: equal names, names that
// leave a folder, files that overlap, more bytes than a file of its size can honestly hold.
import { Inflate } from "fflate";
import { InputError } from "../errors.ts";
import { showText } from "../show.ts";
import { inflateExactly } from "./inflate.ts";

export interface ZipFile {
  readonly name: string;
  readonly size: number;
  /**
   * The content: a view of the archive when it is stored, else inflated. @throws InputError when its size or CRC-32 is
   * another
   */
  read(): Uint8Array;
}

const END = 0x06054b50;
const END_BYTES = 22;
const LOCATOR_64 = 0x07064b50;
const END_64 = 0x06064b50;
const ENTRY = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL = 0x04034b50;
const LOCAL_BYTES = 30;
const MAX_COMMENT = 0xffff;

/** A training checkpoint of DenseNet-264 has about 4,000 files. */
const MAX_FILES = 65_535;

/**
 * What all files together may hold beyond twice the archive's bytes: trained weights hardly compress, the rest is
 * small.
 */
const MAX_EXTRA_BYTES = 16 * 2 ** 20;

export function isZip(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && view(bytes).getUint32(0, true) === LOCAL;
}

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly packed: number;
  readonly size: number;
  readonly crc: number;
  readonly local: number;
}

/** Files by name, in the archive's order. @throws InputError naming `source`, the place and what is wrong there */
export function readZip(bytes: Uint8Array, source: string): Map<string, ZipFile> {
  const data = view(bytes);
  const fail = (what: string): InputError => new InputError(`${source}: ${showText(what, 600)}`, { file: source });
  const { at: start, count, end } = findDirectory(bytes, data, fail);
  if (count > MAX_FILES) throw fail(`the zip archive lists ${count} files, expected at most ${MAX_FILES}`);
  const entries: Entry[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > end || data.getUint32(at, true) !== ENTRY) {
      throw fail(`byte ${at}: expected entry ${i + 1} of ${count} of the zip archive's directory`);
    }
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => data.getUint16(at + field, true));
    const next = at + ENTRY_BYTES + nameBytes + extraBytes + commentBytes;
    if (next > end) throw fail(`byte ${at}: an entry of the zip archive's directory ends behind the directory`);
    const name = new TextDecoder().decode(bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes));
    checkName(name, at, fail);
    if (data.getUint16(at + 8, true) & 1) throw fail(`byte ${at}: ${shown(name)} in the archive is encrypted`);
    const extra = { begin: at + ENTRY_BYTES + nameBytes, end: at + ENTRY_BYTES + nameBytes + extraBytes };
    const [size, packed, local] = wideFields(
      data,
      extra,
      [24, 20, 42].map((field) => data.getUint32(at + field, true)),
    );
    const method = data.getUint16(at + 10, true);
    if (method !== 0 && method !== 8) {
      throw fail(`${shown(name)} in the archive is packed by method ${method}, expected 0 (stored) or 8 (deflate)`);
    }
    if (method === 0 && packed !== size) {
      throw fail(`${shown(name)} in the archive is stored in ${packed} bytes but said to have ${size}`);
    }
    entries.push({ name, method, packed, size, crc: data.getUint32(at + 16, true), local });
    at = next;
  }
  checkSizes(entries, bytes.length, fail);
  return placed(entries, bytes, start, fail);
}

type Fail = (what: string) => InputError;

/** Where the central directory lies: its begin, its end, its number of entries. */
function findDirectory(bytes: Uint8Array, data: DataView, fail: Fail): { at: number; end: number; count: number } {
  let close = bytes.length - END_BYTES;
  const first = Math.max(0, close - MAX_COMMENT);
  while (
    close >= first &&
    !(data.getUint32(close, true) === END && close + END_BYTES + data.getUint16(close + 20, true) === bytes.length)
  ) {
    close--;
  }
  if (close < first) {
    throw fail(`the zip archive has no directory at its end (${bytes.length} bytes): the file was cut short`);
  }
  let end = close;
  let [count, size, at] = [
    data.getUint16(close + 10, true),
    data.getUint32(close + 12, true),
    data.getUint32(close + 16, true),
  ];
  if (close >= 20 && data.getUint32(close - 20, true) === LOCATOR_64) {
    const wide = Number(data.getBigUint64(close - 12, true));
    if (wide + 56 > close - 20 || data.getUint32(wide, true) !== END_64) {
      throw fail(`byte ${close - 20}: the zip archive's Zip64 locator points to ${wide}, where no directory ends`);
    }
    end = wide;
    [count, size, at] = [32, 40, 48].map((field) => Number(data.getBigUint64(wide + field, true)));
  }
  if (at + size > end) {
    throw fail(
      `byte ${close}: the zip archive's directory is said to be bytes ${at} to ${at + size}, expected an end before ` +
        `${end}`,
    );
  }
  return { at, end: at + size, count };
}

/** Zip64 keeps those of size, packed size and offset that do not fit 32 bits in an extra field, in this order. */
function wideFields(data: DataView, extra: { begin: number; end: number }, narrow: readonly number[]): number[] {
  for (let at = extra.begin; at + 4 <= extra.end; at += 4 + data.getUint16(at + 2, true)) {
    if (data.getUint16(at, true) !== 1) continue;
    let field = at + 4;
    const stop = Math.min(extra.end, field + data.getUint16(at + 2, true));
    return narrow.map((value) => {
      if (value !== 0xffffffff || field + 8 > stop) return value;
      field += 8;
      return Number(data.getBigUint64(field - 8, true));
    });
  }
  return [...narrow];
}

function checkName(name: string, at: number, fail: Fail): void {
  const leaves = /^[\\/]|^[a-z]:|\\|\0/i.test(name) || name.split("/").includes("..");
  if (name === "" || leaves) {
    throw fail(`byte ${at}: the archive has a file named ${shown(name)}, expected a path that stays in its folder`);
  }
}

function checkSizes(entries: readonly Entry[], archiveBytes: number, fail: Fail): void {
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  const most = 2 * archiveBytes + MAX_EXTRA_BYTES;
  if (!(total <= most)) {
    throw fail(
      `the archive's files are said to hold ${total} bytes, expected at most ${most} in an archive of ${archiveBytes}`,
    );
  }
}

/** Every entry with the place of its content; contents may not overlap each other or the directory. */
function placed(entries: readonly Entry[], bytes: Uint8Array, directory: number, fail: Fail): Map<string, ZipFile> {
  const data = view(bytes);
  const files = new Map<string, ZipFile>();
  const spans: { name: string; begin: number; end: number }[] = [];
  for (const { name, method, packed, size, crc, local } of entries) {
    if (files.has(name)) throw fail(`the archive has ${shown(name)} twice`);
    if (local + LOCAL_BYTES > directory || data.getUint32(local, true) !== LOCAL) {
      throw fail(`${shown(name)} is said to begin at byte ${local} of the archive, where no file begins`);
    }
    const begin = local + LOCAL_BYTES + data.getUint16(local + 26, true) + data.getUint16(local + 28, true);
    const end = begin + packed;
    if (end > directory) {
      throw fail(
        `${shown(name)} is said to be bytes ${begin} to ${end} of the archive, whose directory begins at ${directory}`,
      );
    }
    spans.push({ name, begin: local, end });
    const read = (): Uint8Array => {
      const packedContent = bytes.subarray(begin, end);
      const content = method === 0 ? packedContent : inflated(packedContent, size, name, fail);
      // PyTorch writes 0 where checksums are switched off.
      if (crc !== 0 && crc32(content) !== crc) {
        throw fail(`${shown(name)} in the archive is damaged: its CRC-32 is not ${crc.toString(16)}`);
      }
      return content;
    };
    files.set(name, { name, size, read });
  }
  spans.sort((a, b) => a.begin - b.begin);
  for (let i = 1; i < spans.length; i++) {
    if (spans[i].begin < spans[i - 1].end) {
      throw fail(`${shown(spans[i - 1].name)} and ${shown(spans[i].name)} overlap in the archive`);
    }
  }
  return files;
}

function inflated(content: Uint8Array, size: number, name: string, fail: Fail): Uint8Array {
  const out = inflateExactly((receive) => new Inflate(receive), content, size);
  if (typeof out === "string") throw fail(`${shown(name)} in the archive ${out}`);
  return out;
}

/** Remainders of all bytes by the reflected polynomial 0xedb88320. */
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? 0xedb88320 ^ (remainder >>> 1) : remainder >>> 1;
  return remainder;
});

function crc32(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) remainder = REMAINDERS[(remainder ^ bytes[i]) & 0xff] ^ (remainder >>> 8);
  return ~remainder >>> 0;
}

function shown(name: string): string {
  return `"${showText(name)}"`;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
