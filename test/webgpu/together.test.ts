// Calls of a plan that this backend runs together, against the meaning of each: a convolution and the statistics of what it writes, with dropout
// between them or without; both gradients of a convolution.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { compileProgram } from "../../src/backends/webgpu/compile.ts";
import type { Target } from "../../src/backends/webgpu/kernel.ts";
import { createWebgpuBackend, type WebgpuBackend } from "../../src/backends/webgpu/webgpu.ts";
import type { KernelCall, Plan } from "../../src/plan/plan.ts";
import { type AnyCase, type Case, type Contents, callOf, contentsOf, planOf } from "../conformance/case.ts";
import { allCases } from "../conformance/cases.ts";
import { expectationAfter, faultsIn } from "../conformance/runCase.ts";
import { gpuOrReason } from "./gpu.ts";

/** A case whose call is followed by others. */
interface Sequence {
  readonly given: AnyCase;
  readonly plan: Plan;
}

const scalars = { seed: 5, step: 3 };

function sequence(given: AnyCase, more: readonly KernelCall[]): Sequence {
  const plan = planOf(given);
  return { given, plan: { ...plan, calls: [...plan.calls, ...more] } };
}

function withStatistics(given: Case<"conv">, rate: number): Sequence {
  const { y, size } = given.args;
  const shape = { batch: size.batch, plane: size.outHeight * size.outWidth };
  const all = given.buffers.y?.shape[1] ?? 0;
  const [mean, variance] = ["yMean", "yVariance"].map((buffer) => ({ ...y, buffer })) as [typeof y, typeof y];
  const buffers = { ...given.buffers, yMean: { shape: [all] }, yVariance: { shape: [all] } };
  return sequence({ ...given, buffers }, [
    ...(rate > 0 ? [callOf("dropout", { x: y, rate, stream: 7, ...shape })] : []),
    callOf("channelStatistics", { x: y, mean, variance, ...shape }),
  ]);
}

/** The weight gradient's call comes first, as in plans. */
function withWeightGradient(given: Case<"convGradInput">): Sequence {
  const { composite, dy, size } = given.args;
  if (!composite) throw new RangeError("a convolution without a composite is not gone back through at once");
  const plan = planOf({ ...given, buffers: { ...given.buffers, dWeight: given.buffers.weight ?? { shape: [] } } });
  const weight = callOf("convGradWeight", {
    x: composite.x,
    composite: composite.normalize,
    dy,
    dWeight: "dWeight",
    size,
  });
  return { given, plan: { ...plan, calls: [weight, ...plan.calls] } };
}

const every = (step: number, from: number) => (_: unknown, index: number) => index % step === from;
const convolutions = allCases.filter((given) => given.kernel === "conv");
const gradients = allCases.filter((given) => given.kernel === "convGradInput").filter(({ args }) => args.composite);
const sequences = [
  ...convolutions.filter(every(2, 0)).map((given) => withStatistics(given, 0)),
  ...convolutions.filter(every(5, 1)).map((given) => withStatistics(given, 0.3)),
  ...gradients.filter(every(4, 0)).map(withWeightGradient),
];

/**
 * What is wrong after a run. Each call is judged by what the calls before it have left; what dropout then changes in place is not there to be read,
 * so it is taken from the reference, and its error goes through.
 */
async function wrongIn(plan: Plan, contents: Contents, found: Contents): Promise<readonly string[]> {
  const outputs = new Map<string, { values: ArrayLike<number>; errors: Float64Array }>();
  let inputs = contents;
  for (const [index, call] of plan.calls.entries()) {
    const expectation = await expectationAfter({ ...plan, calls: [call] }, inputs, scalars);
    const gain = call.kernel === "dropout" ? 1 / (1 - call.args.rate) : 0;
    for (const [name, { values, errors }] of expectation.outputs) {
      const earlier = gain > 0 ? outputs.get(name)?.errors : undefined;
      outputs.set(name, { values, errors: errors.map((error, i) => error + gain * (earlier?.[i] ?? 0)) });
    }
    const readable = plan.calls[index + 1]?.kernel !== "dropout";
    const left = (name: string, data: Float32Array | Int32Array) => {
      const output = expectation.outputs.get(name);
      if (!output) return data;
      return readable ? (found.get(name) ?? data) : Float32Array.from(output.values);
    };
    inputs = new Map([...inputs].map(([name, data]) => [name, left(name, data)]));
  }
  return faultsIn({ plan, before: contents, outputs, undecided: 0, judged: 0 }, found);
}

const gpu = await gpuOrReason();

for (const tiled of [false, true]) {
  const target: Target = { tiled, bindingBytes: 2 ** 30, windows: 7, storage: "f32" };
  describe(`webgpu, calls together, ${tiled ? "tiled" : "direct"}`, {
    skip: typeof gpu === "string" ? gpu : false,
  }, () => {
    let backend: WebgpuBackend;
    before(async () => {
      backend = await createWebgpuBackend({ tiled, ...(typeof gpu === "string" ? {} : { gpu }) });
    });
    after(() => backend.dispose());
    for (const { given, plan } of tiled ? sequences.filter(every(3, 0)) : sequences) {
      test(`${plan.calls.map(({ kernel }) => kernel).join(", ")} · ${given.name}`, async () => {
        const alone = plan.calls.map((call) =>
          compileProgram({ plan: { ...plan, calls: [call] } }, target).steps.get("plan"),
        );
        const together = compileProgram({ plan }, target).steps.get("plan");
        assert.ok(
          (together?.length ?? 0) <= alone.flat().length - (given.kernel === "conv" ? plan.calls.length - 1 : 0),
        );
        const contents = contentsOf(given, plan);
        const executable = await backend.compile({ plan });
        for (const [name, data] of contents) await executable.write(name, data, "plan");
        await executable.run("plan", scalars);
        const names = [...contents.keys()];
        const read = await executable.read(names, "plan");
        const found: Contents = new Map(names.map((name, index) => [name, read[index]]));
        await executable.dispose();
        assert.deepEqual(await wrongIn(plan, contents, found), []);
      });
    }
  });
}
