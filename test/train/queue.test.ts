// A device that runs ahead of its results: it is never made to wait, and what comes out has the bits of one that waits
// for each update.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DeviceError, DivergedError } from "../../src/errors.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { PartialTrainConfig } from "../../src/train/resolveConfig.ts";
import type { BatchLoader, Trainer, TrainerOptions } from "../../src/train/trainer.ts";
import { lateDevice } from "./fakeDevices.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const wasm = await createWasmBackend({ threads: 1 });
test.after(() => wasm.dispose());
// Seven validation batches.
const dataset = tinyDataset(58, 100);

function trainer(backend: Backend, changes: PartialTrainConfig, options: Partial<TrainerOptions> = {}): Trainer {
  const config = tinyConfig({ epochs: 2, ...changes });
  return createTrainer({ model: tinyModel(config), dataset, backend, config, loadBatches: makeBatches, ...options });
}

async function train(backend: Backend, changes: PartialTrainConfig) {
  const saved: Checkpoint[] = [];
  const save = async (checkpoint: Checkpoint) => `checkpoint ${saved.push(structuredClone(checkpoint))}`;
  const run = trainer(backend, changes, { save });
  const events = await collect(run.run());
  return { events: events.map(timeless), saved: JSON.parse(JSON.stringify(saved, withoutTimes)), trained: run.trained };
}

const withoutTimes = (key: string, value: unknown): unknown =>
  ["seconds", "imagesPerSecond"].includes(key) ? 0 : value instanceof Map ? [...value] : value;

test(
  "queue · update n + 1 and n + 2 are submitted before the loss of update n is waited for; epochs and " +
    "checkpoints drain",
  async () => {
    const stalls: string[] = [];
    await train(lateDevice(wasm, 3, stalls), { batchSize: 8, epochs: 1, checkpointEverySteps: 4 });
    // 58 images: seven updates of 8, one of 2; saved after update 4.
    const training = stalls.filter((stall) => !stall.startsWith("evaluate"));
    assert.deepEqual(training, ["train 3", "train 4", "train 6", "train 7", "trainTail 1"]);
    const validating = stalls.filter((stall) => stall.startsWith("evaluate"));
    assert.deepEqual(validating, ["evaluate 12", "evaluate 13"]);
  },
);

for (const [name, changes] of Object.entries({
  plain: {},
  "saved within epochs": { checkpointEverySteps: 2 },
  "accumulated in two micro-batches": { accumulationSteps: 2, recompute: "bottleneck" },
} satisfies Record<string, PartialTrainConfig>)) {
  test(`queue · depth 3 reports, saves and learns the bits of depth 1 · ${name}`, async () => {
    const one = await train(wasm, changes);
    const three = await train(lateDevice(wasm, 3), changes);
    assert.deepEqual(three, one);
  });
}

test(
  "queue · stopped after an update: those in flight are finished, reported and saved; resumed it has the bits of " +
    "one never stopped",
  async () => {
    const whole = await train(wasm, {});
    const device = lateDevice(wasm, 3);
    const config = tinyConfig({ epochs: 2 });
    let saved: Checkpoint | undefined;
    const save = async (checkpoint: Checkpoint) => {
      saved = checkpoint;
      return "memory";
    };
    const halt = new AbortController();
    const first: TrainEvent[] = [];
    for await (const event of trainer(device, {}, { save }).run(halt.signal)) {
      first.push(event);
      if (event.type === "step") halt.abort();
    }
    assert.deepEqual(first.at(-1), { type: "interrupted", step: 3, epoch: 1, path: "memory" });
    assert.ok(saved?.training);
    const { model } = saved.trained;
    const rest = createTrainer({
      model,
      dataset,
      backend: device,
      config,
      loadBatches: makeBatches,
      resume: saved.training,
    });
    const second = await collect(rest.run());
    const reported = (events: readonly unknown[]) =>
      (events as TrainEvent[]).filter(({ type }) => type === "step" || type === "epoch").map(timeless);
    assert.deepEqual([...reported(first), ...reported(second)], reported(whole.events));
    assert.deepEqual(rest.trained, whole.trained);
  },
);

/** The seventh batch of the run, the third of its second epoch, has a pixel that is no number. */
const brokenImage: BatchLoader = async function* (from, split, options) {
  let number = options.startBatch ?? 0;
  for await (const batch of makeBatches(from, split, options)) {
    if (split === "train" && options.epoch === 1 && number++ === 2) batch.images[batch.images.length - 1] = Number.NaN;
    yield batch;
  }
};

const diverging: readonly [name: string, changes: PartialTrainConfig, loadBatches: BatchLoader, says: RegExp][] = [
  ["an image", {}, brokenImage, /in update 7 \(epoch 2\).* broke is features\.conv0 \(/],
  [
    "the second micro-batch of a batch",
    { accumulationSteps: 2 },
    brokenImage,
    /in update 7 \(epoch 2\).*features\.conv0 \(/,
  ],
  [
    "a learning rate",
    { lr: 1e30, schedule: "constant", warmupEpochs: 0, dropRate: 0 },
    makeBatches,
    /in update 2 \(epoch 1\).* broke is /,
  ],
];
for (const [name, changes, loadBatches, says] of diverging) {
  test(`queue · what broke is named as if each update had been waited for, and is not saved · ${name}`, async () => {
    const failures: DivergedError[] = [];
    const saved: Checkpoint[] = [];
    for (const backend of [wasm, lateDevice(wasm, 3)]) {
      const save = async (checkpoint: Checkpoint) => String(saved.push(checkpoint));
      const run = trainer(backend, changes, { loadBatches, save });
      await assert.rejects(collect(run.run()), (error) => {
        assert.ok(error instanceof DivergedError);
        failures.push(error);
        return says.test(error.message);
      });
    }
    assert.equal(failures[1]?.message, failures[0]?.message);
    assert.deepEqual(failures[1]?.details, failures[0]?.details);
    for (const { trained } of saved)
      for (const [path, { data }] of trained.model.state) assert.ok(data.every(Number.isFinite), path);
  });
}

test("queue · a loss that is not finite once and finite when repeated is the device's fault", async () => {
  const device = lateDevice(wasm, 3);
  let reads = 0;
  const flaky: Backend = {
    ...device,
    async compile(plans) {
      const executable = await device.compile(plans);
      return {
        ...executable,
        async read(buffers, plan) {
          const values = await executable.read(buffers, plan);
          if (plan === "train" && ++reads === 3) values[buffers.indexOf("sampleLoss")].fill(Number.NaN);
          return values;
        },
      };
    },
  };
  await assert.rejects(
    collect(trainer(flaky, {}).run()),
    (error) => error instanceof DeviceError && /update 3 was NaN.*does not compute the same twice/.test(error.message),
  );
});
