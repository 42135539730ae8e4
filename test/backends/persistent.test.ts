// What an executable keeps from run to run, and what is asked of it by name, is the same on every backend.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { persistentOf } from "../../src/backends/persistent.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { compileProgram } from "../../src/backends/webgpu/compile.ts";
import { buildGraph, defineSpec } from "../../src/networks/registry.ts";
import { planInference } from "../../src/plan/planners.ts";

const planOf = (growthRate: number) =>
  planInference(
    buildGraph(defineSpec({ growthRate, blockConfig: [1, 1] }), { batch: 2, height: 9, width: 9, mode: "inference" }),
  );
const plan = planOf(4);
const two = { plan, other: planOf(5) };
const twoNetworks = (error: unknown): boolean =>
  error instanceof RangeError &&
  /^plan other: features\.conv0\.weight is \d+ bytes at \w+ \d+, another plan has .*; plans that are compiled together must come from one network$/.test(
    error.message,
  );

test("the end of each role is that of its last buffer, and the arena is no part of it", () => {
  const { buffers, roleBytes } = persistentOf({ plan });
  assert.ok(buffers.size > 0 && [...buffers.values()].every(({ role }) => role !== "arena"));
  const ends = [...buffers.values()].map(({ role, offset, bytes }) => ({ role, end: offset + bytes }));
  assert.equal(roleBytes.parameter, Math.max(...ends.filter(({ role }) => role === "parameter").map(({ end }) => end)));
  assert.equal(roleBytes.momentum, 0);
});

for (const [name, open] of Object.entries({
  reference: async () => createReferenceBackend({ precision: "f32" }),
  wasm: () => createWasmBackend({ threads: 1 }),
} satisfies Record<string, () => Promise<Backend>>)) {
  test(`${name} · plans of two networks are not compiled together; a buffer that is not there is refused`, async () => {
    const backend = await open();
    await assert.rejects(backend.compile(two), twoNetworks);
    const executable = await backend.compile({ plan });
    await assert.rejects(executable.read(["logits", "logit"], "plan"), RangeError);
    await assert.rejects(executable.read(["logits"]), RangeError);
    await executable.dispose();
    await backend.dispose();
  });
}

test("webgpu · plans of two networks are not compiled together", () => {
  const target = { tiled: false, bindingBytes: 2 ** 27, windows: 7 } as const;
  assert.throws(() => compileProgram(two, target), twoNetworks);
});
