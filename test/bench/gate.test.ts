// The benchmark's gate: right kernels pass, and one wrong number in one kernel is named and stops the timing with exit
// code 7. The same for what a backend computes wrongly only where calls run together.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { waysOf } from "../../bench/device.ts";
import { type GateReport, kernelsOf, requireConformance } from "../../bench/gate.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend, type ReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { compileProgram } from "../../src/backends/webgpu/compile.ts";
import { createWebgpuBackend, WebgpuBackend } from "../../src/backends/webgpu/webgpu.ts";
import { VerificationError } from "../../src/errors.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { buildGraph, defineSpec } from "../../src/networks/registry.ts";
import type { KernelCall, KernelName, Plan } from "../../src/plan/plan.ts";
import { planInference, planTraining } from "../../src/plan/planners.ts";
import { dawnMissing, gpuOrReason, nullDevice, withShaders } from "../backends/webgpu/gpu.ts";

const size = { batch: 2, height: 9, width: 10 };
const small = defineSpec({ growthRate: 5, blockConfig: [2, 1], stem: "cifar", bottleneck: true, compression: 0.5 });
const images = defineSpec({ growthRate: 5, blockConfig: [1, 1], stem: "imagenet", bottleneck: true, dropRate: 0.2 });
const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };

const training = (spec: typeof small, side = size): Plan =>
  planTraining(differentiate(buildGraph(spec, { ...side, mode: "training" })), { recompute: "none", optimizer });
const large = { batch: 2, height: 45, width: 47 };

/** Each call of the plan alone. */
const gate = (backend: Backend, plan: Plan, proven = new Set<string>()): Promise<GateReport> =>
  requireConformance(
    backend,
    plan,
    plan.calls.map((call) => [call]),
    proven,
  );

/** The buffer whose element a fault changes: the first that this kernel is there to write. */
const written: Partial<Record<KernelName, (call: KernelCall) => string | undefined>> = {
  conv: (call) => (call.kernel === "conv" ? call.args.y.buffer : undefined),
  convGrad: (call) => (call.kernel === "convGrad" ? call.args.dWeight : undefined),
  convGradInput: (call) => (call.kernel === "convGradInput" ? call.args.composite?.grad.dVariance.buffer : undefined),
  convGradWeight: (call) => (call.kernel === "convGradWeight" ? call.args.dWeight : undefined),
  channelStatistics: (call) => (call.kernel === "channelStatistics" ? call.args.variance.buffer : undefined),
  sgd: (call) => (call.kernel === "sgd" ? "momentum(classifier.bias)" : undefined),
};

/**
 * The f32 reference with the last number of one kernel's output off by one part in two hundred and a hundredth, where
 * so many calls are a plan.
 */
