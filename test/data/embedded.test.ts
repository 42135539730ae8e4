// data: the embedded images are the official ones, and their compression is exact.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { brotliCompressSync, constants } from "node:zlib";
import { embeddedFile, packEmbedded, readEmbedded } from "../../src/data/embedded.node.ts";
import { decodeImage } from "../../src/data/image.node.ts";
import { predictPixels, restorePixels } from "../../src/data/losslessPixels.ts";
import { cifar10Normalization, computeMeanStd } from "../../src/data/normalization.ts";
import { InputError } from "../../src/errors.ts";
import { fc } from "../seeded.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const fast = (bytes: Uint8Array): Uint8Array =>
  brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });

test("embedded · 6000 + 1000 balanced images whose SHA-256 are those of the official records", async () => {
  const dataset = await readEmbedded();
  assert.deepEqual(
    [dataset.train.length, dataset.val.length, dataset.channels, dataset.height, dataset.width],
    [6000, 1000, 3, 32, 32],
  );
  for (const [split, each] of [
    [dataset.train, 600],
    [dataset.val, 100],
  ] as const) {
    const counts = new Array<number>(10).fill(0);
    for (const label of split.labels) counts[label]++;
    assert.deepEqual(counts, new Array<number>(10).fill(each));
  }
  // Taken from the official files by scripts/makeEmbedded.ts before packing.
  const pixelsOf = (split: typeof dataset.train): Uint8Array => {
    const whole = split.describe();
    assert.equal(whole.kind, "bytes");
    return whole.kind === "bytes" ? whole.pixels : new Uint8Array();
  };
  assert.equal(sha256(pixelsOf(dataset.train)), "17f8920a8022ae5090a33362f8db63bb5f1d1c0b6d281759bb56d1f0fc4550de");
  assert.equal(
    sha256(Uint8Array.from(dataset.train.labels)),
    "33524168d12a6038a1766bfc4536f1deae58e1aa37494827b06125524c33d973",
  );
  assert.equal(sha256(pixelsOf(dataset.val)), "c7a0ff14cc4bbf93a2ec1eafee5c680db49c6a9e91797f5c5df2e628f0a2cfe0");
  assert.equal(
    sha256(Uint8Array.from(dataset.val.labels)),
    "bf5fd7ab55257c7eeece32a36d229c4767d2479b59c8d506b7e35494f9cbf574",
  );
  assert.match(dataset.citation ?? "", /Krizhevsky.*2009/);
});

test("embedded · the file in the repository is the one its README names, within 11.5 MB", async () => {
  const bytes = await readFile(embeddedFile);
  assert.ok((await stat(embeddedFile)).size <= 11.5e6);
  const readme = await readFile(new URL("../../assets/README.md", import.meta.url), "utf8");
  assert.ok(readme.includes(sha256(bytes)));
});

test("embedded · measured mean and deviation agree with the published constants within a grey level", async () => {
  const dataset = await readEmbedded();
  const measured = await computeMeanStd(dataset.train, dataset);
  for (let channel = 0; channel < 3; channel++) {
    assert.ok(Math.abs(measured.mean[channel] - cifar10Normalization.mean[channel]) < 1.5 / 255);
    assert.ok(Math.abs(measured.std[channel] - cifar10Normalization.std[channel]) < 1.5 / 255);
  }
});

test("embedded · the sample images decode to 32×32, none of them is among the embedded ones", async () => {
  const dataset = await readEmbedded();
  const known = new Set<string>();
  const bytes = new Uint8Array(3072);
  for (const split of [dataset.train, dataset.val]) {
    for (let index = 0; index < split.length; index++) {
      await split.pixels(index, bytes);
      known.add(sha256(bytes));
    }
  }
  assert.ok(known.size >= 6990);
  const folder = new URL("../../assets/samples/", import.meta.url);
  const names = await readdir(folder);
  assert.equal(names.length, 12);
  for (const name of names) {
    assert.ok(dataset.classes.includes(name.replace(/-\d+\.png$/, "")), name);
    const decoded = await decodeImage(new URL(name, folder).pathname, { channels: 3, height: 32, width: 32 });
    assert.equal(known.has(sha256(decoded)), false, name);
  }
});

test("lossless pixels · restore(predict(x)) = x for any image of any size", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 7 }).chain((height) =>
        fc.integer({ min: 1, max: 7 }).chain((width) =>
          fc.record({
            height: fc.constant(height),
            width: fc.constant(width),
            rgb: fc.uint8Array({ minLength: 3 * height * width, maxLength: 3 * height * width }),
          }),
        ),
      ),
      ({ height, width, rgb }) => {
        const errors = new Uint8Array(rgb.length);
        predictPixels(rgb, height, width, errors);
        const back = new Uint8Array(rgb.length);
        restorePixels(errors, height, width, back);
        assert.deepEqual(back, rgb);
      },
    ),
  );
});

const damaged: readonly [string, (whole: Buffer) => Uint8Array, RegExp][] = [
  ["truncated", (whole) => whole.subarray(0, whole.length - 1000), /cannot be read or unpacked/],
  ["foreign", () => Buffer.from("not a data set at all"), /cannot be read or unpacked/],
  ["empty", () => new Uint8Array(), /cannot be read or unpacked/],
  [
    "of another length than its header says",
    () => fast(new Uint8Array([2, 0, 0, 0, 1, 0, 0, 0, 9])),
    /unpacks to 9 bytes, expected 9227 for 3 images/,
  ],
  ["without images", () => fast(new Uint8Array(8)), /unpacks to 8 bytes/],
  [
    "with a label out of range",
    () => {
      const one = { labels: new Uint8Array([3]), pixels: new Uint8Array(3072) };
      return fast(packEmbedded(one, { ...one, labels: new Uint8Array([10]) }));
    },
    /image 1 has the label 10, expected 0 to 9/,
  ],
];
for (const [name, make, message] of damaged) {
  test(`embedded · a file ${name} · InputError that names it`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "densenet-embedded-"));
    const file = join(folder, "subset.bin.br");
    after(() => rm(folder, { recursive: true }));
    await writeFile(file, make(await readFile(embeddedFile)));
    await assert.rejects(
      readEmbedded(file),
      (error) => error instanceof InputError && error.message.startsWith(file) && message.test(error.message),
    );
  });
}
