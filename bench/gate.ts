// Beside the line: nothing is timed whose answers are wrong. Every kind of kernel call of a plan runs once on the backend, alone and on
// drawn numbers, and must leave in each of its buffers what the f64 reference leaves there.
//
// Kernel by kernel and not net by net, because a wrong kernel then has a name, and because a ReLU that two precisions cut differently
// cannot spread: x lies on half steps of 1/64, mean and shift on whole ones, so relu(normalize(x)) never stands near its kink.
import type { Backend } from "../src/backends/backend.ts";
import { createReferenceBackend } from "../src/backends/reference/backend.ts";
import { VerificationError } from "../src/errors.ts";
import { aligned } from "../src/plan/arena.ts";
import type { BufferName, Composite, KernelCall, Plan, PlanBuffer, View } from "../src/plan/plan.ts";

export interface GateReport {
  /** Kinds of calls in the plan: kernel, geometry, channels, weights, what is fused, overwrite or accumulate. */
  readonly distinct: number;
  /** Of these, run against the reference in this process. */
  readonly checked: number;
}

/**
 * Multiply-adds and bytes that the reference may spend on one plan, beyond the smallest and the largest call of every geometry, which
 * it always checks; about two seconds.
 */
const budget = 4e8;

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
const isView = (value: object): value is View => "buffer" in value && "offset" in value && "channels" in value;

/** A call without names and addresses: equal texts run the same code over other memory. `geometry` leaves the channels out too. */
function describe(plan: Plan, call: KernelCall): { readonly kind: string; readonly geometry: string } {
  const text = (channels: boolean): string =>
    JSON.stringify(call.args, (_, value: unknown) => {
      if (isObject(value) && isView(value)) return channels ? { channels: value.channels } : "view";
      const buffer = typeof value === "string" ? plan.buffers.get(value) : undefined;
      if (buffer) return channels ? buffer.shape : "buffer";
      return value;
    });
  return { kind: `${call.kernel} ${text(true)}`, geometry: `${call.kernel} ${text(false)}` };
}

/** The calls to run: of each geometry the cheapest and the dearest kind, and then the cheapest of the rest as far as the budget goes. */
function choose(plan: Plan): { readonly distinct: number; readonly chosen: ReadonlyMap<string, KernelCall> } {
  const kinds = new Map<string, { readonly call: KernelCall; readonly geometry: string; readonly cost: number }>();
  for (const call of plan.calls) {
    const { kind, geometry } = describe(plan, call);
    if (!kinds.has(kind)) kinds.set(kind, { call, geometry, cost: call.macs + call.trafficBytes });
  }
  const ascending = [...kinds].sort(([, a], [, b]) => a.cost - b.cost);
  const first = new Set(new Map(ascending.toReversed().map(([kind, { geometry }]) => [geometry, kind])).values());
  const last = new Set(new Map(ascending.map(([kind, { geometry }]) => [geometry, kind])).values());
  const chosen = new Map<string, KernelCall>();
  let spent = 0;
  for (const [kind, { call, cost }] of ascending) {
    const bound = first.has(kind) || last.has(kind);
    if (!bound && spent + cost > budget) continue;
    if (!bound) spent += cost;
    chosen.set(kind, call);
  }
  return { distinct: kinds.size, chosen };
}

/** Buffers that a call names, found anywhere in its arguments. */
function named(plan: Plan, value: unknown, found = new Set<BufferName>()): Set<BufferName> {
  if (typeof value === "string" && plan.buffers.has(value)) found.add(value);
  else if (isObject(value)) for (const part of Object.values(value)) named(plan, part, found);
  return found;
}

/** A plan of this call alone, all its buffers filled before and read after. Calls over whole roles keep the parameters' layout. */
function alone(plan: Plan, call: KernelCall): Plan {
  const wholeRoles = call.kernel === "sgd" || call.kernel === "accumulateGradients";
  const touched = wholeRoles
    ? [...plan.buffers.values()].filter(({ role }) => role !== "arena" && role !== "state")
    : [...named(plan, call.args)].flatMap((name) => plan.buffers.get(name) ?? []);
  let arenaBytes = 0;
  const buffers = new Map<BufferName, PlanBuffer>();
  for (const buffer of touched) {
    if (wholeRoles) buffers.set(buffer.name, buffer);
    else {
      buffers.set(buffer.name, { ...buffer, role: "arena", offset: arenaBytes, birth: -1, death: 1 });
      arenaBytes += aligned(buffer.bytes);
    }
  }
  const persistentBytes = wholeRoles ? plan.persistentBytes : 0;
  return {
    buffers,
    calls: [call],
    addressed: [],
    arenaBytes,
    persistentBytes,
    peakBytes: arenaBytes + persistentBytes,
  };
}

