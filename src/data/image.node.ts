// data: an image file or its bytes → planar bytes of one size. sharp decodes, off the calling thread; what follows is
// fitImage.ts, as in a page.
import sharp, { type Metadata, type Sharp } from "sharp";
import { InputError } from "../errors.ts";
import type { Box } from "./augment.ts";
import { centreFraming, coverFraming, fiveCrops, framed, type Image, wholeFraming } from "./fitImage.ts";
import { DEFAULT_MAX_PIXELS, identify, READABLE, type ReadableFormat } from "./imageFormats.ts";
import { withoutTexts } from "./pngChunks.ts";
import { readRegularFile } from "./readFile.node.ts";
import type { Framing, Interpolation } from "./resample.ts";

/** What an image file is decoded to: channels and pixels. */
export interface ImageFormat {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** As InputSize has them. */
  readonly cropRatio?: number;
  readonly interpolation?: Interpolation;
}

/** No image file is larger: 64 million pixels of 64 bits, not compressed. */
const MAX_FILE_BYTES = 512 * 2 ** 20;

/**
 * The encoded image in a file. @throws InputError or ResourceError saying what stands in the way: nothing there, a
 * folder, a pipe, no permission.
 */
export async function readImage(file: string): Promise<Uint8Array> {
  return readRegularFile(file, { expected: READABLE, maxBytes: MAX_FILE_BYTES });
}

/** What an encoded image says of itself. */
export interface ImageHeader {
  readonly format: ReadableFormat;
  /** Of the upright image. */
  readonly width: number;
  readonly height: number;
}

/**
 * Reads what stands before the pixels; nothing is decoded.
 * @param name what error messages call the image
 * @throws InputError when it is no image that decodes, or has more than `maxPixels` pixels
 */
export async function readHeader(encoded: Uint8Array, name: string, maxPixels: number): Promise<ImageHeader> {
  const known = identify(encoded);
  if ("other" in known) {
    throw new InputError(`${name}: ${known.other}, expected ${READABLE}`, { file: name });
  }
  const { format } = known;
  let metadata: Metadata;
  try {
    metadata = await sharp(decodable(encoded, format), { limitInputPixels: false }).metadata();
  } catch (cause) {
    throw undecodable(name, format, cause);
  }
  const { width, height } = metadata.autoOrient;
  if (!(width * height <= maxPixels)) {
    throw new InputError(
      `${name}: has ${width}×${height} = ${width * height} pixels, expected at most ${maxPixels} (--max-pixels, ` +
        "maxPixels)",
      { file: name, width, height, maxPixels },
    );
  }
  return { format, width, height };
}

/** Where nearly every header ends. */
const HEADER_BYTES = 64 * 2 ** 10;

/** readHeader of a file, of which no more is read than it takes. */
export async function readFileHeader(file: string, maxPixels: number): Promise<ImageHeader> {
  const start = await readRegularFile(file, { expected: READABLE, maxBytes: MAX_FILE_BYTES, first: HEADER_BYTES });
  try {
    return await readHeader(start, file, maxPixels);
  } catch (error) {
    // Some formats need more, to the end of the file.
    const isCutOff = start.length === HEADER_BYTES && error instanceof InputError && error.details.format !== undefined;
    if (!isCutOff) throw error;
    return readHeader(await readImage(file), file, maxPixels);
  }
}

/** How an image file is decoded. */
export interface DecodeOptions {
  /** What error messages call the image; default the path, or "image". */
  readonly name?: string;
  /** Scales this part of the upright image to the target, in place of its centre. */
  readonly crop?: (width: number, height: number) => Box;
  /** Refuses an image of more pixels. Default 64 million. */
  readonly maxPixels?: number | undefined;
}

/**
 * Decodes, turns upright, lays on white what is transparent, and fits the centre to the target as fitImage does: the
 * same pixels to within 2 grey levels. Of an animation the first frame counts. Colours are converted to sRGB where the
 * image has a profile. JPEGs with the harmless faults that cameras write decode, as browsers decode them; one that is
 * cut off is refused, also where only its end marker is missing.
 * @param source file path, or an encoded image's bytes
 * @returns [C, H, W] bytes
 * @throws InputError naming an image that cannot be read, does not decode or is too large; ResourceError when files
 *   or memory have run out
 */
export async function decodeImage(
  source: string | Uint8Array,
  format: ImageFormat,
  options: DecodeOptions = {},
): Promise<Uint8Array> {
  const { crop } = options;
  const { pixels } = await decodeFramed(source, options, format.channels, ({ width, height }) =>
    crop === undefined
      ? { box: { left: 0, top: 0, width, height }, framing: centreFraming(width, height, format) }
      : { box: crop(width, height), framing: wholeFraming(format) },
  );
  return pixels;
}

/**
 * As decodeImage, but the centre and the four corners of the scaled image.
 * @returns [5, C, H, W] bytes
 */
