// Test support: plans of several calls for a GPU, run there, and each call judged by what those before it have left.
import type { WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import type { KernelCall, Plan } from "../../../src/plan/plan.ts";
import { type AnyCase, type Case, type Contents, callOf, planOf, withActivations } from "../../conformance/case.ts";
import { type Expectation, expectationAfter, faultsIn } from "../../conformance/runCase.ts";

/** A case whose call is followed by others. */
export interface Sequence {
  readonly given: AnyCase;
  readonly plan: Plan;
}

const scalars = { seed: 5, step: 3 };

export function sequence(given: AnyCase, more: readonly KernelCall[]): Sequence {
  const plan = planOf(given);
  return { given, plan: { ...plan, calls: [...plan.calls, ...more] } };
}

/** A convolution or a residual unit's end, dropout where there is a rate, and the statistics of what then stands there. */
export function withStatistics(given: Case<"conv"> | Case<"residualAdd">, rate: number): Sequence {
  const { y } = given.args;
  const { batch, height, width } =
    given.kernel === "conv"
      ? { ...given.args.size, height: given.args.size.outHeight, width: given.args.size.outWidth }
      : given.args;
  const shape = { batch, plane: height * width };
  const all = given.buffers.y?.shape[1] ?? 0;
  const [mean, variance] = ["yMean", "yVariance"].map((buffer) => ({ ...y, buffer })) as [typeof y, typeof y];
  const buffers = { ...given.buffers, yMean: { shape: [all] }, yVariance: { shape: [all] } };
  return sequence({ ...given, buffers }, [
    ...(rate > 0 ? [callOf("dropout", { x: y, rate, stream: 7, ...shape })] : []),
    callOf("channelStatistics", { x: y, mean, variance, ...shape }),
  ]);
}

export async function runPlan(backend: WebgpuBackend, plan: Plan, contents: Contents): Promise<Contents> {
  const executable = await backend.compile({ plan: withActivations(plan, backend.info.activationDtype) });
  for (const [name, data] of contents) await executable.write(name, data, "plan");
  await executable.run("plan", scalars);
  const names = [...contents.keys()];
  const found = await executable.read(names, "plan");
  await executable.dispose();
  return new Map(names.map((name, index) => [name, found[index]]));
}

/**
 * What is wrong after a run. Each call is judged by what the calls before it have left; what dropout then changes in
 * place is not there to be read, so it is taken from the reference, and its error goes through. `allowing` adds what
 * the backend may do beside.
 */
export async function wrongIn(
  plan: Plan,
  contents: Contents,
  found: Contents,
  allowing = (expectation: Expectation): Expectation => expectation,
): Promise<readonly string[]> {
  const outputs = new Map<string, { values: ArrayLike<number>; errors: Float64Array }>();
  let inputs = contents;
  for (const [index, call] of plan.calls.entries()) {
    const expectation = allowing(await expectationAfter({ ...plan, calls: [call] }, inputs, "direct", scalars));
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
