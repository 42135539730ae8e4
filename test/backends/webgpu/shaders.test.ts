// Every shader that the conformance cases and whole nets need, validated by Dawn on any machine; some of them to read,
// in shaders/.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { compileProgram } from "../../../src/backends/webgpu/compile.ts";
import type { Target } from "../../../src/backends/webgpu/kernel.ts";
import { submissions, WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import { DisposedError, ResourceError } from "../../../src/errors.ts";
import { differentiate } from "../../../src/graph/differentiate.ts";
import { buildGraph, namedSpec } from "../../../src/networks/registry.ts";
import type { ActivationDtype, Plan, PlanBuffer } from "../../../src/plan/plan.ts";
import { planInference, planTraining } from "../../../src/plan/planners.ts";
import { planOf, titleOf } from "../../conformance/case.ts";
import { allCases } from "../../conformance/cases.ts";
import { dawnMissing, nullDevice } from "./gpu.ts";

const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
const training = (
  net: string,
  batch: number,
  side: number,
  activationDtype: ActivationDtype,
  changes: Parameters<typeof namedSpec>[1] = {},
): Plan =>
  planTraining(
    differentiate(buildGraph(namedSpec(net, changes), { batch, height: side, width: side, mode: "training" })),
    {
      recompute: "none",
      optimizer,
      activationDtype,
    },
  );
const plansIn = (activationDtype: ActivationDtype): Readonly<Record<string, Plan>> => ({
  "BC-100-12, training, batch 64": training("BC-100-12", 64, 32, activationDtype),
  "BC-100-12 with dropout, training, batch 64": training("BC-100-12", 64, 32, activationDtype, { dropRate: 0.2 }),
  "121, training, batch 2": training("121", 2, 224, activationDtype),
  "121, inference, batch 8": planInference(
    buildGraph(namedSpec("121"), { batch: 8, height: 224, width: 224, mode: "inference" }),
    { activationDtype },
  ),
  "resnet-20, training, batch 64": training("resnet-20", 64, 32, activationDtype),
  "preresnet-164 with stochastic depth, training, batch 16": training("preresnet-164", 16, 32, activationDtype, {
    stochasticDepth: 0.5,
    gatePer: "image",
  }),
});
const plansOf = { f32: plansIn("f32"), f16: plansIn("f16") };
const plans = plansOf.f32;
const casesIn = (activationDtype: ActivationDtype): Readonly<Record<string, Plan>> =>
  Object.fromEntries(allCases.map((given) => [titleOf(given), planOf(given, activationDtype)]));
const target: Target = { tiled: true, bindingBytes: 2 ** 30, windows: 7 };
const ways = {
  direct: { dtype: "f32", target: { ...target, tiled: false } },
  tiled: { dtype: "f32", target },
  "tiled, f16 maps": { dtype: "f16", target },
  "matrices of 16×16×16": { dtype: "f16", target: { ...target, matrices: { m: 16, n: 16, k: 16, lanes: 32 } } },
  "matrices of 8×8×8": { dtype: "f16", target: { ...target, matrices: { m: 8, n: 8, k: 8, lanes: 32 } } },
  "matrices of 8×16×16 in subgroups of 16": {
    dtype: "f16",
    target: { ...target, matrices: { m: 8, n: 16, k: 16, lanes: 16 } },
  },
} as const satisfies Readonly<Record<string, { readonly dtype: ActivationDtype; readonly target: Target }>>;
const skip = dawnMissing() ?? false;

/** Workgroup memory that a shader declares. */
const workgroupBytes = (text: string): number =>
  [...text.matchAll(/var<workgroup> \w+: array<(\w+), (\d+)>/g)].reduce(
    (sum, [, type = "", length]) =>
      sum + ({ f16: 2, f32: 4, vec2f: 8, vec4f: 16 }[type] ?? Number.NaN) * Number(length),
    0,
  );

describe("shaders", { skip }, () => {
  let device: GPUDevice;
  before(async () => {
    device = await nullDevice();
  });
  after(() => device.destroy());

  /** What Dawn says against a shader, nothing if it is valid. */
  async function complaints(text: string): Promise<string | undefined> {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code: text });
    device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    return (await device.popErrorScope())?.message;
  }

  for (const [way, { dtype, target: allowed }] of Object.entries(ways)) {
    for (const [name, set] of Object.entries({
      "conformance cases": casesIn(dtype),
      ...Object.fromEntries(Object.entries(plansOf[dtype]).map(([net, plan]) => [net, { plan }])),
    })) {
      test(`${way} · ${name} · every shader is valid`, async () => {
        const { shaders } = compileProgram(set, allowed);
        assert.ok(shaders.length > 10, `${shaders.length} shaders`);
        for (const { label, text } of shaders) assert.equal(await complaints(text), undefined, `${label}\n${text}`);
      });
    }
  }

  test("a broken shader is reported", async () => {
    const { shaders } = compileProgram(casesIn("f32"), target);
    const text = shaders[0]?.text ?? "";
    assert.match(
      (await complaints(text.replace("var<storage, read_write>", "var<storage, read>"))) ?? "",
      /cannot|store|assign/,
    );
    assert.match((await complaints(text.replace("fn body", "fn nobody"))) ?? "", /body/);
    const staging = shaders.find((shader) => workgroupBytes(shader.text) > 0)?.text ?? "";
    const tooMuch = staging.replace(/(?<=var<workgroup> memory: array<vec4f, )\d+/, "1025");
    assert.match((await complaints(tooMuch)) ?? "", /workgroup storage \(16400 bytes\)/);
  });

  test("whole programs bind: a backend on the null device compiles and submits a training step", async () => {
    const backend = new WebgpuBackend(
      await nullDevice(),
      { ...target, bindingBytes: 2 ** 22 },
      {
        name: "webgpu",
        threads: 1,
        activationDtype: "f32",
        features: {},
        notes: [],
      },
    );
    const executable = await backend.compile({ step: training("BC-40-12", 8, 32, "f32") });
    await executable.run("step", { learningRate: 0.1, seed: 1, step: 0 });
    await backend.device.queue.onSubmittedWorkDone();
    backend.requireAlive();
    await backend.dispose();
    await assert.rejects(async () => executable.run("step"), DisposedError);
  });

  test(
    "an arena that no binding can show is seen through windows, what none or too few can is refused with a " +
      "sentence",
    async () => {
      const plan = plans["BC-100-12, training, batch 64"] as Plan;
      const limit = 2 ** 27;
      assert.ok(plan.arenaBytes > limit);
      const { steps } = compileProgram({ plan }, { ...target, bindingBytes: limit });
      const windows = (steps.get("plan") ?? []).flatMap((step) => step.windows);
      assert.ok(windows.every(({ words }) => words * 4 <= limit));
      assert.ok(new Set(windows.filter(({ space }) => space === "arena").map(({ start }) => start)).size > 3);
      assert.throws(
        () => compileProgram({ plan }, { ...target, bindingBytes: 2 ** 20 }),
        (error) => error instanceof ResourceError && /lower the batch size/.test(error.message),
      );
      assert.throws(
        () => compileProgram({ plan }, { ...target, bindingBytes: limit, windows: 3 }),
        (error) => error instanceof ResourceError && /in \d pieces .* at most 3 at once: lower the/.test(error.message),
      );
    },
  );

  // 16,384 bytes are what every device has; what a workgroup leaves, others use at the same time.
  for (const [net, plan] of Object.entries(plans)) {
    test(`${net} · at most 11,520 bytes of workgroup memory, its products' one array and none beside it`, (t) => {
      const taken = compileProgram({ plan }, target).shaders.map(({ label, text }) => ({
        label,
        bytes: workgroupBytes(text),
        arrays: [...text.matchAll(/var<workgroup>/g)].length,
      }));
      const most = taken.reduce((one, other) => (other.bytes > one.bytes ? other : one));
      t.diagnostic(JSON.stringify(most));
      assert.ok(most.bytes <= 11520, `${most.label}: ${most.bytes} bytes`);
      assert.deepEqual(
        taken.filter(({ arrays }) => arrays > 1),
        [],
      );
    });
  }

  test("121 · gradients of a convolution run together, but where one is written over what the other reads", () => {
    const { buffers, calls } = plans["121, training, batch 2"] as Plan;
    const shares = (a: PlanBuffer, b: PlanBuffer): boolean =>
      a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
    const reused = calls.filter((call, index) => {
      const next = calls[index + 1];
      if (call.kernel !== "convGradWeight" || next?.kernel !== "convGradInput") return false;
      return shares(buffers.get(call.args.x.buffer) as PlanBuffer, buffers.get(next.args.dx.buffer) as PlanBuffer);
    });
    assert.equal(reused.length, 2);
    const { steps } = compileProgram({ plan: plans["121, training, batch 2"] as Plan }, target);
    const of = (label: RegExp) => (steps.get("plan") ?? []).filter((step) => label.test(step.label));
    assert.deepEqual(
      of(/^convGradWeight \d×\d$/).map(({ call }) => calls[call]),
      reused,
    );
    assert.equal(of(/^convGradWeight \d×\d, convGradInput \d×\d$/).length, 117);
  });

  // What a step costs on a large card: a dispatch waits for the one before it, and its operands go through memory.
  for (const [net, most] of Object.entries({
    "BC-100-12, training, batch 64": { dispatches: 465, mebibytes: 7099, halvedMebibytes: 5088 },
    "BC-100-12 with dropout, training, batch 64": { dispatches: 611, mebibytes: 8223, halvedMebibytes: 6289 },
    "resnet-20, training, batch 64": { dispatches: 136, mebibytes: 743, halvedMebibytes: 582 },
    "preresnet-164 with stochastic depth, training, batch 16": {
      dispatches: 902,
      mebibytes: 3166,
      halvedMebibytes: 2386,
    },
  })) {
    test(`${net} · at most ${most.dispatches} dispatches, ${most.mebibytes} MiB moved, of few shaders`, (t) => {
      const count = (dtype: ActivationDtype) => {
        const { shaders, steps } = compileProgram({ plan: plansOf[dtype][net] as Plan }, target);
        const own = steps.get("plan") ?? [];
        const mebibytes = own.reduce((sum, step) => sum + step.movedBytes, 0) / 2 ** 20;
        return { shaders: shaders.length, dispatches: own.length, mebibytes: Math.ceil(mebibytes) };
      };
      const [whole, halved] = [count("f32"), count("f16")];
      t.diagnostic(JSON.stringify({ ...whole, halvedMebibytes: halved.mebibytes }));
      assert.ok(whole.shaders < 120 && halved.dispatches === whole.dispatches);
      assert.ok(whole.dispatches <= most.dispatches, `${whole.dispatches} dispatches`);
      assert.ok(whole.mebibytes <= most.mebibytes, `${whole.mebibytes} MiB`);
      assert.ok(halved.mebibytes <= most.halvedMebibytes, `${halved.mebibytes} MiB in f16`);
    });
  }
});

