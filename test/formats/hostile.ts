// Test support: files that mean harm or are broken, by what is wrong with them. Pickles are written opcode by opcode,
// archives byte by byte.
import { zipSync } from "fflate";
import { encodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import type { Tensor } from "../../src/model/tensor.ts";

export interface HostileFile {
  readonly what: string;
  readonly bytes: Uint8Array;
  /** What the sentence must say. */
  readonly says: RegExp;
}

type Bytes = string | number | Uint8Array | readonly Bytes[];

/** Text is latin-1, numbers are bytes. */
export function join(...parts: readonly Bytes[]): Uint8Array {
  const out: number[] = [];
  const add = (part: Bytes): void => {
    if (typeof part === "number") out.push(part);
    else if (typeof part === "string") for (const character of part) out.push(character.charCodeAt(0));
    else for (const item of part) add(item);
  };
  add(parts);
  return Uint8Array.from(out);
}

const little = (value: number | bigint, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

const text = (value: string): Bytes => ["X", little(value.length, 4), value];
const global = (module: string, name: string): Bytes => `c${module}\n${name}\n`;
const int = (value: number): Bytes => ["J", little(value, 4)];
const wide = (value: bigint): Bytes => [0x8a, 8, little(value, 8)];
const tuple = (...items: readonly Bytes[]): Bytes => ["(", items, "t"];
const dict = (...items: readonly (readonly [string, Bytes])[]): Bytes => [
  "}(",
  items.map(([key, value]) => [text(key), value]),
  "u",
];
const call = (module: string, name: string, ...args: readonly Bytes[]): Bytes => [
  global(module, name),
  tuple(...args),
  "R",
];
const storage = (key: string, count: number, type = "FloatStorage"): Bytes => [
  tuple(text("storage"), global("torch", type), text(key), text("cpu"), int(count)),
  "Q",
];
const ordered = call("collections", "OrderedDict");

interface View {
  readonly from?: Bytes;
  readonly offset?: Bytes;
  readonly shape?: Bytes;
  readonly strides?: Bytes;
}

/** A tensor [1, 2, 1, 1] of storage "0", of 4 elements, with what is to be wrong. */
const tensor = ({ from = storage("0", 4), offset = int(0), shape, strides }: View = {}): Bytes =>
  call(
    "torch._utils",
    "_rebuild_tensor_v2",
    from,
    offset,
    shape ?? tuple(int(1), int(2), int(1), int(1)),
    strides ?? tuple(int(2), int(1), int(1), int(1)),
    0x89,
    ordered,
  );

const pickle = (...body: readonly Bytes[]): Uint8Array => join(0x80, 2, ...body, ".");

/** PyTorch's zip archive around a pickle. */
export function torchZip(
  root: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = { "0": new Uint8Array(16) },
): Uint8Array {
  const data = Object.entries(storages).map(([key, bytes]) => [`net/data/${key}`, bytes] as const);
  return zipSync(Object.fromEntries([["net/data.pkl", root], ...data]), { level: 0 });
}

const MAGIC = join(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, ".");

/** PyTorch's older stream around a pickle. */
export function torchLegacy(
  root: Uint8Array,
  storages: readonly (readonly [string, Uint8Array])[] = [["0", new Uint8Array(16)]],
): Uint8Array {
  const keys = pickle(
    "](",
    storages.map(([key]) => text(key)),
    "e",
  );
  const data = storages.map(([, bytes]) => [little(bytes.length / 4, 8), bytes]);
  return join(MAGIC, pickle("M", little(1001, 2)), pickle(dict(["little_endian", 0x88])), root, keys, data);
}

const FUNCTIONS: readonly (readonly [module: string, name: string])[] = [
  ["os", "system"],
  ["os", "popen"],
  ["posix", "system"],
  ["nt", "system"],
  ["subprocess", "Popen"],
  ["subprocess", "check_output"],
  ["builtins", "eval"],
  ["builtins", "exec"],
  ["__builtin__", "eval"],
  ["__builtin__", "execfile"],
  ["builtins", "getattr"],
  ["builtins", "__import__"],
  ["builtins", "open"],
  ["builtins", "compile"],
  ["builtins", "globals"],
  ["builtins", "type"],
  ["runpy", "_run_code"],
  ["importlib", "import_module"],
  ["importlib.util", "spec_from_loader"],
  ["pickle", "loads"],
  ["_pickle", "Unpickler"],
  ["marshal", "loads"],
  ["ctypes", "CDLL"],
  ["socket", "create_connection"],
  ["shutil", "rmtree"],
  ["webbrowser", "open"],
  ["code", "InteractiveInterpreter"],
  ["codecs", "decode"],
  ["pty", "spawn"],
  ["timeit", "timeit"],
  ["pdb", "run"],
  ["bdb", "Bdb"],
  ["cProfile", "runctx"],
  ["functools", "reduce"],
  ["operator", "attrgetter"],
  ["operator", "methodcaller"],
  ["itertools", "starmap"],
  ["types", "FunctionType"],
  ["types", "CodeType"],
  ["sys", "setprofile"],
  ["threading", "Thread"],
  ["multiprocessing.util", "spawnv_passfds"],
  ["tempfile", "mkdtemp"],
  ["urllib.request", "urlopen"],
  ["http.server", "HTTPServer"],
  ["sqlite3", "connect"],
  ["zipfile", "ZipFile"],
  ["io", "FileIO"],
  ["copyreg", "__newobj__"],
  ["pip", "main"],
  ["torch", "load"],
  ["torch.hub", "load"],
  ["torch.serialization", "load"],
  ["torch", "serialization.os.system"],
  ["torch", "serialization.os.Popen"],
  ["numpy.testing._private.utils", "runstring"],
  ["numpy", "load"],
  ["mypackage.evil", "run"],
];

const hiddenCalls: readonly (readonly [string, Bytes])[] = [
  ["INST", ["(", text("id"), "ios\nsystem\n"]],
  ["OBJ", ["(", global("os", "system"), text("id"), "o"]],
  ["NEWOBJ", [global("os", "system"), tuple(text("id")), 0x81]],
  ["NEWOBJ_EX", [global("os", "system"), tuple(text("id")), "}", 0x92]],
  ["STACK_GLOBAL", [text("os"), text("system"), 0x93, tuple(text("id")), "R"]],
  [
    "STACK_GLOBAL from the memo",
    [text("os"), "q", 0, "0", text("system"), "q", 1, "0h", 0, "h", 1, 0x93, tuple(text("id")), "R"],
  ],
  [
    "beside the weights",
    dict(["state_dict", dict(["conv.weight", tensor()])], ["hook", call("os", "system", text("id"))]),
  ],
  [
    "inside a tensor's hooks",
    call("torch._utils", "_rebuild_tensor_v2", storage("0", 4), call("os", "system", text("id"))),
  ],
  ["a partial", call("functools", "partial", global("os", "system"), text("id"))],
  ["in a persistent id", [tuple(text("storage"), global("os", "system"), text("0"), text("cpu"), int(4)), "Q"]],
  [
    "getattr of getattr",
    call("builtins", "getattr", call("builtins", "getattr", global("os", "path"), text("os")), text("system")),
  ],
];

const brokenCalls: readonly (readonly [what: string, body: Bytes, says: RegExp])[] = [
  ["nested REDUCE", [call("mypackage", "Class"), tuple(text("id")), "R"], /a call of an object of mypackage\.Class/],
  ["a call of a text", [text("os.system"), tuple(text("id")), "R"], /a call of a string/],
  ["a call of a dict", ["}", tuple(), "R"], /a call of a dict/],
  ["a call without arguments", [global("mypackage", "Class"), "NR"], /without a list of arguments/],
  ["attributes of a class", [global("mypackage", "Class"), "}b"], /attributes for mypackage\.Class/],
  ["attributes of a number", [int(1), "}b"], /attributes for a number/],
  ["a class without a name", [int(1), int(2), 0x93], /a class without a name/],
];

const brokenPickles: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
  ["nothing", join(), /was cut short|0x04 is no operation/],
  ["only a protocol", join(0x80, 2), /was cut short|0x04 is no operation/],
  ["protocol 9", join(0x80, 9, "N."), /protocol 9/],
  ["STOP at once", pickle(), /stops with 0 values/],
  ["STOP with two values", pickle("NN"), /stops with 2 values/],
  ["STOP inside a group", pickle("(N"), /stops with 1 values/],
  ["POP of nothing", pickle("0N"), /a value is missing/],
  ["TUPLE without MARK", pickle("Nt"), /never began/],
  ["TUPLE3 of two", pickle("NN", 0x87), /a value is missing/],
  ["a group that reaches below its MARK", pickle("N(", 0x85), /a value is missing/],
  ["an extension", pickle(0x82, 1), /0x82 is no operation/],
  ["a buffer from outside", pickle(0x97), /0x97 is no operation/],
  ["an unknown operation", pickle(0xff), /0xff is no operation/],
  ["a value never kept", pickle("h", 7), /value 7 is wanted again/],
  ["a value never kept, far away", pickle("j", little(0xffffffff, 4)), /value 4294967295/],
  ["a line without end", join(0x80, 2, "cos"), /no end/],
  ["a whole number of letters", pickle("Iabc\n"), /"abc" is no whole number/],
  ["a whole number of 10,000 digits", pickle(`L${"9".repeat(10_000)}L\n`), /is no whole number/],
  ["a whole number of 1 GiB", pickle(0x8b, little(2 ** 30, 4)), /1073741824 bytes/],
  ["a text of 4 GiB", pickle("X", little(0xffffffff, 4)), /wants 4294967295 bytes/],
  ["a text of 2⁶³ bytes", pickle(0x8d, little(2n ** 63n, 8)), /wants 9223372036854776000 bytes/],
  ["bytes of 4 GiB", pickle("B", little(0xffffffff, 4)), /wants 4294967295 bytes/],
  ["bytes of 2⁶⁴ − 1", pickle(0x8e, little(2n ** 64n - 1n, 8)), /bytes where/],
  ["a bytearray of 2⁴⁰", pickle(0x96, little(2n ** 40n, 8)), /wants 1099511627776/],
  ["a string of 2 GiB", pickle("T", little(0x7fffffff, 4)), /wants 2147483647/],
  ["a key without a value", pickle("}(", text("a"), "u"), /a key without a value/],
  ["items for a list", pickle("](NNu"), /items for a list/],
  ["items for a dict", pickle("}(Ne"), /items for a dict/],
  ["an item for a number", pickle(int(1), "Na"), /items for a number/],
  ["a million MARKs", pickle("(".repeat(1_000_001)), /goes on after 500000/],
  ["a million DUPs", pickle("N", "2".repeat(1_000_001)), /goes on after 500000/],
  ["a million dicts", pickle("}".repeat(1_000_001)), /more than 100000 lists/],
  ["a million lists", pickle("]".repeat(1_000_001)), /more than 100000 lists/],
  ["a tuple 200,000 deep", pickle("N", new Uint8Array(200_000).fill(0x85)), /more than 100000 lists/],
  ["half a million values kept", pickle(repeated(["N", 0x94], 500_001)), /goes on after 500000/],
  [
    "a dict of 300,000 numbers",
    pickle("}(", repeated([int(7), "N"], 1), manyKeys(300_000), "u"),
    /goes on after|without weights|holds/,
  ],
  [
    "a set made 100,000 times of a list of 50,000",
    pickle(
      "](",
      "N".repeat(50_000),
      "eq",
      0,
      "0",
      repeated([global("builtins", "set"), "h", 0, 0x85, "R0"], 50_000),
      "N",
    ),
    /goes on after 500000/,
  ],
  [
    "attributes copied into 10,000 objects",
    pickle(
      "}(",
      Array.from({ length: 2_000 }, (_, i) => ["K", i & 255, "N"]),
      Array.from({ length: 2_000 }, (_, i) => ["M", little(i, 2), "N"]),
      "uq",
      0,
      "0",
      repeated([global("mypackage", "Class"), ")", 0x81, "h", 0, "b0"], 10_000),
      "N",
    ),
    /goes on after 500000/,
  ],
  ["a persistent id that is a number", pickle(int(1), "Q"), /data outside the pickle/],
  ["a persistent id of another kind", pickle(tuple(text("file"), text("/etc/passwd")), "Q"), /data outside the pickle/],
  ["a persistent id as a line", pickle("Pstorage\n"), /data outside the pickle/],
];

function repeated(part: Bytes, times: number): Bytes {
  const one = join(part);
  const all = new Uint8Array(one.length * times);
  for (let i = 0; i < times; i++) all.set(one, i * one.length);
  return all;
}

/** Number, None, number, None … */
function manyKeys(count: number): Uint8Array {
  const out = new Uint8Array(6 * count);
  const data = new DataView(out.buffer);
  for (let i = 0; i < count; i++) {
    out[6 * i] = 0x4a;
    data.setInt32(6 * i + 1, i, true);
    out[6 * i + 5] = 0x4e;
  }
  return out;
}

const big = wide(2n ** 53n - 1n);
const brokenTensors: readonly (readonly [what: string, tensor: Bytes, says: RegExp])[] = [
  ["a storage of an unknown class", tensor({ from: storage("0", 4, "QInt8Storage") }), /class torch\.QInt8Storage/],
  ["a storage that is said to be larger", tensor({ from: storage("0", 5) }), /5 (elements|$)|expect 5/],
  ["a storage that is said to be smaller", tensor({ from: storage("0", 3) }), /3 elements|expect 3/],
  ["a storage of another width", tensor({ from: storage("0", 4, "DoubleStorage") }), /32 bytes|cut short|ends behind/],
  ["a storage that is not there", tensor({ from: storage("1", 4) }), /"1" is not in|used by no tensor/],
  ["a storage named like a path", tensor({ from: storage("../../etc/passwd", 4) }), /is not in|used by no tensor/],
  ["a storage of a negative size", tensor({ from: storage("0", -4) }), /data outside the pickle/],
  ["no storage", tensor({ from: "N" }), /without a storage/],
  ["a dict for a storage", tensor({ from: "}" }), /without a storage/],
  ["an offset behind the storage", tensor({ offset: int(3) }), /ends behind its storage/],
  ["a negative offset", tensor({ offset: int(-1) }), /whole numbers of at least 0/],
  ["an offset of 2⁵³", tensor({ offset: big }), /ends behind its storage/],
  ["a shape behind the storage", tensor({ shape: tuple(int(1), int(5), int(1), int(1)) }), /ends behind its storage/],
  ["a negative size", tensor({ shape: tuple(int(1), int(-2), int(1), int(1)) }), /whole numbers of at least 0/],
  ["a size of 2⁵³", tensor({ shape: tuple(big, big, big, big) }), /ends behind|overlap/],
  ["a size that is no number", tensor({ shape: tuple(text("1"), int(2), int(1), int(1)) }), /whole numbers/],
  [
    "a shape of 100 axes",
    tensor({
      shape: tuple(...Array.from({ length: 100 }, () => int(1))),
      strides: tuple(...Array.from({ length: 100 }, () => int(1))),
    }),
    /whole numbers/,
  ],
  ["a shape that is none", tensor({ shape: int(4) }), /whole numbers/],
  ["strides of another rank", tensor({ strides: tuple(int(1)) }), /whole numbers/],
  [
    "negative strides",
    tensor({ offset: int(1), strides: tuple(int(1), int(-1), int(1), int(1)) }),
    /expected strides of at least 0/,
  ],
  ["a stride of 0", tensor({ strides: tuple(int(2), int(0), int(1), int(1)) }), /overlap/],
  [
    "2⁵⁰ elements by a stride of 0",
    tensor({ shape: tuple(wide(2n ** 50n), int(1), int(1), int(1)), strides: tuple(int(0), int(1), int(1), int(1)) }),
    /overlap/,
  ],
  [
    "rows that overlap",
    tensor({ shape: tuple(int(2), int(2), int(1), int(1)), strides: tuple(int(1), int(1), int(1), int(1)) }),
    /overlap/,
  ],
  ["a stride of 2⁵³", tensor({ strides: tuple(int(1), big, int(1), int(1)) }), /ends behind/],
];

/** A dict that holds itself: key 0 of the memo. */
const ring: Bytes = ["}q", 0, text("self"), "h", 0, "s"];
const brokenRoots: readonly (readonly [what: string, root: Bytes, says: RegExp])[] = [
  ["None", "N", /holds None/],
  ["a number", int(7), /holds a number/],
  ["a text", text("weights"), /holds a string/],
  ["a list", "]", /holds a list of 0/],
  ["one tensor", tensor(), /holds one tensor of shape \[1, 2, 1, 1\]/],
  ["an empty dict", "}", /without weights; its entries are none/],
  ["a dict of numbers", dict(["epoch", int(3)], ["lr", int(1)]), /its entries are epoch, lr/],
  [
    "an object without weights",
    [global("mypackage", "Class"), ")", 0x81, dict(["epoch", int(1)]), "b"],
    /object is a mypackage\.Class/,
  ],
  ["a dict that holds itself", ring, /without weights/],
  [
    "doubled 30 times through the memo",
    [
      dict(["a", int(1)]),
      Array.from({ length: 30 }, (_, i) => ["q", i, "0}(", text("l"), "h", i, text("r"), "h", i, "u"]),
    ],
    /without weights/,
  ],
  [
    "a module that holds itself",
    [global("mypackage", "Net"), ")", 0x81, "q", 0, dict(["_modules", dict(["self", ["h", 0]])]), "b"],
    /expected named weights|holds a object/,
  ],
  [
    "modules doubled 30 times",
    [
      moduleOf(dict()),
      Array.from({ length: 30 }, (_, i) => ["q", i, "0", moduleOf(dict(["l", ["h", i]], ["r", ["h", i]]))]),
    ],
    /expected named weights|holds a object/,
  ],
  ["weights of no network", dict(["conv.weight", tensor()]), /are no DenseNet/],
  ["weights under a control character", dict(["\u001b[31m.weight", tensor()]), /are no DenseNet/],
];

function moduleOf(modules: Bytes): Bytes {
  return [global("mypackage", "Net"), ")", 0x81, dict(["_modules", modules]), "b"];
}

function pickled(): HostileFile[] {
  const roots: readonly (readonly [what: string, root: Uint8Array, says: RegExp])[] = [
    ...FUNCTIONS.map(
      ([module, name]) =>
        [
          `a call of ${module}.${name}`,
          pickle(call(module, name, text("touch /tmp/pwned"))),
          /byte \d+ of the pickle: it calls /,
        ] as const,
    ),
    ...hiddenCalls.map(
      ([what, body]) => [`os.system by ${what}`, pickle(body), /byte \d+ of the pickle: it calls /] as const,
    ),
    ...brokenCalls.map(([what, body, says]) => [what, pickle(body), says] as const),
    ...brokenPickles,
    ...brokenTensors.map(([what, body, says]) => [what, pickle(dict(["conv.weight", body])), says] as const),
    ...brokenRoots.map(([what, body, says]) => [`the root is ${what}`, pickle(body), says] as const),
  ];
  return roots.flatMap(([what, root, says]) => [
    { what: `zip · ${what}`, bytes: torchZip(root), says },
    { what: `legacy · ${what}`, bytes: torchLegacy(root, includesStorage(root) ? undefined : []), says },
  ]);
}

/** A storage that no tensor uses would be the first thing to be refused. */
function includesStorage(root: Uint8Array): boolean {
  return Buffer.from(root).includes("Storage");
}

const good = pickle(dict(["conv.weight", tensor()]));

/** A change of bytes at the `index`-th place where `signature` stands. */
function patched(bytes: Uint8Array, signature: number, offset: number, change: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  const at = find(bytes, signature);
  out.set(change, at + offset);
  return out;
}

function find(bytes: Uint8Array, signature: number): number {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length; at++) if (data.getUint32(at, true) === signature) return at;
  throw new RangeError(`no signature ${signature.toString(16)}`);
}

