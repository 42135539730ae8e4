// infer: images as bytes → the network's input.
import { placeImage, unmoved } from "../data/augment.ts";
import type { InputSize } from "../data/fitImage.ts";

/**
 * [N, C, height, width], zeros behind the images up to a batch of `batch`.
 * @param table what `normalizationTable` gives: [C, 256]
 */
export function networkInput(
  images: readonly Uint8Array[],
  size: InputSize,
  table: Float32Array,
  batch: number = images.length,
): Float32Array<ArrayBuffer> {
  const { channels, height, width } = size;
  const stride = channels * height * width;
  const input = new Float32Array(batch * stride);
  for (const [n, pixels] of images.entries()) {
    if (pixels.length !== stride) {
      throw new RangeError(`an image of [${channels}, ${height}, ${width}] has ${stride} bytes, got ${pixels.length}`);
    }
    placeImage(pixels, size, table, unmoved, input.subarray(n * stride, (n + 1) * stride));
  }
  return input;
}