/** The composite function that a call applies, forward or on the way back. */
function compositeOf({ args }: KernelCall): Composite | undefined {
  if (!("composite" in args) || !args.composite) return undefined;
  return "normalize" in args.composite ? args.composite.normalize : args.composite;
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

/** What stands in the buffers before the call: half steps of 1/64 in (−1, 1), labels in range, and composites away from their kink. */
function drawContents(plan: Plan, call: KernelCall, seed: number): Contents {
  const whole = drawWhole(seed);
  const contents: Contents = new Map();
  for (const { name, dtype, bytes } of plan.buffers.values()) {
    const classes = "classes" in call.args ? call.args.classes : 1;
    contents.set(
      name,
      dtype === "i32"
        ? Int32Array.from({ length: bytes / 4 }, () => whole(classes))
        : Float32Array.from({ length: bytes / 4 }, () => (whole(128) - 63.5) / 64),
    );
  }
  const composite = compositeOf(call);
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
 * How far an f32 result of this call may lie from the exact one, relative to the largest result in its buffer. A sum of K terms is within
 * 8·2⁻²⁴·Σ|terms|, and K terms drawn with both signs have Σ|terms| of about √K times the size of their sum. K is at most N·H·W
 * (gradients of weights and statistics) or the products behind one output.
 */
function relativeBound(plan: Plan): number {
  const lengths = [...plan.buffers.values()].flatMap(({ shape, bytes }) => [
    bytes / 4 / (shape[1] ?? shape[0] ?? 1), // N·H·W of features, O·k² of weights
    // C·k² of weights: the products behind one output. Features as small as a window pass for weights, which widens the bound a little.
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
      return `${name}[${i}] is ${actual[i]}, the f64 reference has ${expected[i]} and the bound is ${bound.toExponential(1)}`;
    }
  }
  return undefined;
}

const scalars = { learningRate: 0.1, seed: 7, step: 3 };

/**
 * Returns when every kind of kernel call of the plan has been found right on this backend. The plan should have the sizes that will be timed
 * and a small batch, since the reference is slow. `proven` carries what earlier plans have shown; it grows.
 * @throws VerificationError that names the kernel and the first wrong number.
 */
export async function requireConformance(backend: Backend, plan: Plan, proven: Set<string>): Promise<GateReport> {
  const { distinct, chosen } = choose(plan);
  const open = [...chosen].filter(([kind]) => !proven.has(kind));
  if (open.length === 0) return { distinct, checked: chosen.size };
  const plans = Object.fromEntries(open.map(([, call], index) => [`call ${index}`, alone(plan, call)]));
  const tested = await backend.compile(plans);
  try {
    for (const [index, [kind, call]] of open.entries()) {
      const planName = `call ${index}`;
      const single = plans[planName];
      const contents = drawContents(single, call, index);
      const reference = await createReferenceBackend({ precision: "f64" }).compile({ [planName]: single });
      for (const executable of [tested, reference]) {
        for (const [name, data] of contents) await executable.write(name, data, planName);
        await executable.run(planName, scalars);
      }
      const relative = relativeBound(single);
      for (const name of contents.keys()) {
        const [[actual], [expected]] = [await tested.read([name], planName), await reference.read([name], planName)];
        // A store in f16 takes either neighbour; what was drawn f16 holds exactly.
        const stored = backend.info.features.f16Storage && single.buffers.get(name)?.featureMaps ? 2 ** -10 : 0;
        const difference = findDifference(name, actual, expected, relative + stored);
        if (difference === undefined) continue;
        throw new VerificationError(
          `the conformance of kernel ${call.kernel} failed at ${call.path} on ${backend.info.name}, so nothing is timed: ${difference}`,
          { kernel: call.kernel, path: call.path, buffer: name },
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
