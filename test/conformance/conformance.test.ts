// Beside the line: every kernel of every backend against its meaning, the f64 reference, on cases that are awkward on purpose.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "../../src/backends/wasm/wasm.ts";
import { kernelBounds } from "./bounds.ts";
import { titleOf } from "./case.ts";
import { allCases } from "./cases.ts";
import { type CaseProgram, compileCases, expectationOf, faultsIn } from "./runCase.ts";

const wasm = (options: WasmOptions) => (): Promise<Backend> => createWasmBackend(options);

// The engine flags of 256-bit code hold for the whole process once they are set, so 128-bit code comes first.
const engines: Readonly<Record<string, () => Promise<Backend>>> = {
  "reference f32": async () => createReferenceBackend({ precision: "f32" }),
  "wasm plain SIMD, 1 thread": wasm({ threads: 1, relaxedSimd: false }),
  "wasm 128-bit, 1 thread": wasm({ threads: 1, revectorize: false }),
  "wasm 128-bit, 2 threads": wasm({ threads: 2, revectorize: false }),
  "wasm 128-bit, without shared memory": wasm({ sharedMemory: false, revectorize: false }),
  "wasm, 1 thread": wasm({ threads: 1 }),
  "wasm, 2 threads": wasm({ threads: 2 }),
  "wasm, 5 threads": wasm({ threads: 5 }),
};

test("cases are named once and decided by rounding in less than 1 % of their elements", async () => {
  assert.equal(new Set(allCases.map(titleOf)).size, allCases.length);
  for (const given of allCases) {
    const { undecided, judged } = await expectationOf(given);
    assert.ok(undecided < 0.01 * judged, `${titleOf(given)}: ${undecided} of ${judged}`);
  }
});

for (const [engine, open] of Object.entries(engines)) {
  describe(engine, () => {
    let backend: Backend;
    let program: CaseProgram;
    before(async () => {
      backend = await open();
      program = await compileCases(backend, allCases);
    });
    after(async () => {
      await program.dispose();
      await backend.dispose();
    });
    for (const given of allCases) {
      test(`${titleOf(given)} · ${kernelBounds[given.kernel].claim}`, async () => {
        const expectation = await expectationOf(given);
        assert.deepEqual(faultsIn(expectation, await program.run(given, expectation.before)), []);
      });
    }
  });
}
