// backends/wasm: a run of adjacent 128-bit vectors handled alike, two by two, so that V8's revectorizer finds its
// pairs.
import { type Expression, type FunctionBuilder, f32, f32x4, type Local, lanes32, v128 } from "./assembler.ts";
import type { Target } from "./target.ts";

/** a·b + c in each lane. */
export const multiplyAdd = (target: Target, a: Expression, b: Expression, c: Expression): Expression =>
  target.relaxedSimd ? f32x4.relaxedMadd(a, b, c) : f32x4.add(c, f32x4.mul(a, b));

export const vectorLocals = (f: FunctionBuilder, count: number): Local[] =>
  Array.from({ length: count }, () => f.local("v128"));

/** Sum of the four lanes, always in the order (0 + 1) + (2 + 3). */
export function laneSum(f: FunctionBuilder, vector: Expression): Expression {
  const swapped = f.let(vector).get;
  const pairs = f.let(f32x4.add(swapped, v128.shuffle(swapped, swapped, lanes32([1, 0, 3, 2])))).get;
  return f32.add(f32x4.extractLane(pairs, 0), f32x4.extractLane(pairs, 2));
}

/** Four floats, every second one from `address` (and `offset` bytes) on. Reads eight. */
export const everySecond = (address: Expression, offset = 0): Expression =>
  v128.shuffle(v128.load(address, offset), v128.load(address, offset + 16), lanes32([0, 2, 4, 6]));
