// data: order and augmentation are functions of (seed, epoch, image) with the right distribution; zeros come in after
// normalisation.
import assert from "node:assert/strict";
import { test } from "node:test";
import { drawCrop, drawPlacement, placeImage, SHIFT, unmoved } from "../../src/data/augment.ts";
import { cifar10Normalization, normalizationTable } from "../../src/data/normalization.ts";
import { permutation } from "../../src/data/shuffle.ts";
import { fc } from "../seeded.ts";

const table = normalizationTable(cifar10Normalization);
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const image = fc
  .record({ height: fc.integer({ min: 1, max: 12 }), width: fc.integer({ min: 1, max: 12 }) })
  .chain(({ height, width }) => {
    const length = 3 * height * width;
    return fc.record({
      size: fc.constant({ channels: 3, height, width }),
      pixels: fc.uint8Array({ minLength: length, maxLength: length }),
    });
  });
const placement = fc.record({
  mirror: fc.boolean(),
  top: fc.integer({ min: 0, max: 2 * SHIFT }),
  left: fc.integer({ min: 0, max: 2 * SHIFT }),
});

test("normalisation · unmoved images are (byte/255 − mean)/std, rounded to f32", () => {
  fc.assert(
    fc.property(image, ({ size, pixels }) => {
      const out = new Float32Array(pixels.length).fill(Number.NaN);
      placeImage(pixels, size, table, unmoved, out);
      const plane = size.height * size.width;
      for (const [i, byte] of pixels.entries()) {
        const channel = Math.floor(i / plane);
        assert.equal(
          out[i],
          Math.fround((byte / 255 - [125.3, 123, 113.9][channel] / 255) / ([63, 62.1, 66.7][channel] / 255)),
        );
      }
    }),
  );
});

test("placement · as mirroring, then padding with exact zeros after normalisation, then cropping", () => {
  fc.assert(
    fc.property(image, placement, ({ size, pixels }, placed) => {
      const { height, width } = size;
      const plane = height * width;
      const plain = new Float32Array(pixels.length);
      placeImage(pixels, size, table, unmoved, plain);
      const out = new Float32Array(pixels.length).fill(Number.NaN);
      placeImage(pixels, size, table, placed, out);
      const paddedWidth = width + 2 * SHIFT;
      for (let channel = 0; channel < 3; channel++) {
        const padded = new Float32Array((height + 2 * SHIFT) * paddedWidth);
        for (let y = 0; y < height; y++) {
          for (let x = 0; x < width; x++) {
            const from = placed.mirror ? width - 1 - x : x;
            padded[(y + SHIFT) * paddedWidth + x + SHIFT] = plain[channel * plane + y * width + from];
          }
        }
        for (let y = 0; y < height; y++) {
          for (let x = 0; x < width; x++) {
            const expected = padded[(y + placed.top) * paddedWidth + x + placed.left];
            assert.ok(Object.is(out[channel * plane + y * width + x], expected));
          }
        }
      }
    }),
  );
});

test("placement · mirroring twice is the identity", () => {
  fc.assert(
    fc.property(image, ({ size, pixels }) => {
      const { height, width } = size;
      const mirrored = { ...unmoved, mirror: true };
      const once = new Float32Array(pixels.length);
      placeImage(pixels, size, table, mirrored, once);
      const reversed = Uint8Array.from(pixels, (_, i) => {
        const row = Math.floor(i / width);
        return pixels[row * width + (width - 1 - (i % width))];
      });
      const twice = new Float32Array(pixels.length);
      placeImage(reversed, size, table, mirrored, twice);
      const plain = new Float32Array(pixels.length);
      placeImage(pixels, size, table, unmoved, plain);
      assert.deepEqual(twice, plain);
      assert.equal(once.length, 3 * height * width);
    }),
  );
});

