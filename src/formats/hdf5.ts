// formats: an HDF5 file → its groups, attributes and data sets ("HDF5 File Format Specification Version 3.0"), as far
// as h5py and Keras use it. Portable.
//
// Read are superblocks 0 to 3, object headers 1 and 2, groups of symbol tables or of links in their header, attributes
// in headers, text, and data that lie in one piece or in chunks (hdf5Data.ts). What only newer or stranger files have
// is refused by name: dense groups and attributes, links to elsewhere, virtual and external data. docs/decisions/7 says
// why no library reads it.
import { Hdf5Bytes } from "./hdf5Bytes.ts";
import { type DataLayout, type DataType, dataLayout, type Filter, filtersOf, Hdf5Dataset, typeOf } from "./hdf5Data.ts";

export type Hdf5Node = Hdf5Group | Hdf5Dataset;

/** Text, one or many; undefined for values of other kinds. */
export type Hdf5Attribute = string | readonly string[] | undefined;

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

/** A layer in a model in a model … is a dozen deep. */
const MAX_DEPTH = 40;
const MAX_OBJECTS = 40_000;
const MAX_NAME = 1024;
const MAX_PATH = 1024;
const MAX_RANK = 32;

/** What all data sets together may hold beyond twice the file: weights hardly compress. */
const MAX_EXTRA_BYTES = 16 * 2 ** 20;

