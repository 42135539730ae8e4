// formats: a machine for Python's pickles (protocols 0 to 5; Lib/pickletools.py describes every opcode) that builds
// inert data. Portable.
//
// A pickle is a program whose calls could be anything. Here nothing is called: a few constructors of data have a
// meaning in `reducers`, the instances of unknown classes become records of their state, and what would call a function
// is refused by name. Room is bounded by counts, because one byte of a pickle can ask for an object of hundreds.
import { InputError } from "../errors.ts";
import { showText } from "../show.ts";

/** A class or function by name, never looked up. */
export class PickleGlobal {
  readonly module: string;
  readonly name: string;

  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }

  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An instance of a class that is unknown here: what the pickle gave it, nothing run. */
export class PickleRecord {
  /** The class, `torch.nn.modules.conv.Conv2d`. */
  readonly type: string;
  readonly args: readonly unknown[];
  /** Attributes by name; for subclasses of dict also their items. */
  readonly state = new Map<unknown, unknown>();

  constructor(type: string, args: readonly unknown[]) {
    this.type = type;
    this.args = args;
  }
}

export interface PickleOptions {
  /** Constructors with a meaning, by `module.name`. They get the pickle's arguments and may throw PickleProblem. */
  readonly reducers?: ReadonlyMap<string, (args: readonly unknown[]) => unknown>;
  /** What a persistent id stands for. */
  readonly persistent?: (id: unknown) => unknown;
}

/** What is wrong, without the place, which the machine adds. */
export class PickleProblem extends Error {}

/** Opcodes and copied entries: DenseNet-264 with its optimizer's state takes about 60,000. */
const MAX_OPERATIONS = 500_000;
/** Lists, tuples, dicts, sets and records. */
const MAX_CONTAINERS = 100_000;
/** Bytes of an integer: what is longer than 64 bits is no size and no counter. */
const MAX_INTEGER_BYTES = 256;

/** The root of the pickle that begins at `start`, and where it ends. @throws InputError naming `source` and the byte */
export function readPickle(
  bytes: Uint8Array,
  source: string,
  options: PickleOptions = {},
  start = 0,
): { readonly value: unknown; readonly end: number } {
  const machine = new Machine(bytes, options, start);
  try {
    return { value: machine.run(), end: machine.at };
  } catch (error) {
    if (!(error instanceof PickleProblem)) throw error;
    throw new InputError(`${source}: byte ${machine.opcodeAt} of the pickle: ${showText(error.message, 600)}`, {
      file: source,
      at: machine.opcodeAt,
    });
  }
}

