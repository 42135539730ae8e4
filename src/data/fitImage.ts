// data: an image of any size → the planar bytes of the network's input size. Portable: pages use it as it stands, and
// the decoder of files for everything after decoding.
import { InputError } from "../errors.ts";
import type { Box } from "./augment.ts";
import { type Framing, type Interpolation, type Pixels, resample } from "./resample.ts";

/**
 * Interleaved 8-bit pixels, as `ImageData` of a browser has them: RGB, or RGBA (not premultiplied), which is laid on
 * white.
 */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray; // [height, width, 3 or 4]
}

/** What images are fitted to: channels and pixels. */
export interface InputSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /**
   * Side of the cut-out over the side of the scaled image. By default ImageNet practice: 224/256 above 64 pixels, else
   * 1.
   */
  readonly cropRatio?: number;
  /** Default bicubic. */
  readonly interpolation?: Interpolation;
}

/**
 * Lays the image on white where it is transparent, scales it (bicubic unless told otherwise, as Pillow) so that it
 * covers the target times 256/224 (times 1 for targets of up to 64 pixels), and cuts out the centre. An image that has
 * the target's size already keeps its exact pixels if the target is at most 64.
 * @returns [channels, height, width] bytes; one channel is the luma of Rec. 601 (0.299 R + 0.587 G + 0.114 B), as
 *   Pillow's mode L
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
  return framed(image, centreFraming(width, height, size), size.channels);
}

/** Crops of an image that count in a ten-crop evaluation, each once as it is and once mirrored. */
export const FIVE_CROPS = 5;

/**
 * The centre and the four corners, each of the target's size, of a scaled image.
 * @param scaled what `coverFraming` gives: [C, framing.height, framing.width] bytes
 * @returns [5, C, H, W] bytes
 */
export function fiveCrops(scaled: Uint8Array, framing: Framing, size: InputSize): Uint8Array {
  const { channels, height, width } = size;
  const out = new Uint8Array(FIVE_CROPS * channels * height * width);
  const right = framing.width - width;
  const bottom = framing.height - height;
  const corners = [
    [bottom >> 1, right >> 1],
    [0, 0],
    [0, right],
    [bottom, 0],
    [bottom, right],
  ] as const;
  let to = 0;
  for (const [top, left] of corners) {
    for (let channel = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++, to += width) {
        const from = (channel * framing.height + top + y) * framing.width + left;
        out.set(scaled.subarray(from, from + width), to);
      }
    }
  }
  return out;
}

/** All of an image of `width` × `height`, scaled so that it covers the target and the margin around it. */
export function coverFraming(width: number, height: number, size: InputSize): Framing {
  const { scaledWidth, scaledHeight, interpolation } = centreFraming(width, height, size);
  return { scaledWidth, scaledHeight, left: 0, top: 0, width: scaledWidth, height: scaledHeight, interpolation };
}

/** Side of the scaled image over the side of the cut-out. Small images keep their border. */
export function scalingMargin({ height, width, cropRatio }: Omit<InputSize, "channels">): number {
  if (cropRatio !== undefined) return 1 / cropRatio;
  return Math.min(height, width) > 64 ? 256 / 224 : 1;
}

/** The centre of an image of `width` × `height`, scaled so that it covers the target. */
export function centreFraming(width: number, height: number, size: InputSize): Framing {
  const scale = scalingMargin(size) * Math.max(size.width / width, size.height / height);
  // At least the target in both directions, or rounding could leave nothing to cut from.
  const scaledWidth = Math.max(size.width, Math.round(width * scale));
  const scaledHeight = Math.max(size.height, Math.round(height * scale));
  return {
    scaledWidth,
    scaledHeight,
    left: (scaledWidth - size.width) >> 1,
    top: (scaledHeight - size.height) >> 1,
    width: size.width,
    height: size.height,
    interpolation: size.interpolation ?? "bicubic",
  };
}

/** The part of an image of `width` × `height`, in its own pixels and fractions of them, that `centreFraming` keeps. */
export function centreBox(width: number, height: number, size: InputSize): Box {
  const framing = centreFraming(width, height, size);
  const [x, y] = [width / framing.scaledWidth, height / framing.scaledHeight];
  return { left: framing.left * x, top: framing.top * y, width: framing.width * x, height: framing.height * y };
}

/** All of an image, scaled to the target whatever its proportions. */
export function wholeFraming({ width, height, interpolation = "bicubic" }: InputSize): Framing {
  return { scaledWidth: width, scaledHeight: height, left: 0, top: 0, width, height, interpolation };
}

/** `image`, laid on white, as `framing` says: [channels, framing.height, framing.width] bytes. */
export function framed(image: Image, framing: Framing, channels: number): Uint8Array {
  if (channels !== 3 && channels !== 1) {
    throw new InputError(`a network of ${channels} input channels cannot take images, expected 1 or 3`);
  }
  const opaque = onWhite(image);
  return planar(resample(channels === 1 ? grey(opaque) : opaque, framing));
}

function onWhite({ data, width, height }: Image): Pixels {
  const count = width * height;
  if (data.length === 3 * count) return { data, width, height, channels: 3 };
  const rgb = new Uint8Array(3 * count);
  for (let pixel = 0; pixel < count; pixel++) {
    const alpha = data[4 * pixel + 3];
    for (let channel = 0; channel < 3; channel++) {
      rgb[3 * pixel + channel] = Math.round((data[4 * pixel + channel] * alpha + 255 * (255 - alpha)) / 255);
    }
  }
  return { data: rgb, width, height, channels: 3 };
}

/** Rec. 601, in whole numbers as Pillow computes it; a grey level keeps its value. */
function grey({ data, width, height }: Pixels): Pixels {
  const levels = new Uint8Array(width * height);
  for (let pixel = 0, at = 0; pixel < levels.length; pixel++, at += 3) {
    levels[pixel] = (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 32768) >> 16;
  }
  return { data: levels, width, height, channels: 1 };
}

function planar({ data, width, height, channels }: Pixels): Uint8Array {
  const plane = width * height;
  const out = new Uint8Array(channels * plane);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0, at = channel; i < plane; i++, at += channels) out[channel * plane + i] = data[at];
  }
  return out;
}
