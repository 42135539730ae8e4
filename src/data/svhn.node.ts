// data: SVHN, format 2 (Netzer et al. 2011), from its own files: train_32x32.mat, test_32x32.mat and, where it is
// there, extra_32x32.mat. In each, X is uint8 [32, 32, 3, N] and y the N labels 1…10, of which 10 is the digit 0. X is
// in column-major order, so an image is 3072 bytes in a row, its colours one after the other, each column by column.
// Images of train and extra pass from the files into one array of shared memory (1.86 GB), which is all that is held of
// them.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError, ResourceError } from "../errors.ts";
import { bytesSplit, type Dataset, type HoldOutSource, type Split, sharedBytes } from "./dataset.ts";
import { type MatVariable, openMat } from "./matFile.node.ts";
import { svhnNormalization } from "./normalization.ts";

const FILES = { train: "train_32x32.mat", test: "test_32x32.mat", extra: "extra_32x32.mat" } as const;
type SvhnFile = keyof typeof FILES;
/** As published. */
const COUNTS: Readonly<Record<SvhnFile, number>> = { train: 73_257, test: 26_032, extra: 531_131 };

const SIDE = 32;
const PLANE = SIDE * SIDE;
const IMAGE_BYTES = 3 * PLANE;
const CLASSES: readonly string[] = Object.freeze(Array.from({ length: 10 }, (_, digit) => String(digit)));
const CITATION =
  "Yuval Netzer, Tao Wang, Adam Coates, Alessandro Bissacco, Bo Wu, Andrew Y. Ng. Reading Digits in Natural Images " +
  "with Unsupervised Feature Learning. NIPS Workshop on Deep Learning and Unsupervised Feature Learning, 2011.";
/**
 * 6,000 for validation are 400 of each class of the training images and 200 of the extra ones, as in the authors' paper
 * before this one (Huang et al., Deep Networks with Stochastic Depth, ECCV 2016, section 4) and in Sermanet et al.
 * 2012.
 */
const SHARE_OF_TRAIN = 2 / 3;

const ABOUT = {
  name: "SVHN",
  classes: CLASSES,
  channels: 3,
  height: SIDE,
  width: SIDE,
  ...svhnNormalization,
  citation: CITATION,
} as const;

/** A folder with at least one of SVHN's files. */
export interface SvhnSource {
  readonly folder: string;
  readonly names: readonly string[];
}

/** Undefined when `path` is no folder with SVHN's files. */
export async function findSvhn(path: string): Promise<SvhnSource | undefined> {
  if (!(await stat(path)).isDirectory()) return undefined;
  const names = await readdir(path).catch((): string[] => []);
  return Object.values(FILES).some((file) => names.includes(file)) ? { folder: path, names } : undefined;
}

/** The test images alone, as both splits: to measure on them, no training image need be there or be read. */
export async function readSvhnTest(source: SvhnSource, report?: (line: string) => void): Promise<Dataset> {
  const images = await readFiles([await openFile(source, "test", report)]);
  return { ...ABOUT, train: images, val: images, valIsTest: true };
}

/**
 * Reads SVHN: `train` is the training images and the extra ones behind them, `val` the test images.
 * @param report receives what differs from the data as published
 * @throws InputError naming the file that is missing, damaged, or holds other arrays or labels
 * @throws ResourceError when there is no memory for the images
 */
export async function readSvhn(source: SvhnSource, report?: (line: string) => void): Promise<Dataset> {
  const train = await openFile(source, "train", report);
  const test = await openFile(source, "test", report);
  const hasExtra = source.names.includes(FILES.extra);
  const extra = hasExtra ? await openFile(source, "extra", report) : undefined;
  if (!hasExtra) {
    report?.(`${source.folder}: trains without ${FILES.extra}, which is not there; the paper's results are with it`);
  }
  return {
    ...ABOUT,
    name: hasExtra ? ABOUT.name : `${ABOUT.name} without extra`,
    train: await readFiles(extra === undefined ? [train] : [train, extra]),
    val: await readFiles([test]),
    valIsTest: true,
    holdOutFrom: holdOutSources(train.count, extra?.count ?? 0),
  };
}

function holdOutSources(train: number, extra: number): readonly HoldOutSource[] {
  if (extra === 0) return [{ from: 0, to: train, share: 1 }];
  return [
    { from: 0, to: train, share: SHARE_OF_TRAIN },
    { from: train, to: train + extra, share: 1 - SHARE_OF_TRAIN },
  ];
}

interface OpenFile {
  readonly file: string;
  readonly count: number;
  readonly images: MatVariable;
  readonly labels: MatVariable;
}

