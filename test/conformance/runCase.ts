// Test support: runs cases on a backend and judges every float of every buffer: outputs against the f64 reference
// within their bound, everything else bit for bit.
import type { Backend, RunScalars } from "../../src/backends/backend.ts";
import { createReferenceBackend, type ReferenceExecutable } from "../../src/backends/reference/backend.ts";
import type { ReferenceMemory } from "../../src/backends/reference/memory.ts";
import type { BufferName, Plan } from "../../src/plan/plan.ts";
import { type Bound, type ConvolutionSums, kernelBounds } from "./bounds.ts";
import { type AnyCase, type Contents, contentsOf, indicesOf, isFeatureMaps, planOf, titleOf } from "./case.ts";

/** What a case's buffers must hold afterwards. */
export interface Expectation {
  readonly plan: Plan;
  readonly before: Contents;
  /** By buffer: values and allowed errors of all elements, NaN errors where nothing may change. */
  readonly outputs: ReadonlyMap<BufferName, { readonly values: ArrayLike<number>; readonly errors: Float64Array }>;
  /**
   * Elements whose bound is a whole term because rounding decides a ReLU or a maximum, and all elements that are
   * judged.
   */
  readonly undecided: number;
  readonly judged: number;
}

const planName = "case";

const expectations: Readonly<Record<ConvolutionSums, Map<AnyCase, Promise<Expectation>>>> = {
  direct: new Map(),
  winograd: new Map(),
};

/** Values from the f64 reference and the bounds of engines that sum so, found once for all of them. */
export function expectationOf(given: AnyCase, sums: ConvolutionSums): Promise<Expectation> {
  const plan = planOf(given);
  const known = expectations[sums].get(given) ?? expectationAfter(plan, contentsOf(given, plan), sums, given.scalars);
  expectations[sums].set(given, known);
  return known;
}

/** The same for a plan of one call and any contents of its buffers. */
export async function expectationAfter(
  plan: Plan,
  before: Contents,
  sums: ConvolutionSums,
  scalars: RunScalars = {},
): Promise<Expectation> {
  const executable = await createReferenceBackend({ precision: "f64" }).compile({ [planName]: plan });
  for (const [buffer, data] of before) await executable.write(buffer, data, planName);
  const memory = executable.memory(planName);
  const [{ kernel, args }] = plan.calls;
  // A call's type ties args to kernel; TypeScript cannot follow that through the table's index.
  const of = kernelBounds[kernel].of as (
    args: unknown,
    memory: ReferenceMemory,
    scalars: RunScalars,
    sums: ConvolutionSums,
  ) => readonly Bound[];
  const bounds = of(args, memory, scalars, sums);
  await executable.run(planName, scalars);
  const outputs = new Map<BufferName, { values: ArrayLike<number>; errors: Float64Array }>();
  let undecided = 0;
  let judged = 0;
  for (const bound of bounds) {
    const { buffer } = bound.at;
    const { shape, data } = memory.tensor(buffer);
    const output = outputs.get(buffer) ?? {
      values: Float64Array.from(data),
      errors: new Float64Array(data.length).fill(Number.NaN),
    };
    const indices = indicesOf(bound.at, shape);
    if (indices.length !== bound.error.length) {
      throw new RangeError(`${kernel}: ${bound.error.length} bounds for ${indices.length} elements of ${buffer}`);
    }
    indices.forEach((index, i) => {
      output.errors[index] = Number.isFinite(bound.error[i]) ? bound.error[i] : 0;
    });
    outputs.set(buffer, output);
    undecided += bound.undecided ?? 0;
    judged += indices.length;
  }
  return { plan, before, outputs, undecided, judged };
}

/** Contents as they lie where feature maps are stored in f16. */
export const halved = (plan: Plan, contents: Contents): Contents =>
  new Map(
    [...contents].map(([name, data]) => {
      const buffer = plan.buffers.get(name);
      const maps = buffer && isFeatureMaps(buffer) && data instanceof Float32Array;
      return [name, maps ? Float32Array.from(Float16Array.from(data)) : data];
    }),
  );

/**
 * What is expected where feature maps are stored in f16, operands being given as stored: a store may take either
 * neighbour, because WGSL leaves the direction open, so it adds 2⁻¹⁰ of the value, or the distance of two subnormals.
 */