class Machine {
  at: number;
  opcodeAt: number;
  readonly #bytes: Uint8Array;
  readonly #data: DataView;
  readonly #options: PickleOptions;
  readonly #stack: unknown[] = [];
  /** Heights of the stack at which MARKs stand. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  #containers = 0;
  #operations = 0;

  constructor(bytes: Uint8Array, options: PickleOptions, start: number) {
    this.#bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#options = options;
    this.at = start;
    this.opcodeAt = start;
  }

  run(): unknown {
    for (;;) {
      this.opcodeAt = this.at;
      this.#spend(1);
      const opcode = this.#byte();
      if (opcode === 0x2e) {
        if (this.#stack.length !== 1 || this.#marks.length > 0) {
          throw new PickleProblem(`it stops with ${this.#stack.length} values, expected one`);
        }
        return this.#stack[0];
      }
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    const stack = this.#stack;
    switch (String.fromCharCode(opcode)) {
      case "\x80": {
        const version = this.#byte();
        if (version > 5) throw new PickleProblem(`protocol ${version}, expected at most 5`);
        return;
      }
      case "\x95": // FRAME
        this.#length(8);
        return;
      case "(":
        this.#marks.push(stack.length);
        return;
      case "0":
        if (this.#marks.at(-1) === stack.length) this.#marks.pop();
        else this.#pop();
        return;
      case "1":
        this.#popMark();
        return;
      case "2":
        stack.push(this.#top());
        return;

      case "N":
        stack.push(null);
        return;
      case "\x88":
        stack.push(true);
        return;
      case "\x89":
        stack.push(false);
        return;
      case "I": {
        const text = this.#line();
        stack.push(text === "00" ? false : text === "01" ? true : this.#textInteger(text));
        return;
      }
      case "L":
        stack.push(this.#textInteger(this.#line().replace(/L$/, "")));
        return;
      case "F":
        stack.push(Number(this.#line()));
        return;
      case "J":
        stack.push(this.#data.getInt32(this.#take(4), true));
        return;
      case "K":
        stack.push(this.#byte());
        return;
      case "M":
        stack.push(this.#data.getUint16(this.#take(2), true));
        return;
      case "\x8a":
        stack.push(this.#integer(this.#byte()));
        return;
      case "\x8b":
        stack.push(this.#integer(this.#length(4)));
        return;
      case "G":
        stack.push(this.#data.getFloat64(this.#take(8), false));
        return;

      case "S":
        stack.push(this.#line().replace(/^(['"])(.*)\1$/s, "$2"));
        return;
      case "V":
        stack.push(this.#line());
        return;
      case "T":
        stack.push(latin1(this.#content(this.#length(4))));
        return;
      case "U":
        stack.push(latin1(this.#content(this.#byte())));
        return;
      case "X":
        stack.push(this.#text(this.#length(4)));
        return;
      case "\x8c":
        stack.push(this.#text(this.#byte()));
        return;
      case "\x8d":
        stack.push(this.#text(this.#length(8)));
        return;
      case "B":
        stack.push(this.#content(this.#length(4)));
        return;
      case "C":
        stack.push(this.#content(this.#byte()));
        return;
      case "\x8e":
      case "\x96":
        stack.push(this.#content(this.#length(8)));
        return;

      case "]":
        stack.push(this.#container([]));
        return;
      case "l":
        stack.push(this.#container(this.#popMark()));
        return;
      case ")":
        stack.push(this.#container([]));
        return;
      case "t":
        stack.push(this.#container(this.#popMark()));
        return;
      case "\x85":
      case "\x86":
      case "\x87":
        stack.push(this.#container(this.#popMany(opcode - 0x84)));
        return;
      case "a":
        this.#append([this.#pop()]);
        return;
      case "e":
        this.#append(this.#popMark());
        return;
      case "}":
        stack.push(this.#container(new Map()));
        return;
      case "d": {
        const items = this.#popMark();
        stack.push(this.#container(new Map()));
        this.#setItems(items);
        return;
      }
      case "s":
        this.#setItems(this.#popMany(2));
        return;
      case "u":
        this.#setItems(this.#popMark());
        return;
      case "\x8f":
        stack.push(this.#container([]));
        return;
      case "\x90":
        this.#append(this.#popMark());
        return;
      case "\x91":
        stack.push(this.#container(this.#popMark()));
        return;

      case "c": {
        const module = this.#line();
        stack.push(this.#global(module, this.#line()));
        return;
      }
      case "\x93": {
        const [module, name] = this.#popMany(2);
        if (typeof module !== "string" || typeof name !== "string") throw new PickleProblem("a class without a name");
        stack.push(this.#global(module, name));
        return;
      }
      case "R": {
        const [callee, args] = this.#popMany(2);
        stack.push(this.#call(callee, args));
        return;
      }
      case "\x81": {
        const [type, args] = this.#popMany(2);
        stack.push(this.#call(type, args));
        return;
      }
      case "\x92": {
        const [type, args] = this.#popMany(3);
        stack.push(this.#call(type, args));
        return;
      }
      case "i": {
        const module = this.#line();
        const type = this.#global(module, this.#line());
        stack.push(this.#call(type, this.#popMark()));
        return;
      }
      case "o": {
        const [type, ...args] = this.#popMark();
        stack.push(this.#call(type, args));
        return;
      }
      case "b":
        this.#build(this.#pop());
        return;
      case "P":
        stack.push(this.#persistent(this.#line()));
        return;
      case "Q":
        stack.push(this.#persistent(this.#pop()));
        return;

      case "p":
        this.#memo.set(Number(this.#line()), this.#top());
        return;
      case "q":
        this.#memo.set(this.#byte(), this.#top());
        return;
      case "r":
        this.#memo.set(this.#data.getUint32(this.#take(4), true), this.#top());
        return;
      case "\x94":
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case "g":
        this.#remember(Number(this.#line()));
        return;
      case "h":
        this.#remember(this.#byte());
        return;
      case "j":
        this.#remember(this.#data.getUint32(this.#take(4), true));
        return;
      default:
        throw new PickleProblem(`0x${opcode.toString(16).padStart(2, "0")} is no operation that a file of weights has`);
    }
  }

  #spend(operations: number): void {
    this.#operations += operations;
    if (this.#operations > MAX_OPERATIONS) throw new PickleProblem(`it goes on after ${MAX_OPERATIONS} operations`);
  }

  #take(count: number): number {
    const from = this.at;
    if (!(count <= this.#bytes.length - from)) {
      throw new PickleProblem(
        `it wants ${count} bytes where ${this.#bytes.length - from} are left: it was cut short or damaged`,
      );
    }
    this.at += count;
    return from;
  }

  #byte(): number {
    return this.#bytes[this.#take(1)];
  }

  /** A length of 4 or 8 bytes; what does not fit the file fails when it is taken. */
  #length(bytes: 4 | 8): number {
    const from = this.#take(bytes);
    return bytes === 4 ? this.#data.getUint32(from, true) : Number(this.#data.getBigUint64(from, true));
  }

  #content(length: number): Uint8Array {
    const from = this.#take(length);
    return this.#bytes.subarray(from, from + length);
  }

  #text(length: number): string {
    return utf8Decoder.decode(this.#content(length));
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.at);
    if (end < 0) throw new PickleProblem("a line of text has no end: it was cut short or damaged");
    const line = latin1(this.#bytes.subarray(this.at, end));
    this.at = end + 1;
    return line.replace(/\r$/, "");
  }

  #textInteger(text: string): number | bigint {
    if (!/^-?\d{1,600}$/.test(text)) throw new PickleProblem(`${JSON.stringify(text.slice(0, 40))} is no whole number`);
    return narrow(BigInt(text));
  }

  /** Two's complement, little-endian. */
  #integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) throw new PickleProblem(`a whole number of ${length} bytes`);
    const digits = this.#content(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(digits[i]);
    return narrow(length === 0 ? 0n : BigInt.asIntN(8 * length, value));
  }

  #top(): unknown {
    if (this.#stack.length === (this.#marks.at(-1) ?? 0)) throw new PickleProblem("a value is missing");
    return this.#stack[this.#stack.length - 1];
  }

  #pop(): unknown {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) throw new PickleProblem("a value is missing");
    return this.#stack.splice(this.#stack.length - count);
  }

  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw new PickleProblem("a group ends that never began");
    return this.#stack.splice(mark);
  }

  #remember(index: number): void {
    if (!this.#memo.has(index)) throw new PickleProblem(`value ${index} is wanted again but was never kept`);
    this.#stack.push(this.#memo.get(index));
  }

  #container<T>(value: T): T {
    if (++this.#containers > MAX_CONTAINERS)
      throw new PickleProblem(`more than ${MAX_CONTAINERS} lists, dicts and objects`);
    return value;
  }

  #append(values: readonly unknown[]): void {
    const list = this.#top();
    if (Array.isArray(list)) for (const value of values) list.push(value);
    // Of a subclass of list nothing is wanted but that it is there.
    else if (!(list instanceof PickleRecord)) throw new PickleProblem(`items for ${describe(list)}, expected a list`);
  }

  #setItems(items: readonly unknown[]): void {
    const target = this.#top();
    const dict = target instanceof PickleRecord ? target.state : target;
    if (!(dict instanceof Map)) throw new PickleProblem(`items for ${describe(target)}, expected a dict`);
    if (items.length % 2 !== 0) throw new PickleProblem("a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }

  #global(module: string, name: string): PickleGlobal {
    if (!NAME.test(module) || !NAME.test(name)) throw new PickleProblem("a class whose name is none of Python's");
    const global = new PickleGlobal(module, name);
    const root = module.split(".")[0];
    if (REFUSED_MODULES.has(root) && !HARMLESS.has(global.path)) throw refusal(global);
    return global;
  }

  /** The instance that a call would make. Classes are told from functions by their capital, as Python writes them. */
  #call(callee: unknown, args: unknown): unknown {
    if (!(callee instanceof PickleGlobal)) throw new PickleProblem(`a call of ${describe(callee)}, expected a class`);
    if (!Array.isArray(args)) throw new PickleProblem(`a call of ${callee.path} without a list of arguments`);
    const reducer = BUILT_IN.get(callee.path) ?? this.#options.reducers?.get(callee.path);
    if (reducer !== undefined) {
      if (Array.isArray(args[0])) this.#spend(args[0].length);
      return this.#container(reducer(args));
    }
    if (!HARMLESS.has(callee.path) && !/^_*[A-Z]\w*(\._*[A-Z]\w*)*$/.test(callee.name)) throw refusal(callee);
    // copyreg._reconstructor(class, base, state) is how protocols 0 and 1 make an instance.
    const made = callee.path.endsWith("._reconstructor") ? args[0] : callee;
    return this.#container(new PickleRecord(made instanceof PickleGlobal ? made.path : callee.path, args));
  }

  #build(state: unknown): void {
    const target = this.#top();
    if (!(target instanceof PickleRecord)) {
      // Attributes of a dict or a tensor (`_metadata`, hooks) are nothing that is wanted here.
      if (target instanceof Map || (typeof target === "object" && target !== null && !(target instanceof PickleGlobal)))
        return;
      throw new PickleProblem(`attributes for ${describe(target)}, expected an object`);
    }
    // With slots a class gives two dicts.
    for (const attributes of Array.isArray(state) ? state : [state]) {
      if (!(attributes instanceof Map)) continue;
      this.#spend(attributes.size);
      for (const [name, value] of attributes) target.state.set(name, value);
    }
  }

  #persistent(id: unknown): unknown {
    if (this.#options.persistent === undefined)
      throw new PickleProblem("data from outside the pickle, of which there are none");
    return this.#container(this.#options.persistent(id));
  }
}

