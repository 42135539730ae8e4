// data: an image of any size → the planar bytes of the network's input size. Portable twin of the decoder, with the same geometry.
//
// Scaled so that it covers the target (times 256/224 for targets above 64 pixels, ImageNet practice), the centre cut out. Keys' cubic
// convolution with a = −1/2 (IEEE ASSP 29(6), 1981), its kernel widened by the scale when shrinking, so that nothing aliases. Shrunk
// images come out as the decoder's to within a grey level; what the decoder's library enlarges, it shifts by half a pixel, this does not.
import { InputError } from "../errors.ts";

/** Interleaved 8-bit pixels, as `ImageData` of a browser has them: RGB, or RGBA whose alpha is dropped. */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray; // [height, width, 3 or 4]
}

/** Ways of scaling, by the names that others use. */
export const interpolations = ["bicubic", "bilinear"] as const;
export type Interpolation = (typeof interpolations)[number];

export interface InputSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Side of the cut-out over the side of the scaled image. By default ImageNet practice: 224/256 above 64 pixels, else 1. */
  readonly cropRatio?: number;
  /** Default bicubic. */
  readonly interpolation?: Interpolation;
}

/** How much larger than the target an image is scaled before the centre is cut out. */
export function scaleMargin({ height, width, cropRatio }: Omit<InputSize, "channels">): number {
  if (cropRatio !== undefined) return 1 / cropRatio;
  return Math.min(height, width) > 64 ? 256 / 224 : 1;
}

/**
 * @returns [channels, height, width] bytes; one channel is the luma of Rec. 709 (0.2126 R + 0.7152 G + 0.0722 B)
 * @throws InputError when the image has no pixels, its data another length, or the network neither 1 nor 3 channels
 */
export function fitImage(image: Image, size: InputSize): Uint8Array {
  const { width, height, data } = image;
  const stride = data.length / (width * height);
  if (!(width >= 1 && height >= 1) || (stride !== 3 && stride !== 4)) {
    throw new InputError(`an image of ${width}×${height} has ${data.length} bytes, expected 3 or 4 for each pixel`, {
      width,
      height,
      bytes: data.length,
    });
  }
  if (size.channels !== 3 && size.channels !== 1) {
    throw new InputError(`a network of ${size.channels} input channels cannot take images, expected 1 or 3`);
  }
  const scale = scaleMargin(size) * Math.max(size.width / width, size.height / height);
  const kernel = size.interpolation === "bilinear" ? linear : cubic;
  const columns = resampling(width, Math.max(size.width, Math.round(width * scale)), size.width, kernel);
  const rows = resampling(height, Math.max(size.height, Math.round(height * scale)), size.height, kernel);
  const planes = [0, 1, 2].map((channel) => resamplePlane(image, stride, channel, columns, rows));
  const out = new Uint8ClampedArray(size.channels * size.height * size.width);
  if (size.channels === 3) for (const [channel, plane] of planes.entries()) out.set(plane, channel * plane.length);
  else for (let i = 0; i < out.length; i++) out[i] = luma(planes, i);
  return new Uint8Array(out.buffer);
}

/** What one output pixel along an axis is made of. */
interface Tap {
  readonly first: number;
  readonly weights: readonly number[];
}

/** The central `kept` of `scaled` pixels that `length` pixels are scaled to. Beyond the border the border's pixel goes on. */
function resampling(length: number, scaled: number, kept: number, kernel: (x: number) => number): Tap[] {
  const step = length / scaled;
  const widening = Math.max(1, step);
  const from = (scaled - kept) >> 1;
  return Array.from({ length: kept }, (_, i) => {
    const centre = (from + i + 0.5) * step - 0.5;
    const low = Math.ceil(centre - 2 * widening);
    const high = Math.floor(centre + 2 * widening);
    const first = Math.min(Math.max(low, 0), length - 1);
    const weights = new Array<number>(Math.min(high, length - 1) - first + 1).fill(0);
    let total = 0;
    for (let at = low; at <= high; at++) {
      const weight = kernel((at - centre) / widening);
      const place = Math.min(Math.max(at, 0), length - 1) - first;
      weights[place] = weights[place] + weight;
      total += weight;
    }
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

/** Zero beyond 1; the loop above goes to 2 for the cubic's sake. */
function linear(x: number): number {
  return Math.max(0, 1 - Math.abs(x));
}

function cubic(x: number): number {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  if (t < 2) return ((-0.5 * t + 2.5) * t - 4) * t + 2;
  return 0;
}

/** [rows, columns], not rounded. Only source rows that an output row needs are visited. */
function resamplePlane(image: Image, stride: number, channel: number, columns: Tap[], rows: Tap[]): Float64Array {
  const { data, width } = image;
  const narrow = new Map<number, Float64Array>();
  const narrowed = (y: number): Float64Array => {
    const known = narrow.get(y);
    if (known) return known;
    const line = Float64Array.from(columns, ({ first, weights }) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(y * width + first + k) * stride + channel];
      return sum;
    });
    narrow.set(y, line);
    return line;
  };
  const out = new Float64Array(rows.length * columns.length);
  for (const [y, { first, weights }] of rows.entries()) {
    for (let k = 0; k < weights.length; k++) {
      const line = narrowed(first + k);
      for (let x = 0; x < columns.length; x++) out[y * columns.length + x] += weights[k] * line[x];
    }
  }
  return out;
}

function luma(planes: readonly Float64Array[], i: number): number {
  const [red, green, blue] = planes as [Float64Array, Float64Array, Float64Array];
  return 0.2126 * red[i] + 0.7152 * green[i] + 0.0722 * blue[i];
}
