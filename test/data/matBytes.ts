// Test support: MATLAB 5 files written element by element, so that any of it can be wrong; and the SVHN-like images that
// scripts/fixtures/svhn.py writes.
import { deflateSync } from "node:zlib";

export interface MatOptions {
  readonly little?: boolean;
  readonly version?: number;
  readonly text?: string;
}

export interface MatrixOptions extends MatOptions {
  readonly name: string;
  readonly dims: readonly number[];
  /** Of the class: 9 is uint8, 6 double. */
  readonly code?: number;
  readonly flags?: number;
  /** Of what is stored: 2 is uint8, 9 double. */
  readonly type?: number;
  readonly content: Uint8Array;
  /** Claimed, where it is not the content's length. */
  readonly bytes?: number;
}

export function words(values: readonly number[], little = true): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [i, value] of values.entries()) view.setInt32(4 * i, value | 0, little);
  return new Uint8Array(view.buffer);
}

/** A tag and its content, padded to eight bytes. */
export function element(type: number, content: Uint8Array, little = true, bytes = content.length): Uint8Array {
  return Buffer.concat([words([type, bytes], little), content, new Uint8Array(-content.length & 7)]);
}

export function matrix(options: MatrixOptions): Uint8Array {
  const { name, dims, code = 9, flags = 0, type = 2, content, bytes = content.length, little = true } = options;
  const inner = Buffer.concat([
    element(6, words([code | (flags << 8), 0], little), little),
    element(5, words(dims, little), little),
    element(1, Buffer.from(name, "latin1"), little),
    element(type, content, little, bytes),
  ]);
  return element(14, inner, little);
}

/** As -v7 writes it: a zlib stream, without padding. */
export function compressed(content: Uint8Array, little = true): Uint8Array {
  const packed = deflateSync(content);
  return Buffer.concat([words([15, packed.length], little), packed]);
}

export function matFile(elements: readonly Uint8Array[], options: MatOptions = {}): Uint8Array {
  const { little = true, version = 0x0100, text = "MATLAB 5.0 MAT-file, by hand" } = options;
  const header = Buffer.alloc(128, 0);
  header.write(text.padEnd(116), 0, "latin1");
  new DataView(header.buffer, header.byteOffset).setUint16(124, version, little);
  header.write(little ? "IM" : "MI", 126, "latin1");
  return Buffer.concat([header, ...elements]);
}

export const svhnPixel = (image: number, channel: number, row: number, column: number): number =>
  (17 * image + 71 * channel + 3 * row + 5 * column + row * column) % 256;

/** In the order of the file: rows first, then columns, channels, images. */
export function svhnPixels(count: number): Uint8Array {
  return Uint8Array.from({ length: count * 3072 }, (_, at) =>
    svhnPixel(Math.floor(at / 3072), Math.floor(at / 1024) % 3, at % 32, Math.floor(at / 32) % 32),
  );
}

export const svhnLabels = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, i) => 1 + (i % 10));

/** A file of `count` images; `labels` in place of its own. */
export function svhnFile(count: number, labels: Uint8Array = svhnLabels(count)): Uint8Array {
  return matFile([
    compressed(matrix({ name: "X", dims: [32, 32, 3, count], content: svhnPixels(count) })),
    compressed(matrix({ name: "y", dims: [labels.length, 1], content: labels })),
  ]);
}
