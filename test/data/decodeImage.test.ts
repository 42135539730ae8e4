// data: files and bytes of every format decode to upright 8-bit RGB on white, and what is none is called by its name.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs, { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { deflateSync } from "node:zlib";
import sharp, { type Sharp } from "sharp";
import { fitImage } from "../../src/data/fitImage.ts";
import { decodeImage, readFileHeader } from "../../src/data/image.node.ts";
import { identify } from "../../src/data/imageFormats.ts";
import { withoutTexts } from "../../src/data/pngChunks.ts";
import { InputError, ResourceError } from "../../src/errors.ts";
import { pngChunk, pngOf } from "./bytes.ts";
import { apart, draw } from "./pillow.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-decode-"));
});
after(async () => {
  await rm(root, { recursive: true });
});

const refuses = (
  promise: Promise<unknown>,
  kind: typeof InputError | typeof ResourceError,
  ...parts: string[]
): Promise<void> =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, String(error));
    for (const part of parts) assert.ok(error.message.includes(part), `${error.message}\nlacks ${part}`);
    return true;
  });

const size = (side: number) => ({ channels: 3, height: side, width: side }) as const;
const solid = (channels: 3 | 4): Sharp =>
  sharp({ create: { width: 8, height: 8, channels, background: { r: 200, g: 100, b: 50, alpha: 0.5 } } });

const opaque: readonly (readonly [string, () => Promise<Uint8Array>, number])[] = [
  ["PNG", () => solid(3).png().toBuffer(), 0],
  ["PNG with a palette", () => solid(3).png({ palette: true }).toBuffer(), 1],
  ["PNG of 16 bits", () => solid(3).toColourspace("rgb16").png().toBuffer(), 1],
  ["JPEG", () => solid(3).jpeg({ quality: 100 }).toBuffer(), 3],
  ["WebP", () => solid(3).webp({ lossless: true }).toBuffer(), 0],
  ["GIF", () => solid(3).gif().toBuffer(), 1],
  ["TIFF", () => solid(3).tiff().toBuffer(), 1],
  ["AVIF", () => solid(3).avif({ lossless: true }).toBuffer(), 3],
];
for (const [name, make, by] of opaque) {
  test(`decodeImage · ${name} · 8-bit RGB of the right colour`, async () => {
    const bytes = await decodeImage(await make(), size(8));
    assert.equal(bytes.length, 192);
    for (const [channel, value] of [200, 100, 50].entries()) {
      assert.ok(Math.abs(bytes[64 * channel] - value) <= by, `channel ${channel} is ${bytes[64 * channel]}`);
    }
  });
}

test("decodeImage · CMYK JPEG · near the colour that was printed", async () => {
  const flat = sharp({ create: { width: 8, height: 8, channels: 3, background: { r: 150, g: 130, b: 120 } } });
  const bytes = await decodeImage(await flat.toColourspace("cmyk").jpeg({ quality: 100 }).toBuffer(), size(8));
  for (const [channel, value] of [150, 130, 120].entries()) assert.ok(Math.abs(bytes[64 * channel] - value) <= 12);
});

test("decodeImage · a grey image gives three equal planes, or one", async () => {
  const grey = await solid(3).toColourspace("b-w").png().toBuffer();
  const [level] = await decodeImage(grey, { ...size(8), channels: 1 });
  assert.deepEqual(new Set(await decodeImage(grey, size(8))), new Set([level]));
  assert.equal((await decodeImage(grey, { ...size(8), channels: 1 })).length, 64);
});

