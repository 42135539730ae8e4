// Test support: reads what makeFixtures.py wrote, and says how far an implementation may be from it.
//
// One idea: tolerances are derived, not chosen. A float32 implementation sums in another order than PyTorch's float32
// did, so it may stray a small multiple of what PyTorch's float32 strayed from its float64; a float64 one 2^-29 of
// that.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { defineSpec, type NetworkSpec } from "../../src/networks/registry.ts";

export interface GoldenTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** PyTorch's float64 result: all of it, or its first elements where a net is big. */
  readonly values: Float64Array;
  /** L2 norm and greatest absolute value of the whole tensor. */
  readonly norm: number;
  readonly max: number;
  /** max |float32 − float64| of PyTorch and the L2 norm of that difference. */
  readonly f32Deviation: number;
  readonly f32DeviationNorm: number;
}

export interface Fixture {
  readonly name: string;
  readonly spec: NetworkSpec;
  /** Centre of batch norm's beta. */
  readonly lift: number;
  /** Key and shape [N, C, H, W] of the images of the training pass. A curve has none: step s uses `images.<s>`. */
  readonly imagesKey: string;
  readonly inputShape: readonly [number, number, number, number];
  readonly evalKey: string;
  readonly evalShape: readonly [number, number, number, number];
  readonly steps: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly tensors: readonly GoldenTensor[];
}

type Entry = Omit<GoldenTensor, "values"> & { readonly count: number; readonly byteOffset: number };

export function loadFixture(name: string): Fixture {
  const file = (ending: string) => readFileSync(new URL(`../fixtures/${name}.${ending}`, import.meta.url));
  const head = JSON.parse(file("json").toString("utf8"));
  const bytes = file("bin");
  const tensors = (head.tensors as readonly Entry[]).map(({ count, byteOffset, ...rest }) => ({
    ...rest,
    values: Float64Array.from({ length: count }, (_, i) => bytes.readDoubleLE(byteOffset + 8 * i)),
  }));
  return { ...head, name, spec: defineSpec(head.spec), tensors };
}

export type Precision = "f32" | "f64";

/**
 * Summation order is free, and PyTorch's own deviation is one draw of a random error: 16 times it for f32, 64 for f64.
 */
const F32_FACTOR = 16;
const F64_FACTOR = 64 * 2 ** -29;
/** Agreement in f64 relative to the tensor's greatest value. */
const F64_RELATIVE = 1e-9;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/**
 * Compares everything of `golden` that `wanted` picks with what `found` gives (whole tensors), and fails with the worst
 * offenders. One tensor's deviation may be small by luck, so in f32 the median relative deviation of the tensors
 * compared is a floor.
 */
export function assertGolden(
  golden: readonly GoldenTensor[],
  precision: Precision,
  found: (name: string) => ArrayLike<number> | undefined,
): void {
  assert.ok(golden.length > 0, "nothing to compare");
  const floor = median(golden.map((tensor) => tensor.f32Deviation / (tensor.max || 1)));
  const allowed = (deviation: number, size: number) =>
    precision === "f32"
      ? F32_FACTOR * Math.max(deviation, floor * size, 2 ** -24 * size)
      : Math.max(F64_RELATIVE * size, F64_FACTOR * deviation);

  const problems: { readonly excess: number; readonly text: string }[] = [];
  const check = (what: string, error: number, limit: number) => {
    if (error <= limit) return; // NaN goes on
    const text = `${what}: error ${error.toExponential(2)}, allowed ${limit.toExponential(2)}`;
    problems.push({ excess: Number.isNaN(error) ? Number.POSITIVE_INFINITY : error / limit, text });
  };
  for (const tensor of golden) {
    const data = found(tensor.name);
    const size = tensor.shape.reduce((product, extent) => product * extent, 1);
    if (data?.length !== size) {
      problems.push({
        excess: Number.POSITIVE_INFINITY,
        text: `${tensor.name}: expected ${size} values, found ${data?.length ?? "none"}`,
      });
      continue;
    }
    let worst = 0;
    tensor.values.forEach((value, i) => {
      const error = Math.abs((data[i] as number) - value);
      if (!(error <= worst)) worst = error;
    });
    check(tensor.name, worst, allowed(tensor.f32Deviation, tensor.max));
    if (tensor.values.length === size) continue;
    let squares = 0;
    for (let i = 0; i < size; i++) squares += (data[i] as number) ** 2;
    check(
      `‖${tensor.name}‖`,
      Math.abs(Math.sqrt(squares) - tensor.norm),
      allowed(tensor.f32DeviationNorm, tensor.norm),
    );
  }
  const shown = problems.toSorted((a, b) => b.excess - a.excess).slice(0, 8);
  const summary = `${problems.length} of ${golden.length} tensors differ; worst first:`;
  assert.ok(problems.length === 0, [summary, ...shown.map((problem) => problem.text)].join("\n"));
}
