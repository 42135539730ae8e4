// Test support: a thread that waits at the barrier with the thread of barrier.test.ts and counts its passes in word 8.
import { workerData } from "node:worker_threads";
import { barrierWait } from "../../../src/backends/wasm/barrier.ts";

const { control, rounds } = workerData as { control: Int32Array; rounds: number };
for (let round = 0; round < rounds; round++) {
  barrierWait(control, 2);
  Atomics.add(control, 8, 1);
}
