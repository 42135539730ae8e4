// Near duplicates: what is found, what is not, and that the search in bands finds what comparing all pairs finds.
import assert from "node:assert/strict";
import { test } from "node:test";
import sharp, { type Sharp } from "sharp";
import {
  correlation,
  FINGERPRINT_SIDE,
  type Fingerprint,
  fingerprint,
  hashDistance,
  nearDuplicates,
} from "../../src/analyze/duplicates.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { decodeImage } from "../../src/data/image.node.ts";

const { val } = await readEmbedded();
const SIDE = 32;

function pixelsOf(index: number): Uint8Array {
  const planar = new Uint8Array(3 * SIDE * SIDE);
  val.pixels(index, planar);
  return planar;
}

/** Saved as a file, changed, and read as a check of data reads it. */
async function changed(index: number, change: (image: Sharp) => Sharp): Promise<Fingerprint> {
  const planar = pixelsOf(index);
  const plane = SIDE * SIDE;
  const data = Uint8Array.from({ length: 3 * plane }, (_, at) => planar[(at % 3) * plane + Math.floor(at / 3)] ?? 0);
  const encoded = await change(sharp(data, { raw: { width: SIDE, height: SIDE, channels: 3 } })).toBuffer();
  const size = { channels: 3, height: FINGERPRINT_SIDE, width: FINGERPRINT_SIDE } as const;
  return fingerprint(
    await decodeImage(encoded, size, { crop: (width, height) => ({ left: 0, top: 0, width, height }) }),
  );
}

const every10th = Array.from({ length: 100 }, (_, n) => 10 * n);
const prints = every10th.map((index) => fingerprint(pixelsOf(index)));

for (const [name, change] of [
  ["saved as PNG", (image) => image.png()],
  ["saved as JPEG of quality 60", (image) => image.jpeg({ quality: 60 })],
  ["scaled to four times as many pixels", (image) => image.resize(64, 64).png()],
  ["darker by a tenth", (image) => image.linear(0.9, 0).png()],
] as const satisfies readonly (readonly [string, (image: Sharp) => Sharp])[]) {
  test(`near duplicates · ${name} · 97 of 100 photographs are found again, and each as itself`, async () => {
    const copies = await Promise.all(every10th.map((index) => changed(index, change)));
    const groups = nearDuplicates([...prints, ...copies]);
    assert.ok(groups.length >= 97, `${groups.length}`);
    for (const group of groups) assert.deepEqual(group, [group[0], (group[0] ?? 0) + 100]);
  });
}

test("near duplicates · of 1,000 photographs few are taken for another", () => {
  const all = Array.from({ length: 1000 }, (_, index) => fingerprint(pixelsOf(index)));
  assert.ok(nearDuplicates(all).length <= 2);
});

test("near duplicates · red and blue of the same shape are not the same, nor are images of one colour", () => {
  const shape = (on: readonly number[], off: readonly number[]): Fingerprint =>
    fingerprint(
      Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, at) => {
        const [c, y, x] = [Math.floor(at / (SIDE * SIDE)), Math.floor(at / SIDE) % SIDE, at % SIDE];
        return ((x - 11) ** 2 + (y - 19) ** 2 < 60 ? on : off)[c] ?? 0;
      }),
    );
  // Of the same luma, so that the hashes agree.
  const red = shape([200, 60, 60], [20, 20, 20]);
  const blue = shape([60, 104, 200], [20, 20, 20]);
  assert.ok(hashDistance(red, blue) <= 8);
  assert.ok(correlation(red, blue) < 0.97);
  assert.deepEqual(nearDuplicates([red, blue, red]), [[0, 2]]);
  const white = shape([255, 255, 255], [255, 255, 255]);
  assert.deepEqual(nearDuplicates([white, white]), []);
});

test("near duplicates · the search in bands finds every pair of at most 8 bits, and no other", () => {
  const thumb = Float32Array.of(1);
  const base = { high: 0x12345678, low: 0x9abcdef0, thumb };
  const flipped = (bits: readonly number[]): Fingerprint => ({
    high: bits.reduce((word, bit) => (bit >= 32 ? (word ^ (1 << (bit - 32))) >>> 0 : word), base.high),
    low: bits.reduce((word, bit) => (bit < 32 ? (word ^ (1 << bit)) >>> 0 : word), base.low),
    thumb,
  });
  for (let start = 0; start < 64; start++) {
    // Spread as evenly as they can be: one in nearly every band.
    const spread = (count: number): number[] =>
      Array.from({ length: count }, (_, n) => (start + Math.floor((64 * n) / count)) % 64);
    assert.deepEqual(nearDuplicates([base, flipped(spread(8))]), [[0, 1]], `8 bits from ${start}`);
    assert.deepEqual(nearDuplicates([base, flipped(spread(9))]), [], `9 bits from ${start}`);
  }
});
