// How many threads compute, by default and when asked for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { UsageError } from "../../../src/errors.ts";

for (const [processors, threads] of [
  [3, 3],
  [96, 64],
] as const) {
  test(`a machine of ${processors} processors computes in ${threads} threads`, async (t) => {
    t.mock.getter(Object.getPrototypeOf(navigator), "hardwareConcurrency", () => processors);
    const backend = await createWasmBackend();
    assert.equal(backend.info.threads, threads);
    await backend.dispose();
  });
}

for (const threads of [0, 65, 1.5, Number.NaN]) {
  test(`${threads} threads are refused`, async () => {
    await assert.rejects(
      createWasmBackend({ threads }),
      (error) =>
        error instanceof UsageError &&
        error.message === `threads: got ${threads}, expected a whole number from 1 to 64`,
    );
  });
}