/** Dotted identifiers, as far as they must be told from damage; `<locals>` stands in names of classes inside functions. */
const NAME = /^[\p{L}\p{N}_.<>]{1,200}$/u;

function refusal(global: PickleGlobal): PickleProblem {
  return new PickleProblem(
    `it calls ${global.path.slice(0, 100)}; only data are read here and nothing is run: save the weights alone, torch.save(model.state_dict(), …)`,
  );
}

/** Constructors that make plain data. Tuples, lists and sets are arrays here. */
const BUILT_IN: ReadonlyMap<string, (args: readonly unknown[]) => unknown> = new Map(
  ["builtins", "__builtin__"]
    .flatMap((module): [string, (args: readonly unknown[]) => unknown][] => [
      [`${module}.set`, listOf],
      [`${module}.frozenset`, listOf],
      [`${module}.list`, listOf],
      [`${module}.tuple`, listOf],
      [`${module}.dict`, dictOf],
    ])
    .concat([["collections.OrderedDict", dictOf]]),
);

function listOf([items]: readonly unknown[]): unknown[] {
  return Array.isArray(items) ? items : [];
}

/** Of nothing, a dict or a list of pairs. */
function dictOf([items]: readonly unknown[]): Map<unknown, unknown> {
  if (items instanceof Map) return items;
  const dict = new Map<unknown, unknown>();
  if (Array.isArray(items)) {
    for (const pair of items) if (Array.isArray(pair)) dict.set(pair[0], pair[1]);
  }
  return dict;
}

