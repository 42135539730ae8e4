// Test support: small files of every format that is read, and what can be wrong with them, as data.
import { deflateSync, gzipSync } from "node:zlib";
import sharp from "sharp";
import { octal, pngChunk, pngOf, tar, tarHeader } from "../data/bytes.ts";
import { draw } from "../data/pillow.ts";

export const faultKinds = [
  "png",
  "jpeg",
  "progressive jpeg",
  "webp",
  "gif",
  "tiff",
  "avif",
  "tar.gz",
  "cifar",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Outcomes {
  readonly tried: number;
  readonly decoded: number;
  readonly refused: number;
  /** What was neither: which file, and what came of it. */
  readonly wrong: readonly string[];
  readonly slowestMs: number;
}

const [WIDTH, HEIGHT] = [13, 11];
const image = sharp(draw(WIDTH, HEIGHT, 3), { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });

/** A whole file of the kind. */
export async function wholeFile(kind: FaultKind): Promise<Buffer> {
  switch (kind) {
    case "png":
      return image.clone().png().toBuffer();
    case "jpeg":
      return image.clone().jpeg({ progressive: false, mozjpeg: false }).toBuffer();
    case "progressive jpeg":
      return image.clone().jpeg({ progressive: true }).toBuffer();
    case "webp":
      return image.clone().webp({ quality: 80 }).toBuffer();
    case "gif":
      return image.clone().gif().toBuffer();
    case "tiff":
      return image.clone().tiff({ compression: "lzw" }).toBuffer();
    case "avif":
      return image.clone().avif({ effort: 0 }).toBuffer();
    case "tar.gz":
      return gzipSync(tar(new Map([["cifar-10-batches-bin/data_batch_1.bin", Buffer.alloc(700, "x")]])));
    case "cifar":
      return Buffer.alloc(2 * 3073, 3);
  }
}

/** The file with something wrong, each with a name for messages. At most about a thousand. */
export function* faultsOf(kind: FaultKind, whole: Buffer): Generator<readonly [string, Uint8Array]> {
  yield ["the whole file", whole];
  const step = Math.max(1, Math.floor(whole.length / 600));
  for (let length = 0; length < whole.length; length += step)
    yield [`its first ${length} bytes`, whole.subarray(0, length)];
  for (let at = 0; at < Math.min(whole.length, 100); at++) {
    for (const value of [0, 0x7f, 0xff, (whole[at] ?? 0) ^ 0x80]) {
      const changed = Buffer.from(whole);
      changed[at] = value;
      yield [`byte ${at} = ${value}`, changed];
    }
  }
  // Four bytes at once: lengths and sizes that claim everything.
  for (let at = 0; at + 4 <= Math.min(whole.length, 200); at++) {
    const changed = Buffer.from(whole);
    changed.fill(0xff, at, at + 4);
    yield [`bytes ${at} to ${at + 3} = 255`, changed];
  }
  yield* special(kind);
}

function* special(kind: FaultKind): Generator<readonly [string, Uint8Array]> {
  if (kind === "png") {
    for (const [width, height] of [
      [0, 1],
      [1, 0],
      [0x7fffffff, 1],
      [0x7fffffff, 0x7fffffff],
      [8000, 8000],
    ] as const) {
      yield [`one row that claims ${width}×${height}`, pngOf(width, height, [], 0)];
    }
    const bomb = deflateSync(Buffer.alloc(50_000_000));
    yield [
      "a text that unpacks to 50 MB",
      pngOf(4, 4, [pngChunk("zTXt", Buffer.concat([Buffer.from("a\0\0"), bomb]))]),
    ];
    yield [
      "a profile that unpacks to 50 MB",
      pngOf(4, 4, [pngChunk("iCCP", Buffer.concat([Buffer.from("a\0\0"), bomb]))]),
    ];
    yield [
      "pixels that unpack to 50 MB",
      Buffer.concat([pngOf(4, 4).subarray(0, 33), pngChunk("IDAT", bomb), pngChunk("IEND", Buffer.alloc(0))]),
    ];
  }
  if (kind === "tar.gz") {
    for (const size of ["-0000000512\0", "77777777777\0", "NaN\0", "zzzzzzzzzzz\0", `${"0".repeat(11)}9`]) {
      for (const type of ["0", "5", "L", "K", "x", "g", "S", "\0"]) {
        yield [`size ${JSON.stringify(size)} of type ${JSON.stringify(type)}`, gzipSync(tarHeader("a", size, type))];
      }
    }
    yield ["200,000 entries", gzipSync(Buffer.concat(new Array<Uint8Array>(200_000).fill(tarHeader("a", octal(0)))))];
    yield ["300 MB of zeros", gzipSync(Buffer.alloc(300_000_000), { level: 1 })];
    yield ["two archives in a row", Buffer.concat([gzipSync(tar(new Map())), gzipSync(tar(new Map()))])];
  }
}
