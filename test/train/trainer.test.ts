import assert from "node:assert/strict";
import { test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import type { Batch } from "../../src/data/dataset.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { UsageError } from "../../src/errors.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { EpochEvent, StepEvent, TrainEvent } from "../../src/train/events.ts";
import { learningRate } from "../../src/train/schedule.ts";
import type { BatchLoader, Trainer, TrainerOptions } from "../../src/train/trainer.ts";
import { epochLayout } from "../../src/train/trainingPlans.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const dataset = tinyDataset();
const wasm = await createWasmBackend({ threads: 1 });
test.after(() => wasm.dispose());

function trainer(config: TrainConfig, changes: Partial<TrainerOptions> = {}): Trainer {
  return createTrainer({
    model: tinyModel(config),
    dataset,
    backend: wasm,
    config,
    loadBatches: makeBatches,
    ...changes,
  });
}

const stepsOf = (events: TrainEvent[]) => events.filter((event): event is StepEvent => event.type === "step");
const epochsOf = (events: TrainEvent[]) => events.filter((event): event is EpochEvent => event.type === "epoch");

for (const [images, batchSize, accumulationSteps, microBatch, tailMicroBatch, stepsPerEpoch] of [
  [50_000, 64, 1, 64, 16, 782],
  [64, 64, 1, 64, 0, 1],
  [65, 64, 1, 64, 0, 1],
  [66, 64, 1, 64, 2, 2],
  [10, 64, 1, 64, 10, 1],
  [50_000, 64, 4, 16, 4, 782],
  [103, 32, 4, 8, 0, 3],
  [107, 32, 4, 8, 2, 4],
] as const) {
  test(
    `epochLayout · ${images} images, batch ${batchSize} in ${accumulationSteps} micro-batches: ${stepsPerEpoch} ` +
      `updates, tail of ${tailMicroBatch} each`,
    () => {
      assert.deepEqual(epochLayout(images, { batchSize, accumulationSteps }), {
        microBatch,
        tailMicroBatch,
        fullSteps: Math.floor(images / batchSize),
        stepsPerEpoch,
      });
    },
  );
}

test("trainer · events: start, updates with the schedule's rate, validated epochs, end", async () => {
  const config = tinyConfig();
  const events = await collect(trainer(config).run());
  assert.deepEqual(
    events.map(({ type }) => type),
    ["start", ...[1, 2, 3].flatMap(() => ["step", "step", "step", "step", "epoch"]), "end"],
  );
  const [start] = events;
  assert.ok(start.type === "start");
  assert.deepEqual([start.stepsPerEpoch, start.totalSteps, start.resumedAtStep], [4, 12, 0]);
  assert.deepEqual([start.trainCount, start.valCount], [58, 21]);
  for (const [index, event] of stepsOf(events).entries()) {
    assert.equal(event.step, index + 1);
    assert.equal(event.epoch, Math.floor(index / 4) + 1);
    assert.equal(event.learningRate, learningRate(config, index, 4));
    assert.ok(event.imagesPerSecond > 0 && event.etaSeconds >= 0);
  }
  const epochs = epochsOf(events);
  const sizes = [16, 16, 16, 10];
  for (const [index, event] of epochs.entries()) {
    const own = stepsOf(events).slice(index * 4, index * 4 + 4);
    const mean = (of: (event: StepEvent) => number) => own.reduce((sum, e, i) => sum + of(e) * sizes[i], 0) / 58;
    assert.ok(Math.abs(event.trainLoss - mean((e) => e.loss)) < 1e-12);
    assert.ok(Math.abs(event.trainTop1Error - mean((e) => e.top1Error)) < 1e-12);
    assert.ok(event.trainTop5Error <= event.trainTop1Error);
  }
  const end = events.at(-1);
  assert.ok(end?.type === "end");
  assert.equal(end.final.epoch, 3);
  assert.equal(end.best.valTop1Error, Math.min(...epochs.map((event) => event.valTop1Error)));
  const lowest = epochs.findIndex((event) => event.valTop1Error === end.best.valTop1Error);
  assert.equal(end.best.epoch, lowest + 1);
});

test("trainer · it learns: after 80 epochs the 58 images are known by heart", async () => {
  const model = { variant: "BC-40-12", blockConfig: [2, 2], growthRate: 8 };
  const config = tinyConfig({ epochs: 80, dropRate: 0, data: { augment: "none" }, model });
  const events = await collect(trainer(config).run());
  const [first] = stepsOf(events);
  const last = epochsOf(events).at(-1);
  assert.ok(Math.abs(first.loss - Math.log(10)) < 0.8, `an untrained net guesses, ln 10; got ${first.loss}`);
  assert.ok(last && last.trainTop1Error < 10, `training error ${last?.trainTop1Error} %`);
});

test("trainer · the validation error of the last epoch is what evaluating the trained model gives", async () => {
  const run = trainer(tinyConfig());
  const last = epochsOf(await collect(run.run())).at(-1);
  const result = await evaluate({
    trained: run.trained,
    dataset,
    backend: wasm,
    loadBatches: makeBatches,
    batchSize: 4,
  });
  assert.equal(result.count, 21);
  assert.equal(result.top1Error, last?.valTop1Error);
  assert.equal(result.top5Error, last?.valTop5Error);
  assert.ok(last && Math.abs(result.loss - last.valLoss) < 1e-5);
  const right = result.confusion.reduce((sum, row, label) => sum + row[label], 0);
  assert.ok(Math.abs(100 * (1 - right / 21) - result.top1Error) < 1e-9);
  assert.equal(
    result.confusion.flat().reduce((a, b) => a + b, 0),
    21,
  );
});

test(
  "trainer · the evaluation of the last epoch, image by image, is that of the trained model in batches of the " +
    "same size",
  async () => {
    const config = tinyConfig();
    const run = trainer(config);
    const last = epochsOf(await collect(run.run())).at(-1);
    const { trained, evaluation } = run;
    assert.ok(evaluation);
    const again = { trained, dataset, backend: wasm, loadBatches: makeBatches, batchSize: config.batchSize };
    assert.deepEqual(evaluation, await evaluate(again));
    assert.deepEqual(
      [evaluation.loss, evaluation.top1Error, evaluation.top5Error],
      [last?.valLoss, last?.valTop1Error, last?.valTop5Error],
    );
  },
);

test("trainer · wasm follows the reference backend for a whole epoch", async () => {
  const config = tinyConfig({ epochs: 1 });
  const fast = stepsOf(await collect(trainer(config).run()));
  const slow = stepsOf(await collect(trainer(config, { backend: createReferenceBackend({ precision: "f64" }) }).run()));
  assert.equal(fast.length, 4);
  for (const [index, event] of fast.entries()) {
    assert.ok(
      Math.abs(event.loss - slow[index].loss) < 1e-4,
      `update ${index + 1}: ${event.loss}, ${slow[index].loss}`,
    );
  }
});

for (const threads of [1, 2]) {
  test(`trainer · the same seed gives the same bits twice, another seed others · ${threads} threads`, async () => {
    const backend = await createWasmBackend({ threads });
    const bits = async (seed: number) => {
      const config = tinyConfig({ seed, epochs: 2 });
      const run = trainer(config, { backend });
      const events = await collect(run.run());
      return { events: events.map(timeless), state: run.trained.model.state };
    };
    const first = await bits(7);
    assert.deepEqual(await bits(7), first);
    assert.notDeepEqual((await bits(8)).state, first.state);
    await backend.dispose();
  });
}

test("trainer · recomputation changes memory, not one bit of the result", async () => {
  const results = [];
  for (const recompute of ["none", "bottleneck"] as const) {
    const run = trainer(tinyConfig({ recompute }));
    await collect(run.run());
    results.push(run.trained.model.state);
  }
  assert.deepEqual(results[1], results[0]);
});

test(
  "trainer · accumulation is the mean of its micro-batches: a batch that repeats itself twice equals the batch " +
    "once",
  async () => {
    // The mean of two equal gradients is that gradient, exactly; and equal micro-batches have equal batch statistics.
    const once = tinyConfig({ dropRate: 0, epochs: 1, batchSize: 8, data: { augment: "none" } });
    const twice = { ...once, batchSize: 16, accumulationSteps: 2 };
    const images = tinyDataset(32, 16);
    const doubled: BatchLoader = async function* (from, split, options) {
      if (split === "val") return yield* makeBatches(from, split, options);
      for await (const batch of makeBatches(images, split, { ...options, batchSize: 8 })) {
        yield {
          images: Float32Array.of(...batch.images, ...batch.images),
          labels: Int32Array.of(...batch.labels, ...batch.labels),
          indices: Int32Array.of(...batch.indices, ...batch.indices),
          count: 16,
        } satisfies Batch;
      }
    };
    const a = trainer(once, { dataset: images });
    const b = trainer(twice, { dataset: tinyDataset(64, 16), loadBatches: doubled });
    const stepsA = stepsOf(await collect(a.run()));
    const stepsB = stepsOf(await collect(b.run()));
    assert.equal(stepsA.length, 4);
    assert.deepEqual(
      stepsB.map((event) => event.loss),
      stepsA.map((event) => event.loss),
    );
    for (const [path, tensor] of a.trained.model.state) {
      if (!path.includes("running")) assert.deepEqual(b.trained.model.state.get(path), tensor, path);
    }
    assert.equal(a.trained.model.batchesTracked, 4);
    assert.equal(b.trained.model.batchesTracked, 8);
  },
);

test("trainer · micro-batches that differ: accumulation is not the whole batch, whose batch norm sees all images", async () => {
  const whole = trainer(tinyConfig({ epochs: 1 }));
  const accumulated = trainer(tinyConfig({ epochs: 1, accumulationSteps: 2 }));
  await collect(whole.run());
  await collect(accumulated.run());
  assert.notDeepEqual(accumulated.trained.model.state, whole.trained.model.state);
});

test("trainer · a rate that blows the net up ends in DivergedError with a layer's name, and the last checkpoint stays", async () => {
  const config = tinyConfig({
    lr: 1e30,
    schedule: "multistep",
    milestones: [],
    warmupEpochs: 0,
    checkpointEverySteps: 1,
  });
  const saved: Checkpoint[] = [];
  const run = trainer(config, {
    save: async (checkpoint) => {
      saved.push(checkpoint);
      return "memory";
    },
  });
  await assert.rejects(collect(run.run()), {
    name: "DivergedError",
    message: /features\.|classifier|momentum/,
  });
  for (const { trained } of saved) {
    for (const [path, { data }] of trained.model.state) assert.ok(data.every(Number.isFinite), path);
  }
});

for (const [minutes, expected] of [
  [10, [3, 4, 7, 8]],
  [0, [4, 8]],
] as const) {
  test(`trainer · with ${minutes} minutes between checkpoints and 6 an update, saved are ${expected.join(", ")}`, async (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const saved: number[] = [];
    const config = tinyConfig({ epochs: 2, checkpointMinutes: minutes });
    const run = trainer(config, { save: async (_, { step }) => String(saved.push(step)) });
    for await (const { type } of run.run()) if (type === "step") now += 6 * 60_000;
    assert.deepEqual(saved, expected);
  });
}

for (const layer of [
  "features.conv0",
  "features.denseblock1.denselayer1.conv1",
  "features.denseblock1.denselayer1.conv2",
  "features.transition1.conv",
  "features.denseblock2.denselayer1.conv2",
  "classifier",
]) {
  test(`trainer · the layer that breaks is named: ${layer}`, async () => {
    const config = tinyConfig();
    const model = tinyModel(config);
    const state = new Map(model.state);
    const weight = state.get(`${layer}.weight`);
    assert.ok(weight);
    // Finite, as every model must be, and so large that what the layer makes is not.
    state.set(`${layer}.weight`, { ...weight, data: weight.data.map(() => 3.4e38) });
    // A transition pools before its convolution, so its statistics are those of the pooled output.
    const name = layer === "features.transition1.conv" ? "features.transition1.pool" : layer;
    await assert.rejects(
      collect(trainer(config, { model: { ...model, state } }).run()),
      (error: Error) =>
        error.name === "DivergedError" && error.message.includes(`the first layer that broke is ${name} (`),
    );
  });
}

test("trainer · refused: data of other classes, a batch that nothing fills, no validation images", async () => {
  const config = tinyConfig();
  assert.throws(() => trainer(config, { dataset: { ...dataset, classes: ["a", "b"] } }), {
    name: "UsageError",
    message: /has 10 classes, but tiny has 3 channels and 2 classes/,
  });
  const few = tinyDataset(3, 4);
  assert.throws(() => trainer({ ...config, accumulationSteps: 2 }, { dataset: few }), {
    name: "UsageError",
    message: /batchSize: 3 training/,
  });
  const noVal = tinyDataset(20, 0);
  assert.throws(() => trainer(config, { dataset: noVal }), { name: "UsageError", message: /no validation images/ });
});

for (const [name, changes, says] of [
  ["a number that is none", { epochs: Number.NaN }, /^epochs: got NaN, expected a whole number from 1 to 1000000$/],
  ["a fraction of a batch", { batchSize: 2.5 }, /^batchSize: got 2\.5, expected a whole number from 1 to 1048576$/],
  ["a negative rate", { lr: -1 }, /^lr: got -1, expected a number above 0$/],
  [
    "a word that is none",
    { schedule: "linear" },
    /^schedule: got "linear", expected one of multistep, cosine, constant$/,
  ],
  ["a setting that there is not", { epoch: 3 }, /^epoch: there is no such setting; did you mean epochs\?$/],
  [
    "a setting that is missing",
    { seed: undefined },
    /^seed: got nothing, expected a whole number from 0 to 4294967295$/,
  ],
  [
    "settings that do not go together",
    { batchSize: 16, accumulationSteps: 3 },
    /^accumulationSteps: .*expected a divisor/,
  ],
] as const) {
  test(`trainer · settings that did not come from resolveConfig are checked as it does · ${name}`, () => {
    // As from JavaScript, which has no types.
    const config = { ...tinyConfig(), ...changes } as TrainConfig;
    const model = tinyModel(tinyConfig());
    assert.throws(
      () => createTrainer({ model, dataset, backend: wasm, config, loadBatches: makeBatches }),
      (error) => error instanceof UsageError && says.test(error.message),
    );
  });
}

test("trainer · no settings at all are refused in a sentence", () => {
  const model = tinyModel(tinyConfig());
  for (const nothing of [undefined, null, "quick", []]) {
    const config = nothing as unknown as TrainConfig;
    assert.throws(
      () => createTrainer({ model, dataset, backend: wasm, config, loadBatches: makeBatches }),
      /^UsageError: config: got .*, expected the settings of a run/,
    );
  }
});

test("trainer · label smoothing is in the training loss, in proportion, and not in the validation's", async () => {
  const runs = [0, 0.25, 0.5].map(async (labelSmoothing) => {
    const trained = trainer(tinyConfig({ labelSmoothing, epochs: 1 }));
    const events = await collect(trained.run());
    return { trained, first: stepsOf(events)[0].loss, epoch: epochsOf(events)[0] };
  });
  const [none, quarter, half] = await Promise.all(runs);
  assert.ok(Math.abs(quarter.first - none.first) > 0.01, `${none.first} and ${quarter.first}`);
  assert.ok(Math.abs(half.first - quarter.first - (quarter.first - none.first)) < 1e-5);
  const again = await evaluate({ trained: half.trained.trained, dataset, backend: wasm, loadBatches: makeBatches });
  assert.ok(Math.abs(half.epoch.valLoss - again.loss) < 1e-5, `${half.epoch.valLoss} and ${again.loss}`);
});