const ENTRY = 0x02014b50;
const END = 0x06054b50;
const LOCAL = 0x04034b50;

function zips(): HostileFile[] {
  const zip = torchZip(good);
  const named = (name: string): Uint8Array =>
    zipSync({ "net/data.pkl": good, "net/data/0": new Uint8Array(16), [name]: join("x") }, { level: 0 });
  const deflated = zipSync({ "net/data.pkl": new Uint8Array(200_000), "net/data/0": new Uint8Array(16) }, { level: 9 });
  const bomb = zipSync({ "net/data.pkl": new Uint8Array(30_000_000), "net/data/0": new Uint8Array(16) }, { level: 9 });
  const twice = named("net/data.pkX");
  // The last name in the directory becomes the first one's.
  for (let at = 0; at < twice.length; at++) if (twice[at] === 0x58) twice[at] = 0x6c;
  const files: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
    ["a name with ..", named("net/../../etc/passwd"), /stays in its folder/],
    ["a name of ..", named(".."), /stays in its folder/],
    ["a name from the root", named("/etc/passwd"), /stays in its folder/],
    ["a name with a drive", named("C:/windows"), /stays in its folder/],
    ["a name with backslashes", named("net\\..\\evil"), /stays in its folder/],
    ["a name with NUL", named("net/a\0b"), /stays in its folder/],
    ["a name twice", twice, /twice/],
    ["an encrypted file", patched(zip, ENTRY, 8, join(1)), /is encrypted/],
    ["a packing of its own", patched(zip, ENTRY, 10, join(14, 0)), /packed by method 14/],
    ["stored in more than it has", patched(zip, ENTRY, 24, little(7, 4)), /stored in/],
    ["said to hold 4 GiB", patched(deflated, ENTRY, 24, little(0xfffffff0, 4)), /expected at most/],
    ["inflates to more than it says", patched(deflated, ENTRY, 24, little(100, 4)), /inflates to more/],
    ["inflates to less than it says", patched(deflated, ENTRY, 24, little(200_001, 4)), /inflates to less/],
    ["30 MB in 30 kB", bomb, /expected at most/],
    ["30 MB in 30 kB, said to be 1 MB", patched(bomb, ENTRY, 24, little(1_000_000, 4)), /inflates to more/],
    [
      "a broken deflate stream",
      patched(deflated, LOCAL, 30 + 12, join(0xff, 0xff, 0xff)),
      /no deflate stream|inflates to/,
    ],
    ["a wrong CRC-32", patched(zip, ENTRY, 16, little(1, 4)), /CRC-32/],
    ["a file that begins elsewhere", patched(zip, ENTRY, 42, little(5, 4)), /where no file begins/],
    ["a file that begins behind the end", patched(zip, ENTRY, 42, little(0x7fffffff, 4)), /where no file begins/],
    [
      "a file that ends behind the directory",
      patched(patched(zip, ENTRY, 20, little(100_000, 4)), ENTRY, 24, little(100_000, 4)),
      /whose directory begins/,
    ],
    ["two files in the same place", overlapping(zip), /overlap/],
    [
      "a directory that is said to begin behind the end",
      patched(zip, END, 16, little(0x7fffffff, 4)),
      /directory is said to be/,
    ],
    ["a directory that is said to be longer", patched(zip, END, 12, little(0x7fffffff, 4)), /directory is said to be/],
    ["a directory of 65,535 entries", patched(zip, END, 10, little(65_535, 2)), /expected entry/],
    ["a directory that is no directory", patched(zip, END, 16, little(0, 4)), /expected entry|ends behind/],
    ["a comment that is longer than the file", patched(zip, END, 20, little(9, 2)), /no directory at its end/],
    ["cut in the directory", zip.subarray(0, zip.length - 30), /no directory at its end/],
    ["a Zip64 locator that points nowhere", zip64(zip, 12_345n), /no directory ends/],
    ["a Zip64 locator that points to 2⁶³", zip64(zip, 2n ** 63n), /no directory ends/],
    ["no data.pkl", zipSync({ "a.txt": join("hello") }), /0 files named data\.pkl.*a\.txt/],
    ["two data.pkl", zipSync({ "a/data.pkl": good, "b/data.pkl": good }), /2 files named data\.pkl/],
    [
      "a big-endian machine",
      zipSync({ "net/data.pkl": good, "net/byteorder": join("big"), "net/data/0": new Uint8Array(16) }, { level: 0 }),
      /big-endian/,
    ],
    [
      "an archive in an archive",
      zipSync({ "net/data.pkl": zip, "net/data/0": new Uint8Array(16) }, { level: 0 }),
      /byte 0 of the pickle/,
    ],
    ["a directory alone", patched(zip.subarray(zip.length - 22), END, 10, little(0, 2)), /is of no kind|an empty zip/],
  ];
  return files.map(([what, bytes, says]) => ({ what: `zip · ${what}`, bytes, says }));
}

