// Gradients that leave the device between the backward pass and the update: what the update makes of the sums that come
// back.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Batch } from "../../src/data/dataset.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DivergedError, UsageError } from "../../src/errors.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { StepEvent } from "../../src/train/events.ts";
import type { GradientReduction } from "../../src/train/reduction.ts";
import type { PartialTrainConfig } from "../../src/train/resolveConfig.ts";
import type { BatchLoader, Trainer, TrainerOptions } from "../../src/train/trainer.ts";
import { compileTraining, epochLayout } from "../../src/train/trainingPlans.ts";
import { submitUpdate } from "../../src/train/update.ts";
import { lateDevice } from "./fakeDevices.ts";
import { type FakeExecutable, fakeExecutable } from "./fakeExecutable.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const wasm = await createWasmBackend({ threads: 1 });
test.after(() => wasm.dispose());
const dataset = tinyDataset();

/** One process: its gradients are their own sums. */
const alone: GradientReduction = { processes: 1, async sum() {} };

function trainer(changes: PartialTrainConfig, options: Partial<TrainerOptions>): Trainer {
  const config = tinyConfig({ epochs: 2, ...changes });
  return createTrainer({
    model: tinyModel(config),
    dataset,
    backend: wasm,
    config,
    loadBatches: makeBatches,
    ...options,
  });
}

for (const [name, backend, changes] of [
  ["one update a batch", wasm, {}],
  ["on a device that runs ahead", lateDevice(wasm, 3), {}],
  ["accumulated in two micro-batches", wasm, { accumulationSteps: 2, recompute: "bottleneck" }],
] as const satisfies [string, Backend, PartialTrainConfig][]) {
  test(`reduction · a process on its own has the bits of a run without reduction · ${name}`, async () => {
    const plain = trainer(changes, { backend: wasm });
    const reduced = trainer(changes, { backend, reduction: alone });
    // The start event gives the memory of the plans, which has room for the sums.
    const [, ...expected] = (await collect(plain.run())).map(timeless);
    const [, ...found] = (await collect(reduced.run())).map(timeless);
    assert.deepEqual(found, expected);
    assert.deepEqual(reduced.trained, plain.trained);
  });
}

/** Sums over `processes` callers that call once each, then all go on. */
function meetingPlace(processes: number): GradientReduction {
  let waiting: { readonly gradients: readonly Float32Array[]; readonly go: () => void }[] = [];
  return {
    processes,
    async sum(gradients) {
      const turn = Promise.withResolvers<void>();
      waiting.push({ gradients, go: turn.resolve });
      if (waiting.length === processes) {
        const all = waiting;
        waiting = [];
        const sums = gradients.map((_, i) => {
          const [first, ...others] = all.map((one) => one.gradients[i]);
          return first.map((value, at) => others.reduce((sum, other) => Math.fround(sum + other[at]), value));
        });
        for (const { gradients: own, go } of all) {
          for (const [i, values] of own.entries()) values.set(sums[i]);
          go();
        }
      }
      await turn.promise;
    },
  };
}

test(
  "reduction · two processes with half a batch each learn the weights of one that accumulates both halves, bit " +
    "by bit",
  async () => {
    const images = tinyDataset(64, 16);
    const changes = { epochs: 2, dropRate: 0, data: { augment: "none" } } as const satisfies PartialTrainConfig;
    const whole = trainer({ ...changes, batchSize: 16, accumulationSteps: 2 }, { dataset: images });
    const steps = (await collect(whole.run())).filter((event): event is StepEvent => event.type === "step");
    assert.equal(steps.length, 8);

    const half = (process: number): BatchLoader =>
      async function* (from, split, options) {
        if (split === "val") return yield* makeBatches(from, split, options);
        for await (const batch of makeBatches(images, split, { ...options, batchSize: 16 })) {
          const [begin, end] = [process * 8, process * 8 + 8];
          const stride = batch.images.length / 16;
          yield {
            images: batch.images.slice(begin * stride, end * stride),
            labels: batch.labels.slice(begin, end),
            indices: batch.indices.slice(begin, end),
            count: 8,
          } satisfies Batch;
        }
      };
    const reduction = meetingPlace(2);
    const runs = [0, 1].map((process) =>
      trainer(
        { ...changes, batchSize: 8 },
        { dataset: { ...images, train: tinyDataset(32, 1).train }, loadBatches: half(process), reduction },
      ),
    );
    await Promise.all(runs.map((run) => collect(run.run())));
    for (const [path, tensor] of whole.trained.model.state) {
      if (path.includes("running")) continue;
      for (const [process, { trained }] of runs.entries())
        assert.deepEqual(trained.model.state.get(path), tensor, `${path} of process ${process}`);
    }
    // Each has seen its own half only.
    assert.notDeepEqual(runs[0]?.trained.model.state, runs[1]?.trained.model.state);
  },
);

