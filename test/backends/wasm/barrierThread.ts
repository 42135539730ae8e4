// Beside barrier.test.ts: a thread that meets the test's thread and tells through word 8 how often it got through.
import { workerData } from "node:worker_threads";
import { barrierWait } from "../../../src/backends/wasm/barrier.ts";

const { control, rounds } = workerData as { control: Int32Array; rounds: number };
for (let round = 0; round < rounds; round++) {
  barrierWait(control, 2);
  Atomics.add(control, 8, 1);
}