export function isHdf5(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/** A folder of the file. Its attributes are read on demand. */
export class Hdf5Group {
  readonly path: string;
  readonly members: ReadonlyMap<string, Hdf5Node>;
  readonly #attributes: Attributes;

  constructor(path: string, members: ReadonlyMap<string, Hdf5Node>, attributes: Attributes) {
    this.path = path;
    this.members = members;
    this.#attributes = attributes;
  }

  attribute(name: string): Hdf5Attribute {
    return this.#attributes.read(name);
  }

  /** The object at a path below, its names divided by slashes. */
  at(path: string): Hdf5Node | undefined {
    let node: Hdf5Node | undefined = this;
    for (const name of path.split("/")) node = node instanceof Hdf5Group ? node.members.get(name) : undefined;
    return node;
  }
}

/**
 * The root group of a file, everything in it known but the data. `source` names it in messages.
 * @throws InputError naming the byte and what is wrong there
 */
export function readHdf5(bytes: Uint8Array, source: string): Hdf5Group {
  const file = new Hdf5Bytes(bytes, source);
  if (!isHdf5(bytes)) throw file.fail(0, "no HDF5 file begins here");
  const version = file.u8(8);
  if (version > 3) throw file.fail(8, `superblock version ${version}, expected 0 to 3`);
  const wide = version < 2 ? 13 : 9;
  if (file.u8(wide) !== 8 || file.u8(wide + 1) !== 8) {
    throw file.fail(wide, `offsets of ${file.u8(wide)} and lengths of ${file.u8(wide + 1)} bytes, expected 8 and 8`);
  }
  const base = version < 2 ? (version === 0 ? 24 : 28) : 12;
  if (file.address(base) !== 0)
    throw file.fail(base, "a base address, expected a file that begins with its superblock");
  const end = file.u64(base + 16);
  if (end > bytes.length) {
    throw file.fail(base + 16, `the file should have ${end} bytes, it has ${bytes.length}: it was cut short`);
  }
  // Of the root's symbol table entry (versions 0 and 1) the second field; else the fourth address.
  const root = file.address(version < 2 ? base + 40 : base + 24);
  if (root === undefined) throw file.fail(base, "the file has no root group");
  const reader = new Reader(file);
  const node = reader.object(root, "", 0);
  if (!(node instanceof Hdf5Group)) throw file.fail(root, "the root is a data set, expected a group");
  return node;
}

class Reader {
  readonly #file: Hdf5Bytes;
  #objects = 0;
  #dataBytes = 0;

  constructor(file: Hdf5Bytes) {
    this.#file = file;
  }

  object(at: number, path: string, depth: number): Hdf5Node {
    const file = this.#file;
    if (depth > MAX_DEPTH) throw file.fail(at, `${path} lies ${depth} groups deep, expected at most ${MAX_DEPTH}`);
    if (path.length > MAX_PATH) {
      throw file.fail(at, `a path of ${path.length} characters, expected at most ${MAX_PATH}: ${path.slice(0, 80)}…`);
    }
    if (++this.#objects > MAX_OBJECTS) throw file.fail(at, `has more than ${MAX_OBJECTS} groups and data sets`);
    file.visit(at, path === "" ? "the root" : path);
    const messages = messagesOf(file, at);
    const attributes = new Attributes(file, messages);
    if (messages.some(({ type }) => type === DATASPACE)) return this.#dataset(at, path, messages, attributes);
    const members = new Map<string, Hdf5Node>();
    for (const [name, address] of links(file, messages, path)) {
      if (members.has(name)) throw file.fail(at, `${path}/${name} appears twice`);
      members.set(name, this.object(address, path === "" ? name : `${path}/${name}`, depth + 1));
    }
    return new Hdf5Group(path, members, attributes);
  }

  #dataset(at: number, path: string, messages: readonly Message[], attributes: Attributes): Hdf5Dataset {
    const file = this.#file;
    const only = (type: number, what: string): Message => {
      const found = messages.find((message) => message.type === type);
      if (found === undefined) throw file.fail(at, `${path} has no ${what}`);
      return notShared(file, found, path);
    };
    if (messages.some(({ type }) => type === EXTERNAL)) {
      throw file.fail(at, `${path} keeps its numbers in other files, expected them in this one`);
    }
    const shape = shapeOf(file, only(DATASPACE, "data space").at);
    const type: DataType = typeOf(file, only(DATATYPE, "data type").at);
    const layout: DataLayout = dataLayout(file, only(LAYOUT, "layout").at, path);
    const pipeline = messages.find((message) => message.type === FILTERS);
    const filters: readonly Filter[] =
      pipeline === undefined ? [] : filtersOf(file, notShared(file, pipeline, path).at, path);
    const attribute = (name: string): Hdf5Attribute => attributes.read(name);
    const dataset = new Hdf5Dataset({ file, at, path, shape, type, layout, filters, attribute });
    this.#dataBytes += dataset.byteLength;
    const most = 2 * file.bytes.length + MAX_EXTRA_BYTES;
    if (!(this.#dataBytes <= most)) {
      throw file.fail(
        at,
        `${path} of shape [${shape.join(", ")}] brings the data sets to ${this.#dataBytes} bytes, expected at most ` +
          `${most} in a file of ${file.bytes.length}`,
      );
    }
    return dataset;
  }
}

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly at: number;
  readonly size: number;
}

const DATASPACE = 0x01;
const LINK_INFO = 0x02;
const DATATYPE = 0x03;
const LINK = 0x06;
const EXTERNAL = 0x07;
const LAYOUT = 0x08;
const FILTERS = 0x0b;
const ATTRIBUTE = 0x0c;
const CONTINUATION = 0x10;
const SYMBOL_TABLE = 0x11;
const ATTRIBUTE_INFO = 0x15;

const SHARED = 2;

function notShared(file: Hdf5Bytes, message: Message, path: string): Message {
  if (message.flags & SHARED) throw file.fail(message.at, `${path} shares its description with another object`);
  return message;
}

/** The messages of an object header and of its continuation blocks. */
function messagesOf(file: Hdf5Bytes, at: number): Message[] {
  return file.u8(at) === 1 ? messages1(file, at) : messages2(file, at);
}

function messages1(file: Hdf5Bytes, at: number): Message[] {
  const count = file.u16(at + 2);
  const messages: Message[] = [];
  const blocks = [{ begin: at + 16, end: at + 16 + file.u32(at + 8) }];
  for (const { begin, end } of blocks) {
    for (let next = begin; next + 8 <= end && messages.length < count; ) {
      const message = { type: file.u16(next), size: file.u16(next + 2), flags: file.u8(next + 4), at: next + 8 };
      next = addMessage(file, message, end, messages);
      const block = continuation(file, message);
      if (block !== undefined) blocks.push(block);
    }
  }
  return messages;
}

function messages2(file: Hdf5Bytes, at: number): Message[] {
  file.requireMark(at, "OHDR");
  if (file.u8(at + 4) !== 2) throw file.fail(at, `an object header of version ${file.u8(at + 4)}, expected 1 or 2`);
  const flags = file.u8(at + 5);
  let begin = at + 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
  const sizeBytes = 1 << (flags & 3);
  const size =
    sizeBytes === 8
      ? file.u64(begin)
      : sizeBytes === 4
        ? file.u32(begin)
        : sizeBytes === 2
          ? file.u16(begin)
          : file.u8(begin);
  begin += sizeBytes;
  const ordered = flags & 4 ? 2 : 0;
  const messages: Message[] = [];
  const blocks = [{ begin, end: begin + size }];
  for (const block of blocks) {
    for (let next = block.begin; next + 4 + ordered <= block.end; ) {
      const message = {
        type: file.u8(next),
        size: file.u16(next + 1),
        flags: file.u8(next + 3),
        at: next + 4 + ordered,
      };
      next = addMessage(file, message, block.end, messages);
      const more = continuation(file, message);
      if (more === undefined) continue;
      file.requireMark(more.begin, "OCHK");
      // The mark stands before the messages, a checksum after them.
      blocks.push({ begin: more.begin + 4, end: more.end - 4 });
    }
  }
  return messages;
}

/** @returns where the next one begins */
function addMessage(file: Hdf5Bytes, message: Message, end: number, messages: Message[]): number {
  file.step(message.at);
  const next = message.at + message.size;
  if (next > end)
    throw file.fail(message.at, `a message of ${message.size} bytes runs past its block, which ends at ${end}`);
  messages.push(message);
  return next;
}

function continuation(file: Hdf5Bytes, { type, at }: Message): { begin: number; end: number } | undefined {
  if (type !== CONTINUATION) return undefined;
  const begin = file.address(at);
  if (begin === undefined) throw file.fail(at, "an object header continues nowhere");
  file.visit(begin, "a block of an object header");
  return { begin, end: begin + file.slice(begin, file.u64(at + 8)).length };
}

/** Names and addresses of a group's members. */
function links(file: Hdf5Bytes, messages: readonly Message[], path: string): [name: string, address: number][] {
  const found: [string, number][] = [];
  for (const message of messages) {
    const { type, at } = message;
    if (type === SYMBOL_TABLE) symbols(file, at, path, found);
    else if (type === LINK) found.push(link(file, message, path));
    else if (type === LINK_INFO && file.address(at + 2 + (file.u8(at + 1) & 1 ? 8 : 0)) !== undefined) {
      throw file.fail(
        at,
        `${path || "the root"} lists its members in a fractal heap, as h5py does with libver="latest"; expected the ` +
          "default that Keras writes",
      );
    }
  }
  return found;
}

/** A B-tree whose leaves are lists of names, which stand in a heap. */
function symbols(file: Hdf5Bytes, at: number, path: string, found: [string, number][]): void {
  const [tree, heap] = [file.address(at), file.address(at + 8)];
  if (tree === undefined || heap === undefined) throw file.fail(at, `${path || "the root"} has no symbol table`);
  file.requireMark(heap, "HEAP");
  const [names, length] = [file.address(heap + 24), file.u64(heap + 8)];
  if (names === undefined) throw file.fail(heap, "a heap of names that is nowhere");
  const end = names + file.slice(names, length).length;
  const visit = (node: number, level: number | undefined): void => {
    file.visit(node, "a node of a group");
    if (String.fromCharCode(file.u8(node), file.u8(node + 1)) === "SN") {
      file.requireMark(node, "SNOD");
      const count = file.u16(node + 6);
      for (let i = 0, entry = node + 8; i < count; i++, entry += 40) {
        file.step(entry);
        const begin = names + file.u64(entry);
        const name = file.text(begin, Math.max(0, Math.min(MAX_NAME, end - begin)));
        const header = file.address(entry + 8);
        if (file.u32(entry + 16) === 2 || header === undefined) {
          throw file.fail(entry, `${path}/${name} is a link to elsewhere, expected the object itself`);
        }
        found.push([name, header]);
      }
      return;
    }
    file.requireMark(node, "TREE");
    const own = file.u8(node + 5);
    if (file.u8(node + 4) !== 0 || (level !== undefined && own !== level - 1)) {
      throw file.fail(
        node,
        `a node of level ${own} in a group's tree, expected ${level === undefined ? 0 : level - 1}`,
      );
    }
    const used = file.u16(node + 6);
    for (let i = 0; i < used; i++) {
      const child = file.address(node + 32 + 16 * i);
      if (child === undefined) throw file.fail(node, "a node of a group refers to nothing");
      visit(child, own);
    }
  };
  visit(tree, undefined);
}

function link(file: Hdf5Bytes, { at, size }: Message, path: string): [string, number] {
  const flags = file.u8(at + 1);
  let next = at + 2;
  const kind = flags & 8 ? file.u8(next++) : 0;
  next += (flags & 4 ? 8 : 0) + (flags & 16 ? 1 : 0);
  const sizeBytes = 1 << (flags & 3);
  const length = sizeBytes === 1 ? file.u8(next) : sizeBytes === 2 ? file.u16(next) : file.u32(next);
  next += sizeBytes;
  if (length > MAX_NAME || next + length + 8 > at + size) throw file.fail(at, `a link's name of ${length} bytes`);
  const name = file.text(next, length);
  const address = kind === 0 ? file.address(next + length) : undefined;
  if (address === undefined) {
    throw file.fail(at, `${path}/${name} is a link to elsewhere, expected the object itself`);
  }
  return [name, address];
}

function shapeOf(file: Hdf5Bytes, at: number): number[] {
  const [version, rank] = [file.u8(at), file.u8(at + 1)];
  if (version !== 1 && version !== 2) throw file.fail(at, `a data space of version ${version}, expected 1 or 2`);
  if (rank > MAX_RANK) throw file.fail(at, `a data space of ${rank} axes, expected at most ${MAX_RANK}`);
  const begin = at + (version === 1 ? 8 : 4);
  return Array.from({ length: rank }, (_, axis) => file.u64(begin + 8 * axis));
}

/** The attributes of one object. */
class Attributes {
  readonly #file: Hdf5Bytes;
  readonly #messages: readonly Message[];

  constructor(file: Hdf5Bytes, messages: readonly Message[]) {
    this.#file = file;
    this.#messages = messages.filter(({ type }) => type === ATTRIBUTE || type === ATTRIBUTE_INFO);
  }

  read(name: string): Hdf5Attribute {
    const file = this.#file;
    for (const message of this.#messages) {
      const { type, at } = message;
      if (type === ATTRIBUTE_INFO) {
        if (file.address(at + 2 + (file.u8(at + 1) & 1 ? 2 : 0)) === undefined) continue;
        throw file.fail(at, "attributes in a fractal heap, expected them in the object's header, where Keras has them");
      }
      const value = this.#value(message, name);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /** The value when it is text and the name is that one. */
  #value({ at, size }: Message, wanted: string): Hdf5Attribute {
    const file = this.#file;
    const version = file.u8(at);
    if (version < 1 || version > 3) throw file.fail(at, `an attribute of version ${version}, expected 1 to 3`);
    const sizes = [2, 4, 6].map((field) => file.u16(at + field));
    const padded = (length: number): number => (version === 1 ? Math.ceil(length / 8) * 8 : length);
    const name = at + (version === 3 ? 9 : 8);
    if (file.text(name, Math.min(sizes[0], MAX_NAME)) !== wanted) return undefined;
    if (version > 1 && file.u8(at + 1) & 1) throw file.fail(at, `the attribute ${wanted} has a shared type`);
    const type = name + padded(sizes[0]);
    const space = type + padded(sizes[1]);
    const data = space + padded(sizes[2]);
    const kind = typeOf(file, type);
    const shape = shapeOf(file, space);
    const count = shape.reduce((product, length) => product * length, 1);
    if (count === 0) return [];
    const room = at + size - data;
    if (kind.bytes === 0 || count * kind.bytes > room) {
      throw file.fail(at, `the attribute ${wanted} has ${count} values of ${kind.bytes} bytes in ${room} bytes`);
    }
    if (kind.kind !== "text" && kind.kind !== "long text") return undefined;
    const texts = Array.from({ length: count }, (_, i) => {
      const value = data + i * kind.bytes;
      return kind.kind === "text" ? file.text(value, kind.bytes) : longText(file, value);
    });
    return shape.length === 0 ? texts[0] : texts;
  }
}

/** Text of any length lies in a heap of the file: its length, the heap's address, its number there. */
function longText(file: Hdf5Bytes, at: number): string {
  const [length, index] = [file.u32(at), file.u32(at + 12)];
  const heap = file.address(at + 4);
  if (length === 0 || heap === undefined || heap === 0) return "";
  file.requireMark(heap, "GCOL");
  const end = heap + file.slice(heap, file.u64(heap + 8)).length;
  for (let object = heap + 16; object + 16 <= end; ) {
    file.step(object);
    const [own, size] = [file.u16(object), file.u64(object + 8)];
    if (own === 0) break;
    if (own === index) {
      if (length > size) throw file.fail(at, `a text of ${length} bytes in a place of ${size}`);
      return file.text(object + 16, length);
    }
    object += 16 + Math.ceil(size / 8) * 8;
  }
  throw file.fail(at, `a text should be object ${index} of the heap at ${heap}, which has none`);
}
