// Every kernel of every backend against its meaning, the f64 reference, on cases that are awkward on purpose.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "../../src/backends/wasm/wasm.ts";
import type { KernelName } from "../../src/plan/plan.ts";
import { type ConvolutionSums, kernelBounds } from "./bounds.ts";
import { type AnyCase, type Case, titleOf } from "./case.ts";
import { allCases } from "./cases.ts";
import { type CaseProgram, compileCases, expectationOf, faultsIn } from "./runCase.ts";

const wasm = (options: WasmOptions) => (): Promise<Backend> => createWasmBackend(options);

// The engine flags of 256-bit code hold for the whole process once they are set, so 128-bit code comes first.
const wasmEngines: Readonly<Record<string, () => Promise<Backend>>> = {
  "wasm plain SIMD, 1 thread": wasm({ threads: 1, relaxedSimd: false, keepWeights: false }),
  "wasm 128-bit, 1 thread": wasm({ threads: 1, revectorize: false }),
  "wasm 128-bit, 2 threads": wasm({ threads: 2, revectorize: false }),
  "wasm 128-bit, without shared memory": wasm({ sharedMemory: false, revectorize: false, keepWeights: false }),
  "wasm 256-bit, 1 thread": wasm({ threads: 1, revectorize: true }),
  "wasm 256-bit, 2 threads": wasm({ threads: 2, revectorize: true }),
  "wasm 256-bit, 5 threads": wasm({ threads: 5, revectorize: true }),
};

interface Engine {
  readonly name: string;
  readonly sums: ConvolutionSums;
  readonly open: () => Promise<Backend>;
}
const engines: readonly Engine[] = [
  { name: "reference f32", sums: "direct", open: async () => createReferenceBackend({ precision: "f32" }) },
  ...Object.entries(wasmEngines).map(([name, open]) => ({ name, sums: "winograd" as const, open })),
];

test("cases are named once and decided by rounding in less than 1 % of their elements", async () => {
  assert.equal(new Set(allCases.map(titleOf)).size, allCases.length);
  for (const given of allCases) {
    const { undecided, judged } = await expectationOf(given, "winograd");
    assert.ok(undecided < 0.01 * judged, `${titleOf(given)}: ${undecided} of ${judged}`);
  }
});

/** The first case of a kernel whose name contains this, with other arguments. */
function altered<K extends KernelName>(kernel: K, name: string, change: (args: Case<K>["args"]) => object): AnyCase {
  const given = allCases.find((candidate) => candidate.kernel === kernel && candidate.name.includes(name));
  if (!given) throw new RangeError(`no case of ${kernel} is called ${name}`);
  // The case was chosen by its kernel, so its arguments are that kernel's.
  return { ...given, args: { ...given.args, ...change(given.args as Case<K>["args"]) } } as AnyCase;
}

/** Arguments that the kernel table allows and no network's plan contains. A wrong result would be worse than none. */
const refused: Readonly<Record<string, AnyCase>> = {
  "a strided convolution of a composite": altered("conv", "c=13→7 13×9", ({ size }) => ({
    size: { ...size, stride: 2, outHeight: 7, outWidth: 5 },
  })),
  "the input gradient of a strided convolution of a composite": altered("convGradInput", "c=13→7 13×9", ({ size }) => ({
    size: { ...size, stride: 2, outHeight: 7, outWidth: 5 },
  })),
};

describe("wasm refuses at compile time what it cannot do", () => {
  for (const [what, given] of Object.entries(refused)) {
    test(what, async () => {
      const backend = await createWasmBackend({ threads: 1, revectorize: false });
      await assert.rejects(compileCases(backend, [given]), RangeError);
      await backend.dispose();
    });
  }
});

for (const { name, sums, open } of engines) {
  describe(name, () => {
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
        const expectation = await expectationOf(given, sums);
        assert.deepEqual(faultsIn(expectation, await program.run(given, expectation.before)), []);
      });
    }
  });
}