/** The plans of the tiny net on an executable that computes nothing. */
async function compiledOn(device: FakeExecutable, changes: PartialTrainConfig, reduction?: GradientReduction) {
  const config = tinyConfig(changes);
  const backend: Backend = {
    info: wasm.info,
    compile: async () => device,
    dispose: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  return compileTraining(backend, tinyModel(config).spec, dataset, config, epochLayout(58, config), reduction);
}

for (const [name, changes, reduced, expected] of [
  ["without", {}, false, ["run train"]],
  ["with reduction", {}, true, ["run train", "run setSums", "read sums", "sum", "write sums", "run update"]],
  [
    "accumulated",
    { accumulationSteps: 2 },
    false,
    ["run train", "run setSums", "run train", "run addSums", "run update"],
  ],
  [
    "accumulated with reduction",
    { accumulationSteps: 2 },
    true,
    ["run train", "run setSums", "run train", "run addSums", "read sums", "sum", "write sums", "run update"],
  ],
] as const) {
  test(`update · what runs on the device, in order · ${name}`, async () => {
    const device = fakeExecutable();
    const calls: string[] = [];
    const reduction: GradientReduction = {
      processes: 2,
      async sum(gradients) {
        device.calls.push("sum");
        for (const values of gradients) values.fill(3);
      },
    };
    const compiled = await compiledOn(device, changes, reduced ? reduction : undefined);
    const sums = [...(compiled.plans.update?.buffers.values() ?? [])].filter(({ role }) => role === "gradientSum");
    for (const { name: buffer, bytes } of sums) device.values.set(buffer, new Float32Array(bytes / 4));
    for (const buffer of ["sampleLoss", "sampleRank"]) device.values.set(buffer, new Float32Array(16));
    const [batch] = await Array.fromAsync(
      makeBatches(dataset, "train", { batchSize: 16, seed: 0, epoch: 0, shuffle: false, augment: "none" }),
    );
    await submitUpdate(compiled, batch, { step: 0, learningRate: 0.1 }, false);
    for (const call of device.calls) {
      const [kind, ...buffers] = call.split(" ");
      const ofSums = buffers.length > 0 && buffers.every((buffer) => sums.some((sum) => sum.name === buffer));
      const shown = ofSums ? `${kind} sums` : call;
      if (/images|labels|sampleLoss/.test(call) || shown === calls.at(-1)) continue;
      calls.push(shown);
    }
    assert.deepEqual(calls, expected);
    if (!reduced) return;
    for (const { name: buffer } of sums)
      assert.ok(
        device.values.get(buffer)?.every((value) => value === 3),
        `${buffer} holds what came back`,
      );
    const [sgd] = compiled.plans.update?.calls ?? [];
    assert.ok(sgd?.kernel === "sgd");
    assert.equal(sgd.args.gradientScale, 1 / (2 * ("accumulationSteps" in changes ? 2 : 1)));
  });
}

test("reduction · one that fails ends the run with its error", async () => {
  const broken = new Error("the other process is gone");
  const failing: GradientReduction = { processes: 2, sum: () => Promise.reject(broken) };
  await assert.rejects(collect(trainer({}, { reduction: failing }).run()), broken);
});

test(
  "reduction · gradients that come back broken are noticed at the next update, which names a layer and is not " +
    "repeated",
  async () => {
    let sums = 0;
    const poisoned: GradientReduction = {
      processes: 1,
      async sum(gradients) {
        if (++sums === 2) gradients[0]?.fill(Number.NaN);
      },
    };
    await assert.rejects(
      collect(trainer({}, { backend: lateDevice(wasm, 3), reduction: poisoned }).run()),
      (error) => error instanceof DivergedError && /in update 3 .* broke is features\.conv0 /.test(error.message),
    );
    assert.equal(sums, 2);
  },
);

test("reduction · refused: no process, and a device that would be replaced", () => {
  assert.throws(
    () => trainer({}, { reduction: { ...alone, processes: 0 } }),
    (error) => error instanceof UsageError && /^reduction\.processes: got 0/.test(error.message),
  );
  assert.throws(
    () => trainer({}, { reduction: alone, reopen: async () => wasm }),
    (error) => error instanceof UsageError && /^reopen: .* expected reduction or reopen/.test(error.message),
  );
});