// A black square on a transparent ground whose hidden colour is red: 40×40, the square 16…24.
const glyph = Uint8Array.from({ length: 4 * 40 * 40 }, (_, i) => {
  const [x, y] = [Math.floor(i / 4) % 40, Math.floor(i / 160)];
  const isInside = x >= 12 && x < 28 && y >= 12 && y < 28;
  return i % 4 === 3 ? (isInside ? 255 : 0) : i % 4 === 0 && !isInside ? 255 : 0;
});
const glyphImage = (): Sharp => sharp(glyph, { raw: { width: 40, height: 40, channels: 4 } });
const transparent: readonly (readonly [string, () => Promise<Uint8Array>, number?])[] = [
  ["PNG", () => glyphImage().png().toBuffer()],
  ["PNG with a palette (tRNS)", () => glyphImage().png({ palette: true, colours: 4 }).toBuffer()],
  ["PNG of 16 bits", () => glyphImage().toColourspace("rgb16").png().toBuffer()],
  ["grey PNG with alpha", () => glyphImage().toColourspace("b-w").png().toBuffer()],
  [
    "WebP",
    () =>
      glyphImage()
        .webp({ lossless: true, exact: true } as object)
        .toBuffer(),
  ],
  // Its colours are stored at half the size, so the hidden one reaches a pixel into the square: only ground and centre
  // are compared.
  ["lossy WebP", () => glyphImage().webp({ quality: 100 }).toBuffer(), 255],
  ["GIF", () => glyphImage().gif().toBuffer()],
  ["TIFF", () => glyphImage().tiff({ compression: "lzw" }).toBuffer()],
];
for (const [name, make, by = 0] of transparent) {
  test(`decodeImage · transparent ${name} · black on white at every size, as in a page`, async () => {
    const encoded = await make();
    for (const side of [7, 39, 40, 41, 64, 96]) {
      const bytes = await decodeImage(encoded, size(side));
      const plane = side * side;
      const page = fitImage({ width: 40, height: 40, data: glyph }, size(side));
      assert.ok(apart(bytes, page) <= by, `side ${side}: ${apart(bytes, page)} grey levels from the page's`);
      assert.ok(
        bytes[0] > 250 && bytes[plane] > 250 && bytes[2 * plane] > 250,
        `side ${side}: the corner is not white`,
      );
      const centre = (side >> 1) * side + (side >> 1);
      assert.ok(bytes[centre] < 20, `side ${side}: the centre is ${bytes[centre]}`);
    }
  });
}

const scene = draw(80, 60, 3);
const whole = await sharp(scene, { raw: { width: 80, height: 60, channels: 3 } })
  .jpeg({ quality: 95 })
  .toBuffer();
const scan = whole.indexOf("\xff\xda", 0, "latin1");
const scanEnd = scan + 2 + whole.readUInt16BE(scan + 2);
const frame = whole.indexOf("\xff\xc0", 0, "latin1");
const harmless: readonly (readonly [string, Uint8Array])[] = [
  ["invalid SOS parameters", Buffer.concat([whole.subarray(0, scanEnd - 3), Buffer.alloc(3), whole.subarray(scanEnd)])],
  ["bytes before a marker", Buffer.concat([whole.subarray(0, frame), Buffer.alloc(3), whole.subarray(frame)])],
  ["bytes after its end", Buffer.concat([whole, Buffer.from("MOTIONPHOTO".repeat(50))])],
];
for (const [name, jpeg] of harmless) {
  test(`decodeImage · JPEG with ${name} · decodes to the same pixels, as in Chromium and Pillow`, async () => {
    assert.deepEqual(await decodeImage(jpeg, size(32)), await decodeImage(whole, size(32)));
  });
}
// Chromium's createImageBitmap and Pillow refuse all of these too, also the first, which lacks nothing but its end
// marker.
for (const missing of [2, 3, 40, whole.length >> 1]) {
  test(`decodeImage · JPEG without its last ${missing} bytes · refused as cut off`, async () => {
    const jpeg = whole.subarray(0, whole.length - missing);
    await refuses(
      decodeImage(jpeg, size(32), { name: "cut.jpg" }),
      InputError,
      "cut.jpg: does not decode as a JPEG image (",
    );
  });
}

test("decodeImage · a camera's orientation is applied before cropping, with and without a crop", async () => {
  // Left half black, right half white, marked as to be turned by 90° clockwise: upright, black is on top.
  const sideways = await sharp({ create: { width: 40, height: 20, channels: 3, background: "black" } })
    .composite([
      {
        input: await sharp({ create: { width: 20, height: 20, channels: 3, background: "white" } })
          .png()
          .toBuffer(),
        left: 20,
        top: 0,
      },
    ])
    .withMetadata({ orientation: 6 })
    .jpeg({ quality: 100 })
    .toBuffer();
  const whole = await decodeImage(sideways, { channels: 3, height: 16, width: 16 });
  assert.ok(whole[0] < 20 && whole[15 * 16] > 235);
  const seen: number[] = [];
  const lower = await decodeImage(
    sideways,
    { channels: 3, height: 16, width: 16 },
    {
      crop: (width, height) => {
        seen.push(width, height);
        return { left: 0, top: 24, width: 16, height: 16 };
      },
    },
  );
  assert.deepEqual(seen, [20, 40]);
  assert.ok(lower.every((value) => value > 235));
});