export async function decodeFiveCrops(
  source: string | Uint8Array,
  format: ImageFormat,
  options: Omit<DecodeOptions, "crop"> = {},
): Promise<Uint8Array> {
  const { pixels, framing } = await decodeFramed(source, options, format.channels, ({ width, height }) => ({
    box: { left: 0, top: 0, width, height },
    framing: coverFraming(width, height, format),
  }));
  return fiveCrops(pixels, framing, format);
}

/**
 * All pixels of an image, upright and in sRGB: what `decodeImage` fits to a network's input.
 * @throws InputError and ResourceError as decodeImage
 */
export async function decodeUpright(
  source: string | Uint8Array,
  options: Omit<DecodeOptions, "crop"> = {},
): Promise<Image> {
  const { image } = await decodePart(source, options, ({ width, height }) => ({
    box: { left: 0, top: 0, width, height },
    framing: { scaledWidth: width, scaledHeight: height, left: 0, top: 0, width, height, interpolation: "bicubic" },
  }));
  return image;
}

/** Decodes the part `box` of the upright image and frames it: pixels [channels, framing.height, framing.width]. */
async function decodeFramed(
  source: string | Uint8Array,
  options: Omit<DecodeOptions, "crop">,
  channels: 1 | 3,
  place: (header: ImageHeader) => { readonly box: Box; readonly framing: Framing },
): Promise<{ readonly pixels: Uint8Array; readonly framing: Framing }> {
  const { image, framing } = await decodePart(source, options, place);
  return { pixels: framed(image, framing, channels), framing };
}

/** Decodes the part `box` of the upright image, perhaps shrunk on the way to its framing. */
async function decodePart(
  source: string | Uint8Array,
  options: Omit<DecodeOptions, "crop">,
  place: (header: ImageHeader) => { readonly box: Box; readonly framing: Framing },
): Promise<{ readonly image: Image; readonly framing: Framing }> {
  const { maxPixels = DEFAULT_MAX_PIXELS } = options;
  const name = options.name ?? (typeof source === "string" ? source : "image");
  const encoded = typeof source === "string" ? await readImage(source) : source;
  const header = await readHeader(encoded, name, maxPixels);
  const { box, framing } = place(header);
  let decoded: { data: Uint8Array; info: { width: number; height: number; channels: number } };
  try {
    // "error": refused is what is cut off or stops the decoder, not what it warns of.
    const upright = sharp(decodable(encoded, header.format), {
      failOn: "error",
      limitInputPixels: maxPixels,
    }).autoOrient();
    decoded = await shrunk(upright, header, box, framing)
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
  } catch (cause) {
    throw undecodable(name, header.format, cause);
  }
  const { data, info } = decoded;
  if (info.channels !== 3 && info.channels !== 4) {
    throw new InputError(`${name}: decodes to ${info.channels} channels, expected 3 or 4`, { file: name });
  }
  return { image: { data, width: info.width, height: info.height }, framing };
}

/**
 * The part `box` of the image, shrunk by the decoder's library where it is much larger than what it is scaled to, which
 * saves time, and left several times larger than that, so that what comes after decides. Below a million pixels there
 * is little to save. Against Pillow's bicubic of all pixels (photographs and fractal noise with hard edges, 500×375 to
 * 4000×3000 pixels, to 32, 64, 128 and 224; 2026-11-25): at most 2 grey levels apart.
 */
function shrunk(image: Sharp, { format, width, height }: ImageHeader, box: Box, framing: Framing): Sharp {
  const { scaledWidth, scaledHeight } = framing;
  if (box.width * box.height < 1e6) return image.extract(box);
  const isWhole = box.width === width && box.height === height;
  if (format === "JPEG" && isWhole) {
    // Decodes to an eighth, a quarter or half at once. Where a side is no multiple of that, the result is off by a part
    // of a pixel.
    const ratio = Math.min(width / (3 * scaledWidth), height / (3 * scaledHeight));
    const divisor = [8, 4, 2].find((n) => n <= ratio);
    if (divisor !== undefined && width % divisor === 0 && height % divisor === 0) {
      return onWhite(image).resize(3 * scaledWidth, 3 * scaledHeight, { fit: "fill", kernel: "cubic" });
    }
  }
  // What is extracted first is not shrunk while it is decoded.
  const part = image.extract(box);
  if (box.width <= 5 * scaledWidth || box.height <= 5 * scaledHeight) return part;
  return onWhite(part).resize(5 * scaledWidth, 5 * scaledHeight, { fit: "fill", kernel: "cubic" });
}

/** Before it is resized, or hidden colours would mix in. What is not resized here is laid on white by fitImage.ts. */
function onWhite(image: Sharp): Sharp {
  return image.flatten({ background: "white" });
}

/** What is given to the decoder. */
function decodable(encoded: Uint8Array, format: ReadableFormat): Uint8Array {
  return format === "PNG" ? withoutTexts(encoded) : encoded;
}

function undecodable(name: string, format: ReadableFormat, cause: unknown): InputError {
  const why = cause instanceof Error ? cause.message.trim().split("\n")[0] : String(cause);
  return new InputError(`${name}: does not decode as a ${format} image (${why})`, { file: name, format }, { cause });
}
