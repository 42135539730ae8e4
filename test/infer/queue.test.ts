// A device that runs ahead of its results: evaluation and prediction never make it wait, and find what one that waits
// for each batch finds.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DeviceError } from "../../src/errors.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { lateDevice, losingDevice } from "../train/fakeDevices.ts";
import { tinyConfig, tinyDataset, tinyModel } from "../train/tiny.ts";

const wasm = await createWasmBackend({ threads: 1 });
test.after(() => wasm.dispose());

// Six batches of 16, and one of 4 that is filled up.
const dataset = tinyDataset(58, 100);
const { height, width, mean, std, classes, name } = dataset;
const trained: TrainedModel = {
  model: tinyModel(tinyConfig()),
  preprocessing: { height, width, mean, std },
  classes,
  dataset: name,
};
const evaluateOn = (backend: Backend, onProgress?: (done: number) => void) =>
  evaluate({
    trained,
    dataset,
    backend,
    loadBatches: makeBatches,
    batchSize: 16,
    ...(onProgress ? { onProgress } : {}),
  });

const images = await Promise.all(
  Array.from({ length: 23 }, async (_, n) => {
    const pixels = new Uint8Array(3 * height * width);
    await dataset.val.pixels(n, pixels);
    return pixels;
  }),
);
async function predictOn(backend: Backend, wanted = images) {
  const predictor = await createPredictor(trained, backend, { batchSize: 5 });
  try {
    return await predictor.predictPlanar(wanted, { topK: 10 });
  } finally {
    await predictor.dispose();
  }
}

test("evaluate · batches n + 1 and n + 2 are submitted before the results of batch n are waited for", async () => {
  const stalls: string[] = [];
  const done: number[] = [];
  await evaluateOn(lateDevice(wasm, 3, stalls), (count) => done.push(count));
  assert.deepEqual(stalls, ["evaluate 6", "evaluate 7"]);
  assert.deepEqual(done, [16, 32, 48, 64, 80, 96, 100]);
});

test("evaluate · depth 3 finds the bits of depth 1, and the reference the same up to rounding", async () => {
  const one = await evaluateOn(wasm);
  assert.deepEqual(await evaluateOn(lateDevice(wasm, 3)), one);
  const reference = await evaluateOn(createReferenceBackend({ precision: "f32" }));
  assert.deepEqual(reference.confusion, one.confusion);
  assert.ok(Math.abs(reference.loss - one.loss) < 1e-5);
});

test(
  "predictor · batches n + 1 and n + 2 are submitted before the logits of batch n are waited for; depth 3 finds " +
    "the bits of depth 1",
  async () => {
    const stalls: string[] = [];
    // Four batches of 5; each of the 3 leftover images goes alone.
    assert.deepEqual(await predictOn(lateDevice(wasm, 3, stalls)), await predictOn(wasm));
    assert.deepEqual(stalls, ["many 3", "many 4", "one 2", "one 3"]);
  },
);

test("predictor · a device of its own takes leftover images at once, and a single one alone", async () => {
  // The runs that are waited for: the last two of each plan.
  const expected = await predictOn(wasm);
  for (const [count, runs] of [
    [23, ["many 4", "many 5"]],
    [21, ["many 3", "many 4", "one 1"]],
  ] as const) {
    const stalls: string[] = [];
    const late = lateDevice(wasm, 3, stalls);
    const card: Backend = { ...late, info: { ...late.info, device: "a card" } };
    assert.deepEqual(await predictOn(card, images.slice(0, count)), expected.slice(0, count));
    assert.deepEqual(stalls, runs);
  }
});

test("evaluate · a device lost while results are in flight is one DeviceError, whatever else was asked of it", async () => {
  await assert.rejects(evaluateOn(losingDevice(lateDevice(wasm, 3), "read", 1)), DeviceError);
});
