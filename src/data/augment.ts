// data: the paper's "+" (section 4.1): half of the images mirrored, each shifted by up to 4 pixels. Zeros come in from
// outside after normalisation, as in the authors' code, so the border has the mean colour and not black.
import { draws, randomBelow, randomFraction, randomWord } from "./draw.ts";

/** Pixels an image may move each way. */
export const SHIFT = 4;

export interface Placement {
  readonly mirror: boolean;
  /** Where the crop begins in the padded image, 0…8; 4 is the image itself. */
  readonly top: number;
  readonly left: number;
}

/** Nothing moved. */
export const unmoved: Placement = Object.freeze({ mirror: false, top: SHIFT, left: SHIFT });

/** How image `index` lies in `epoch`. */
export function drawPlacement(seed: number, epoch: number, index: number): Placement {
  return {
    mirror: randomWord(seed, epoch, index, draws.mirror) >>> 31 === 1,
    top: randomBelow(2 * SHIFT + 1, seed, epoch, index, draws.shiftY),
    left: randomBelow(2 * SHIFT + 1, seed, epoch, index, draws.shiftX),
  };
}

/**
 * Normalises an image, mirrors it, pads it with 4 zeros on each side and crops it to its size again.
 * `pixels` [C, H, W] bytes; `table` from normalizationTable; `out` [C, H, W], every number of it is written.
 */
export function placeImage(
  pixels: Uint8Array,
  size: { readonly channels: number; readonly height: number; readonly width: number },
  table: Float32Array,
  placement: Placement,
  out: Float32Array,
): void {
  const { channels, height, width } = size;
  const down = placement.top - SHIFT;
  const right = placement.left - SHIFT;
  out.fill(0);
  const firstX = Math.max(0, -right);
  const lastX = Math.min(width, width - right);
  for (let channel = 0; channel < channels; channel++) {
    for (let y = Math.max(0, -down); y < Math.min(height, height - down); y++) {
      const target = (channel * height + y) * width;
      const source = (channel * height + y + down) * width;
      for (let x = firstX; x < lastX; x++) {
        const from = placement.mirror ? width - 1 - (x + right) : x + right;
        out[target + x] = table[channel * 256 + pixels[source + from]];
      }
    }
  }
}

/** Part of an image, in its own pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const WIDEST = 4 / 3;

/**
 * The random crop of the ImageNet recipe, drawn as torchvision does: 8 % to 100 % of the area with an aspect ratio of
 * 3:4 to 4:3, ten attempts, then the centre: all of the image, or as much as these ratios allow. fb.resnet.torch itself
 * takes √area·a × √area/a, so that its ratios a² are 9:16 to 16:9, and ends with a central square.
 */
export function drawCrop(width: number, height: number, seed: number, epoch: number, index: number): Box {
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = width * height * (0.08 + 0.92 * randomFraction(seed, epoch, index, draws.cropArea, attempt));
    // Uniform in the logarithm, so that 3:4 is as likely as 4:3.
    const aspect = WIDEST ** (2 * randomFraction(seed, epoch, index, draws.cropAspect, attempt) - 1);
    const w = Math.round(Math.sqrt(area * aspect));
    const h = Math.round(Math.sqrt(area / aspect));
    if (w >= 1 && h >= 1 && w <= width && h <= height) {
      return {
        left: Math.floor(randomFraction(seed, epoch, index, draws.cropX, attempt) * (width - w + 1)),
        top: Math.floor(randomFraction(seed, epoch, index, draws.cropY, attempt) * (height - h + 1)),
        width: w,
        height: h,
      };
    }
  }
  const w = Math.min(width, Math.round(height * WIDEST));
  const h = Math.min(height, Math.round(width * WIDEST));
  return { left: (width - w) >> 1, top: (height - h) >> 1, width: w, height: h };
}
