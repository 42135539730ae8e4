// Calls of a plan that this backend runs together, against the meaning of each: a convolution and the statistics of
// what it writes, with dropout between them or without; the end of a residual unit and the statistics of the sum; both
// gradients of a convolution, which are one dispatch of products, where they are tiled, and one of sums.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { compileProgram } from "../../../src/backends/webgpu/compile.ts";
import { findAdapter } from "../../../src/backends/webgpu/gpu.ts";
import { lacksHalves } from "../../../src/backends/webgpu/halves.ts";
import type { Target } from "../../../src/backends/webgpu/kernel.ts";
import { createWebgpuBackend, WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import type { Plan, PlanBuffer } from "../../../src/plan/plan.ts";
import { type Case, callOf, contentsOf, planOf, withActivations } from "../../conformance/case.ts";
import { allCases } from "../../conformance/cases.ts";
import { type Expectation, halved, storedInHalves } from "../../conformance/runCase.ts";
import { gpuOrReason } from "./gpu.ts";
import { runPlan, type Sequence, sequence, withStatistics, wrongIn } from "./sequences.ts";

/**
 * The weight gradient's call comes first, as in plans. Without a composite, x is a buffer that the input gradient does
 * not read.
 */
function withWeightGradient(given: Case<"convGradInput">): Sequence {
  const { composite, dx, dy, size } = given.args;
  const { weight = { shape: [] }, dx: plane = { shape: [] } } = given.buffers;
  const x = composite?.x ?? { ...dx, buffer: "x" };
  const own = composite ? given : { ...given, inputs: [...given.inputs, { at: x, fill: { center: 0, width: 2 } }] };
  const whole = { ...own, buffers: { x: plane, ...given.buffers, dWeight: weight } };
  const plan = planOf(whole);
  const gradient = callOf("convGradWeight", {
    x,
    ...(composite ? { composite: composite.normalize } : {}),
    dy,
    dWeight: "dWeight",
    size,
  });
  return { given: whole, plan: { ...plan, calls: [gradient, ...plan.calls] } };
}

const every = (step: number, from: number) => (_: unknown, index: number) => index % step === from;
const convolutions = allCases.filter((given) => given.kernel === "conv");
const units = allCases.filter((given) => given.kernel === "residualAdd");
const gradients = allCases.filter((given) => given.kernel === "convGradInput").map(withWeightGradient);
const gradientsAtOnce = allCases.filter((given) => given.kernel === "convGrad").map((given) => sequence(given, []));
const sequences = [
  ...convolutions.filter(every(2, 0)).map((given) => withStatistics(given, 0)),
  ...convolutions.filter(every(5, 1)).map((given) => withStatistics(given, 0.3)),
  ...units.filter(every(3, 1)).map((given) => withStatistics(given, 0)),
  ...gradients.filter(every(3, 0)),
  ...gradientsAtOnce.filter(every(4, 1)),
];

const stepsOf = (plan: Plan, target: Target) => compileProgram({ plan }, target).steps.get("plan") ?? [];

/** The same plan with dx where x lies, as in plans in which the weight gradient is the last to read x. */
function reusingX({ buffers, ...plan }: Plan): Plan {
  const [x, dx] = ["x", "dx"].map((name) => buffers.get(name) as PlanBuffer) as [PlanBuffer, PlanBuffer];
  assert.deepEqual(dx.shape, x.shape);
  return { ...plan, buffers: new Map(buffers).set("dx", { ...dx, offset: x.offset }) };
}

/** A target that shows a shader no more than the operands of either product. */
function narrow(plan: Plan, target: Target): Target {
  const bindingBytes = Math.max(...[...plan.buffers.values()].map(({ bytes }) => bytes)) + 1024;
  const most = (calls: Plan["calls"]): number =>
    Math.max(...stepsOf({ ...plan, calls }, { ...target, bindingBytes }).map(({ windows }) => windows.length));
  const windows = Math.max(...plan.calls.map((call) => most([call])));
  assert.ok(windows < most(plan.calls), `${windows} windows show all`);
  return { ...target, bindingBytes, windows };
}

/** A pair whose x has no part in dx, and whose dx has all channels of its buffer. */
const plain = gradients.find(({ given }) => given.name.startsWith("c=7→2"));
assert.ok(plain);
/** Kernels of a plan's products in order; one dispatch of two is one entry. */
const productsOf = (plan: Plan, target: Target): string[] =>
  stepsOf(plan, target)
    .map(({ label }) => label.replaceAll(/ \d×\d/g, ""))
    .filter((label) => !label.includes("sum"));
const apart = ["convGradWeight", "convGradInput"];

const gpu = await gpuOrReason();

const lacks = typeof gpu === "string" ? undefined : lacksHalves(await findAdapter(gpu));
const exact = (expectation: Expectation): Expectation => expectation;

for (const [way, { tiled, activationDtype, some }] of Object.entries({
  direct: { tiled: false, activationDtype: "f32", some: sequences },
  tiled: { tiled: true, activationDtype: "f32", some: sequences.filter(every(3, 0)) },
  "tiled, feature maps in f16": { tiled: true, activationDtype: "f16", some: sequences.filter(every(4, 1)) },
} as const)) {
  const target: Target = { tiled, bindingBytes: 2 ** 30, windows: 7 };
  const skip = typeof gpu === "string" ? gpu : ((activationDtype === "f16" && lacks) ?? false);
  describe(`webgpu, calls together, ${way}`, { skip }, () => {
    let backend: WebgpuBackend;
    before(async () => {
      backend = await createWebgpuBackend({
        tiled,
        activationDtype,
        matrices: false,
        ...(typeof gpu === "string" ? {} : { gpu }),
      });
    });
    after(() => backend.dispose());
    for (const { given, plan } of some) {
      test(`${plan.calls.map(({ kernel }) => kernel).join(", ")} · ${given.name}`, async () => {
        const stored = withActivations(plan, activationDtype);
        const alone = plan.calls.flatMap((call) => stepsOf({ ...stored, calls: [call] }, target));
        const fewer = tiled || !given.kernel.startsWith("convGrad") ? plan.calls.length - 1 : 0;
        assert.ok(stepsOf(stored, target).length <= alone.length - fewer);
        const drawn = contentsOf(given, plan);
        const [contents, allowing] = activationDtype === "f16" ? [halved(plan, drawn), storedInHalves] : [drawn, exact];
        assert.deepEqual(await wrongIn(plan, contents, await runPlan(backend, plan, contents), allowing), []);
      });
    }
    if (way !== "tiled") return;
    test(`dx in the memory of x, one product after the other · ${plain.given.name}`, async () => {
      const reusing = reusingX(plain.plan);
      assert.deepEqual(productsOf(reusing, target), apart);
      const contents = contentsOf(plain.given, plain.plan);
      const found = new Map(await runPlan(backend, reusing, new Map([...contents].filter(([name]) => name !== "dx"))));
      found.set("dx", found.get("x") ?? new Float32Array()).set("x", contents.get("x") ?? new Float32Array());
      assert.deepEqual(await wrongIn(plain.plan, contents, found), []);
    });
    test(`more operands than a shader can be shown, one product after the other · ${plain.given.name}`, async () => {
      const narrowed = narrow(plain.plan, target);
      assert.deepEqual(productsOf(plain.plan, narrowed), apart);
      const contents = contentsOf(plain.given, plain.plan);
      const through = new WebgpuBackend(backend.device, narrowed, backend.info);
      assert.deepEqual(await wrongIn(plain.plan, contents, await runPlan(through, plain.plan, contents)), []);
    });
  });
}
