// data: CIFAR-10 and CIFAR-100, binary version (Krizhevsky 2009): a folder or the original .tar.gz. Records are one or
// two label bytes and 3072 pixel bytes, planar R, G, B of 32×32. Every size and label is checked before anything trains
// on them.
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { InputError } from "../errors.ts";
import { bytesSplit, type Dataset, type Split, sharedBytes } from "./dataset.ts";
import { cifar10Normalization, cifar100Normalization } from "./normalization.ts";
import { readRegularFile } from "./readFile.node.ts";
import { readTarGz } from "./tarFiles.node.ts";

export const CIFAR_SIDE = 32;
export const CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE;
export const CIFAR_CITATION =
  "Alex Krizhevsky. Learning Multiple Layers of Features from Tiny Images. Technical report, University of Toronto, " +
  "2009.";

/** No CIFAR archive unpacks to more; what does is something else. */
const LARGEST_ARCHIVE = 256 * 2 ** 20;
/** The archives have eight and six. */
const MOST_ENTRIES = 1000;

interface Layout {
  readonly name: string;
  readonly folder: string;
  readonly train: readonly string[];
  readonly test: readonly string[];
  readonly classNames: string;
  readonly classes: number;
  /** Bytes before the pixels; the last one is the label. CIFAR-100's first is the superclass. */
  readonly labelBytes: 1 | 2;
  readonly recordsPerTrainFile: number;
}

