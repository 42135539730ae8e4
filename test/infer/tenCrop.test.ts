// infer: ten-crop evaluation — the crops are the centre and corners of the scaled image and their mirror images, and an
// image's scores the mean of its crops'.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { placeImage, unmoved } from "../../src/data/augment.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { centreFraming } from "../../src/data/fitImage.ts";
import { decodeFiveCrops, decodeImage } from "../../src/data/image.node.ts";
import { loadBatches } from "../../src/data/loader.node.ts";
import { normalizationTable } from "../../src/data/normalization.ts";
import { openDataset } from "../../src/data/open.node.ts";
import { UsageError } from "../../src/errors.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";
import { densenet } from "../cli/command.ts";
import { draws } from "../seeded.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-tencrop-"));
after(() => rm(root, { recursive: true }));
const WIDTH = 120;
const HEIGHT = 90;
/** Above 64 pixels images are scaled to 256/224 of it. */
const SIDE = 72;
const format = { channels: 3, height: SIDE, width: SIDE } as const;

const random = draws("ten crops");
for (const [label, count] of [
  ["cat", 4],
  ["dog", 3],
] as const) {
  const dir = join(root, "photos", "val", label);
  await mkdir(dir, { recursive: true });
  await mkdir(join(root, "photos", "train", label), { recursive: true });
  for (let n = 0; n < count; n++) {
    const noise = Uint8Array.from({ length: 3 * 15 * 12 }, () => 256 * random());
    const image = sharp(noise, { raw: { width: 15, height: 12, channels: 3 } }).resize(WIDTH, HEIGHT, { fit: "fill" });
    await image.png().toFile(join(dir, `${n}.png`));
    await image.png().toFile(join(root, "photos", "train", label, `${n}.png`));
  }
}
const dataset = await openDataset({ dir: join(root, "photos"), imageSize: SIDE });
const files = dataset.val.describe();

test("ten crops · centre and corners of the scaled image; the centre is what a single crop sees", async () => {
  const file = join(root, "photos", "val", "cat", "0.png");
  const crops = await decodeFiveCrops(file, format);
  const { scaledWidth, scaledHeight } = centreFraming(WIDTH, HEIGHT, format);
  assert.deepEqual([scaledWidth, scaledHeight], [110, 82]);
  const all = (width: number, height: number) => ({ left: 0, top: 0, width, height });
  const scaled = await decodeImage(file, { channels: 3, height: scaledHeight, width: scaledWidth }, { crop: all });
  const right = scaledWidth - SIDE;
  const bottom = scaledHeight - SIDE;
  const stride = 3 * SIDE * SIDE;
  for (const [n, [top, left]] of (
    [
      [bottom >> 1, right >> 1],
      [0, 0],
      [0, right],
      [bottom, 0],
      [bottom, right],
    ] as const
  ).entries()) {
    const wanted = Uint8Array.from({ length: stride }, (_, at) => {
      const [c, y, x] = [Math.floor(at / SIDE ** 2), Math.floor(at / SIDE) % SIDE, at % SIDE];
      return scaled[(c * scaledHeight + top + y) * scaledWidth + left + x] ?? -1;
    });
    assert.ok(Buffer.from(wanted).equals(crops.subarray(n * stride, (n + 1) * stride)), `crop ${n}`);
  }
  assert.ok(Buffer.from(await decodeImage(file, format)).equals(crops.subarray(0, stride)));
  assert.equal(crops.length, 5 * stride);
});

test("ten crops · batches hold five crops, then their mirror images, of each image; by loader and in the thread", async () => {
  const how = { batchSize: 3, padTo: 3, tenCrop: true, seed: 0, epoch: 0, shuffle: false, augment: "none" } as const;
  assert.ok(files.kind === "files");
  const table = normalizationTable(dataset);
  const stride = 3 * SIDE * SIDE;
  for (const load of [makeBatches, loadBatches]) {
    let seen = 0;
    for await (const { images, labels, count } of load(dataset, "val", how)) {
      assert.equal(images.length, 3 * 10 * stride);
      for (let n = 0; n < count; n++, seen++) {
        assert.equal(labels[n], dataset.val.labels[seen]);
        const crops = await decodeFiveCrops(files.files[seen] ?? "", format);
        for (let crop = 0; crop < 10; crop++) {
          const wanted = new Float32Array(stride);
          const own = crops.subarray((crop % 5) * stride, ((crop % 5) + 1) * stride);
          placeImage(own, format, table, { ...unmoved, mirror: crop >= 5 }, wanted);
          const at = (n * 10 + crop) * stride;
          assert.ok(
            wanted.every((value, i) => value === images[at + i]),
            `image ${seen}, crop ${crop}`,
          );
        }
      }
    }
    assert.equal(seen, 7);
  }
});

