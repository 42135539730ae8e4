// data: the images that come with the package — 6 000 training and 1 000 test images of CIFAR-10, the first 600 and 100
// of every class. assets/README.md says how the file was made. Format, brotli-compressed: train count and test count as
// u32 little-endian, one label byte per image (train first), then 3072 bytes per image as losslessPixels.ts writes
// them.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import { InputError } from "../errors.ts";
import { CIFAR_CITATION, CIFAR_PIXELS, CIFAR_SIDE } from "./cifar.node.ts";
import { bytesSplit, type Dataset, type Split, sharedBytes } from "./dataset.ts";
import { predictPixels, restorePixels } from "./losslessPixels.ts";
import { cifar10Normalization } from "./normalization.ts";

export const embeddedFile: string = fileURLToPath(new URL("../../assets/cifar10-subset.bin.br", import.meta.url));

const CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"] as const;
const HEADER = 8;

export interface LabelledPixels {
  readonly labels: Uint8Array; // [length]
  readonly pixels: Uint8Array; // [length, 3, 32, 32]
}

/** The file's content before compression. */
export function packEmbedded(train: LabelledPixels, test: LabelledPixels): Uint8Array {
  const count = train.labels.length + test.labels.length;
  const packed = new Uint8Array(HEADER + count * (1 + CIFAR_PIXELS));
  new DataView(packed.buffer).setUint32(0, train.labels.length, true);
  new DataView(packed.buffer).setUint32(4, test.labels.length, true);
  packed.set(train.labels, HEADER);
  packed.set(test.labels, HEADER + train.labels.length);
  let at = HEADER + count;
  for (const { pixels } of [train, test]) {
    for (let start = 0; start < pixels.length; start += CIFAR_PIXELS, at += CIFAR_PIXELS) {
      predictPixels(
        pixels.subarray(start, start + CIFAR_PIXELS),
        CIFAR_SIDE,
        CIFAR_SIDE,
        packed.subarray(at, at + CIFAR_PIXELS),
      );
    }
  }
  return packed;
}

/** @throws InputError when the file is missing, damaged or of another size than its header says. */
export async function readEmbedded(file: string = embeddedFile): Promise<Dataset> {
  let packed: Uint8Array;
  try {
    packed = await promisify(brotliDecompress)(await readFile(file));
  } catch (cause) {
    throw new InputError(
      `${file}: cannot be read or unpacked (${cause instanceof Error ? cause.message : String(cause)}); expected ` +
        "the data file that comes with the package",
      { file },
      { cause },
    );
  }
  const header = new DataView(packed.buffer, packed.byteOffset, packed.length);
  const trainCount = packed.length < HEADER ? 0 : header.getUint32(0, true);
  const testCount = packed.length < HEADER ? 0 : header.getUint32(4, true);
  const count = trainCount + testCount;
  const expected = HEADER + count * (1 + CIFAR_PIXELS);
  if (count === 0 || packed.length !== expected) {
    throw new InputError(`${file}: unpacks to ${packed.length} bytes, expected ${expected} for ${count} images`, {
      file,
    });
  }
  const split = (from: number, to: number): Split => {
    const labels = Uint16Array.from(packed.subarray(HEADER + from, HEADER + to));
    const wrong = labels.findIndex((label) => label >= CLASSES.length);
    if (wrong >= 0) {
      throw new InputError(
        `${file}: image ${from + wrong} has the label ${labels[wrong]}, expected 0 to ${CLASSES.length - 1}`,
        {
          file,
        },
      );
    }
    const pixels = sharedBytes((to - from) * CIFAR_PIXELS);
    for (let image = from; image < to; image++) {
      const source = HEADER + count + image * CIFAR_PIXELS;
      const target = (image - from) * CIFAR_PIXELS;
      const out = pixels.subarray(target, target + CIFAR_PIXELS);
      restorePixels(packed.subarray(source, source + CIFAR_PIXELS), CIFAR_SIDE, CIFAR_SIDE, out);
    }
    return bytesSplit({ pixels, labels, channels: 3, height: CIFAR_SIDE, width: CIFAR_SIDE });
  };
  return {
    name: "CIFAR-10 subset",
    classes: CLASSES,
    channels: 3,
    height: CIFAR_SIDE,
    width: CIFAR_SIDE,
    ...cifar10Normalization,
    train: split(0, trainCount),
    val: split(trainCount, count),
    citation: CIFAR_CITATION,
  };
}