const LAYOUTS: Readonly<Record<"cifar10" | "cifar100", Layout>> = {
  cifar10: {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    train: [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`),
    test: ["test_batch.bin"],
    classNames: "batches.meta.txt",
    classes: 10,
    labelBytes: 1,
    recordsPerTrainFile: 10_000,
  },
  cifar100: {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    train: ["train.bin"],
    test: ["test.bin"],
    classNames: "fine_label_names.txt",
    classes: 100,
    labelBytes: 2,
    recordsPerTrainFile: 50_000,
  },
};
const TEST_RECORDS = 10_000;
const SUPERCLASSES = 20;

export type CifarKind = keyof typeof LAYOUTS;

/** Where the files of a CIFAR version were found. */
export interface CifarSource {
  readonly kind: CifarKind;
  /** What messages call it: the folder or archive. */
  readonly place: string;
  /** Undefined when there is no such file. */
  read(file: string): Promise<Uint8Array | undefined>;
}

/** Files of either version that are in `names`. */
function recognise(names: readonly string[]): CifarKind | undefined {
  const has = (kind: CifarKind): boolean =>
    [...LAYOUTS[kind].train, ...LAYOUTS[kind].test].some((file) => names.includes(file));
  return has("cifar10") ? "cifar10" : has("cifar100") ? "cifar100" : undefined;
}

/**
 * Finds CIFAR in `path`: the binary files, the folder that holds their folder, or the .tar.gz. Undefined when it is
 * none of them.
 */
export async function findCifar(path: string): Promise<CifarSource | undefined> {
  if ((await stat(path)).isFile()) return await fromArchive(path);
  for (const folder of [path, ...Object.values(LAYOUTS).map((layout) => join(path, layout.folder))]) {
    const names = await readdir(folder).catch((): string[] => []);
    const kind = recognise(names);
    if (kind !== undefined) {
      const read = async (file: string): Promise<Uint8Array | undefined> =>
        names.includes(file) ? await readBytes(join(folder, file)) : undefined;
      return { kind, place: folder, read };
    }
  }
  return undefined;
}

async function readBytes(file: string): Promise<Uint8Array> {
  return readRegularFile(file, { expected: "a file of CIFAR's binary version", maxBytes: LARGEST_ARCHIVE });
}

async function fromArchive(path: string): Promise<CifarSource | undefined> {
  const packed = await readBytes(path);
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return undefined;
  const known = Object.values(LAYOUTS).flatMap(({ train, test, classNames }) => [...train, ...test, classNames]);
  const isKnown = (name: string): boolean => known.includes(basename(name));
  const entries = await readTarGz(packed, path, isKnown, { maxBytes: LARGEST_ARCHIVE, maxEntries: MOST_ENTRIES });
  const files = new Map([...entries].map(([name, content]) => [basename(name), content]));
  const kind = recognise([...files.keys()]);
  return kind === undefined ? undefined : { kind, place: path, read: async (file) => files.get(file) };
}

/**
 * Reads a version of CIFAR wholly into shared memory (154 + 31 MB); `val` is the test split.
 * @throws InputError naming the file that is missing, has another size, or holds a label out of range.
 */
export async function readCifar(source: CifarSource): Promise<Dataset> {
  const layout = LAYOUTS[source.kind];
  const classes = await readClassNames(source, layout);
  return {
    name: layout.name,
    classes,
    channels: 3,
    height: CIFAR_SIDE,
    width: CIFAR_SIDE,
    ...(source.kind === "cifar10" ? cifar10Normalization : cifar100Normalization),
    train: await readRecords(source, layout, layout.train, layout.recordsPerTrainFile),
    val: await readRecords(source, layout, layout.test, TEST_RECORDS),
    citation: CIFAR_CITATION,
  };
}

async function readFileOf(source: CifarSource, layout: Layout, file: string): Promise<Uint8Array> {
  const content = await source.read(file);
  if (content === undefined) {
    throw new InputError(
      `${source.place}: ${file} is missing; expected the binary version of ${layout.name}: ` +
        `${[...layout.train, ...layout.test, layout.classNames].join(", ")}`,
      { file, place: source.place },
    );
  }
  return content;
}

async function readClassNames(source: CifarSource, layout: Layout): Promise<readonly string[]> {
  const text = new TextDecoder().decode(await readFileOf(source, layout, layout.classNames));
  const names = text.split(/\r?\n/).map((line) => line.trim());
  const classes = names.filter((name) => name !== "");
  if (classes.length !== layout.classes) {
    throw new InputError(
      `${join(source.place, layout.classNames)}: holds ${classes.length} class names, expected ${layout.classes}, ` +
        "one a line",
      { file: layout.classNames, found: classes.length, expected: layout.classes },
    );
  }
  return Object.freeze(classes);
}

async function readRecords(
  source: CifarSource,
  layout: Layout,
  files: readonly string[],
  recordsPerFile: number,
): Promise<Split> {
  const recordBytes = layout.labelBytes + CIFAR_PIXELS;
  const pixels = sharedBytes(files.length * recordsPerFile * CIFAR_PIXELS);
  const labels = new Uint16Array(files.length * recordsPerFile);
  for (const [number, file] of files.entries()) {
    const content = await readFileOf(source, layout, file);
    const path = join(source.place, file);
    const expected = recordsPerFile * recordBytes;
    if (content.length !== expected) {
      throw new InputError(
        `${path}: has ${content.length} bytes, expected ${expected} (${recordsPerFile} records of ${recordBytes})`,
        { file: path, found: content.length, expected },
      );
    }
    for (let record = 0; record < recordsPerFile; record++) {
      const at = record * recordBytes;
      if (layout.labelBytes === 2) checkLabel(path, record, "superclass label", content[at], SUPERCLASSES);
      const label = content[at + layout.labelBytes - 1];
      checkLabel(path, record, "label", label, layout.classes);
      const position = number * recordsPerFile + record;
      labels[position] = label;
      pixels.set(content.subarray(at + layout.labelBytes, at + recordBytes), position * CIFAR_PIXELS);
    }
  }
  return bytesSplit({ pixels, labels, channels: 3, height: CIFAR_SIDE, width: CIFAR_SIDE });
}

function checkLabel(path: string, record: number, what: string, found: number, classes: number): void {
  if (found >= classes) {
    throw new InputError(
      `${path}: record ${record} (counted from 0) has the ${what} ${found}, expected 0 to ${classes - 1}`,
      {
        file: path,
        record,
        found,
        classes,
      },
    );
  }
}
