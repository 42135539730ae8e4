// bench: nothing is timed whose answers are wrong. Every kind of kernel call of a plan runs once on the backend, on
// drawn numbers and with the calls that the backend takes together with it, and must leave in each of its buffers what
// the f64 reference leaves there.
//
// Kernel by kernel and not net by net, because a wrong kernel then has a name, and because a ReLU that two precisions
// cut differently cannot spread: x lies on half steps of 1/64, mean and shift on whole ones, so relu(normalize(x))
// never stands near its kink.
import type { Backend } from "../src/backends/backend.ts";
import { createReferenceBackend } from "../src/backends/reference/backend.ts";
import { VerificationError } from "../src/errors.ts";
import { sizeOf } from "../src/ops/op.ts";
import { aligned } from "../src/plan/arena.ts";
import {
  type BufferName,
  type Composite,
  dtypeBytes,
  type KernelCall,
  type Plan,
  type PlanBuffer,
  type View,
} from "../src/plan/plan.ts";

/**
 * Consecutive calls of a plan that a backend takes together, most often one alone. Those with a composite have the same
 * one.
 */
export type CallGroup = readonly KernelCall[];

export const kernelsOf = (group: CallGroup): string => group.map(({ kernel }) => kernel).join(" + ");

export interface GateReport {
  /** Kinds of groups in the plan: kernels, geometry, channels, weights, what is fused, overwrite or accumulate. */
  readonly distinct: number;
  /** Of these, run against the reference in this process. */
  readonly checked: number;
}

/**
 * Multiply-adds and bytes that the reference may spend on one plan, beyond the smallest and the largest call of every
 * geometry, which it always checks; about two seconds.
 */
const budget = 4e8;

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
const isView = (value: object): value is View => "buffer" in value && "offset" in value && "channels" in value;

/**
 * A group without names and addresses: equal texts run the same code over other memory. `geometry` leaves the channels
 * out too.
 */
function describe(plan: Plan, group: CallGroup): { readonly kind: string; readonly geometry: string } {
  const text = (channels: boolean): string =>
    JSON.stringify(
      group.map(({ kernel, args }) => [kernel, args]),
      (_, value: unknown) => {
        if (isObject(value) && isView(value)) return channels ? { channels: value.channels } : "view";
        const buffer = typeof value === "string" ? plan.buffers.get(value) : undefined;
        if (buffer) return channels ? buffer.shape : "buffer";
        return value;
      },
    );
  return { kind: text(true), geometry: text(false) };
}

/**
 * The groups to run: of each geometry the cheapest and the dearest kind, and then the cheapest of the rest as far as
 * the budget goes.
 */
function choose(
  plan: Plan,
  groups: readonly CallGroup[],
): { readonly distinct: number; readonly chosen: ReadonlyMap<string, CallGroup> } {
  const kinds = new Map<string, { readonly group: CallGroup; readonly geometry: string; readonly cost: number }>();
  for (const group of groups) {
    const { kind, geometry } = describe(plan, group);
    const cost = group.reduce((sum, { macs, trafficBytes }) => sum + macs + trafficBytes, 0);
    if (!kinds.has(kind)) kinds.set(kind, { group, geometry, cost });
  }
  const ascending = [...kinds].sort(([, a], [, b]) => a.cost - b.cost);
  const first = new Set(new Map(ascending.toReversed().map(([kind, { geometry }]) => [geometry, kind])).values());
  const last = new Set(new Map(ascending.map(([kind, { geometry }]) => [geometry, kind])).values());
  const chosen = new Map<string, CallGroup>();
  let spent = 0;
  for (const [kind, { group, cost }] of ascending) {
    const bound = first.has(kind) || last.has(kind);
    if (!bound && spent + cost > budget) continue;
    if (!bound) spent += cost;
    chosen.set(kind, group);
  }
  return { distinct: kinds.size, chosen };
}

