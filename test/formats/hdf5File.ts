// Test support: HDF5 files written byte by byte, whose group trees and object headers can be wrong in ways that no
// library writes.

/** Superblock 0, the root's header, its heap of names; the tree of its members begins at `TREE`. */
const ROOT = 96;
const HEAP = 160;
const NAMES = 192;
export const TREE = 256;

export class Hdf5File {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
    this.text(0, "\x89HDF\r\n\u001a\n").u8(13, 8, 8).u64(24, 0, -1, length, -1, 0, ROOT);
    this.u8(ROOT, 1)
      .u16(ROOT + 2, 1)
      .u32(ROOT + 8, 24);
    this.message(ROOT + 16, 0x11, TREE, HEAP);
    this.text(HEAP, "HEAP").u64(HEAP + 8, 64, 0, NAMES);
    this.text(NAMES, "\0layers\0");
  }

  /** Words of 64 bits; −1 is an address of all ones. */
  u64(at: number, ...values: readonly (number | bigint)[]): this {
    for (const [i, value] of values.entries())
      this.#view.setBigUint64(at + 8 * i, BigInt.asUintN(64, BigInt(value)), true);
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  u8(at: number, ...values: readonly number[]): this {
    this.bytes.set(values, at);
    return this;
  }

  /** Latin-1. */
  text(at: number, text: string): this {
    return this.u8(at, ...[...text].map((character) => character.charCodeAt(0)));
  }

  /** A message of an object header of version 1, of two words. */
  message(at: number, type: number, ...words: readonly (number | bigint)[]): this {
    return this.u16(at, type)
      .u16(at + 2, 8 * words.length)
      .u64(at + 8, ...words);
  }

  /** A node of a group's tree. */
  node(at: number, level: number, children: readonly number[]): this {
    this.text(at, "TREE")
      .u8(at + 4, 0, level)
      .u16(at + 6, children.length)
      .u64(at + 8, -1, -1);
    for (const [i, child] of children.entries()) this.u64(at + 24 + 16 * i, 0, child);
    return this;
  }

  /** A leaf: addresses of members, all of one name. */
  leaf(at: number, members: readonly number[], count = members.length): this {
    this.text(at, "SNOD")
      .u8(at + 4, 1)
      .u16(at + 6, count);
    for (const [i, member] of members.entries()) this.u64(at + 8 + 40 * i, 1, member);
    return this;
  }
}

/** Bytes of a node with 16 children. */
const NODE_BYTES = 24 + 16 * 16 + 8;

/** A group's tree of `levels` levels, each with one node to which all 16 entries of the one above refer: 16^levels leaves. */
export function sharedTree(levels: number): Uint8Array {
  const file = new Hdf5File(TREE + (levels + 1) * NODE_BYTES);
  for (let i = 0; i < levels; i++) {
    const below = TREE + (i + 1) * NODE_BYTES;
    file.node(TREE + i * NODE_BYTES, levels - 1 - i, new Array<number>(16).fill(below));
  }
  return file.leaf(TREE + levels * NODE_BYTES, []).bytes;
}

export const hdf5Faults: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
  ["a tree of 16¹⁰ leaves in 3 kB", sharedTree(10), /referred to twice/],
  ["a node that is its own child", new Hdf5File(600).node(TREE, 1, [TREE]).bytes, /referred to twice/],
  [
    "a node of a level that is not the next",
    new Hdf5File(900).node(TREE, 5, [600]).node(600, 3, []).bytes,
    /a node of level 3 in a group's tree, expected 4/,
  ],
  [
    "a node of 65,535 children",
    new Hdf5File(600).node(TREE, 0, []).u16(TREE + 6, 65_535).bytes,
    /byte 0: expected "TREE"/,
  ],
  [
    "a leaf of 65,535 members",
    new Hdf5File(900).node(TREE, 0, [600]).leaf(600, [], 65_535).bytes,
    /8 bytes lie past the file's end/,
  ],
  ["the root as its own member", new Hdf5File(900).node(TREE, 0, [600]).leaf(600, [ROOT]).bytes, /referred to twice/],
  [
    "two members of one name",
    new Hdf5File(900).node(TREE, 0, [600]).leaf(600, [800, 832]).u8(800, 1).u8(832, 1).bytes,
    /layers appears twice/,
  ],
  [
    "a heap of 2⁶⁰ bytes",
    new Hdf5File(600).node(TREE, 0, []).u64(HEAP + 8, 2n ** 60n).bytes,
    /a size of 1152921504606846976/,
  ],
  [
    "a heap that ends past the file",
    new Hdf5File(600).node(TREE, 0, []).u64(HEAP + 8, 5000).bytes,
    /5000 bytes lie past/,
  ],
  ["a tree past the file's end", new Hdf5File(600).u64(ROOT + 24, 2n ** 40n).bytes, /an address of 1099511627776/],
  [
    "a header that continues in itself",
    new Hdf5File(600).message(ROOT + 16, 0x10, ROOT + 16, 24).u16(ROOT + 2, 9).bytes,
    /referred to twice/,
  ],
  [
    "a header that continues at its own start",
    new Hdf5File(600).message(ROOT + 16, 0x10, ROOT, 400).u16(ROOT + 2, 9).bytes,
    /referred to twice/,
  ],
  [
    "a message that leaves its header",
    new Hdf5File(600).u16(ROOT + 18, 60_000).bytes,
    /a message of 60000 bytes runs past its block/,
  ],
  ["a superblock of version 9", new Hdf5File(600).u8(8, 9).bytes, /superblock version 9/],
  ["offsets of 4 bytes", new Hdf5File(600).u8(13, 4).bytes, /offsets of 4/],
  ["a base address", new Hdf5File(600).u64(24, 512).bytes, /a base address/],
  [
    "a file that is said to be longer",
    new Hdf5File(600).u64(40, 601).bytes,
    /should have 601 bytes, it has 600: it was cut short/,
  ],
  ["a root that is nowhere", new Hdf5File(600).u64(64, -1).bytes, /no root group/],
  ["the signature alone", new Hdf5File(600).bytes.slice(0, 8), /1 bytes lie past the file's end/],
];
