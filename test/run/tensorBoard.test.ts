// TensorBoard's event files: byte for byte what TensorBoard writes (scripts/fixtures/tensorBoard.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type BoardEvent, crc32c, encodeRecord, histogramOf } from "../../src/run/tensorBoard.ts";

const oracle: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("./fixtures/tensorBoard.json", import.meta.url), "utf8"),
);
const events: Readonly<Record<string, BoardEvent>> = {
  version: { seconds: 1764.5, kind: "version" },
  start: { seconds: 1764.75, step: 188, kind: "start" },
  scalars: {
    seconds: 1765,
    step: 5_000_000_000,
    kind: "values",
    values: [
      { tag: "loss/training", scalar: 0.1 },
      { tag: "größe", scalar: 0 },
    ],
  },
  image: {
    seconds: 1765,
    step: 1,
    kind: "values",
    values: [
      {
        tag: "a",
        image: { height: 2, width: 300, channels: 3, bytes: Uint8Array.from({ length: 256 }, (_, byte) => byte) },
      },
    ],
  },
  histogram: {
    seconds: 1765,
    step: 1,
    kind: "values",
    values: [
      {
        tag: "w",
        histogram: {
          min: -1.5,
          max: 2.5,
          count: 4,
          sum: 0.25,
          sumSquares: 9.0625,
          limits: [0, 1, 2.5],
          counts: [1, 0, 3],
        },
      },
    ],
  },
};

for (const [name, event] of Object.entries(events)) {
  test(`event file · ${name} · the bytes that TensorBoard writes`, () => {
    assert.equal(Buffer.from(encodeRecord(event)).toString("base64"), oracle[name]);
  });
}

test("crc32c · the check value of the CRC's definition", () => {
  assert.equal(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});

test("histogramOf · every value in its bin, the greatest in the last", () => {
  const { min, max, count, sum, sumSquares, limits, counts } = histogramOf([0, 0.9, 1, 15, 29.5, 30]);
  assert.deepEqual([min, max, count, sum], [0, 30, 6, 76.4]);
  assert.ok(Math.abs(sumSquares - (0.81 + 1 + 225 + 870.25 + 900)) < 1e-9);
  assert.deepEqual([limits.length, limits[0], limits[29]], [30, 1, 30]);
  const filled = [...counts.entries()].filter(([, of]) => of > 0);
  assert.deepEqual(filled, [
    [0, 2],
    [1, 1],
    [15, 1],
    [29, 2],
  ]);
  const constant = histogramOf([2, 2]);
  assert.deepEqual([constant.counts[29], constant.limits[29]], [2, 2]);
});
