// A system that lacks the memory for the plans: said in a sentence of the package, not in the engine's words.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { ResourceError } from "../../../src/errors.ts";
import { buildGraph, namedSpec } from "../../../src/networks/registry.ts";
import { planInference } from "../../../src/plan/planners.ts";

test("shared memory that the system refuses · ResourceError with the size and what to change", async (context) => {
  const backend = await createWasmBackend();
  const plan = planInference(buildGraph(namedSpec("BC-40-12"), { batch: 2, height: 32, width: 32, mode: "inference" }));
  const { Memory } = WebAssembly;
  context.after(() => {
    WebAssembly.Memory = Memory;
  });
  WebAssembly.Memory = class {
    constructor() {
      throw new RangeError("WebAssembly.Memory(): could not allocate memory");
    }
  } as unknown as typeof Memory;
  await assert.rejects(
    backend.compile({ plan }),
    (error) => error instanceof ResourceError && /\d+ MiB .* lower the batch size/.test(error.message),
  );
});
