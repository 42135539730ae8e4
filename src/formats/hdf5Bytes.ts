// formats: the bytes of an HDF5 file, read within their bounds and within a budget. Portable.
//
// An HDF5 file is a graph of addresses: trees can share nodes, blocks can refer to themselves, and a few bytes can ask
// for very much. Three rules keep reading linear in the file, whatever it says: no structure is read twice where a tree
// is meant, each costs a step of a budget that grows with the file, and nothing outside the file is read.
import { InputError } from "../errors.ts";
import { showText } from "../show.ts";

/** An address of all ones: nothing is there. */
const UNDEFINED = 0xffff_ffff_ffff_ffffn;

/** What no honest file comes near: each structure takes at least so many bytes of it. */
const BYTES_PER_STEP = 8;
const MOST_STEPS = 1_000_000;

export class Hdf5Bytes {
  readonly bytes: Uint8Array;
  readonly #source: string;
  readonly #view: DataView;
  readonly #visited = new Set<number>();
  #steps: number;
  #text: number;

  constructor(bytes: Uint8Array, source: string) {
    this.bytes = bytes;
    this.#source = source;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#steps = Math.min(MOST_STEPS, 1000 + bytes.length / BYTES_PER_STEP);
    this.#text = 2 * bytes.length + 2 ** 16;
  }

  fail(at: number, what: string): InputError {
    return new InputError(`${this.#source}: byte ${at}: ${showText(what, 500)}`, { file: this.#source, at });
  }

  u8(at: number): number {
    return this.bytes[this.#within(at, 1)];
  }

  u16(at: number): number {
    return this.#view.getUint16(this.#within(at, 2), true);
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#within(at, 4), true);
  }

  /** A length or a size. @throws InputError above 2⁵³ */
  u64(at: number): number {
    const value = this.#view.getBigUint64(this.#within(at, 8), true);
    if (value > Number.MAX_SAFE_INTEGER) throw this.fail(at, `a size of ${value}, expected less than 2⁵³`);
    return Number(value);
  }

  /** An address in the file, or undefined where it is all ones. @throws InputError past the file's end */
  address(at: number): number | undefined {
    const value = this.#view.getBigUint64(this.#within(at, 8), true);
    if (value === UNDEFINED) return undefined;
    if (value >= BigInt(this.bytes.length)) {
      throw this.fail(
        at,
        `an address of ${value}, expected one within the file's ${this.bytes.length} bytes: it was cut short or is damaged`,
      );
    }
    return Number(value);
  }

  slice(at: number, length: number): Uint8Array {
    const begin = this.#within(at, length);
    return this.bytes.subarray(begin, begin + length);
  }

  /** `text` stands there, as the mark of a structure. */
  requireMark(at: number, mark: string): void {
    const found = String.fromCharCode(...this.slice(at, mark.length));
    if (found !== mark) throw this.fail(at, `expected "${mark}", found ${JSON.stringify(found)}`);
  }

  /** Up to the first NUL. */
  text(at: number, length: number): string {
    const bytes = this.slice(at, length);
    const end = bytes.indexOf(0);
    const content = end < 0 ? bytes : bytes.subarray(0, end);
    this.#text -= content.length + 1;
    if (this.#text < 0) throw this.fail(at, "names more text than the file has");
    return new TextDecoder().decode(content);
  }

  /** One structure more. @throws InputError when the file names more of them than it can hold */
  step(at: number): void {
    if (--this.#steps < 0) {
      throw this.fail(at, `names more structures than a file of ${this.bytes.length} bytes can hold`);
    }
  }

  /** A node of a tree, which only one other may refer to. */
  visit(at: number, what: string): void {
    this.step(at);
    if (this.#visited.has(at)) {
      throw this.fail(at, `${what} is referred to twice: a loop or a second name, expected a tree`);
    }
    this.#visited.add(at);
  }

  #within(at: number, length: number): number {
    if (!(at >= 0 && length >= 0 && at + length <= this.bytes.length)) {
      throw this.fail(
        at,
        `${length} bytes lie past the file's end (${this.bytes.length} bytes): it was cut short or is damaged`,
      );
    }
    return at;
  }
}