function faulty(kernel: KernelName, calls = 1): Backend {
  const right: ReferenceBackend = createReferenceBackend({ precision: "f32" });
  return {
    info: right.info,
    dispose: () => right.dispose(),
    [Symbol.asyncDispose]: () => right.dispose(),
    async compile(plans) {
      const executable = await right.compile(plans);
      return {
        ...executable,
        async run(name, scalars) {
          await executable.run(name, scalars);
          const group = plans[name]?.calls ?? [];
          const call = group.find((one) => one.kernel === kernel);
          const buffer = call && group.length >= calls ? written[kernel]?.(call) : undefined;
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
  const report = await gate(backend, training(small));
  assert.equal(report.checked, report.distinct);
  assert.ok(report.distinct > 20, `${report.distinct} kinds of calls`);
  const stem = await gate(backend, training(images, large));
  assert.equal(stem.checked, stem.distinct);
});

for (const threads of [1, 2]) {
  test(`gate · wasm on ${threads} threads passes training and inference`, async () => {
    const backend = await createWasmBackend({ threads });
    try {
      const proven = new Set<string>();
      await gate(backend, training(small), proven);
      await gate(backend, training(images, large), proven);
      const graph = buildGraph(small, { ...size, mode: "inference" });
      await gate(backend, planInference(graph), proven);
      assert.ok(proven.size > 40, `${proven.size} kinds of calls`);
    } finally {
      await backend.dispose();
    }
  });
}

for (const kernel of Object.keys(written) as KernelName[]) {
  test(`gate · refuses a backend whose ${kernel} writes one wrong number, and names it`, async () => {
    await assert.rejects(gate(faulty(kernel), training(small)), (error) => {
      assert.ok(error instanceof VerificationError);
      assert.match(error.message, new RegExp(`kernel ${kernel} failed`));
      assert.equal(error.details.kernel, kernel);
      return true;
    });
  });
}

test("gate · what is proven is not run again, and nothing else is taken as proven", async () => {
  const proven = new Set<string>();
  const right = createReferenceBackend({ precision: "f32" });
  await gate(right, training(small), proven);
  await assert.doesNotReject(gate(faulty("conv"), training(small), proven));
  await assert.rejects(gate(faulty("conv"), training(small, { ...size, width: 12 }), proven));
});

test("gate · what is wrong only where two calls run together is found there, and both are named", async () => {
  const plan = training(small);
  const planted = faulty("channelStatistics", 2);
  await assert.doesNotReject(gate(planted, plan));
  const pairs = plan.calls.flatMap((call, index) => {
    const next = plan.calls[index + 1];
    return call.kernel === "conv" && next?.kernel === "channelStatistics" ? [[call, next]] : [];
  });
  const right = createReferenceBackend({ precision: "f32" });
  const { checked } = await requireConformance(right, plan, pairs, new Set());
  assert.ok(checked >= 5, `${checked} kinds of pairs`);
  await assert.rejects(requireConformance(planted, plan, pairs, new Set()), (error) => {
    assert.ok(error instanceof VerificationError);
    assert.match(error.message, /kernel conv \+ channelStatistics failed/);
    return true;
  });
});

test("gate · webgpu's groups are all calls of a plan in order, and some are of two or three", {
  skip: dawnMissing() ?? false,
}, async () => {
  const target = { tiled: true, bindingBytes: 2 ** 27, windows: 7 } as const;
  const info = { name: "webgpu", threads: 1, activationDtype: "f32", features: {}, notes: [] } as const;
  const backend = new WebgpuBackend(await nullDevice(), target, info);
  const plan = training(images, large);
  const groups = waysOf(backend, plan).map(({ group }) => group);
  await backend.dispose();
  assert.deepEqual(groups.flat(), plan.calls);
  const kinds = new Set(groups.map(kernelsOf));
  for (const kind of [
    "conv + channelStatistics",
    "conv + dropout + channelStatistics",
    "convGradWeight + convGradInput",
  ])
    assert.ok(kinds.has(kind), [...kinds].join(", "));
});

const gpu = await gpuOrReason();

for (const tiled of [false, true]) {
  describe(`gate · webgpu, ${tiled ? "tiled" : "direct"}`, { skip: typeof gpu === "string" ? gpu : false }, () => {
    let backend: WebgpuBackend;
    before(async () => {
      backend = await createWebgpuBackend({ tiled, ...(typeof gpu === "string" ? {} : { gpu }) });
    });
    after(() => backend.dispose());
    for (const [kernels, plan, from, to] of [
      ["conv + channelStatistics", training(small), "return stored_y(", "return 1.001 * stored_y("],
      ["conv + dropout + channelStatistics", training(images, large), "dropOut(value, ", "dropOut(1.001 * value, "],
    ] as const) {
      test(`${kernels} · right together, and a fault that no call alone has is refused and named`, async () => {
        const groups = waysOf(backend, plan)
          .map(({ group }) => group)
          .filter((group) => kernels === kernelsOf(group));
        const { checked, distinct } = await requireConformance(backend, plan, groups, new Set());
        assert.ok(checked === distinct && checked >= 2, `${checked} of ${distinct} kinds`);
        for (const call of plan.calls) {
          const { shaders } = compileProgram({ alone: { ...plan, calls: [call] } }, backend.target);
          assert.ok(shaders.every(({ text }) => !text.includes(from)));
        }
        const planted = withShaders(backend, (text) => text.replace(from, to));
        await assert.rejects(requireConformance(planted, plan, groups, new Set()), (error) => {
          assert.ok(error instanceof VerificationError, String(error));
          assert.equal(error.details.kernel, kernels);
          return true;
        });
      });
    }
  });
}
