// Test support: PNG files and tar archives written byte by byte, so that any of it can be wrong.
import { crc32, deflateSync } from "node:zlib";

export function pngChunk(name: string, content: Uint8Array): Uint8Array {
  const chunk = Buffer.alloc(12 + content.length);
  chunk.writeUInt32BE(content.length, 0);
  chunk.write(name, 4, "latin1");
  chunk.set(content, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + content.length)), 8 + content.length);
  return chunk;
}

/**
 * A PNG of `width` × `height` grey pixels of the level 128 with further chunks in front of them. `rows` fewer are there
 * than it says.
 */
export function pngOf(width: number, height: number, chunks: readonly Uint8Array[] = [], rows = height): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8; // bits, of grey
  const line = new Uint8Array(1 + width).fill(128, 1);
  const pixels = Buffer.concat(Array.from({ length: rows }, () => line));
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    pngChunk("IHDR", header),
    ...chunks,
    pngChunk("IDAT", deflateSync(pixels)),
    pngChunk("IEND", new Uint8Array()),
  ]);
}

/** The 512 bytes in front of an entry of a ustar archive. `size` as it stands in the header, twelve bytes. */
export function tarHeader(name: string, size: string | Uint8Array, type = "0"): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.set(typeof size === "string" ? Buffer.from(size, "latin1").subarray(0, 12) : size, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write(type, 156);
  header.write("ustar\x0000", 257, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

export const octal = (size: number): string => `${size.toString(8).padStart(11, "0")}\0`;

/** A whole ustar archive. */
export function tar(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const [name, content] of files) {
    blocks.push(tarHeader(name, octal(content.length)), content, new Uint8Array((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, new Uint8Array(1024)]);
}
