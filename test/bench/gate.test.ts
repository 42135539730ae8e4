// The benchmark's gate: right kernels pass, and one wrong number in one kernel is named and stops the timing with exit code 7.
import assert from "node:assert/strict";
import { test } from "node:test";
import { requireConformance } from "../../bench/gate.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend, type ReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { VerificationError } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { planInference, planTraining } from "../../src/plan/lower.ts";
import type { KernelCall, KernelName, Plan } from "../../src/plan/plan.ts";
import { defineSpec } from "../../src/spec/define.ts";

const size = { batch: 2, height: 9, width: 10 };
const small = defineSpec({ growthRate: 5, blockConfig: [2, 1], stem: "cifar", bottleneck: true, compression: 0.5 });
const pictures = defineSpec({ growthRate: 5, blockConfig: [1, 1], stem: "imagenet", bottleneck: true, dropRate: 0.2 });
const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };

const training = (spec: typeof small, side = size): Plan =>
  planTraining(differentiate(buildGraph(spec, { ...side, mode: "training" })), { recompute: "none", optimizer });
const large = { batch: 2, height: 45, width: 47 };

/** The buffer whose element a fault changes: the first that this kernel is there to write. */
const written: Partial<Record<KernelName, (call: KernelCall) => string | undefined>> = {
  conv: (call) => (call.kernel === "conv" ? call.args.y.buffer : undefined),
  convGrad: (call) => (call.kernel === "convGrad" ? call.args.dWeight : undefined),
  convGradInput: (call) => (call.kernel === "convGradInput" ? call.args.composite?.grad.dVariance.buffer : undefined),
  convGradWeight: (call) => (call.kernel === "convGradWeight" ? call.args.dWeight : undefined),
  channelStatistics: (call) => (call.kernel === "channelStatistics" ? call.args.variance.buffer : undefined),
  sgd: (call) => (call.kernel === "sgd" ? "momentum(classifier.bias)" : undefined),
};

/** The f32 reference with the last number of one kernel's output off by one part in two hundred and a hundredth. */
function faulty(kernel: KernelName): Backend {
  const right: ReferenceBackend = createReferenceBackend({ precision: "f32" });
  return {
    info: right.info,
    dispose: () => right.dispose(),
    async compile(plans) {
      const executable = await right.compile(plans);
      return {
        ...executable,
        async run(name, scalars) {
          await executable.run(name, scalars);
          const call = plans[name]?.calls[0];
          const buffer = call?.kernel === kernel ? written[kernel]?.(call) : undefined;
          if (buffer === undefined) return;
          const { data } = executable.memory(name).tensor(buffer);
          data[data.length - 1] = data[data.length - 1] * 1.005 + 0.01;
        },
      };
    },
  };
}

test("gate · f32 reference passes a BC net and an imagenet stem with dropout", async () => {
  const backend = createReferenceBackend({ precision: "f32" });
  const report = await requireConformance(backend, training(small), new Set());
  assert.equal(report.checked, report.distinct);
  assert.ok(report.distinct > 20, `${report.distinct} kinds of calls`);
  const stem = await requireConformance(backend, training(pictures, large), new Set());
  assert.equal(stem.checked, stem.distinct);
});

for (const threads of [1, 2]) {
  test(`gate · wasm on ${threads} threads passes training and inference`, async () => {
    const backend = await createWasmBackend({ threads });
    try {
      const proven = new Set<string>();
      await requireConformance(backend, training(small), proven);
      await requireConformance(backend, training(pictures, large), proven);
      const graph = buildGraph(small, { ...size, mode: "inference" });
      await requireConformance(backend, planInference(graph), proven);
      assert.ok(proven.size > 40, `${proven.size} kinds of calls`);
    } finally {
      await backend.dispose();
    }
  });
}

for (const kernel of Object.keys(written) as KernelName[]) {
  test(`gate · refuses a backend whose ${kernel} writes one wrong number, and names it`, async () => {
    await assert.rejects(requireConformance(faulty(kernel), training(small), new Set()), (error) => {
      assert.ok(error instanceof VerificationError);
      assert.equal(error.exitCode, 7);
      assert.match(error.message, new RegExp(`kernel ${kernel} failed`));
      assert.equal(error.details.kernel, kernel);
      return true;
    });
  });
}

test("gate · what is proven is not run again, and nothing else is taken as proven", async () => {
  const proven = new Set<string>();
  const right = createReferenceBackend({ precision: "f32" });
  await requireConformance(right, training(small), proven);
  await assert.doesNotReject(requireConformance(faulty("conv"), training(small), proven));
  await assert.rejects(requireConformance(faulty("conv"), training(small, { ...size, width: 12 }), proven));
});