const model = createNetwork(namedSpec("BC-40-12", { blockConfig: [1, 1, 1], growthRate: 4, numClasses: 2 }), {
  seed: 5,
});
const { height, width, mean, std, classes } = dataset;
const trained: TrainedModel = { model, preprocessing: { height, width, mean, std }, classes, dataset: dataset.name };

for (const batchSize of [1, 20, 64]) {
  test(`ten-crop evaluation · batch ${batchSize} · the mean of the crops' logits decides guess, errors and loss`, async () => {
    const backend = await createWasmBackend({ threads: 1 });
    const found = await evaluate({ trained, dataset, backend, loadBatches, batchSize, tenCrop: true });
    const predictor = await createPredictor(trained, backend, { batchSize: 10 });
    assert.ok(files.kind === "files");
    let loss = 0;
    let wrong = 0;
    for (const [n, file] of files.files.entries()) {
      const crops = await decodeFiveCrops(file, format);
      const stride = crops.length / 5;
      const ten = Array.from({ length: 10 }, (_, crop) => {
        const own = crops.slice((crop % 5) * stride, ((crop % 5) + 1) * stride);
        return crop < 5 ? own : own.map((_, i) => own[i - (i % SIDE) + SIDE - 1 - (i % SIDE)] ?? -1);
      });
      // Of two classes the mean difference of logits is all that matters: log of the odds.
      const odds = (await predictor.predictPlanar(ten, { topK: 2 })).map((top) => {
        const [first, second] = [0, 1].map((index) => top.find((guess) => guess.index === index)?.score ?? Number.NaN);
        return Math.log((second ?? 0) / (first ?? 0));
      });
      const meanOdds = odds.reduce((sum, value) => sum + value, 0) / 10;
      const label = dataset.val.labels[n] ?? 0;
      const guess = meanOdds > 0 ? 1 : 0;
      if (guess !== label) wrong++;
      loss += Math.log(1 + Math.exp(label === 1 ? -meanOdds : meanOdds));
      assert.equal(found.guesses[n]?.index, guess);
      const score = 1 / (1 + Math.exp(-Math.abs(meanOdds)));
      assert.ok(Math.abs((found.guesses[n]?.score ?? 0) - score) < 1e-5, `image ${n}`);
    }
    assert.equal(found.count, 7);
    assert.ok(Math.abs(found.loss - loss / 7) < 1e-5, `${found.loss}, ${loss / 7}`);
    assert.ok(Math.abs(found.top1Error - (100 * wrong) / 7) < 1e-9);
    const single = await evaluate({ trained, dataset, backend, loadBatches, batchSize });
    assert.ok(Math.abs(single.loss - found.loss) > 1e-4, "ten crops see something else than one");
    await predictor.dispose();
    await backend.dispose();
  });
}

test("ten-crop evaluation · of images in memory · refused in a sentence", async () => {
  const embedded = await openDataset();
  const small = { ...trained, preprocessing: { height: 32, width: 32, mean, std }, classes: embedded.classes };
  const spec = namedSpec("BC-40-12", { blockConfig: [1, 1, 1], growthRate: 4 });
  const options = { trained: { ...small, model: createNetwork(spec, { seed: 1 }) }, dataset: embedded, loadBatches };
  const backend = await createWasmBackend({ threads: 1 });
  await assert.rejects(evaluate({ ...options, backend, tenCrop: true }), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, /^tenCrop \(--ten-crop\): is for images of full size, expected a folder of images$/);
    return true;
  });
  await backend.dispose();
});

test("eval --ten-crop · a folder is measured, and the output says so", async () => {
  const config = ["--model", "BC-40-12", "--epochs", "1", "--input-size", String(SIDE), "--batch-size", "4", "-j", "1"];
  const out = join(root, "run");
  const trained = await densenet(["train", ...config, "--data-dir", join(root, "photos"), "-o", out]);
  assert.equal(trained.code, 0, trained.stderr);
  const text = await densenet(["eval", out, "--ten-crop"]);
  assert.equal(text.code, 0, text.stderr);
  assert.match(text.stdout, /images +7: those of photos that the run was validated with, ten crops of each/);
  const json = JSON.parse((await densenet(["eval", out, "--ten-crop", "--json"])).stdout);
  assert.deepEqual([json.count, json.images.crops], [7, 10]);
});
