// data: the colour changes of the ImageNet recipe (fb.resnet.torch, which the authors' code is made from): brightness,
// contrast and saturation by a factor of 0.6 to 1.4 each, in random order, then PCA lighting (Krizhevsky et al. 2012,
// section 4.1).
//
// Each is affine in the pixel's colour, so all of them together are one matrix and one offset per image, which
// normalisation joins: an image is read once to find its mean and once to be written. Nothing is clamped in between, as
// in the authors' code; torchvision's ColorJitter clamps to 0…1 after each change.
import { draws, randomBelow, randomFraction } from "./draw.ts";
import type { Normalization } from "./normalization.ts";

export const colourChanges = ["brightness", "contrast", "saturation"] as const;
export type ColourChange = (typeof colourChanges)[number];

/** What is done to the colours of an image. */
export interface Colouring {
  /** One after the other, each with its factor; 1 changes nothing. */
  readonly changes: readonly { readonly kind: ColourChange; readonly factor: number }[];
  /** Added to R, G and B at the end, in units of pixels in 0…1. */
  readonly light: readonly [red: number, green: number, blue: number];
}

const STRENGTH = 0.4;
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/** Principal components of the colours of ImageNet's training images, in units of pixels in 0…1 (fb.resnet.torch). */
const EIGENVALUES = [0.2175, 0.0188, 0.0045] as const;
const EIGENVECTORS = [
  [-0.5675, 0.7192, 0.4009],
  [-0.5808, -0.0045, -0.814],
  [-0.5836, -0.6948, 0.4203],
] as const; // [R G B][component]
const LIGHT_DEVIATION = 0.1;

/** How the colours of image `index` change in `epoch`. */
export function drawColouring(seed: number, epoch: number, index: number): Colouring {
  const order = ORDERS[randomBelow(ORDERS.length, seed, epoch, index, draws.colourOrder)] ?? ORDERS[0];
  const changes = order.map((which) => ({
    kind: colourChanges[which],
    factor: 1 + STRENGTH * (2 * randomFraction(seed, epoch, index, draws.colourFactor, which) - 1),
  }));
  const along = EIGENVALUES.map((value, component) => value * LIGHT_DEVIATION * normal(seed, epoch, index, component));
  const light = EIGENVECTORS.map((row) => row.reduce((sum, weight, component) => sum + weight * along[component], 0));
  return { changes, light: [light[0], light[1], light[2]] };
}

/** Standard normal, by Box and Muller. */
function normal(seed: number, epoch: number, index: number, which: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - randomFraction(seed, epoch, index, draws.lightRadius, which)));
  return radius * Math.cos(2 * Math.PI * randomFraction(seed, epoch, index, draws.lightAngle, which));
}

/** Of a colour, Rec. 601. */
const LUMA = [0.299, 0.587, 0.114] as const;

/**
 * Changes the colours of an image, normalises it and mirrors it. Grey images have no saturation and get no light.
 * `pixels` [C, H, W] bytes, C 1 or 3; `out` [C, H, W], every number of it is written.
 */
export function colourImage(
  pixels: Uint8Array,
  size: { readonly channels: number; readonly height: number; readonly width: number },
  { mean, std }: Normalization,
  { changes, light }: Colouring,
  mirror: boolean,
  out: Float32Array,
): void {
  const { channels, height, width } = size;
  const plane = height * width;
  const luma = channels === 3 ? LUMA : [1];
  const means = Array.from({ length: channels }, (_, channel) => {
    let sum = 0;
    for (let i = channel * plane; i < (channel + 1) * plane; i++) sum += pixels[i];
    return sum / (255 * plane);
  });
  // The colour v of a pixel has become matrix · v + offset.
  let matrix: readonly (readonly number[])[] = means.map((_, row) =>
    means.map((_, column) => (row === column ? 1 : 0)),
  );
  let offset: readonly number[] = means.map(() => 0);
  const lumaOf = (colour: readonly number[]): number => luma.reduce((sum, weight, c) => sum + weight * colour[c], 0);
  for (const { kind, factor } of changes) {
    const greyRow = means.map((_, column) => lumaOf(matrix.map((row) => row[column])));
    const greyOffset = lumaOf(offset);
    const rest = 1 - factor;
    const scaled = matrix.map((row) => row.map((value) => factor * value));
    if (kind === "saturation") {
      matrix = scaled.map((row) => row.map((value, column) => value + rest * greyRow[column]));
      offset = offset.map((value) => factor * value + rest * greyOffset);
    } else {
      const meanGrey = greyRow.reduce((sum, value, column) => sum + value * means[column], greyOffset);
      const towards = kind === "contrast" ? rest * meanGrey : 0;
      matrix = scaled;
      offset = offset.map((value) => factor * value + towards);
    }
  }
  const second = channels === 3 ? plane : 0;
  for (let channel = 0; channel < channels; channel++) {
    const scale = 1 / (255 * std[channel]);
    // Of a grey image two of the three terms are zero.
    const [red, green = 0, blue = 0] = matrix[channel].map((value) => value * scale);
    const shift = (offset[channel] + (channels === 3 ? light[channel] : 0) - mean[channel]) / std[channel];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const from = y * width + (mirror ? width - 1 - x : x);
        out[channel * plane + y * width + x] =
          shift + red * pixels[from] + green * pixels[from + second] + blue * pixels[from + 2 * second];
      }
    }
  }
}
