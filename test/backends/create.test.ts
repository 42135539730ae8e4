import assert from "node:assert/strict";
import { test } from "node:test";
import { createBackend } from "../../src/backends/create.ts";
import type { BackendName } from "../../src/backends/names.ts";
import { UsageError } from "../../src/errors.ts";

for (const [name, shown] of [
  ["cpu", '"cpu"'],
  ["WASM", '"WASM"'],
  [null, "null"],
  [{}, "{}"],
]) {
  test(`createBackend · ${shown} is refused with the names that there are`, async () => {
    await assert.rejects(
      // As from JavaScript, which has no types.
      createBackend(name as unknown as BackendName),
      (error) =>
        error instanceof UsageError &&
        error.message === `backend: got ${shown}, expected one of auto, webgpu, wasm, reference`,
    );
  });
}

test("createBackend · await using disposes of what it gives", async () => {
  await using backend = await createBackend("reference");
  assert.equal(backend.info.name, "reference");
});