export function storedInHalves(expectation: Expectation): Expectation {
  const outputs = [...expectation.outputs].map(([name, output]) => {
    const buffer = expectation.plan.buffers.get(name);
    if (!buffer || !isFeatureMaps(buffer)) return [name, output] as const;
    const errors = output.errors.map((error, i) => error + 2 ** -10 * (Math.abs(output.values[i]) + error) + 2 ** -24);
    return [name, { ...output, errors }] as const;
  });
  return { ...expectation, outputs: new Map(outputs) };
}

/**
 * What is expected of a convolution whose operands are rounded to f16 on the way, weights being given as f16 has them.
 * Without a composite nothing is left to round. With one, what was loaded is rounded to either neighbour: 2⁻¹⁰ of every
 * term, and a bound is at least 8·2⁻²⁴ of their sum.
 */
export function withRoundedOperands(expectation: Expectation): Expectation {
  const [{ kernel, args }] = expectation.plan.calls;
  if (kernel !== "conv" || !args.composite) return expectation;
  const outputs = [...expectation.outputs].map(([name, output]) => {
    const errors = output.errors.map((error) => error * (1 + 2 ** -10 / (8 * 2 ** -24)));
    return [name, { ...output, errors }] as const;
  });
  return { ...expectation, outputs: new Map(outputs) };
}

const bitsOf = (data: Float32Array | Int32Array): Uint32Array =>
  new Uint32Array(data.buffer, data.byteOffset, data.length);

/** What is wrong with the contents after a run; nothing if it is empty. One sentence a buffer. */
export function faultsIn({ before, outputs }: Expectation, after: Contents): readonly string[] {
  const faults: string[] = [];
  for (const [buffer, data] of before) {
    const found = after.get(buffer);
    if (!found || found.length !== data.length) {
      faults.push(`${buffer} has ${found?.length ?? "no"} values, expected ${data.length}`);
      continue;
    }
    const [oldBits, newBits] = [bitsOf(data), bitsOf(found)];
    const output = outputs.get(buffer);
    const wrong: number[] = [];
    for (let i = 0; i < data.length; i++) {
      const error = output?.errors[i] ?? Number.NaN;
      if (Number.isNaN(error)) {
        if (oldBits[i] !== newBits[i]) wrong.push(i);
        continue;
      }
      const expected = Number(output?.values[i]);
      const right = Number.isNaN(expected)
        ? Number.isNaN(found[i]) && oldBits[i] !== newBits[i]
        : Math.abs(found[i] - expected) <= error || found[i] === expected;
      if (!right) wrong.push(i);
    }
    if (wrong.length === 0) continue;
    const [first] = wrong;
    const error = output?.errors[first] ?? Number.NaN;
    faults.push(
      Number.isNaN(error)
        ? `${buffer}[${first}] must not be touched, was ${data[first]} and is ${found[first]} (${wrong.length} of ` +
            `${data.length} elements)`
        : `${buffer}[${first}] is ${found[first]}, expected ${output?.values[first]} ± ${error.toExponential(2)} ` +
            `(${wrong.length} of ${data.length} elements)`,
    );
  }
  return faults;
}

/** Cases compiled as one program, one plan each. */
export interface CaseProgram {
  /** Everything that the case's buffers hold after its call, given what they held before. */
  run(given: AnyCase, before: Contents): Promise<Contents>;
  dispose(): Promise<void>;
}

export async function compileCases(backend: Backend, cases: readonly AnyCase[]): Promise<CaseProgram> {
  const { activationDtype } = backend.info;
  const plans = cases.map((given) => [titleOf(given), planOf(given, activationDtype)] as const);
  const executable = await backend.compile(Object.fromEntries(plans));
  // The reference gives its memory itself, so that no NaN loses its payload on the way.
  const { memory } = executable as Partial<ReferenceExecutable>;
  return {
    async run(given, before) {
      const plan = planOf(given, activationDtype);
      const name = titleOf(given);
      const write = async (contents: Contents): Promise<void> => {
        for (const [buffer, data] of contents) await executable.write(buffer, data, name);
      };
      // First with NaN everywhere: whatever a kernel leaves in working memory must not reach the second run.
      await write(contentsOf(given, plan, true));
      await executable.run(name, given.scalars);
      await write(before);
      await executable.run(name, given.scalars);
      const read = await executable.read([...plan.buffers.keys()], name);
      return new Map(
        [...plan.buffers.values()].map(({ name: buffer, dtype }, index) => {
          const direct = dtype === "f32" ? memory?.(name).tensor(buffer).data : undefined;
          return [buffer, direct instanceof Float32Array ? direct.slice() : read[index]];
        }),
      );
    },
    dispose: () => executable.dispose(),
  };
}
