// The end of predictors: whatever was asked of them settles.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { createWebgpuBackend } from "../../src/backends/webgpu/webgpu.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { DisposedError } from "../../src/errors.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { gpuOrReason } from "../backends/webgpu/gpu.ts";
import { tinyConfig, tinyDataset, tinyModel } from "../train/tiny.ts";

const { height, width, mean, std, classes, name: dataset } = tinyDataset(2, 1);
const model = tinyModel(tinyConfig());
const trained: TrainedModel = { model, preprocessing: { height, width, mean, std }, classes, dataset };
const images = Array.from({ length: 9 }, (_, n) => new Uint8Array(3 * height * width).fill(20 * n));

/** What a promise comes to; "pending" if nothing in ten seconds. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  const settled = promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof DisposedError ? error.message : `not a DisposedError: ${error}`),
  );
  return Promise.race([settled, setTimeout(10_000, "pending", { ref: false })]);
}

const gone = (what: string) => `this ${what} was disposed of, so it does nothing any more: create another one`;

const gpu = await gpuOrReason();
const backends: readonly [name: string, missing: string | false, open: () => Promise<Backend>][] = [
  ["reference", false, async () => createReferenceBackend({ precision: "f32" })],
  ["wasm, one thread", false, () => createWasmBackend({ threads: 1 })],
  ["wasm, two threads", false, () => createWasmBackend({ threads: 2 })],
  ["wasm without shared memory", false, () => createWasmBackend({ sharedMemory: false })],
  ["webgpu", typeof gpu === "string" ? gpu : false, () => createWebgpuBackend({ tiled: false })],
];

for (const [name, skip, open] of backends) {
  for (const [what, thing] of [
    ["predictor", "predictor"],
    ["backend", "executable"],
  ] as const) {
    test(`predictor · predictions during and after the end of the ${what} reject, and so ends the other too · ${name}`, {
      skip,
      timeout: 60_000,
    }, async () => {
      const backend = await open();
      const predictor = await createPredictor(trained, backend, { batchSize: 4 });
      const ends = { predictor, backend };
      await predictor.predictPlanar(images);
      const pending = [1, 2, 3].map(() => outcome(predictor.predictPlanar(images)));
      const ending = ends[what].dispose();
      const during = outcome(predictor.predictPlanar(images));
      assert.equal(await outcome(ending), "resolved");
      assert.deepEqual(await Promise.all(pending), [gone(thing), gone(thing), gone(thing)]);
      assert.equal(await during, gone(thing));
      assert.equal(await outcome(predictor.predictPlanar(images)), gone(thing));
      for (const one of [predictor, backend, predictor, backend])
        assert.equal(await outcome(one.dispose()), "resolved");
      assert.equal(await outcome(predictor.predictPlanar(images)), gone("predictor"));
      assert.equal(await outcome(createPredictor(trained, backend)), gone("backend"));
    });
  }
}

test("predictor · await using ends it, its backend goes on", async () => {
  await using backend = await createWasmBackend({ threads: 1 });
  let left: Awaited<ReturnType<typeof createPredictor>>;
  {
    await using predictor = await createPredictor(trained, backend);
    left = predictor;
  }
  assert.equal(await outcome(left.predictPlanar(images)), gone("predictor"));
  await using another = await createPredictor(trained, backend);
  assert.equal((await another.predictPlanar(images)).length, images.length);
});