/** The second entry of the directory points to the first one's file. */
function overlapping(zip: Uint8Array): Uint8Array {
  const out = Uint8Array.from(zip);
  const first = find(out, ENTRY);
  const second = first + 4 + find(out.subarray(first + 4), ENTRY);
  const data = new DataView(out.buffer);
  data.setUint32(second + 42, data.getUint32(first + 42, true), true);
  return out;
}

function zip64(zip: Uint8Array, at: bigint): Uint8Array {
  const end = find(zip, END);
  return join(
    zip.subarray(0, end),
    little(0x07064b50, 4),
    little(0, 4),
    little(at, 8),
    little(1, 4),
    zip.subarray(end),
  );
}

function legacies(): HostileFile[] {
  const files: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
    ["protocol 7", join(MAGIC, pickle(int(7))), /protocol 7/],
    ["nothing after the magic number", MAGIC, /was cut short/],
    [
      "a big-endian machine",
      join(MAGIC, pickle("M", little(1001, 2)), pickle(dict(["little_endian", 0x89]))),
      /big-endian/,
    ],
    ["no storages at the end", torchLegacy(good, []), /"0" is not in the file/],
    ["a storage that no tensor uses", torchLegacy(good, [["7", new Uint8Array(16)]]), /used by no tensor/],
    ["a storage cut short", torchLegacy(good).subarray(0, -3), /ends behind the file/],
    [
      "a storage of another size",
      torchLegacy(good, [["0", new Uint8Array(20)]]),
      /has 5 elements, its tensors expect 4/,
    ],
    ["a storage of a negative size", withCount(-1n), /ends behind the file/],
    ["a storage of 2⁶² elements", withCount(2n ** 62n), /ends behind the file/],
    [
      "a list of keys that calls",
      join(torchLegacy(good, []).subarray(0, -6), pickle(call("os", "system", text("id")))),
      /it calls os\.system/,
    ],
  ];
  return files.map(([what, bytes, says]) => ({ what: `legacy · ${what}`, bytes, says }));
}

