// data: an image file or its bytes → planar bytes of one size. PNG, JPEG and WebP through sharp, which decodes off the calling thread.
import { readFile } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import { InputError } from "../errors.ts";
import type { Box } from "./augment.ts";
import { type Interpolation, scaleMargin } from "./fitImage.ts";

export const imageExtensions: readonly string[] = [".png", ".jpg", ".jpeg", ".webp"];

export interface ImageFormat {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** As InputSize has them. */
  readonly cropRatio?: number;
  readonly interpolation?: Interpolation;
}

/** The encoded image in a file. @throws InputError saying what stands in the way: nothing there, a folder, no permission. */
export async function readImage(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === "ENOENT" ? "does not exist" : cause.code === "EISDIR" ? "is a folder" : "cannot be read";
    throw new InputError(`${file || '""'}: ${why}, expected a PNG, JPEG or WebP image`, { file }, { cause });
  });
}

/**
 * Decodes, turns upright, scales (by default bicubic) so that the image covers the target times 256/224 (times 1 for targets of up to 64 pixels),
 * and cuts out the centre. An image that has the target's size already keeps its exact pixels if the target is at most 64.
 * With `crop` that part of the upright image is scaled to the target instead. Transparency is dropped.
 * @param source file path, or an encoded image's bytes
 * @param name what error messages call it; the path by default
 * @returns [C, H, W] bytes
 * @throws InputError naming an image that cannot be read or does not decode
 */
export async function decodeImage(
  source: string | Uint8Array,
  format: ImageFormat,
  options: { readonly name?: string; readonly crop?: (width: number, height: number) => Box } = {},
): Promise<Uint8Array> {
  const name = options.name ?? (typeof source === "string" ? source : "image");
  const { height, width, channels } = format;
  const encoded = typeof source === "string" ? await readImage(source) : source;
  let bytes: Uint8Array;
  try {
    const upright = sharp(encoded).autoOrient();
    const metadata = await sharp(encoded).metadata();
    const kinds: readonly (string | undefined)[] = ["png", "jpeg", "webp"];
    if (!kinds.includes(metadata.format)) throw new Error(`it is ${metadata.format}`);
    const { width: fullWidth, height: fullHeight } = metadata.autoOrient;
    let framed: Sharp;
    if (options.crop !== undefined) {
      framed = upright
        .extract(options.crop(fullWidth, fullHeight))
        .resize(width, height, { fit: "fill", kernel: "cubic" });
    } else {
      // At least the target in both directions, or rounding could leave nothing to cut from.
      const scale = scaleMargin(format) * Math.max(width / fullWidth, height / fullHeight);
      const scaledWidth = Math.max(width, Math.round(fullWidth * scale));
      const scaledHeight = Math.max(height, Math.round(fullHeight * scale));
      const kernel = format.interpolation === "bilinear" ? "linear" : "cubic";
      framed = upright.resize(scaledWidth, scaledHeight, { fit: "fill", kernel }).extract({
        left: (scaledWidth - width) >> 1,
        top: (scaledHeight - height) >> 1,
        width,
        height,
      });
    }
    const colours = framed.removeAlpha().toColourspace(channels === 1 ? "b-w" : "srgb");
    bytes = await colours.raw({ depth: "uchar" }).toBuffer();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.trim().split("\n")[0] : String(cause);
    throw new InputError(`${name}: does not decode as a PNG, JPEG or WebP image (${why})`, { file: name }, { cause });
  }
  const plane = height * width;
  if (bytes.length !== channels * plane) {
    throw new InputError(`${name}: decodes to ${bytes.length / plane} channels, expected ${channels}`, { file: name });
  }
  const planar = new Uint8Array(channels * plane);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0; i < plane; i++) planar[channel * plane + i] = bytes[i * channels + channel];
  }
  return planar;
}
