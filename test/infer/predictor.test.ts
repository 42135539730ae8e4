import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { loadBatches } from "../../src/data/loader.node.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { loadPredictor, predictFiles } from "../../src/infer/files.node.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-infer-"));
const backend = await createWasmBackend({ threads: 2 });
after(async () => {
  await backend.dispose();
  await rm(root, { recursive: true, force: true });
});

const dataset = await readEmbedded();
const trained: TrainedModel = {
  model: createNetwork(namedSpec("BC-40-12", { blockConfig: [2, 2, 2] }), { seed: 5 }),
  preprocessing: { height: 32, width: 32, mean: dataset.mean, std: dataset.std },
  classes: dataset.classes,
  dataset: dataset.name,
};
const images = await Promise.all(
  Array.from({ length: 11 }, async (_, n) => {
    const pixels = new Uint8Array(3 * 32 * 32);
    await dataset.val.pixels(n * 90, pixels);
    return pixels;
  }),
);

/** Two results of one network, up to rounding of sums in another order. */
function sameScores(a: { index: number; score: number }[][], b: { index: number; score: number }[][]): void {
  assert.equal(a.length, b.length);
  for (const [n, predictions] of a.entries()) {
    for (const { index, score } of predictions) {
      const other = b[n].find((prediction) => prediction.index === index);
      assert.ok(other && Math.abs(score - other.score) < 1e-5, `image ${n}, class ${index}`);
    }
  }
}