test("decodeImage · a larger image keeps its centre; scaling up to a target that is no multiple works", async () => {
  const target = { channels: 3, height: 30, width: 30 } as const;
  const wide = await sharp({ create: { width: 300, height: 100, channels: 3, background: "black" } })
    .composite([
      {
        input: await sharp({ create: { width: 100, height: 100, channels: 3, background: "white" } })
          .png()
          .toBuffer(),
        left: 100,
        top: 0,
      },
    ])
    .png()
    .toBuffer();
  const bytes = await decodeImage(wide, target);
  assert.ok(bytes[15 * 30 + 15] === 255 && bytes.filter((value) => value > 200).length > 0.9 * bytes.length);
  for (const [width, height] of [
    [1, 1],
    [7, 31],
    [33, 5],
    [1000, 3],
  ]) {
    const odd = await sharp({ create: { width, height, channels: 3, background: "white" } })
      .png()
      .toBuffer();
    for (const size of [13, 65, 224]) {
      const decoded = await decodeImage(odd, { channels: 3, height: size, width: size });
      assert.equal(decoded.length, 3 * size * size);
      assert.ok(decoded.every((value) => value === 255));
    }
  }
});

test("decodeImage · what is no regular file is refused by name at once and never opened", {
  timeout: 20_000,
}, async () => {
  const pipe = join(root, "pipe.png");
  execFileSync("mkfifo", [pipe]);
  const device = join(root, "zero.png");
  await symlink("/dev/zero", device);
  const socket = join(root, "socket.png");
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once("listening", resolve));
  const loop = join(root, "loop.png");
  await symlink(loop, loop);
  const dangling = join(root, "dangling.png");
  await symlink(join(root, "nowhere.png"), dangling);
  const folder = join(root, "folder.png");
  await mkdir(folder);
  const file = join(root, "file");
  await writeFile(file, "");
  const missing = join(root, "missing.png");
  try {
    for (const [path, message] of [
      [pipe, "is a named pipe"],
      [device, "is a device"],
      [socket, "is a socket"],
      [folder, "is a folder"],
      [loop, "is a link that leads back to itself (ELOOP)"],
      [dangling, "does not exist"],
      [missing, "does not exist"],
      [join(file, "1.png"), "does not exist, because what should be a folder on its path is a file"],
      [join(root, `${"x".repeat(300)}.png`), "has a name that is too long"],
      [file, "is empty"],
    ] as const) {
      const expected = `${path}: ${message}`;
      await refuses(decodeImage(path, size(4)), InputError, expected, "expected a PNG, JPEG");
      await refuses(readFileHeader(path, 1e6), InputError, expected);
    }
    await refuses(decodeImage("", size(4)), InputError, '"": does not exist');
  } finally {
    server.close();
  }
});

test("decodeImage · a failing disk is bad input, too many open files and no memory are resources, none is a bug", async (context) => {
  const file = join(root, "good.png");
  await writeFile(file, pngOf(4, 4));
  for (const [code, kind, message] of [
    ["EIO", InputError, "the disk or the network failed"],
    ["EACCES", InputError, "may not be read"],
    ["EPERM", InputError, "may not be read"],
    ["ENODEV", InputError, "cannot be read (ENODEV)"],
    ["EMFILE", ResourceError, "ulimit -n"],
    ["ENFILE", ResourceError, "the system has too many files open"],
    ["ENOMEM", ResourceError, "out of memory"],
  ] as const) {
    const mock = context.mock.method(fs, "open", () => Promise.reject(Object.assign(new Error(code), { code })));
    syncBuiltinESMExports();
    try {
      await refuses(decodeImage(file, size(4)), kind, `${file}: `, message);
    } finally {
      mock.mock.restore();
      syncBuiltinESMExports();
    }
  }
});

test("decodeImage · an image beyond the limit is refused with both numbers, from its header", async () => {
  const png = pngOf(300, 200);
  assert.equal((await decodeImage(png, size(4), { maxPixels: 60_000 })).length, 48);
  await refuses(
    decodeImage(png, size(4), { maxPixels: 59_999, name: "big.png" }),
    InputError,
    "big.png: has 300×200 = 60000 pixels, expected at most 59999",
    "--max-pixels",
  );
  // 64 million unless told otherwise; only one row is there.
  await refuses(
    decodeImage(pngOf(8001, 8000, [], 1), size(4)),
    InputError,
    "has 8001×8000 = 64008000 pixels, expected at most 64000000",
  );
});

