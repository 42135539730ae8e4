// data: what images are read, and what a file's first bytes say that it is. Only what this names as readable is given
// to a decoder. Portable.

/** Formats that decode, as messages call them. */
export type ReadableFormat = "PNG" | "JPEG" | "WebP" | "GIF" | "TIFF" | "AVIF";

/** Pixels of the largest image that is decoded unless told otherwise; every decoded pixel takes 3 or 4 bytes. */
export const DEFAULT_MAX_PIXELS = 64_000_000;

/** Extensions of files that a folder's scan takes for images, in lower case. */
export const imageExtensions: readonly string[] = [
  ".png",
  ".jpg",
  ".jpeg",
  ".jpe",
  ".jfif",
  ".webp",
  ".gif",
  ".tif",
  ".tiff",
  ".avif",
];

/** For messages. */
export const READABLE = "a PNG, JPEG, WebP, GIF, TIFF or AVIF image";

const EXAMINED_BYTES = 512;

/** What `bytes`, the beginning of a file, are: a format that decodes, or in words something else. */
export function identify(bytes: Uint8Array): { readonly format: ReadableFormat } | { readonly other: string } {
  if (bytes.length === 0) return { other: "is empty" };
  // Each byte as one character.
  const start = Array.from(bytes.subarray(0, EXAMINED_BYTES), (byte) => String.fromCharCode(byte)).join("");
  const has = ([, at, ...texts]: Signature<string>): boolean => texts.some((text) => start.startsWith(text, at));
  if (start.startsWith("ftyp", 4)) return isoMedia(start);
  const known = FORMATS.find(has);
  if (known !== undefined && (known[0] !== "WebP" || start.startsWith("WEBP", 8))) return { format: known[0] };
  const other = OTHERS.find(has);
  if (other !== undefined) return { other: `is ${other[0]}` };
  const markup = start.replace("\xef\xbb\xbf", "").trimStart().toLowerCase();
  if (/^<(!doctype html|html|head|body)/.test(markup)) {
    return { other: "is a web page, as a server sends it in place of an image" };
  }
  if (/^<(svg|[?!])/.test(markup) && markup.includes("<svg")) {
    return { other: "is an SVG drawing, which this does not decode; convert it to PNG" };
  }
  return { other: /^[\t\n\r -~]*$/.test(start) ? "is text" : "is no image of a known format" };
}

/** Name, place and what stands there, one or another. */
type Signature<Name> = readonly [Name, number, ...string[]];

const FORMATS: readonly Signature<ReadableFormat>[] = [
  ["PNG", 0, "\x89PNG\r\n\x1a\n"],
  ["JPEG", 0, "\xff\xd8\xff"],
  ["WebP", 0, "RIFF"],
  ["GIF", 0, "GIF87a", "GIF89a"],
  ["TIFF", 0, "II*\0", "MM\0*", "II+\0", "MM\0+"],
];
const OTHERS: readonly Signature<string>[] = [
  ["a BMP image, which this does not decode; convert it to PNG", 0, "BM"],
  ["a JPEG XL image, which this does not decode; convert it to PNG", 0, "\xff\n", "\0\0\0\fJXL "],
  ["a JPEG 2000 image, which this does not decode; convert it to PNG", 0, "\0\0\0\fjP  "],
  ["a Photoshop document", 0, "8BPS"],
  ["a PDF document", 0, "%PDF"],
  ["an archive", 0, "PK\x03", "PK\x05", "\x1f\x8b", "Rar!", "7z\xbc\xaf"],
  ["a video", 0, "\x1aE\xdf\xa3"],
  ["what macOS keeps beside a file, not the file", 0, "\0\x05\x16\x00", "\0\x05\x16\x07"],
  ["a pointer of Git LFS whose image was not fetched (git lfs pull)", 0, "version https://git-lfs"],
];

/**
 * Of a file in the ISO base media format: brands of four letters follow. A HEIF file that is AVIF too has its brand
 * among the compatible ones.
 */
function isoMedia(start: string): ReturnType<typeof identify> {
  const brands = Array.from({ length: 16 }, (_, i) => start.slice(8 + 4 * i, 12 + 4 * i));
  if (brands.some((brand) => brand === "avif" || brand === "avis")) return { format: "AVIF" };
  const isHeif = brands.some((brand) => /^(hei|hev|mif1|msf1)/.test(brand));
  return { other: isHeif ? "is a HEIC image, which this does not decode; convert it to JPEG" : "is a video" };
}