test("placements · a function of (seed, epoch, image); each of the 9 × 9 × 2 is about equally likely", () => {
  fc.assert(
    fc.property(u32, u32, u32, (seed, epoch, index) => {
      const drawn = drawPlacement(seed, epoch, index);
      assert.deepEqual(drawn, drawPlacement(seed, epoch, index));
      assert.ok(drawn.top >= 0 && drawn.top <= 8 && drawn.left >= 0 && drawn.left <= 8);
    }),
  );
  for (const [name, draw] of [
    ["images", (i: number) => drawPlacement(1, 2, i)],
    ["epochs", (i: number) => drawPlacement(1, i, 2)],
    ["seeds", (i: number) => drawPlacement(i, 1, 2)],
  ] as const) {
    const counts = new Float64Array(162);
    const total = 81_000;
    for (let i = 0; i < total; i++) {
      const { mirror, top, left } = draw(i);
      counts[(mirror ? 81 : 0) + top * 9 + left]++;
    }
    // χ² with 161 degrees of freedom: mean 161, deviation √322 ≈ 18; 6 deviations.
    const expected = total / 162;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    assert.ok(chiSquare < 161 + 6 * 18, `${name}: χ² ${chiSquare}`);
  }
});

test("placements · neighbouring images, epochs and seeds are not tied to one another", () => {
  // What an image does in one epoch says nothing about what a related (seed, epoch, image) does.
  const related: readonly [string, (e: number, i: number) => ReturnType<typeof drawPlacement>][] = [
    ["image and epoch exchanged", (e, i) => drawPlacement(7, i, e)],
    ["lowest bit of both flipped", (e, i) => drawPlacement(7, e ^ 1, i ^ 1)],
    ["image and seed flipped", (e, i) => drawPlacement(6, e, i ^ 1)],
    ["seed and epoch flipped", (e, i) => drawPlacement(6, e ^ 1, i)],
  ];
  for (const [name, other] of related) {
    let same = 0;
    let total = 0;
    for (let e = 0; e < 60; e++) {
      for (let i = 100; i < 200; i++, total++) {
        const a = drawPlacement(7, e, i);
        const b = other(e, i);
        if (a.mirror === b.mirror && a.top === b.top && a.left === b.left) same++;
      }
    }
    // Binomial(6000, 1/162): mean 37, deviation 6.1; 6 deviations.
    assert.ok(Math.abs(same - total / 162) < 6 * 6.1, `${name}: ${same} of ${total} alike`);
  }
});

test("permutation · holds every number once, the same for the same seed and epoch, another for another", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300 }), u32, u32, (length, seed, epoch) => {
      const order = permutation(length, seed, epoch);
      assert.deepEqual(
        [...order].sort((a, b) => a - b),
        Array.from({ length }, (_, i) => i),
      );
      assert.deepEqual(order, permutation(length, seed, epoch));
    }),
  );
  assert.notDeepEqual(permutation(100, 1, 0), permutation(100, 1, 1));
  assert.notDeepEqual(permutation(100, 1, 0), permutation(100, 2, 0));
});

test("permutation · all 24 orders of 4 are about equally likely over epochs", () => {
  const counts = new Map<string, number>();
  const total = 24_000;
  for (let epoch = 0; epoch < total; epoch++) {
    const key = permutation(4, 9, epoch).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  // χ² with 23 degrees of freedom: deviation √46 ≈ 6.8; 6 deviations.
  const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
  assert.ok(chiSquare < 23 + 6 * 6.8, `χ² ${chiSquare}`);
});

test("ImageNet crop · inside the image, 8 % to 100 % of it, aspect 3:4 to 4:3 up to rounding", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 40, max: 600 }),
      fc.integer({ min: 40, max: 600 }),
      u32,
      u32,
      (width, height, seed, index) => {
        const box = drawCrop(width, height, seed, 3, index);
        assert.deepEqual(box, drawCrop(width, height, seed, 3, index));
        assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= width && box.top + box.height <= height);
        const side = Math.min(width, height);
        const central = box.width === side && box.height === side;
        // Rounding moves a side by at most half a pixel.
        assert.ok(central || (box.width + 0.5) * (box.height + 0.5) >= 0.08 * width * height);
        assert.ok(central || (box.width + 0.5) / (box.height - 0.5) >= 3 / 4);
        assert.ok(central || (box.width - 0.5) / (box.height + 0.5) <= 4 / 3);
      },
    ),
  );
});
