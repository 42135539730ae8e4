// data: random erasing (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020), with timm's numbers: a rectangle
// of 2 % to 33 % of the image, of aspect 0.3 to 1/0.3, becomes the mean colour.
import type { Box } from "./augment.ts";
import { draws, randomFraction } from "./draw.ts";

const [SMALLEST, LARGEST] = [0.02, 1 / 3];
const NARROWEST = 0.3;
const ATTEMPTS = 10;

/**
 * What is erased of image `index` in `epoch`: with `probability` a rectangle, drawn as timm's RandomErasing does (mode
 * const). undefined where nothing is, also where ten attempts find no rectangle that is smaller than the image each way.
 */
export function drawErasure(
  { width, height }: { readonly width: number; readonly height: number },
  probability: number,
  seed: number,
  epoch: number,
  index: number,
): Box | undefined {
  if (randomFraction(seed, epoch, index, draws.erase) >= probability) return undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const share = randomFraction(seed, epoch, index, draws.eraseArea, attempt);
    const area = (SMALLEST + (LARGEST - SMALLEST) * share) * width * height;
    // Uniform in the logarithm from 0.3 to 1/0.3.
    const aspect = NARROWEST ** (1 - 2 * randomFraction(seed, epoch, index, draws.eraseAspect, attempt));
    const h = Math.round(Math.sqrt(area * aspect));
    const w = Math.round(Math.sqrt(area / aspect));
    if (w >= width || h >= height) continue;
    return {
      left: Math.floor(randomFraction(seed, epoch, index, draws.eraseX, attempt) * (width - w + 1)),
      top: Math.floor(randomFraction(seed, epoch, index, draws.eraseY, attempt) * (height - h + 1)),
      width: w,
      height: h,
    };
  }
  return undefined;
}

/** Sets the rectangle of a normalised image [C, H, W] to 0, the mean colour. */
export function eraseBox(
  image: Float32Array,
  { channels, height, width }: { readonly channels: number; readonly height: number; readonly width: number },
  box: Box,
): void {
  for (let channel = 0; channel < channels; channel++) {
    for (let y = box.top; y < box.top + box.height; y++) {
      const row = (channel * height + y) * width + box.left;
      image.fill(0, row, row + box.width);
    }
  }
}
