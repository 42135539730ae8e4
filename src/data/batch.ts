// data: images of a split → one normalised, augmented batch. A function of its arguments alone. Portable.
import { UsageError } from "../errors.ts";
import { drawCrop, drawPlacement, placeImage, unmoved } from "./augment.ts";
import { colourImage, drawColouring } from "./colour.ts";
import type { Batch, Split } from "./dataset.ts";
import { drawErasure, eraseBox } from "./erase.ts";
import { FIVE_CROPS } from "./fitImage.ts";
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
  /** Probability that a rectangle of an image is erased, see erase.ts. */
  readonly erase: number;
  /** Ten images for each: five crops, and these mirrored. Splits of files only; not augmented. */
  readonly tenCrop: boolean;
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
  const { seed, epoch, augment, tenCrop } = recipe;
  const pixels = recipe.channels * recipe.height * recipe.width;
  const stride = (tenCrop ? 2 * FIVE_CROPS : 1) * pixels;
  const images = new Float32Array(Math.max(padTo, indices.length) * stride);
  const labels = new Int32Array(Math.max(padTo, indices.length));
  const one = async (position: number): Promise<void> => {
    const index = indices[position];
    const out = images.subarray(position * stride, (position + 1) * stride);
    if (tenCrop) {
      await placeTenCrops(split, index, recipe, out);
      labels[position] = split.labels[index];
      return;
    }
    const bytes = new Uint8Array(pixels);
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
    const box = drawErasure(recipe, recipe.erase, seed, epoch, index);
    if (box !== undefined) eraseBox(out, recipe, box);
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

/** `out` [10, C, H, W]: centre and corners, then the same mirrored. */
async function placeTenCrops(split: Split, index: number, recipe: BatchRecipe, out: Float32Array): Promise<void> {
  if (split.fiveCrops === undefined) {
    throw new UsageError("tenCrop (--ten-crop): is for images of full size, expected a folder of images", {
      field: "tenCrop",
    });
  }
  const crops = await split.fiveCrops(index);
  const stride = crops.length / FIVE_CROPS;
  for (let crop = 0; crop < 2 * FIVE_CROPS; crop++) {
    const from = (crop % FIVE_CROPS) * stride;
    const placement = { ...unmoved, mirror: crop >= FIVE_CROPS };
    const bytes = crops.subarray(from, from + stride);
    placeImage(bytes, recipe, recipe.table, placement, out.subarray(crop * stride, (crop + 1) * stride));
  }
}