test(
  "decodeImage · headers that claim much cost little memory: a 38-byte WebP of 16383×16383, PNGs whose texts " +
    "unpack to 400 MB",
  async () => {
    const webp = Buffer.alloc(38);
    webp.write("RIFF", 0, "latin1");
    webp.writeUInt32LE(30, 4);
    webp.write("WEBPVP8L", 8, "latin1");
    webp.writeUInt32LE(18, 16);
    webp[20] = 0x2f;
    webp.writeUInt32LE(16_382 | (16_382 << 14), 21);
    const text = deflateSync(Buffer.alloc(8_000_000, "a"));
    const texts = Array.from({ length: 50 }, (_, n) =>
      pngChunk("iTXt", Buffer.concat([Buffer.from(`C${n}\0\x01\0\0\0`, "latin1"), text])),
    );
    const files = {
      "claims.webp": webp,
      "texts.png": pngOf(40, 40, texts),
      "plain.png": pngOf(40, 40, [
        pngChunk("tEXt", Buffer.concat([Buffer.from("Comment\0"), Buffer.alloc(20_000_000, "a")])),
      ]),
    };
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(root, name), bytes);
    const module = new URL("../../src/data/image.node.ts", import.meta.url).href;
    const peak = (name: string): number => {
      const script = `import { decodeImage } from ${JSON.stringify(module)};
      const file = process.argv[1] || undefined;
      if (file) await decodeImage(file, { channels: 3, height: 32, width: 32 }).catch((error) => { if (error.name !== "InputError") throw error; });
      console.log(process.resourceUsage().maxRSS);`;
      return (
        Number(execFileSync(process.execPath, ["--input-type=module", "-e", script, name && join(root, name)])) / 1000
      );
    };
    const least = peak("");
    for (const name of Object.keys(files)) {
      const more = peak(name) - least;
      assert.ok(more < 150, `${name} takes ${more.toFixed(0)} MB`);
    }
  },
);

test("withoutTexts · leaves what decides about pixels, byte for byte, and what does not follow the format", () => {
  const transparency = pngChunk("tRNS", Uint8Array.from([0, 7]));
  const noted = pngOf(3, 2, [
    pngChunk("tEXt", Buffer.from("a\0b")),
    transparency,
    pngChunk("zTXt", Buffer.from("c\0\0d")),
  ]);
  assert.deepEqual(Buffer.from(withoutTexts(noted)), Buffer.from(pngOf(3, 2, [transparency])));
  const plain = pngOf(3, 2);
  assert.equal(withoutTexts(plain), plain);
  for (let length = 0; length < noted.length; length++)
    assert.ok(withoutTexts(noted.subarray(0, length)).length <= length);
});

const latin = (text: string): Uint8Array => Buffer.from(text, "latin1");
const beginnings: readonly (readonly [Uint8Array, string])[] = [
  [new Uint8Array(), "is empty"],
  [latin("BM\x8a\0"), "is a BMP image, which this does not decode; convert it to PNG"],
  [latin("\0\0\0\x18ftypheic\0\0\0\0mif1heic"), "is a HEIC image, which this does not decode; convert it to JPEG"],
  [latin("\0\0\0\x18ftypmif1\0\0\0\0mif1hevc"), "is a HEIC image, which this does not decode; convert it to JPEG"],
  [latin("\0\0\0\x18ftypmif1\0\0\0\0mif1avif"), "AVIF"],
  [latin("\0\0\0\x1cftypavif\0\0\0\0avif"), "AVIF"],
  [latin("\0\0\0\x20ftypisom\0\0\x02\0isomiso2"), "is a video"],
  [latin("\xff\x0a\xfa"), "is a JPEG XL image, which this does not decode; convert it to PNG"],
  [latin("\n <!DOCTYPE html><html>"), "is a web page, as a server sends it in place of an image"],
  [latin("\xef\xbb\xbf<html><svg>"), "is a web page, as a server sends it in place of an image"],
  [latin('<?xml version="1.0"?>\n<svg xmlns='), "is an SVG drawing, which this does not decode; convert it to PNG"],
  [
    latin("version https://git-lfs.github.com/spec/v1\noid"),
    "is a pointer of Git LFS whose image was not fetched (git lfs pull)",
  ],
  [latin("\0\x05\x16\x07\0\x02\0\0Mac OS X"), "is what macOS keeps beside a file, not the file"],
  [latin("PK\x03\x04"), "is an archive"],
  [latin("Not Found\n"), "is text"],
  [latin("RIFF\0\0\0\0WAVE"), "is no image of a known format"],
  [latin("\0\0\0\0"), "is no image of a known format"],
  [latin("GIF89a"), "GIF"],
  [latin("II*\0"), "TIFF"],
  [latin("MM\0*"), "TIFF"],
  [latin("RIFF\0\0\0\0WEBPVP8 "), "WebP"],
];
for (const [bytes, expected] of beginnings) {
  test(`identify · ${JSON.stringify(Buffer.from(bytes).toString("latin1").slice(0, 24))} ${expected}`, async () => {
    const found = identify(bytes);
    assert.equal("format" in found ? found.format : found.other, expected);
    if ("other" in found)
      await refuses(decodeImage(bytes, size(4), { name: "upload" }), InputError, `upload: ${expected}, expected a PNG`);
  });
}
