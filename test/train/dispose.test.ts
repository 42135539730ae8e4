// The end of trainers before their run has come to its own.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DisposedError, UsageError } from "../../src/errors.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { TrainerOptions } from "../../src/train/trainer.ts";
import { losingDevice } from "./fakeDevices.ts";
import { collect, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const dataset = tinyDataset();
const config = tinyConfig({ epochs: 2 });
const trainerOn = (backend: Backend, options: Partial<TrainerOptions> = {}) =>
  createTrainer({ model: tinyModel(config), dataset, backend, config, loadBatches: makeBatches, ...options });

const isGone = (what: string) => (error: unknown) =>
  error instanceof DisposedError && error.message.startsWith(`this ${what} was disposed of`);

/** `backend`, and how many of its executables are alive. */
function counting(backend: Backend): { backend: Backend; alive: () => number } {
  let alive = 0;
  const counted: Backend = {
    info: backend.info,
    async compile(plans) {
      const executable = await backend.compile(plans);
      alive++;
      let disposed = false;
      const dispose = async (): Promise<void> => {
        if (!disposed) alive--;
        disposed = true;
        await executable.dispose();
      };
      return {
        peakBytes: executable.peakBytes,
        arenaBytes: executable.arenaBytes,
        queueDepth: executable.queueDepth,
        write: (...args) => executable.write(...args),
        read: (...args) => executable.read(...args),
        run: (...args) => executable.run(...args),
        dispose,
        [Symbol.asyncDispose]: dispose,
      };
    },
    dispose: () => backend.dispose(),
    [Symbol.asyncDispose]: () => backend.dispose(),
  };
  return { backend: counted, alive: () => alive };
}

for (const threads of [1, 2]) {
  test(
    "trainer · disposed of between two events: the events end, the memory is free, another run is refused · " +
      `${threads} threads`,
    async () => {
      await using wasm = await createWasmBackend({ threads });
      const { backend, alive } = counting(wasm);
      const trainer = trainerOn(backend);
      const seen: string[] = [];
      for await (const { type } of trainer.run()) {
        seen.push(type);
        if (seen.length === 3) await trainer.dispose();
      }
      assert.deepEqual(seen, ["start", "step", "step"]);
      assert.equal(alive(), 0);
      await trainer.dispose();
      await assert.rejects(trainer.run().next(), isGone("trainer"));
    },
  );

  test(`trainer · disposed of while an event is waited for: that wait rejects · ${threads} threads`, async () => {
    await using wasm = await createWasmBackend({ threads });
    const { backend, alive } = counting(wasm);
    const trainer = trainerOn(backend);
    const events = trainer.run();
    for (let i = 0; i < 3; i++) await events.next();
    const waiting = assert.rejects(events.next(), isGone("trainer"));
    await trainer.dispose();
    await waiting;
    assert.equal(alive(), 0);
    assert.equal((await events.next()).done, true);
  });

  test(`trainer · its backend disposed of in mid-run: the run rejects and opens no other · ${threads} threads`, async () => {
    const wasm = await createWasmBackend({ threads });
    let opened = 0;
    const reopen = async (): Promise<Backend> => {
      opened++;
      return wasm;
    };
    const events = trainerOn(wasm, { reopen }).run();
    for (let i = 0; i < 3; i++) await events.next();
    const waiting = assert.rejects(events.next(), isGone("executable"));
    await wasm.dispose();
    await waiting;
    assert.equal(opened, 0);
  });
}

test("trainer · disposed of while its device is being replaced: the run rejects", async () => {
  await using wasm = await createWasmBackend({ threads: 1 });
  const { backend, alive } = counting(wasm);
  const reopening = Promise.withResolvers<void>();
  const replacement = Promise.withResolvers<Backend>();
  const reopen = (): Promise<Backend> => {
    reopening.resolve();
    return replacement.promise;
  };
  const trainer = trainerOn(losingDevice(backend, "run", 2), { reopen });
  const run = assert.rejects(collect(trainer.run()), isGone("trainer"));
  await reopening.promise;
  const ending = trainer.dispose();
  replacement.resolve(backend);
  await Promise.all([run, ending]);
  assert.equal(alive(), 0);
});

test("trainer · await using ends a run that was left; what was saved is whole", async () => {
  await using wasm = await createWasmBackend({ threads: 1 });
  const { backend, alive } = counting(wasm);
  const saved: Checkpoint[] = [];
  {
    await using trainer = trainerOn(backend, { save: async (checkpoint) => String(saved.push(checkpoint)) });
    const events = trainer.run();
    for (let event = await events.next(); !event.done && event.value.type !== "checkpoint"; )
      event = await events.next();
  }
  assert.equal(alive(), 0);
  assert.equal(saved.length, 1);
});

test("trainer · a second run while the first is in flight is refused; after it there is nothing left to do", async () => {
  await using wasm = await createWasmBackend({ threads: 1 });
  const trainer = trainerOn(wasm);
  const events: TrainEvent[] = [];
  for await (const event of trainer.run()) {
    events.push(event);
    if (event.type === "start")
      await assert.rejects(
        trainer.run().next(),
        (error) => error instanceof UsageError && /is running already/.test(error.message),
      );
  }
  assert.equal(events.at(-1)?.type, "end");
  assert.deepEqual(
    (await collect(trainer.run())).map(({ type }) => type),
    ["start", "end"],
  );
});
