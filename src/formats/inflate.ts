// formats: deflate streams whose size is known beforehand. Portable.

/**
 * Deflate can promise a thousand times its input, so it gets that in small pieces and is stopped at the first byte too
 * many.
 */
const PIECE = 4096;

/** What fflate's streams have in common. */
interface InflateStream {
  push(bytes: Uint8Array, last: boolean): void;
}

/**
 * The `size` bytes that `content` holds; `open` makes the stream: fflate's `Inflate`, `Unzlib`.
 * @returns what is wrong, in words, when they are other bytes
 */
export function inflateExactly(
  open: (receive: (piece: Uint8Array) => void) => InflateStream,
  content: Uint8Array,
  size: number,
): Uint8Array<ArrayBuffer> | string {
  const out = new Uint8Array(size);
  let filled = 0;
  let tooLong = false;
  try {
    const stream = open((piece) => {
      tooLong ||= filled + piece.length > size;
      if (!tooLong) out.set(piece, filled);
      filled += piece.length;
    });
    for (let at = 0; at < content.length && !tooLong; at += PIECE) {
      stream.push(content.subarray(at, at + PIECE), at + PIECE >= content.length);
    }
  } catch {
    return `is no deflate stream after ${filled} of its ${size} bytes`;
  }
  if (filled === size) return out;
  return `inflates to ${tooLong ? "more" : "less"} than the ${size} bytes it is said to have`;
}
