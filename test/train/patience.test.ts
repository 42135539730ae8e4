// train: a run that ends where its epochs no longer help.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { EpochMetrics } from "../../src/train/events.ts";
import { isDone } from "../../src/train/history.ts";
import { collect, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const history = (errors: readonly number[]): EpochMetrics[] =>
  errors.map((valTop1Error, index) => ({
    epoch: index + 1,
    trainLoss: 1,
    trainTop1Error: 50,
    trainTop5Error: 10,
    valLoss: 1,
    valTop1Error,
    valTop5Error: 10,
    learningRate: 0.1,
    seconds: 1,
    imagesPerSecond: 10,
  }));

for (const [name, errors, patience, done] of [
  ["nothing done", [], 1, false],
  ["a new low", [50, 40], 1, false],
  ["one epoch without, patience 1", [40, 50], 1, true],
  ["the same error is no new low", [40, 40], 1, true],
  ["one epoch without, patience 2", [40, 50], 2, false],
  ["two epochs without, patience 2", [40, 50, 45], 2, true],
  ["no patience asked for", [40, 50, 60, 70, 80, 90, 95, 96, 97], 0, false],
  ["all ten epochs", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 0, true],
] as const) {
  test(`${name} · ${done ? "done" : "goes on"}`, () => {
    assert.equal(isDone(history(errors), { epochs: 10, patience }), done);
  });
}

test("a trainer · ends after the epoch where patience is out, and says how many it did", {
  timeout: 60_000,
}, async () => {
  await using backend = await createWasmBackend({ threads: 1 });
  // The rate destroys what was learned, so that no epoch is better than the first for long.
  const config = tinyConfig({ epochs: 40, patience: 2, lr: 0.5, schedule: "constant" });
  const trainer = createTrainer({
    model: tinyModel(config),
    dataset: tinyDataset(),
    backend,
    config,
    loadBatches: makeBatches,
  });
  const seen = await collect(trainer.run());
  const end = seen.at(-1);
  assert.ok(end?.type === "end");
  const errors = trainer.history.map(({ valTop1Error }) => valTop1Error);
  assert.ok(errors.length < 40, `${errors.length} epochs`);
  assert.equal(end.epochs, errors.length);
  assert.equal(end.final.epoch, errors.length);
  assert.equal(end.best.epoch, errors.length - 2, errors.join(", "));
});

test("a trainer · balance shows the rare classes as often as the others", { timeout: 60_000 }, async () => {
  await using backend = await createWasmBackend({ threads: 1 });
  const config = tinyConfig({ epochs: 1, data: { balance: true } });
  const dataset = tinyDataset();
  const shown = new Map<number, number>();
  const trainer = createTrainer({
    model: tinyModel(config),
    dataset,
    backend,
    config,
    async *loadBatches(of, split, options) {
      for await (const batch of makeBatches(of, split, options)) {
        if (split === "train") for (const label of batch.labels) shown.set(label, (shown.get(label) ?? 0) + 1);
        yield batch;
      }
    },
  });
  await collect(trainer.run());
  const counts = [...shown.values()];
  const before = [...Map.groupBy(dataset.train.labels, (label) => label).values()].map(({ length }) => length);
  assert.ok(Math.max(...before) - Math.min(...before) > 1, "the images themselves are uneven");
  assert.equal(
    counts.reduce((sum, count) => sum + count),
    58,
  );
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join(", "));
});
