// data: an image fitted to the network's input, in a page and from a file, is Pillow's to the bit or within 2 grey
// levels.
import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { fitImage } from "../../src/data/fitImage.ts";
import { decodeImage } from "../../src/data/image.node.ts";
import { apart, draw, pillowCases } from "./pillow.ts";

for (const { name, width, height, side, mode, expected } of pillowCases()) {
  test(`fitImage · ${name}: Pillow's bytes; from a PNG within 2 grey levels`, async () => {
    const stride = mode === "RGBA" ? 4 : 3;
    const data = draw(width, height, stride);
    const channels = mode === "L" ? 1 : 3;
    const interpolation = mode === "bilinear" ? "bilinear" : "bicubic";
    const input = { channels, height: side, width: side, interpolation } as const;
    const found = fitImage({ width, height, data }, input);
    // Compositing rounds once here, Pillow rounds on the way.
    assert.ok(apart(found, expected) <= (mode === "RGBA" ? 1 : 0), `${apart(found, expected)} apart`);
    const png = await sharp(data, { raw: { width, height, channels: stride } })
      .png()
      .toBuffer();
    const decoded = await decodeImage(png, input);
    assert.ok(apart(decoded, expected) <= 2, `${apart(decoded, expected)} apart from a file`);
  });
}

test(
  "fitImage · 1600×1208 → 224 from a JPEG, decoded at half its size: within 2 grey levels of fitting all its " +
    "pixels",
  async () => {
    const [width, height] = [1600, 1208];
    const raw = { width, height, channels: 3 } as const;
    // Noise is blurred as a lens would.
    const jpeg = await sharp(draw(width, height, 3), { raw })
      .blur(1.5)
      .jpeg({ quality: 92 })
      .toBuffer();
    const data = await sharp(jpeg).raw().toBuffer();
    const size = { channels: 3, height: 224, width: 224 } as const;
    assert.ok(apart(await decodeImage(jpeg, size), fitImage({ width, height, data }, size)) <= 2);
  },
);

test(
  "fitImage · a ramp of brightness enlarged 20×28 → 32 stays that ramp, pixel centres on pixel centres, from a " +
    "file too",
  async () => {
    // Cubic convolution reproduces straight lines. A shift by half a pixel would be 3 levels.
    const data = Uint8Array.from({ length: 20 * 28 * 3 }, (_, i) => 10 * (Math.floor(i / 3) % 20));
    const size = { channels: 3, height: 32, width: 32 } as const;
    const png = await sharp(data, { raw: { width: 20, height: 28, channels: 3 } })
      .png()
      .toBuffer();
    for (const planar of [fitImage({ width: 20, height: 28, data }, size), await decodeImage(png, size)]) {
      for (let x = 3; x < 29; x++) {
        const centre = (x + 0.5) * (20 / 32) - 0.5;
        assert.ok(Math.abs(planar[32 * 5 + x] - 10 * centre) <= 0.5 + 1e-9, `column ${x} is ${planar[32 * 5 + x]}`);
      }
    }
  },
);

test("fitImage · an image of the target's size keeps its pixels, planes are R, G, B", () => {
  const data = Uint8ClampedArray.from([1, 2, 3, 255, 4, 5, 6, 255, 7, 8, 9, 255, 10, 11, 12, 255]);
  const planar = fitImage({ width: 2, height: 2, data }, { channels: 3, height: 2, width: 2 });
  assert.deepEqual([...planar], [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
});

test("fitImage · what is transparent is white, before anything is scaled: the hidden colour never shows", () => {
  // Opaque black in the middle of hidden red: grey and white around it, at every size.
  const [width, height] = [12, 12];
  const data = Uint8Array.from({ length: 4 * width * height }, (_, i) => {
    const [x, y] = [Math.floor(i / 4) % width, Math.floor(i / 4 / width)];
    const isGlyph = x > 3 && x < 8 && y > 3 && y < 8;
    return i % 4 === 3 ? (isGlyph ? 255 : 0) : i % 4 === 0 && !isGlyph ? 255 : 0;
  });
  for (const side of [5, 12, 13, 64, 72]) {
    const planar = fitImage({ width, height, data }, { channels: 3, height: side, width: side });
    const plane = side * side;
    for (let i = 0; i < plane; i++) assert.equal(planar[i], planar[plane + i], `side ${side}, pixel ${i} is not grey`);
    assert.equal(planar[0], 255);
    assert.ok(planar[(side >> 1) * side + (side >> 1)] < 20);
  }
});

test("fitImage · half transparent: (colour · alpha + 255 · (255 − alpha)) / 255, rounded", () => {
  const planar = fitImage(
    { width: 1, height: 1, data: Uint8Array.from([200, 100, 0, 128]) },
    { channels: 3, height: 1, width: 1 },
  );
  assert.deepEqual([...planar], [227, 177, 127]);
});

test("fitImage · one channel is Rec. 601 luma; a grey level keeps its value", () => {
  const data = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 77, 77, 77]);
  assert.deepEqual(
    [...fitImage({ width: 2, height: 2, data }, { channels: 1, height: 2, width: 2 })],
    [76, 150, 29, 77],
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