async function openFile(
  { folder, names }: SvhnSource,
  which: SvhnFile,
  report?: (line: string) => void,
): Promise<OpenFile> {
  const name = FILES[which];
  if (!names.includes(name)) {
    throw new InputError(`${folder}: ${name} is missing; expected ${FILES.train}, ${FILES.test} and ${FILES.extra}`, {
      folder,
      file: name,
    });
  }
  const file = join(folder, name);
  const variables = await openMat(file);
  const images = find(file, variables, "X");
  const labels = find(file, variables, "y");
  // MATLAB keeps no last dimension of one.
  const [height, width, channels, count = 1, ...more] = images.dims;
  const isImages = height === SIDE && width === SIDE && channels === 3 && count > 0 && more.length === 0;
  if (images.className !== "uint8" || images.bytesPerValue !== 1 || images.isComplex || !isImages) {
    throw new InputError(`${file}: X is ${described(images)}, expected uint8 [32, 32, 3, N]`, { file });
  }
  if (labels.bytesPerValue === 0 || labels.dims.length !== 2 || Math.min(...labels.dims) !== 1) {
    throw new InputError(`${file}: y is ${described(labels)}, expected a column of numbers`, { file });
  }
  const labelCount = Math.max(...labels.dims);
  if (labelCount !== count) {
    throw new InputError(`${file}: y has ${labelCount} labels, expected one for each of the ${count} images of X`, {
      file,
    });
  }
  if (count !== COUNTS[which]) report?.(`${file}: has ${count} images, as published it has ${COUNTS[which]}`);
  return { file, count, images, labels };
}

function find(file: string, variables: readonly MatVariable[], wanted: string): MatVariable {
  const found = variables.find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  const others = variables.map(({ name }) => name).join(", ");
  throw new InputError(`${file}: has no variable ${wanted}${others === "" ? "" : `, only ${others}`}`, {
    file,
    variable: wanted,
  });
}

function described({ className, dims, isComplex }: MatVariable): string {
  return `${isComplex ? "complex " : ""}${className} [${dims.join(", ")}]`;
}

/** The images of the files, one after the other. */
async function readFiles(files: readonly OpenFile[]): Promise<Split> {
  const count = files.reduce((sum, file) => sum + file.count, 0);
  // Labels first: what is wrong with them is found in a moment.
  const labels = new Uint16Array(count);
  let at = 0;
  for (const file of files) {
    labels.set(await readLabels(file), at);
    at += file.count;
  }
  const pixels = room(count * IMAGE_BYTES, files);
  at = 0;
  for (const file of files) {
    await readImages(file, pixels.subarray(at * IMAGE_BYTES, (at + file.count) * IMAGE_BYTES));
    at += file.count;
  }
  return bytesSplit({ pixels, labels, channels: 3, height: SIDE, width: SIDE });
}

function room(bytes: number, files: readonly OpenFile[]): Uint8Array {
  try {
    return sharedBytes(bytes);
  } catch (cause) {
    const names = files.map(({ file }) => file).join(" and ");
    throw new ResourceError(`${names}: there is no memory for the images, ${bytes} bytes`, { bytes }, { cause });
  }
}

/** Digits 0…9. */
async function readLabels({ file, labels }: OpenFile): Promise<Uint16Array> {
  const values = await labels.values();
  const wrong = values.findIndex((value) => !(Number.isInteger(value) && value >= 1 && value <= 10));
  if (wrong >= 0) {
    throw new InputError(
      `${file}: label ${wrong} (counted from 0) is ${values[wrong]}, expected 1 to 10, of which 10 stands for the ` +
        "digit 0",
      { file, index: wrong, found: values[wrong] },
    );
  }
  return Uint16Array.from(values, (value) => value % 10);
}

/** Into [N, 3, 32, 32]: what comes column by column is laid row by row. */
async function readImages({ images }: OpenFile, out: Uint8Array): Promise<void> {
  const image = new Uint8Array(IMAGE_BYTES); // [3, column, row]
  let filled = 0;
  let to = 0;
  for await (const piece of images.chunks()) {
    for (let at = 0; at < piece.length; ) {
      const some = piece.subarray(at, at + IMAGE_BYTES - filled);
      image.set(some, filled);
      filled += some.length;
      at += some.length;
      if (filled < IMAGE_BYTES) continue;
      for (let channel = 0; channel < IMAGE_BYTES; channel += PLANE) {
        for (let row = 0; row < SIDE; row++) {
          for (let column = 0; column < SIDE; column++) out[to++] = image[channel + column * SIDE + row];
        }
      }
      filled = 0;
    }
  }
}
