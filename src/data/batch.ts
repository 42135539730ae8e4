// data: images of a split → one normalised, augmented batch. A function of its arguments alone. Portable.
import { UsageError } from "../errors.ts";
import { drawCrop, drawPlacement, placeImage, unmoved } from "./augment.ts";
import { colourImage, drawColouring } from "./colour.ts";
import type { Batch, Split } from "./dataset.ts";
import type { Normalization } from "./normalization.ts";

/**
 * none · standard: the paper's "+" · imagenet: a random crop scaled to the input size, half of them mirrored, colours
 * changed (splits of files only).
 */
export type Augment = "none" | "standard" | "imagenet";

export interface BatchRecipe {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly augment: Augment;
  readonly seed: number;
  readonly epoch: number;
  readonly normalization: Normalization;
  /** Of the same, from normalizationTable. */
  readonly table: Float32Array; // [C, 256]
}

/** Images decoded at once. */
const CONCURRENT = 8;

/**
 * The batch of the images `indices`, in that order; with `padTo` larger than their number, zeros and label 0 follow.
 * @throws InputError naming a file that does not decode; UsageError for "imagenet" on images that are not files.
 */
export async function makeBatch(
  split: Split,
  indices: Int32Array,
  recipe: BatchRecipe,
  padTo: number = indices.length,
): Promise<Batch> {
  const { seed, epoch, augment } = recipe;
  const stride = recipe.channels * recipe.height * recipe.width;
  const images = new Float32Array(Math.max(padTo, indices.length) * stride);
  const labels = new Int32Array(Math.max(padTo, indices.length));
  const one = async (position: number): Promise<void> => {
    const index = indices[position];
    const bytes = new Uint8Array(stride);
    const out = images.subarray(position * stride, (position + 1) * stride);
    const placement = augment === "none" ? unmoved : drawPlacement(seed, epoch, index);
    labels[position] = split.labels[index];
    if (augment === "imagenet") {
      if (split.crop === undefined) {
        throw new UsageError(
          'augment: "imagenet" crops full-size images and needs a folder of images, expected "standard" or "none"',
          {
            field: "augment",
          },
        );
      }
      await split.crop(index, (width, height) => drawCrop(width, height, seed, epoch, index), bytes);
      const colouring = drawColouring(seed, epoch, index);
      colourImage(bytes, recipe, recipe.normalization, colouring, placement.mirror, out);
    } else {
      await split.pixels(index, bytes);
      placeImage(bytes, recipe, recipe.table, placement, out);
    }
  };
  for (let start = 0; start < indices.length; start += CONCURRENT) {
    const positions = Array.from({ length: Math.min(CONCURRENT, indices.length - start) }, (_, i) => start + i);
    const done = await Promise.allSettled(positions.map(one));
    // The first in the order of the batch, whichever failed first: the same error every time.
    const failed = done.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
  return { images, labels, indices, count: indices.length };
}