function withCount(count: bigint): Uint8Array {
  const bytes = torchLegacy(good);
  bytes.set(little(count & (2n ** 64n - 1n), 8), bytes.length - 24);
  return bytes;
}

function headed(json: string, data = 0): Uint8Array {
  return join(little(json.length, 8), json, new Uint8Array(data));
}

function safetensors(): HostileFile[] {
  const entry = (fields: string): string => `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]${fields}}}`;
  const of = (dtype: string, shape: string, offsets: string): string =>
    `{"w":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}}`;
  const files: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
    ["a header longer than the file", join(little(1000, 8), "{}"), /header longer than the file/],
    ["a header of 2⁴⁷ bytes", join(little(2n ** 47n, 8), "{}"), /header longer than the file/],
    ["a header that is no JSON", headed("{w:1}"), /not JSON/],
    ["a header that ends early", headed('{"w":'), /not JSON/],
    ["a header 50,000 deep", headed(`{"w":${"[".repeat(50_000)}${"]".repeat(50_000)}}`), /must be an object|not JSON/],
    [
      "a header of 3 million empty lists",
      headed(`{"w":[${"[],".repeat(3_000_000)}[]]}`),
      /3000003 lists and objects, expected at most/,
    ],
    [
      "a header of 29,000 entries",
      headed(
        `{${Array.from({ length: 29_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[],"data_offsets":[${i},${i + 1}]}`).join()}}`,
        29_000,
      ),
      /are no DenseNet/,
    ],
    [
      "a header of 200,000 entries",
      headed(
        `{${Array.from({ length: 200_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[],"data_offsets":[${i},${i + 1}]}`).join()}}`,
        200_000,
      ),
      /600001 lists and objects, expected at most/,
    ],
    ["an entry that is null", headed('{"w":null}'), /must be an object/],
    ["an unknown dtype", headed(of("F4", "[1]", "[0,4]"), 4), /dtype "F4"/],
    ["the prototype for a dtype", headed(of("__proto__", "[1]", "[0,4]"), 4), /dtype "__proto__"/],
    ["a negative size", headed(of("F32", "[-1]", "[0,4]"), 4), /shape \[-1\]/],
    ["half a size", headed(of("F32", "[0.5]", "[0,4]"), 4), /shape \[0\.5\]/],
    ["a size of 1e300", headed(of("F32", "[1e300]", "[0,4]"), 4), /shape/],
    ["sizes whose product is past 2⁵³", headed(of("F32", "[4503599627370496,4503599627370496]", "[0,4]"), 4), /needs/],
    ["offsets backwards", headed(of("F32", "[1]", "[4,0]"), 4), /needs 4 bytes, data_offsets give -4/],
    ["offsets behind the file", headed(of("F32", "[1]", "[4,8]"), 4), /begins at byte 4/],
    ["offsets of another size", headed(of("F32", "[2]", "[0,4]"), 4), /needs 8 bytes/],
    ["an unknown field", headed(entry(',"x":1'), 4), /unknown field "x"/],
    ["bytes behind the last tensor", headed(entry(""), 9), /bytes follow/],
    ["fewer bytes than the header says", headed(entry(""), 3), /truncated/],
    [
      "a tensor twice",
      headed(
        `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
        4,
      ),
      /twice/,
    ],
    [
      "two tensors in one place",
      headed(
        `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
        4,
      ),
      /overlap/,
    ],
    ["metadata of numbers", headed('{"__metadata__":{"a":1}}'), /must be a string/],
    ["no tensors", headed("{}"), /are no DenseNet/],
    [
      "a tensor named __proto__",
      headed(`{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
      /are no DenseNet/,
    ],
    ["a tensor without a name", headed(`{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), /are no DenseNet/],
    [
      "a name of 100 kB",
      headed(`{"${"a".repeat(100_000)}":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
      /are no DenseNet/,
    ],
  ];
  return files.map(([what, bytes, says]) => ({ what: `safetensors · ${what}`, bytes, says }));
}

const others: readonly HostileFile[] = (
  [
    ["nothing", join(), /is empty/],
    ["one byte", join(0), /of no kind/],
    ["text", join("hello, world\n"), /of no kind/],
    ["JSON", join('{"epoch": 3}'), /a JSON text/],
    ["an HTML page", join("<!DOCTYPE html><html></html>"), /an HTML page/],
    ["a Git LFS pointer", join("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), /a Git LFS pointer/],
    ["a gzip archive", join(0x1f, 0x8b, 8, 0, 0, 0), /a gzip archive/],
    ["a PNG image", join(0x89, "PNG\r\n\u001a\n"), /a PNG image/],
    [
      "an HDF5 file that ends after its signature",
      join(0x89, "HDF\r\n\u001a\n"),
      /byte 8: 1 bytes lie past the file's end/,
    ],
    ["an ONNX file", join(0x08, 0x07, 0x12, 0x07, "pytorch"), /an ONNX file/],
    ["a numpy array", join(0x93, "NUMPY", 1, 0), /a numpy array/],
    ["a tar archive", join(new Uint8Array(257), "ustar", new Uint8Array(250)), /a tar archive/],
    ["a pickle of another tool", pickle(call("os", "system", text("id"))), /a pickle that torch\.save did not write/],
    ["zeros", new Uint8Array(4096), /of no kind/],
  ] as const
).map(([what, bytes, says]) => ({ what: `another file · ${what}`, bytes, says }));

/**
 * Nets that are nearly whole: `tensors` are those of a small DenseNet-BC with two blocks, (2, 1) layers, an ImageNet
 * stem and 5 classes.
 */
export function brokenNets(tensors: ReadonlyMap<string, Tensor>): HostileFile[] {
  const f32 = (shape: readonly number[], value = 0.5): Tensor => ({
    dtype: "F32",
    shape,
    data: new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value),
  });
  type Change = (net: Map<string, Tensor>) => void;
  const without =
    (pattern: RegExp): Change =>
    (net) => {
      for (const key of net.keys()) if (pattern.test(key)) net.delete(key);
    };
  const set =
    (key: string, tensor: Tensor): Change =>
    (net) => {
      net.set(key, tensor);
    };
  const renamed =
    (from: RegExp, to: string): Change =>
    (net) => {
      for (const [key, tensor] of [...net]) {
        if (!from.test(key)) continue;
        net.delete(key);
        net.set(key.replace(from, to), tensor);
      }
    };
  const copied =
    (prefix: string): Change =>
    (net) => {
      for (const [key, tensor] of [...net]) net.set(`${prefix}${key}`, tensor);
    };
  const { shape: [classes, features] = [] } = tensors.get("classifier.weight") ?? f32([]);
  const nets: readonly (readonly [what: string, change: Change, says: RegExp])[] = [
    [
      "a misspelt key",
      renamed(/norm5\.running_var$/, "norm5.running_vra"),
      /norm5\.running_vra \(features\.norm5\.running_var\?\)/,
    ],
    [
      "a misspelt γ",
      renamed(/norm5\.weight$/, "norm5.weigth"),
      /features\.norm5\.weigth \(features\.norm5\.weight\?\)/,
    ],
    ["a γ without β", without(/norm5\.bias/), /not understood: features\.norm5/],
    [
      "layer norms beside",
      (net) => {
        net.set("ln.weight", f32([4]));
        net.set("ln.bias", f32([4]));
      },
      /not understood: ln\.weight, ln\.bias/,
    ],
    ["no stem", without(/conv0/), /from one 3×3 or 7×7 convolution, found none/],
    [
      "a stem of 5×5",
      set("features.conv0.weight", f32([4, 3, 5, 5])),
      /from one 3×3 or 7×7 convolution, found features\.conv0/,
    ],
    ["two stems", set("features.conv1.weight", f32([4, 3, 7, 7])), /found features\.conv0 .* and features\.conv1/],
    ["no norm behind a 7×7 stem", without(/norm0/), /no batch norm of 4 maps behind/],
    ["no last norm", without(/norm5/), /no last batch norm/],
    [
      "a layer without its second convolution",
      without(/denselayer2\.conv2/),
      /denselayer2 has .*denselayer2\.norm1.*expected as many/,
    ],
    ["a missing layer", without(/denseblock1\.denselayer1\./), /reads|one is missing|come in/],
    ["a missing transition", without(/transition1/), /2 dense blocks have 0 transitions/],
    ["a transition too many", set("features.transition2.conv.weight", f32([2, 4, 1, 1])), /expected one classifier/],
    ["a missing block", without(/denseblock2/), /1 dense blocks have 1 transitions/],
    ["no dense layers", without(/denselayer/), /no group of batch norms and convolutions in it is a dense layer/],
    ["two networks", copied("teacher."), /both block/],
    [
      "a convolution that reads too many maps",
      set("features.transition1.conv.weight", f32([4, 9, 1, 1])),
      /transitions|no place|maps/,
    ],
    [
      "a layer that adds other maps",
      set("features.denseblock1.denselayer2.conv2.weight", f32([3, 8, 3, 3])),
      /adds 3 maps/,
    ],
    ["two classifiers", set("head.weight", f32([classes, features])), /expected one classifier/],
    [
      "a classifier that is transposed",
      set("classifier.weight", f32([features, classes])),
      /not understood: classifier\.bias, classifier\.weight/,
    ],
    [
      "a hidden layer before the classifier",
      set("hidden.weight", f32([features, features])),
      /expected one classifier/,
    ],
    [
      "volumes for images",
      set("features.conv0.weight", f32([4, 3, 7, 7, 7])),
      /not understood: features\.conv0\.weight/,
    ],
    ["an attention beside the layers", set("attention.conv.weight", f32([4, 4, 1, 1])), /classifier|no place/],
    [
      "NaN",
      set("features.norm5.weight", f32([tensors.get("features.norm5.weight")?.shape[0] ?? 0], Number.NaN)),
      /holds NaN/,
    ],
    [
      "a negative variance",
      set("features.norm5.running_var", f32([tensors.get("features.norm5.weight")?.shape[0] ?? 0], -1)),
      /expected variances of at least 0/,
    ],
    ["infinity in the classifier", set("classifier.bias", f32([classes], Number.POSITIVE_INFINITY)), /holds Infinity/],
    [
      "whole numbers for weights",
      set("features.norm5.bias", {
        dtype: "U8",
        shape: [tensors.get("features.norm5.weight")?.shape[0] ?? 0],
        data: new Uint8Array(tensors.get("features.norm5.weight")?.shape[0] ?? 0),
      }),
      /not understood: features\.norm5/,
    ],
  ];
  return nets.map(([what, change, says]) => {
    const net = new Map(tensors);
    change(net);
    return { what: `nearly a DenseNet · ${what}`, bytes: encodeSafetensors(net), says };
  });
}

export function hostileFiles(): readonly HostileFile[] {
  return [...pickled(), ...zips(), ...legacies(), ...safetensors(), ...others];
}
