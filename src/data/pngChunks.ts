// data: a PNG without its texts and other chunks that say nothing about its pixels (PNG specification, 5.3). Fifty
// compressed texts of a few kB each unpack to gigabytes in the decoder before it has seen a pixel. Portable.

const SIGNATURE_BYTES = 8;
/** Length, name and checksum. */
const FRAME_BYTES = 12;

/** Ancillary chunks that decide about colours, transparency and orientation. */
const KEPT: ReadonlySet<string> = new Set(["tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "eXIf"]);

/**
 * `png` itself where there is nothing to leave out. What does not follow the format stays, for the decoder to refuse.
 */
export function withoutTexts(png: Uint8Array): Uint8Array {
  const view = new DataView(png.buffer, png.byteOffset, png.length);
  const kept: Uint8Array[] = [];
  let from = 0;
  let at = SIGNATURE_BYTES;
  while (at + FRAME_BYTES <= png.length) {
    const end = at + FRAME_BYTES + view.getUint32(at);
    if (end > png.length) break;
    const name = String.fromCharCode(...png.subarray(at + 4, at + 8));
    // A name that begins in lower case is ancillary.
    if (/^[a-z]/.test(name) && !KEPT.has(name)) {
      kept.push(png.subarray(from, at));
      from = end;
    }
    at = end;
  }
  if (from === 0) return png;
  kept.push(png.subarray(from));
  const out = new Uint8Array(kept.reduce((sum, { length }) => sum + length, 0));
  let to = 0;
  for (const piece of kept) {
    out.set(piece, to);
    to += piece.length;
  }
  return out;
}
