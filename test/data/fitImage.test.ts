import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { fitImage, type Image } from "../../src/data/fitImage.ts";
import { decodeImage } from "../../src/data/image.node.ts";

const { train } = await readEmbedded();

/** A real image, 32×32, laid side by side with others to width×height. */
async function mosaic(width: number, height: number): Promise<Image> {
  const data = new Uint8Array(width * height * 3);
  const tile = new Uint8Array(3 * 32 * 32);
  const across = Math.ceil(width / 32);
  for (let ty = 0; ty * 32 < height; ty++) {
    for (let tx = 0; tx < across; tx++) {
      await train.pixels((ty * across + tx) * 7, tile);
      for (let y = 0; y < Math.min(32, height - ty * 32); y++) {
        for (let x = 0; x < Math.min(32, width - tx * 32); x++) {
          const to = ((ty * 32 + y) * width + tx * 32 + x) * 3;
          for (let c = 0; c < 3; c++) data[to + c] = tile[(c * 32 + y) * 32 + x];
        }
      }
    }
  }
  return { width, height, data };
}

for (const [width, height, target] of [
  [32, 32, 32],
  [64, 64, 32],
  [100, 60, 32],
  [61, 97, 32],
  [700, 401, 224],
  [500, 333, 224],
] as const) {
  test(`fitImage · ${width}×${height} → ${target}: as sharp decodes it, to a mean of 1 grey level`, async () => {
    const image = await mosaic(width, height);
    const png = await sharp(image.data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    const expected = await decodeImage(png, { channels: 3, height: target, width: target });
    const found = fitImage(image, { channels: 3, height: target, width: target });
    assert.equal(found.length, expected.length);
    const mean = found.reduce((sum, byte, i) => sum + Math.abs(byte - expected[i]), 0) / found.length;
    assert.ok(mean < 1, `mean difference ${mean}`);
  });
}

test("fitImage · enlarging 20×28 → 32: a ramp of brightness stays that ramp, pixel centres on pixel centres", () => {
  // Cubic convolution reproduces straight lines. (libvips, which sharp uses, shifts what it enlarges by half a pixel.)
  const data = Uint8Array.from({ length: 20 * 28 * 3 }, (_, i) => 10 * (Math.floor(i / 3) % 20));
  const planar = fitImage({ width: 20, height: 28, data }, { channels: 3, height: 32, width: 32 });
  for (let x = 3; x < 29; x++) {
    const centre = (x + 0.5) * (20 / 32) - 0.5;
    assert.ok(Math.abs(planar[32 * 5 + x] - 10 * centre) <= 0.5 + 1e-9, `column ${x} is ${planar[32 * 5 + x]}`);
  }
});

test("fitImage · an image of the target's size keeps its pixels, alpha is dropped, planes are R, G, B", () => {
  const data = Uint8ClampedArray.from([1, 2, 3, 255, 4, 5, 6, 0, 7, 8, 9, 9, 10, 11, 12, 13]);
  const planar = fitImage({ width: 2, height: 2, data }, { channels: 3, height: 2, width: 2 });
  assert.deepEqual([...planar], [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
});

test("fitImage · one channel is Rec. 709 luma", () => {
  const data = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]);
  assert.deepEqual(
    [...fitImage({ width: 2, height: 2, data }, { channels: 1, height: 2, width: 2 })],
    [54, 182, 18, 255],
  );
});

test("fitImage · refused: bytes that are no pixels, a network of two channels", () => {
  const size = { channels: 3, height: 2, width: 2 };
  assert.throws(() => fitImage({ width: 2, height: 2, data: new Uint8Array(10) }, size), {
    name: "InputError",
    message: "an image of 2×2 has 10 bytes, expected 3 or 4 for each pixel",
  });
  assert.throws(() => fitImage({ width: 0, height: 0, data: new Uint8Array(0) }, size), { name: "InputError" });
  assert.throws(() => fitImage({ width: 2, height: 2, data: new Uint8Array(12) }, { ...size, channels: 2 }), {
    name: "InputError",
  });
});