test(
  "predictor · scores are probabilities, best first, with the checkpoint's labels, and those of the reference " +
    "backend",
  async () => {
    const fast = await createPredictor(trained, backend, { batchSize: 4 });
    const slow = await createPredictor(trained, createReferenceBackend({ precision: "f64" }), { batchSize: 2 });
    const found = await fast.predictPlanar(images.slice(0, 3), { topK: 10 });
    sameScores(found, await slow.predictPlanar(images.slice(0, 3), { topK: 10 }));
    for (const predictions of found) {
      assert.ok(Math.abs(predictions.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-12);
      assert.deepEqual(
        predictions.map(({ score }) => score),
        predictions.map(({ score }) => score).sort((a, b) => b - a),
      );
      for (const { label, index } of predictions) assert.equal(label, dataset.classes[index]);
    }
    await fast.dispose();
    await slow.dispose();
  },
);

test("predictor · how images fall into batches does not matter: 11 at once, one by one, and calls side by side", async () => {
  const predictor = await createPredictor(trained, backend, { batchSize: 4 });
  const together = await predictor.predictPlanar(images);
  const single: typeof together = [];
  for (const image of images) single.push(...(await predictor.predictPlanar([image])));
  const sideBySide = (await Promise.all(images.map((image) => predictor.predictPlanar([image])))).flat();
  sameScores(together, single);
  assert.deepEqual(sideBySide, single);
  assert.equal(together[0].length, 5);
  assert.deepEqual(await predictor.predictPlanar([]), []);
  await predictor.dispose();
});

test("predictor · the checkpoint's own normalisation is used", async () => {
  const other = { ...trained, preprocessing: { ...trained.preprocessing, mean: [0, 0, 0], std: [1, 1, 1] } };
  const a = await createPredictor(trained, backend);
  const b = await createPredictor(other, backend);
  assert.notDeepEqual(await a.predictPlanar(images), await b.predictPlanar(images));
  await Promise.all([a.dispose(), b.dispose()]);
});

test("predictor · from a run's folder: image files, decoded pixels and evaluation agree", async () => {
  const run = join(root, "run");
  await saveCheckpoint(run, { trained }, { step: 1, best: true, keep: 1 });
  const predictor = await loadPredictor(run, backend, { batchSize: 4, pointer: "best" });
  const files: string[] = [];
  const interleaved = images.map((planar) =>
    Uint8Array.from({ length: 3072 }, (_, i) => planar[(i % 3) * 1024 + Math.floor(i / 3)]),
  );
  for (const [n, data] of interleaved.entries()) {
    const file = join(root, `${n}.png`);
    await sharp(data, { raw: { width: 32, height: 32, channels: 3 } })
      .png()
      .toFile(file);
    files.push(file);
  }
  const fromBytes = await predictor.predictPlanar(images);
  assert.deepEqual(await predictFiles(predictor, files), fromBytes);
  const asData = interleaved.map((data) => ({ width: 32, height: 32, data }));
  assert.deepEqual(await predictor.predict(asData), fromBytes);
  const { guesses } = await evaluate({ trained, dataset, backend, loadBatches });
  for (const n of images.keys()) {
    assert.equal(guesses[n * 90].index, fromBytes[n][0].index);
    assert.ok(Math.abs(guesses[n * 90].score - fromBytes[n][0].score) < 1e-5);
  }

  const text = join(root, "text.png");
  await writeFile(text, "no image");
  await assert.rejects(
    predictFiles(predictor, [files[0], text]),
    (error: Error) => error.name === "InputError" && error.message.startsWith(text),
  );
  // A failed call does not stop the next.
  assert.deepEqual(await predictFiles(predictor, files.slice(0, 1)), await predictor.predictPlanar(images.slice(0, 1)));
  await predictor.dispose();
});

test("predictor · refused: impossible topK and batchSize, bytes of another size", async () => {
  const predictor = await createPredictor(trained, backend);
  await assert.rejects(predictor.predictPlanar(images, { topK: 0 }), { name: "UsageError", message: /^topK: got 0/ });
  await assert.rejects(predictor.predictPlanar([new Uint8Array(5)]), RangeError);
  assert.equal((await predictor.predictPlanar(images, { topK: 1 })).length, 11);
  await predictor.dispose();
  await assert.rejects(createPredictor(trained, backend, { batchSize: 0.5 }), {
    name: "UsageError",
    message: /^batchSize: got 0\.5/,
  });
});

test("predictor · scores that are not finite are no answer: the image is named, the others can be had", async () => {
  // Deviations this small leave black images alone and take bright ones past the greatest f32.
  const preprocessing = { ...trained.preprocessing, mean: [0, 0, 0], std: [1e-38, 1e-38, 1e-38] };
  await using predictor = await createPredictor({ ...trained, preprocessing }, backend);
  const [black, bright] = [new Uint8Array(3 * 32 * 32), new Uint8Array(3 * 32 * 32).fill(200)];
  const refusal = (name: string) => ({
    name: "InputError",
    message: new RegExp(`^${name}: the network's score for class "airplane" is NaN, expected a finite number`),
  });
  await assert.rejects(predictor.predictPlanar([black, bright, black]), refusal("images\\[1\\]"));
  const [best] = await predictor.predictPlanar([black]);
  assert.equal(best.length, 5);
  const files = await Promise.all(
    [black, bright].map(async (planar, n) => {
      const file = join(root, `brightness-${n}.png`);
      await sharp(planar, { raw: { width: 32, height: 32, channels: 3 } })
        .png()
        .toFile(file);
      return file;
    }),
  );
  await assert.rejects(predictFiles(predictor, files), refusal(files[1]));
});

test("evaluate · refused: images of another size, classes in another order, an empty split", async () => {
  const options = { trained, dataset, backend, loadBatches };
  await assert.rejects(evaluate({ ...options, dataset: { ...dataset, height: 16 } }), {
    name: "InputError",
    message: /its images are \[3, 16, 32\], the network expects \[3, 32, 32\]/,
  });
  await assert.rejects(evaluate({ ...options, dataset: { ...dataset, classes: dataset.classes.toReversed() } }), {
    name: "InputError",
    message: /class 0 is "truck", the network was trained with "airplane"/,
  });
  await assert.rejects(evaluate({ ...options, dataset: { ...dataset, val: { ...dataset.val, length: 0 } } }), {
    name: "InputError",
    message: /its val split is empty/,
  });
});

test("evaluate · a class whose letters another system decomposed is the same class", async () => {
  const named = (form: "NFC" | "NFD"): string[] => dataset.classes.map((name) => `${name} é`.normalize(form));
  const on = { dataset: { ...dataset, classes: named("NFC") }, backend, loadBatches, batchSize: 500 };
  const { count } = await evaluate({ ...on, trained: { ...trained, classes: named("NFD") } });
  assert.equal(count, 1000);
});

test("evaluate · errors by hand: labels against the guesses it gives", async () => {
  const done: number[] = [];
  const onProgress = (count: number) => done.push(count);
  const result = await evaluate({ trained, dataset, backend, loadBatches, batchSize: 300, onProgress });
  assert.deepEqual(done, [300, 600, 900, 1000]);
  const wrong = result.guesses.filter(({ index }, n) => index !== dataset.val.labels[n]).length;
  assert.equal(result.top1Error, (100 * wrong) / 1000);
  const perClass = result.confusion.map((row) => row.reduce((a, b) => a + b, 0));
  assert.deepEqual(
    perClass,
    dataset.classes.map((_, label) => dataset.val.labels.filter((own) => own === label).length),
  );
});
