// The same seed gives the same bits on the same number of threads, and recomputation changes memory, never results.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createWasmBackend, type WasmOptions } from "../../src/backends/wasm/wasm.ts";
import { defineSpec, type NetworkSpec } from "../../src/networks/registry.ts";
import type { BufferRole } from "../../src/plan/plan.ts";
import type { RecomputePolicy } from "../../src/plan/recompute.ts";
import { imagesOf, type NetworkCase, networkOf, scalarsOf, valuesOf, writeAll } from "./network.ts";

const dense = defineSpec({
  growthRate: 5,
  blockConfig: [3, 3, 2],
  numInitFeatures: 7,
  compression: 0.5,
  dropRate: 0.2,
  numClasses: 7,
});
const residual = defineSpec({
  family: "resnet",
  preActivation: true,
  blockConfig: [2, 1],
  widths: [3, 5],
  stochasticDepth: 0.5,
  gatePer: "image",
  numClasses: 7,
});
const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
const steps = 3;
const network = (recompute: RecomputePolicy, spec: NetworkSpec): NetworkCase => ({
  spec,
  batch: 9,
  height: 18,
  width: 14,
  recompute,
  optimizer,
});

/**
 * Every bit that three steps leave: losses, logits and gradients after each, and all parameters, momenta and running
 * statistics.
 */
async function bitsAfterTraining(
  options: WasmOptions,
  recompute: RecomputePolicy,
  spec = dense,
): Promise<ReadonlyMap<string, Uint32Array>> {
  const backend = await createWasmBackend(options);
  try {
    const given = network(recompute, spec);
    const { plan, initial } = networkOf(given);
    const executable = await backend.compile({ train: plan });
    const bits = new Map<string, Uint32Array>();
    const keep = async (prefix: string, roles: readonly BufferRole[]): Promise<void> => {
      for (const [name, data] of await valuesOf(executable, "train", { plan, initial }, roles)) {
        bits.set(`${prefix}${name}`, new Uint32Array(data.buffer, data.byteOffset, data.length));
      }
    };
    await writeAll(executable, initial, "train");
    for (let step = 0; step < steps; step++) {
      await writeAll(executable, imagesOf(given, step), "train");
      await executable.run("train", scalarsOf(step));
      await keep(`step ${step}: `, ["gradient"]);
    }
    await keep("", ["parameter", "momentum", "state"]);
    return bits;
  } finally {
    await backend.dispose();
  }
}

test("recomputing bottlenecks runs kernels twice and needs a smaller arena", () => {
  const [kept, recomputed] = (["none", "bottleneck"] as const).map((policy) => networkOf(network(policy, dense)).plan);
  assert.equal(kept.calls.filter((call) => call.recompute).length, 0);
  assert.ok(recomputed.calls.filter((call) => call.recompute).length > 0);
  assert.ok(recomputed.arenaBytes < kept.arenaBytes);
});

function assertSameBits(a: ReadonlyMap<string, Uint32Array>, b: ReadonlyMap<string, Uint32Array>): void {
  assert.deepEqual([...a.keys()].sort(), [...b.keys()].sort());
  for (const [name, bits] of a) assert.deepEqual(bits, b.get(name), name);
}

// The engine's flag for 256-bit code holds for the whole process once it is set, so 128-bit code comes first.
const narrow = await bitsAfterTraining({ threads: 2, revectorize: false }, "none");

const machines: Readonly<Record<string, WasmOptions>> = {
  "plain SIMD, 2 threads": { threads: 2, relaxedSimd: false },
  "1 thread": { threads: 1 },
  "2 threads": { threads: 2 },
  "5 threads": { threads: 5 },
};

for (const [name, options] of Object.entries(machines)) {
  describe(`wasm, ${name}`, () => {
    const once = bitsAfterTraining(options, "none");
    test("three training steps with dropout leave finite, changing losses", async () => {
      const losses = Array.from({ length: steps }, (_, step) => `step ${step}: sampleLoss`).map(async (key) => {
        const bits = (await once).get(key) ?? new Uint32Array(0);
        return Array.from(new Float32Array(bits.buffer, bits.byteOffset, bits.length));
      });
      const [first, ...rest] = await Promise.all(losses);
      assert.equal(first.length, 9);
      assert.ok([first, ...rest].flat().every((loss) => Number.isFinite(loss) && loss > 0));
      for (const later of rest) assert.notDeepEqual(later, first);
    });
    test("a second run leaves the same bits", async () => {
      assertSameBits(await once, await bitsAfterTraining(options, "none"));
    });
    test("recomputing bottlenecks leaves the same bits", async () => {
      assertSameBits(await once, await bitsAfterTraining(options, "bottleneck"));
    });
    test("so does a second run of a residual net with stochastic depth, and its recomputation", async () => {
      const first = await bitsAfterTraining(options, "none", residual);
      assertSameBits(first, await bitsAfterTraining(options, "none", residual));
      assertSameBits(first, await bitsAfterTraining(options, "bottleneck", residual));
    });
  });
}

test("without shared memory one thread leaves the same bits as with it", async () => {
  assertSameBits(
    await bitsAfterTraining({ threads: 1 }, "none"),
    await bitsAfterTraining({ sharedMemory: false }, "none"),
  );
});

test(
  "256-bit code leaves the same bits as 128-bit code, so that a start under load, which may choose the slower, " +
    "changes nothing",
  async () => {
    assertSameBits(narrow, await bitsAfterTraining({ threads: 2, revectorize: true }, "none"));
  },
);
