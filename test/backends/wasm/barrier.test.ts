// backends/wasm: nobody passes the barrier before all have come, whoever wakes a sleeping thread and when.
import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { barrierWait, controlWords } from "../../../src/backends/wasm/barrier.ts";

function start(rounds: number): { control: Int32Array; worker: Worker } {
  const control = new Int32Array(new SharedArrayBuffer(controlWords.count * 4));
  return {
    control,
    worker: new Worker(new URL("./barrierThread.ts", import.meta.url), { workerData: { control, rounds } }),
  };
}

describe("barrier", () => {
  test("a late wake-up lets no sleeping thread through", async () => {
    const { control, worker } = start(1);
    const exit = once(worker, "exit");
    while (Atomics.load(control, controlWords.arrived) === 0) await setTimeout(5);
    // Long enough for the thread to spin out and sleep.
    await setTimeout(200);
    for (let stray = 0; stray < 50; stray++) {
      Atomics.notify(control, controlWords.generation);
      await setTimeout(2);
      assert.equal(Atomics.load(control, 8), 0, "the thread passed although this one has not come");
    }
    barrierWait(control, 2);
    await exit;
    assert.equal(Atomics.load(control, 8), 1);
  });

  test("two threads stay in step over many rounds", async () => {
    const rounds = 20_000;
    const { control, worker } = start(rounds);
    const exit = once(worker, "exit");
    for (let round = 0; round < rounds; round++) {
      const passed = Atomics.load(control, 8);
      assert.ok(
        passed === round || passed === round - 1,
        `round ${round}: the other thread has passed ${passed} times`,
      );
      barrierWait(control, 2);
    }
    await exit;
    assert.equal(Atomics.load(control, 8), rounds);
  });

  test("a thread that sleeps is let go when another has failed", async () => {
    const { control, worker } = start(1);
    const exit = once(worker, "exit");
    while (Atomics.load(control, controlWords.arrived) === 0) await setTimeout(5);
    Atomics.store(control, controlWords.failed, 1);
    await exit;
    assert.equal(Atomics.load(control, controlWords.arrived), 1);
  });
});
