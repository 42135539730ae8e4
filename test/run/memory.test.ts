import assert from "node:assert/strict";
import { test } from "node:test";
import { ResourceError } from "../../src/errors.ts";
import { memoryLine, requireMemory } from "../../src/run/memory.ts";
import type { StartEvent } from "../../src/train/events.ts";

const MIB = 2 ** 20;
const memory = { weights: 3 * MIB, features: 380 * MIB, working: 29 * MIB };
const wasm = {
  name: "wasm",
  threads: 2,
  activationDtype: "f32",
  maxBufferBytes: 4096 * MIB,
  features: {},
  notes: [],
} as const;
const gpu = { ...wasm, name: "webgpu", device: "NVIDIA H100", features: { software: false } } as const;
const needs = (backend: StartEvent["backend"]) => ({ peakBytes: 412 * MIB, memory, backend });
const parts = "memory: 412 MiB (weights, gradients and momenta 3.00 MiB, features 380 MiB, working memory 29.0 MiB)";

test("memory · one line: what is needed for what, and what there is", () => {
  assert.equal(memoryLine(needs(gpu), 64 * MIB), `${parts}; NVIDIA H100 allows 4.00 GiB in one piece`);
  assert.equal(
    memoryLine(needs(wasm), 8192 * MIB),
    `${parts}; wasm allows 4.00 GiB in one piece, this machine has 8.00 GiB`,
  );
});

test(
  "memory · what does not fit into this machine is refused with what to change; a GPU's own memory is not this " +
    "machine's",
  () => {
    const refusal = (error: unknown): boolean =>
      error instanceof ResourceError &&
      /needs 412 MiB on wasm, and this machine has 411 MiB: lower --batch-size/.test(error.message);
    assert.throws(() => requireMemory(needs(wasm), 411 * MIB), refusal);
    requireMemory(needs(wasm), 412 * MIB);
    requireMemory(needs(gpu), 64 * MIB);
    const software = { ...gpu, features: { software: true } };
    assert.throws(() => requireMemory(needs(software), 64 * MIB), ResourceError);
  },
);
