// Test support: central differences, the judge of every gradient. In f64 with ε = 1e-5 they agree to about 1e-10.
import assert from "node:assert/strict";
import { formula } from "../golden/formula.ts";

export const EPSILON = 1e-5;

/** Values in [−1, 1) that depend on the name alone. */
export function draw(name: string, shape: readonly number[]): { shape: readonly number[]; data: Float64Array } {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return { shape, data: Float64Array.from(formula(name, size, 0, 2)) };
}

/** (f(x + ε) − f(x − ε)) / 2ε in element `index`; the data is as before afterwards. */
export function centralDifference(data: Float64Array, index: number, f: () => number): number {
  const value = data[index];
  data[index] = value + EPSILON;
  const above = f();
  data[index] = value - EPSILON;
  const below = f();
  data[index] = value;
  return (above - below) / (2 * EPSILON);
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Every element of `gradient` against the central difference of `f` in the same element of `data`. */
export function assertGradient(name: string, data: Float64Array, gradient: ArrayLike<number>, f: () => number): void {
  assert.equal(gradient.length, data.length, `${name}: the gradient's size`);
  const differences = Array.from(data, (_, index) => centralDifference(data, index, f));
  const scale = Math.max(1e-3, ...differences.map(Math.abs));
  differences.forEach((difference, index) => {
    const error = Math.abs(gradient[index] - difference);
    assert.ok(
      error <= 1e-7 * scale,
      `${name}[${index}]: gradient ${gradient[index]}, central difference ${difference}`,
    );
  });
}
