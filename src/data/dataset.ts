// data: what a data set is to everything after it — labelled images as planar bytes, in a training and a validation
// split. Portable.
import { UsageError } from "../errors.ts";
import type { Box } from "./augment.ts";
import type { Interpolation } from "./resample.ts";

/** Which labels of CIFAR-100, which has two for each image: 100 classes (fine), or 20 superclasses of five (coarse). */
export const labelKinds = ["fine", "coarse"] as const;
/** An entry of `labelKinds`. */
export type LabelKind = (typeof labelKinds)[number];

/**
 * A split as plain data that can be posted to another thread. Pixel bytes in shared memory are not copied on the way.
 */
export type SplitDescription = BytesDescription | FilesDescription;

/** Images in memory. */
export interface BytesDescription {
  readonly kind: "bytes";
  readonly pixels: Uint8Array; // [rows, C, H, W], channels in the order R, G, B
  readonly labels: Uint16Array; // [length]
  /** Which rows of pixels the split consists of; all of them in order when absent. */
  readonly rows?: Int32Array; // [length]
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Image files, decoded when a batch needs them. */
export interface FilesDescription {
  readonly kind: "files";
  readonly files: readonly string[]; // [length]
  readonly labels: Uint16Array; // [length]
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** How images are fitted to that, as InputSize has it. */
  readonly cropRatio?: number;
  readonly interpolation?: Interpolation;
  /** An image of more pixels is refused. */
  readonly maxPixels: number;
  /** Decoded images of earlier epochs, where they are small enough to keep. */
  readonly cache?: {
    readonly pixels: Uint8Array<SharedArrayBuffer>; // [length, C, H, W]
    readonly filled: Uint8Array<SharedArrayBuffer>; // [length], 1 where pixels hold the image
  };
}

/** What is known of a folder of images before any is decoded. */
export interface FolderFacts {
  /** Training images of each class, none of them 0; those that will be held out are counted. */
  readonly counts: readonly number[];
  /** Median of the images' shorter sides, pixels. */
  readonly side: number;
}

/** Labelled images. */
export interface Split {
  readonly length: number;
  readonly labels: Uint16Array; // [length], 0…classes − 1
  /**
   * Writes image `index` as [C, H, W] bytes, channels in the order R, G, B. Rejects with an InputError naming a file
   * that does not decode.
   */
  pixels(index: number, out: Uint8Array): Promise<void> | void;
  /** Splits of files only: scales the part that `box` names of the full image to [C, H, W]. */
  crop?(index: number, box: (width: number, height: number) => Box, out: Uint8Array): Promise<void>;
  /** Splits of files only: the centre and the four corners of the scaled image, [5, C, H, W]. */
  fiveCrops?(index: number): Promise<Uint8Array>;
  /** The split as plain data, from which a loader's thread makes its own. */
  describe(): SplitDescription;
}

/** Labelled images of one size in a training and a validation split, with the statistics that normalise them. */
export interface Dataset {
  readonly name: string;
  readonly classes: readonly string[];
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Per channel, of pixels in 0…1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly train: Split;
  readonly val: Split;
  /**
   * Where held-out training images come from when their number is given. Default: the last ones.
   */
  readonly holdOutFrom?: readonly HoldOutSource[];
  /**
   * `val` holds the images by which the data's results are published: a run measures itself on them, and nothing is
   * fitted to them.
   */
  readonly valIsTest?: true;
  /** Who made the data, as they ask to be cited. */
  readonly citation?: string;
}

/** A range of training images, and the part of the held-out ones that it gives, as many of each class. */
export interface HoldOutSource {
  readonly from: number;
  readonly to: number;
  /** 0…1; those of all ranges sum to 1. */
  readonly share: number;
}

/** Images as the network takes them, with their labels. */
export interface Batch {
  readonly images: Float32Array; // [N, C, H, W], normalised; zero beyond `count` images; for ten-crop [N, 10, C, H, W]
  readonly labels: Int32Array; // [N]; zero beyond `count`
  readonly indices: Int32Array; // [count], positions in the split
  /** Images that are real; N is larger only where padding was asked for. */
  readonly count: number;
}

/** Memory for splits whose bytes several threads read. */
export function sharedBytes(length: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(length));
}

/**
 * A split over images that already lie in memory.
 * @throws UsageError unless there is a label for each image
 */
export function bytesSplit(images: Omit<BytesDescription, "kind">): Split {
  const { pixels, labels, rows, channels, height, width } = images;
  const stride = channels * height * width;
  const count = rows?.length ?? pixels.length / stride;
  if (labels.length !== count) {
    throw new UsageError(
      `labels: got ${labels.length}, expected one for each of ${count} images of [${channels}, ${height}, ${width}] ` +
        "bytes",
      { field: "labels", value: labels.length },
    );
  }
  return {
    length: labels.length,
    labels,
    pixels(index, out) {
      if (!(index >= 0 && index < labels.length)) throw new RangeError(`image ${index} of ${labels.length}`);
      const row = rows === undefined ? index : rows[index];
      out.set(pixels.subarray(row * stride, (row + 1) * stride));
    },
    describe: () => ({ ...images, kind: "bytes" }),
  };
}
