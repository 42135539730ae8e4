// data: CIFAR-10 and CIFAR-100, binary version (Krizhevsky 2009): a folder or the original .tar.gz. Records are one or
// two label bytes and 3072 pixel bytes, planar R, G, B of 32×32. Every size and label is checked before anything trains
// on them.
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { InputError, UsageError } from "../errors.ts";
import { bytesSplit, type Dataset, type LabelKind, type Split, sharedBytes } from "./dataset.ts";
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
  /** The label bytes before the pixels, in their order. */
  readonly labels: readonly LabelByte[];
  readonly recordsPerTrainFile: number;
}

/** A byte of each record, and the file that names what it counts. */
interface LabelByte {
  readonly kind: LabelKind;
  readonly classes: number;
  readonly names: string;
}

const LAYOUTS: Readonly<Record<"cifar10" | "cifar100", Layout>> = {
  cifar10: {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    train: [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`),
    test: ["test_batch.bin"],
    labels: [{ kind: "fine", classes: 10, names: "batches.meta.txt" }],
    recordsPerTrainFile: 10_000,
  },
  cifar100: {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    train: ["train.bin"],
    test: ["test.bin"],
    labels: [
      { kind: "coarse", classes: 20, names: "coarse_label_names.txt" },
      { kind: "fine", classes: 100, names: "fine_label_names.txt" },
    ],
    recordsPerTrainFile: 50_000,
  },
};
const TEST_RECORDS = 10_000;

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
  const known = Object.values(LAYOUTS).flatMap(({ train, test, labels }) => [
    ...[...train, ...test],
    ...labels.map(({ names }) => names),
  ]);
  const isKnown = (name: string): boolean => known.includes(basename(name));
  const entries = await readTarGz(packed, path, isKnown, { maxBytes: LARGEST_ARCHIVE, maxEntries: MOST_ENTRIES });
  const files = new Map([...entries].map(([name, content]) => [basename(name), content]));
  const kind = recognise([...files.keys()]);
  return kind === undefined ? undefined : { kind, place: path, read: async (file) => files.get(file) };
}

/**
 * Reads a version of CIFAR wholly into shared memory (154 + 31 MB); `val` is the test split.
 * @param wanted which labels of CIFAR-100; CIFAR-10 has one for each image
 * @throws InputError naming the file that is missing, has another size, or holds a label out of range.
 */
export async function readCifar(source: CifarSource, wanted: LabelKind = "fine"): Promise<Dataset> {
  const layout = LAYOUTS[source.kind];
  const label = layout.labels.find(({ kind }) => kind === wanted);
  if (label === undefined) {
    throw new UsageError(`labels: got ${wanted}, which only CIFAR-100 has, for ${layout.name} in ${source.place}`, {
      field: "labels",
      value: wanted,
    });
  }
  return {
    name: wanted === "coarse" ? `${layout.name} superclasses` : layout.name,
    classes: await readClassNames(source, layout, label),
    channels: 3,
    height: CIFAR_SIDE,
    width: CIFAR_SIDE,
    ...(source.kind === "cifar10" ? cifar10Normalization : cifar100Normalization),
    train: await readRecords(source, layout, label, layout.train, layout.recordsPerTrainFile),
    val: await readRecords(source, layout, label, layout.test, TEST_RECORDS),
    valIsTest: true,
    citation: CIFAR_CITATION,
  };
}

async function readFileOf(source: CifarSource, layout: Layout, file: string): Promise<Uint8Array> {
  const content = await source.read(file);
  if (content === undefined) {
    throw new InputError(
      `${source.place}: ${file} is missing; expected the binary version of ${layout.name}: ` +
        `${[...layout.train, ...layout.test, ...layout.labels.map(({ names }) => names)].join(", ")}`,
      { file, place: source.place },
    );
  }
  return content;
}

async function readClassNames(
  source: CifarSource,
  layout: Layout,
  { classes, names: file }: LabelByte,
): Promise<readonly string[]> {
  const text = new TextDecoder().decode(await readFileOf(source, layout, file));
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const names = lines.filter((line) => line !== "");
  if (names.length !== classes) {
    throw new InputError(
      `${join(source.place, file)}: holds ${names.length} class names, expected ${classes}, one a line`,
      { file, found: names.length, expected: classes },
    );
  }
  return Object.freeze(names);
}

async function readRecords(
  source: CifarSource,
  layout: Layout,
  wanted: LabelByte,
  files: readonly string[],
  recordsPerFile: number,
): Promise<Split> {
  const labelBytes = layout.labels.length;
  const recordBytes = labelBytes + CIFAR_PIXELS;
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
      const position = number * recordsPerFile + record;
      for (const [byte, label] of layout.labels.entries()) {
        checkLabel(path, record, label, content[at + byte]);
        if (label === wanted) labels[position] = content[at + byte];
      }
      pixels.set(content.subarray(at + labelBytes, at + recordBytes), position * CIFAR_PIXELS);
    }
  }
  return bytesSplit({ pixels, labels, channels: 3, height: CIFAR_SIDE, width: CIFAR_SIDE });
}

function checkLabel(path: string, record: number, { kind, classes }: LabelByte, found: number): void {
  if (found >= classes) {
    const what = kind === "coarse" ? "superclass label" : "label";
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
