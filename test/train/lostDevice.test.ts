// Devices that are lost in the middle of a run: it goes on on another and ends with the bits of a run that nothing
// happened to.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DeviceError, ResourceError } from "../../src/errors.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { RecoveredEvent, TrainEvent } from "../../src/train/events.ts";
import type { PartialTrainConfig } from "../../src/train/resolveConfig.ts";
import type { TrainerOptions } from "../../src/train/trainer.ts";
import { type CallKind, lateDevice, losingDevice, noCalls } from "./fakeDevices.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const wasm = await createWasmBackend({ threads: 1 });
test.after(() => wasm.dispose());
const dataset = tinyDataset();

/** Two epochs of four updates, saved after each second one. */
function trainer(backend: Backend, options: Partial<TrainerOptions> = {}, changes: PartialTrainConfig = {}) {
  const config = tinyConfig({ epochs: 2, checkpointEverySteps: 2, ...changes });
  return createTrainer({ model: tinyModel(config), dataset, backend, config, loadBatches: makeBatches, ...options });
}

async function train(backend: Backend, reopen?: TrainerOptions["reopen"], changes?: PartialTrainConfig) {
  const saved: Checkpoint[] = [];
  const save = async (checkpoint: Checkpoint) => `checkpoint ${saved.push(structuredClone(checkpoint))}`;
  const run = trainer(backend, { save, ...(reopen ? { reopen } : {}) }, changes);
  const events = await collect(run.run());
  const checkpoints = saved.map(({ trained, training }) => ({ trained, momentum: training?.momentum }));
  return {
    recovered: events.filter((event): event is RecoveredEvent => event.type === "recovered"),
    rest: {
      events: events.filter(({ type }) => type !== "recovered").map(timeless),
      checkpoints,
      trained: run.trained,
    },
  };
}

for (const depth of [1, 3]) {
  const counts = noCalls();
  const calm = await train(losingDevice(lateDevice(wasm, depth), "run", Number.POSITIVE_INFINITY, counts));
  for (const kind of ["compile", "write", "run", "read"] as const satisfies CallKind[]) {
    const total = counts[kind];
    const places = new Set([0, 1, 0.2, 0.4, 0.6, 0.8].map((part) => Math.min(Math.round(part * total), total - 1)));
    for (const at of places) {
      test(
        `lost device · depth ${depth} · lost at ${kind} ${at} of ${total}: same events, checkpoints and weights, ` +
          "bit by bit",
        async () => {
          const stormy = await train(losingDevice(lateDevice(wasm, depth), kind, at), async () =>
            lateDevice(wasm, depth),
          );
          assert.deepEqual(stormy.rest, calm.rest);
          assert.deepEqual(
            stormy.recovered.map(({ reason, backend }) => [reason, backend.name]),
            [[`the device was lost at ${kind} ${at}`, "wasm"]],
          );
        },
      );
    }
  }
}

test("lost device · what is repeated is what came after the last copy: a checkpoint, an epoch's end, or 30 seconds", async (t) => {
  const repeated = async (changes: PartialTrainConfig): Promise<number | undefined> => {
    const counts = noCalls();
    // The run of update 4 of the first epoch.
    const device = losingDevice(wasm, "run", 3, counts);
    const { recovered } = await train(device, async () => wasm, changes);
    return recovered[0]?.repeatedSteps;
  };
  assert.equal(await repeated({ checkpointEverySteps: 2 }), 1);
  assert.equal(await repeated({ checkpointEverySteps: 0 }), 3);
  let now = 0;
  t.mock.method(performance, "now", () => {
    now += 31_000;
    return now;
  });
  assert.equal(await repeated({ checkpointEverySteps: 0 }), 0);
});

test("lost device · a backend of another kind goes on, and is the trainer's then", async () => {
  const oracle = createReferenceBackend({ precision: "f32" });
  const run = trainer(losingDevice(wasm, "run", 5), { reopen: async () => oracle });
  const events = await collect(run.run());
  const recovered = events.find((event) => event.type === "recovered");
  assert.ok(recovered?.type === "recovered");
  assert.deepEqual([recovered.backend.name, recovered.step], ["reference", 4]);
  assert.equal(run.backend, oracle);
  const losses = (of: readonly TrainEvent[]) => of.flatMap((event) => (event.type === "step" ? event.loss : []));
  const expected = losses(await collect(trainer(wasm).run()));
  for (const [index, loss] of losses(events).entries())
    assert.ok(Math.abs(loss - (expected[index] ?? Number.NaN)) < 1e-4, `update ${index + 1}`);
});

test(
  "lost device · stopped while the device is gone: the updates that were reported are repeated, saved, and the " +
    "run ends interrupted",
  async () => {
    const halt = new AbortController();
    const saved: Checkpoint[] = [];
    const events: TrainEvent[] = [];
    const run = trainer(
      losingDevice(wasm, "run", 3),
      {
        save: async (checkpoint) => `checkpoint ${saved.push(checkpoint)}`,
        reopen: async () => {
          halt.abort();
          return wasm;
        },
      },
      { checkpointEverySteps: 0 },
    );
    for await (const event of run.run(halt.signal)) events.push(event);
    assert.deepEqual(events.at(-1), { type: "interrupted", step: 3, epoch: 1, path: "checkpoint 1" });
    const calm = trainer(wasm, {}, { checkpointEverySteps: 0 });
    const stop = new AbortController();
    for await (const event of calm.run(stop.signal)) if (event.type === "step" && event.step === 3) stop.abort();
    assert.deepEqual(saved[0]?.trained, calm.trained);
  },
);

test(
  "lost device · a device that is lost again and again: after three tries the run gives up, and what was saved " +
    "stays",
  async () => {
    const saved: Checkpoint[] = [];
    const tries: number[] = [];
    const run = trainer(losingDevice(wasm, "run", 6), {
      save: async (checkpoint) => `checkpoint ${saved.push(checkpoint)}`,
      reopen: async (losses) => {
        tries.push(losses);
        // The second does not even open.
        if (losses === 2) throw new DeviceError("there is no GPU any more");
        return losingDevice(wasm, "run", 0);
      },
    });
    const events: TrainEvent[] = [];
    await assert.rejects(
      async () => {
        for await (const event of run.run()) events.push(event);
      },
      (error) =>
        error instanceof DeviceError && /lost at run 0; .* in a row, after update 4, .* gives up/.test(error.message),
    );
    assert.deepEqual(tries, [1, 2, 3]);
    assert.equal(events.filter(({ type }) => type === "checkpoint").length, 2);
    assert.equal(saved.length, 2);
  },
);

test("lost device · losses with updates between them are survived, however many", async () => {
  let opened = 0;
  // Each lives for two or three runs, of which at most one is repeated.
  const next = async (): Promise<Backend> => losingDevice(wasm, "run", 2 + (opened++ % 2));
  const stormy = await train(await next(), next);
  assert.ok(stormy.recovered.length > 3, String(stormy.recovered.length));
  assert.deepEqual(stormy.rest, (await train(wasm)).rest);
});

test("lost device · other errors are not taken for a lost device", async () => {
  const small: Backend = {
    info: wasm.info,
    compile: async () => {
      throw new ResourceError("no memory");
    },
    dispose: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  let asked = 0;
  const reopen = async () => {
    asked++;
    return wasm;
  };
  await assert.rejects(collect(trainer(small, { reopen }).run()), ResourceError);
  assert.equal(asked, 0);
});