test("a run's dispatches are submitted in order, cut where a submission has moved enough", () => {
  const moved = (most: number, bytes: readonly number[]) =>
    submissions(
      bytes.map((movedBytes) => ({ movedBytes })),
      most,
    ).map((part) => part.map(({ movedBytes }) => movedBytes));
  assert.deepEqual(moved(10, [4, 5, 6, 1, 20, 3, 10, 10]), [[4, 5, 6], [1, 20], [3, 10], [10]]);
  assert.deepEqual(moved(10, []), [[]]);
  const steps = (net: string) => compileProgram({ plan: plans[net] as Plan }, target).steps.get("plan") ?? [];
  assert.equal(submissions(steps("BC-100-12, training, batch 64"), 16 * 2 ** 30).length, 1);
});

/** Kernels whose shaders stand in shaders/, as emitted; DENSENET_UPDATE_SHADERS=1 writes them anew. */
const readable: Readonly<Record<string, { readonly label: string; readonly way: keyof typeof ways }>> = {
  "conv-1x1-tiled": { label: "conv 1×1", way: "tiled" },
  "conv-1x1-matrices": { label: "conv 1×1", way: "matrices of 16×16×16" },
  "conv-3x3-direct": { label: "conv 3×3", way: "direct" },
  "convGradients-1x1-tiled": { label: "convGradWeight 1×1, convGradInput 1×1", way: "tiled" },
  "statistics-merged": { label: "statistics merged", way: "tiled" },
  "composite-sums": { label: "composite sums", way: "tiled" },
};

for (const [file, { label, way }] of Object.entries(readable)) {
  test(`shaders/${file}.wgsl is what BC-100-12 emits for ${label}`, () => {
    const { dtype, target: allowed } = ways[way];
    const plan = plansOf[dtype]["BC-100-12, training, batch 64"] as Plan;
    const text = compileProgram({ plan }, allowed).shaders.find((shader) => shader.label === label)?.text;
    assert.ok(text !== undefined);
    const path = new URL(`shaders/${file}.wgsl`, import.meta.url);
    if (process.env.DENSENET_UPDATE_SHADERS) writeFileSync(path, text);
    assert.equal(readFileSync(path, "utf8"), text);
  });
}
