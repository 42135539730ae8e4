// data: batches depend on (seed, epoch, batch number) alone, and the thread that makes them ends with its generator.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Batch, Dataset } from "../../src/data/dataset.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { batchIndices, makeBatches } from "../../src/data/epoch.ts";
import { type LoadOptions, loadBatches } from "../../src/data/loader.node.ts";
import { UsageError } from "../../src/errors.ts";

const dataset = await readEmbedded();
const base: LoadOptions = { batchSize: 64, seed: 3, epoch: 1, shuffle: true, augment: "standard" };
const small = Array.from({ length: 300 }, (_, i) => i * 7);

async function collect(
  options: Partial<LoadOptions>,
  split: "train" | "val" = "train",
  slow = false,
): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of loadBatches(dataset, split, { ...base, ...options })) {
    batches.push(batch);
    if (slow) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return batches;
}

function threads(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "MessagePort" || name === "Worker").length;
}

test("batches · every image once, the last batch small and kept, labels and pixels those of the split", async () => {
  const batches = await collect({ shuffle: true, augment: "none", batchSize: 96 }, "val");
  assert.deepEqual(
    batches.map((batch) => batch.count),
    [...new Array<number>(10).fill(96), 40],
  );
  assert.deepEqual(
    batches.flatMap((batch) => [...batch.indices]).sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  const bytes = new Uint8Array(3072);
  for (const batch of batches) {
    assert.equal(batch.images.length, batch.count * 3072);
    for (const [position, index] of batch.indices.entries()) {
      assert.equal(batch.labels[position], dataset.val.labels[index]);
      await dataset.val.pixels(index, bytes);
      for (const at of [0, 1023, 1024, 3071]) {
        const channel = Math.floor(at / 1024);
        const expected = Math.fround((bytes[at] / 255 - dataset.mean[channel]) / dataset.std[channel]);
        assert.equal(batch.images[position * 3072 + at], expected);
      }
    }
  }
});

test("batches · same seed and epoch, same bits, whatever the timing and prefetch; another seed or epoch, others", async () => {
  const once = await collect({ indices: small });
  assert.deepEqual(await collect({ indices: small, prefetch: 1 }, "train", true), once);
  assert.deepEqual(await collect({ indices: small, prefetch: 50 }), once);
  assert.notDeepEqual(await collect({ indices: small, seed: 4 }), once);
  assert.notDeepEqual(await collect({ indices: small, epoch: 2 }), once);
});

test("batches · an image's augmentation does not depend on the batch it falls into", async () => {
  const of = (batches: readonly Batch[], index: number): Float32Array => {
    for (const batch of batches) {
      const position = batch.indices.indexOf(index);
      if (position >= 0) return batch.images.slice(position * 3072, (position + 1) * 3072);
    }
    throw new Error(`image ${index} is in no batch`);
  };
  const ordered = await collect({ indices: small, shuffle: false, batchSize: 17 });
  const shuffled = await collect({ indices: small });
  for (const index of [0, 7, 700, 2093]) assert.deepEqual(of(ordered, index), of(shuffled, index));
  assert.deepEqual(
    ordered.flatMap((batch) => [...batch.indices]),
    small,
  );
});

test("batches · started at batch n they are those that an uninterrupted epoch has left", async () => {
  const whole = await collect({ indices: small });
  assert.equal(whole.length, 5);
  for (let startBatch = 0; startBatch <= 6; startBatch++) {
    assert.deepEqual(await collect({ indices: small, startBatch }), whole.slice(startBatch));
  }
});

test("makeBatches · the same batches without a thread", async () => {
  for (const options of [{}, { startBatch: 3 }, { indices: small, padTo: 64, shuffle: false }, { startBatch: 94 }]) {
    const made = await Array.fromAsync(makeBatches(dataset, "train", { ...base, ...options }));
    assert.deepEqual(made, await collect(options));
  }
});

test("batches · padTo fills the last one with zero images and label 0", async () => {
  const batches = await collect({ indices: small.slice(0, 70), padTo: 64, shuffle: false, augment: "none" });
  const last = batches[1];
  assert.deepEqual([last.count, last.images.length, last.labels.length, last.indices.length], [6, 64 * 3072, 64, 6]);
  assert.ok(last.images.subarray(6 * 3072).every((value) => value === 0));
  assert.ok(last.labels.subarray(6).every((value) => value === 0));
  assert.ok(last.images.subarray(0, 6 * 3072).some((value) => value !== 0));
});

test("batchIndices · shuffled indices are a permutation of those given", () => {
  const order = batchIndices(6000, { ...base, indices: small }).flatMap((indices) => [...indices]);
  assert.deepEqual(
    [...order].sort((a, b) => a - b),
    small,
  );
  assert.notDeepEqual([...order], small);
});

test("loader · left early, its thread ends with the generator", async () => {
  const before = threads();
  for (let round = 0; round < 5; round++) {
    for await (const batch of loadBatches(dataset, "train", { ...base, prefetch: 20 })) {
      assert.equal(batch.count, 64);
      assert.ok(threads() > before);
      break;
    }
  }
  assert.equal(threads(), before);
});

test("loader · impossible options are refused before a thread starts", async () => {
  const refuses = async (options: Partial<LoadOptions>, message: RegExp): Promise<void> => {
    await assert.rejects(collect(options), (error) => error instanceof UsageError && message.test(error.message));
  };
  await refuses({ batchSize: 0 }, /^batchSize: got 0, /);
  await refuses({ startBatch: -1 }, /^startBatch: got -1, /);
  await refuses({ prefetch: 0 }, /^prefetch: got 0, /);
  await refuses({ padTo: 63 }, /^padTo: got 63, expected a whole number of at least 64/);
  await refuses({ indices: [5, 6000] }, /^indices: got 6000, expected 0 to 5999/);
});

test("loader · an error in the thread arrives with its class and details, and the thread ends", async () => {
  const before = threads();
  await assert.rejects(
    collect({ augment: "imagenet" }),
    (error) =>
      error instanceof UsageError && /^augment: "imagenet"/.test(error.message) && error.details.field === "augment",
  );
  assert.equal(threads(), before);
});

test("loader · a thread that breaks rejects instead of waiting for ever", async () => {
  const broken: Dataset = {
    ...dataset,
    // One row too few: the split cannot be built in the thread.
    train: {
      ...dataset.train,
      describe: () =>
        ({ ...dataset.val.describe(), labels: dataset.train.labels }) as ReturnType<Dataset["train"]["describe"]>,
    },
  };
  await assert.rejects(async () => {
    for await (const batch of loadBatches(broken, "train", base)) assert.ok(batch);
  }, /labels: got 6000, expected one for each of 1000 images of \[3, 32, 32\] bytes/);
});