/** Modules of Python that reach outside data. Naming anything of them but the HARMLESS is refused. */
const REFUSED_MODULES: ReadonlySet<string> = new Set(
  `__builtin__ builtins asyncio atexit bdb cProfile code codecs _codecs codeop commands copyreg copy_reg ctypes dis distutils
   doctest ensurepip ftplib functools gc getpass glob http idlelib imaplib imp importlib inspect io itertools lib2to3 linecache logging mailcap
   marshal mmap multiprocessing nt operator _operator os pathlib pdb pickle _pickle pickletools pip pkgutil platform popen2 poplib posix posixpath
   profile pstats pty pydoc runpy setuptools shelve shutil signal site smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig tarfile
   telnetlib tempfile test threading _thread timeit trace traceback turtle types unittest urllib urllib2 uu venv webbrowser winreg wsgiref xml xmlrpc zipfile zipimport`.split(
    /\s+/,
  ),
);

/** Data of Python's library and of numpy's that lie beside weights, and types that are only named. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...["builtins", "__builtin__"].flatMap((module) =>
    "bool int long float complex str unicode bytes bytearray set frozenset list tuple dict object slice range xrange NoneType"
      .split(" ")
      .map((name) => `${module}.${name}`),
  ),
  ...["copyreg", "copy_reg"].map((module) => `${module}._reconstructor`),
  ...["PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"].flatMap((name) => [
    `pathlib.${name}`,
    `pathlib._local.${name}`,
  ]),
  "_codecs.encode",
  "types.SimpleNamespace",
  "functools.partial",
  "datetime.datetime",
  "datetime.date",
  "datetime.timedelta",
  "datetime.timezone",
  "collections.defaultdict",
  "collections.deque",
  ...["numpy.core.multiarray", "numpy._core.multiarray"].flatMap((module) => [
    `${module}.scalar`,
    `${module}._reconstruct`,
  ]),
  ...["numpy.core.numeric", "numpy._core.numeric"].map((module) => `${module}._frombuffer`),
  "numpy.dtype",
  "numpy.ndarray",
  "torch.device",
]);

const utf8Decoder = new TextDecoder();
const latin1Decoder = new TextDecoder("latin1");

function narrow(value: bigint): number | bigint {
  return BigInt.asIntN(54, value) === value ? Number(value) : value;
}

function latin1(bytes: Uint8Array): string {
  return latin1Decoder.decode(bytes);
}

function describe(value: unknown): string {
  if (value instanceof PickleGlobal) return value.path.slice(0, 100);
  if (value instanceof PickleRecord) return `an object of ${value.type.slice(0, 100)}`;
  if (Array.isArray(value)) return "a list";
  if (value instanceof Map) return "a dict";
  return value === null ? "None" : `a ${typeof value}`;
}