/** Buffers that calls name, found anywhere in their arguments. */
function named(plan: Plan, value: unknown, found = new Set<BufferName>()): Set<BufferName> {
  if (typeof value === "string" && plan.buffers.has(value)) found.add(value);
  else if (isObject(value)) for (const part of Object.values(value)) named(plan, part, found);
  return found;
}

/**
 * A plan of these calls alone, all their buffers filled before and read after. Calls over whole roles keep the
 * parameters' layout. `widened`: with feature maps in f32 whatever the plan has, for the reference.
 */
function alone(plan: Plan, group: CallGroup, widened = false): Plan {
  const wholeRoles = group.some(({ kernel }) => ["sgd", "adamw", "accumulateGradients"].includes(kernel));
  const args = group.map((call) => call.args);
  const touched = wholeRoles
    ? [...plan.buffers.values()].filter(({ role }) => role !== "arena" && role !== "state")
    : [...named(plan, args)].flatMap((name) => plan.buffers.get(name) ?? []);
  const tops = { f32: 0, f16: 0 };
  const buffers = new Map<BufferName, PlanBuffer>();
  for (const buffer of touched) {
    if (wholeRoles) buffers.set(buffer.name, buffer);
    else {
      const dtype = widened && buffer.dtype === "f16" ? "f32" : buffer.dtype;
      const bytes = sizeOf(buffer.shape) * dtypeBytes[dtype];
      const arena = dtype === "f16" ? "f16" : "f32";
      const placed = { dtype, bytes, role: "arena", offset: tops[arena], birth: -1, death: group.length } as const;
      buffers.set(buffer.name, { ...buffer, ...placed });
      tops[arena] += aligned(bytes);
    }
  }
  const persistentBytes = wholeRoles ? plan.persistentBytes : 0;
  const arenaBytes = tops.f32 + tops.f16;
  return {
    buffers,
    calls: group,
    addressed: [],
    arenaBytes,
    f16ArenaBytes: tops.f16,
    persistentBytes,
    peakBytes: arenaBytes + persistentBytes,
  };
}

/** The composite function that a call of the group applies, forward or in the backward pass. */
function compositeOf(group: CallGroup): Composite | undefined {
  const [composite] = group.flatMap(({ args }) => ("composite" in args && args.composite ? [args.composite] : []));
  return composite && "normalize" in composite ? composite.normalize : composite;
}

/** Whole numbers in [0, count), the same in every run. */
function drawWhole(seed: number): (count: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  return (count) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * count);
  };
}

type Contents = Map<BufferName, Float32Array | Int32Array>;

/**
 * What stands in the buffers before the calls: half steps of 1/64 in (−1, 1), labels in range, and composites away from
 * their kink.
 */
function drawContents({ buffers, calls }: Plan, seed: number): Contents {
  const whole = drawWhole(seed);
  const contents: Contents = new Map();
  const classes = Math.max(1, ...calls.map(({ args }) => ("classes" in args ? args.classes : 1)));
  for (const { name, dtype, bytes } of buffers.values()) {
    contents.set(
      name,
      dtype === "i32"
        ? Int32Array.from({ length: bytes / 4 }, () => whole(classes))
        : Float32Array.from({ length: bytes / 4 }, () => (whole(128) - 63.5) / 64),
    );
  }
  const composite = compositeOf(calls);
  if (!composite) return contents;
  const { mean, variance, gamma, beta, eps } = composite;
  const means = contents.get(mean.buffer) ?? [];
  const variances = contents.get(variance.buffer) ?? [];
  const gammas = contents.get(gamma) ?? [];
  const betas = contents.get(beta) ?? [];
  for (let c = 0; c < gammas.length; c++) {
    const spread = (16 + whole(64)) / 64;
    means[mean.offset + c] = (whole(33) - 16) / 64;
    variances[variance.offset + c] = spread;
    gammas[c] = (whole(2) * 2 - 1) * (0.5 + whole(64) / 64);
    betas[c] = (gammas[c] * (whole(33) - 16)) / 64 / Math.sqrt(spread + eps);
  }
  return contents;
}

