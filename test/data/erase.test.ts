// data: random erasing has timm's distribution (scripts/fixtures/erasing.py), erases what it draws and nothing else.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeBatch } from "../../src/data/batch.ts";
import { bytesSplit } from "../../src/data/dataset.ts";
import { recipeOf } from "../../src/data/epoch.ts";
import { drawErasure } from "../../src/data/erase.ts";
import { sameDistribution } from "./distribution.ts";

interface Fixture {
  readonly draws: number;
  readonly probability: number;
  readonly erasures: readonly {
    readonly width: number;
    readonly height: number;
    /** Share of the images. */
    readonly erased: number;
    readonly quantiles: Readonly<Record<string, readonly number[]>>;
  }[];
}

const { draws, probability, erasures }: Fixture = JSON.parse(
  readFileSync(new URL("fixtures/erasing.json", import.meta.url), "utf8"),
);

for (const { width, height, erased, quantiles } of erasures) {
  test(`${width}×${height} · distributed as timm's`, () => {
    const boxes = Array.from({ length: draws }, (_, index) => drawErasure({ width, height }, probability, 5, 2, index));
    const found = boxes.filter((box) => box !== undefined);
    // Five standard deviations of a difference of two shares.
    const deviation = Math.sqrt((2 * erased * (1 - erased)) / draws);
    assert.ok(Math.abs(found.length / draws - erased) < 5 * deviation, `${found.length / draws} against ${erased}`);
    const values: Readonly<Record<string, number[]>> = {
      width: found.map((box) => box.width),
      height: found.map((box) => box.height),
      left: found.map((box) => box.left),
      top: found.map((box) => box.top),
      area: found.map((box) => (box.width * box.height) / (width * height)),
    };
    for (const [name, wanted] of Object.entries(quantiles)) {
      sameDistribution(name, values[name] ?? [], wanted, Math.min(found.length, erased * draws));
    }
  });
}

test("a batch · the rectangle is 0 after normalisation, the rest is as it was, whatever else is done to it", async () => {
  const size = { channels: 3, height: 12, width: 10 };
  const pixels = Uint8Array.from({ length: 6 * 3 * 120 }, (_, i) => 1 + ((i * 37) % 255));
  const split = bytesSplit({ pixels, labels: Uint16Array.from([0, 1, 0, 1, 0, 1]), ...size });
  const dataset = {
    name: "made",
    classes: ["a", "b"],
    ...size,
    mean: [0, 0, 0],
    std: [1, 1, 1],
    train: split,
    val: split,
  };
  const indices = Int32Array.from([3, 0, 5, 1, 2, 4]);
  const how = { batchSize: 6, seed: 9, epoch: 4, shuffle: false, augment: "standard" } as const;
  const plain = await makeBatch(split, indices, recipeOf(dataset, how));
  const erased = await makeBatch(split, indices, recipeOf(dataset, { ...how, erase: 0.7 }));
  let boxes = 0;
  for (const [position, index] of indices.entries()) {
    const box = drawErasure(size, 0.7, 9, 4, index);
    if (box !== undefined) boxes++;
    for (let at = 0; at < 360; at++) {
      const [y, x] = [Math.floor(at / 10) % 12, at % 10];
      const inside =
        box !== undefined && y >= box.top && y < box.top + box.height && x >= box.left && x < box.left + box.width;
      const before = plain.images[position * 360 + at];
      assert.equal(erased.images[position * 360 + at], inside ? 0 : before, `image ${index} at ${y}, ${x}`);
    }
  }
  assert.ok(boxes > 0 && boxes < 6, `${boxes} of 6 images`);
});