/**
 * How far an f32 result of these calls may lie from the exact one, relative to the largest result in its buffer. A sum
 * of K terms is within 8·2⁻²⁴·Σ|terms|, and K terms drawn with both signs have Σ|terms| of about √K times the size of
 * their sum. K is at most N·H·W (gradients of weights and statistics) or the products behind one output.
 */
function relativeBound(plan: Plan): number {
  const lengths = [...plan.buffers.values()].flatMap(({ shape, bytes }) => [
    bytes / 4 / (shape[1] ?? shape[0] ?? 1), // N·H·W of features, O·k² of weights
    // C·k² of weights: the products behind one output. Features as small as a window pass for weights, which widens the
    // bound a little.
    shape.length === 4 && shape[2] <= 7 ? bytes / 4 / shape[0] : 1,
  ]);
  return 8 * 2 ** -24 * Math.sqrt(Math.max(...lengths));
}

/** Where the backend leaves the bound around the reference, as the end of a sentence, or undefined. */
function findDifference(
  name: BufferName,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  relative: number,
): string | undefined {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]));
  const bound = relative * largest;
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= bound)) {
      return (
        `${name}[${i}] is ${actual[i]}, the f64 reference has ${expected[i]} and the bound is ` +
        `${bound.toExponential(1)}`
      );
    }
  }
  return undefined;
}

const scalars = { learningRate: 0.1, seed: 7, step: 3 };

/**
 * Returns when every kind of these groups of the plan's calls has been found right on this backend. The plan should
 * have the sizes that will be timed and a small batch, since the reference is slow. `proven` carries what earlier plans
 * have shown; it grows.
 * @throws VerificationError that names the kernels and the first wrong number.
 */
export async function requireConformance(
  backend: Backend,
  plan: Plan,
  groups: readonly CallGroup[],
  proven: Set<string>,
): Promise<GateReport> {
  const { distinct, chosen } = choose(plan, groups);
  const open = [...chosen].filter(([kind]) => !proven.has(kind));
  if (open.length === 0) return { distinct, checked: chosen.size };
  const plans = Object.fromEntries(open.map(([, group], index) => [`group ${index}`, alone(plan, group)]));
  const tested = await backend.compile(plans);
  const { subgroupMatrices = false } = backend.info.features;
  try {
    for (const [index, [kind, group]] of open.entries()) {
      const planName = `group ${index}`;
      const small = plans[planName];
      const contents = drawContents(small, index);
      const meant = { [planName]: alone(plan, group, true) };
      const reference = await createReferenceBackend({ precision: "f64" }).compile(meant);
      for (const executable of [tested, reference]) {
        for (const [name, data] of contents) await executable.write(name, data, planName);
        await executable.run(planName, scalars);
      }
      // Subgroup matrices take what a convolution has loaded as either neighbour in f16: 2⁻¹⁰ of every term, where a
      // sum in f32 has 8·2⁻²⁴.
      const rounded = subgroupMatrices && group.some(({ kernel }) => kernel === "conv");
      const relative = relativeBound(small) * (rounded ? 1 + 2 ** 11 : 1);
      for (const name of contents.keys()) {
        const [[actual], [expected]] = [await tested.read([name], planName), await reference.read([name], planName)];
        // A store in f16 takes either neighbour, and so does what later calls of a group make of it. What was drawn f16
        // holds exactly.
        const halved = small.f16ArenaBytes > 0 && (group.length > 1 || small.buffers.get(name)?.dtype === "f16");
        const difference = findDifference(name, actual, expected, relative + (halved ? 2 ** -10 : 0));
        if (difference === undefined) continue;
        const kernel = kernelsOf(group);
        const path = group[0]?.path;
        throw new VerificationError(
          `the conformance of kernel ${kernel} failed at ${path} on ${backend.info.name}, so nothing is timed: ` +
            `${difference}`,
          { kernel, path, buffer: name },
        );
      }
      await reference.dispose();
      proven.add(kind);
    }
  } finally {
    await tested.dispose();
  }
  return { distinct, checked: chosen.size };
}
