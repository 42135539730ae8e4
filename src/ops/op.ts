// ops: the second station of the line (spec → ops → graph → plan → backend). What an op is: shapes, cost, meaning,
// gradient.
//
// One idea: an op has exactly one meaning, its plain-loop reference. Every kernel of every backend is judged against
// it.
import { UsageError } from "../errors.ts";

/** Lengths of the dimensions, the outermost first. */
export type Shape = readonly number[];
export type Attrs = Readonly<Record<string, number | string | boolean | readonly number[]>>;

/**
 * Values of a computation: f32 rounds every stored value, f64 is for gradient checks. Loops add up in doubles in both.
 */
export type Real = Float32Array | Float64Array;
/** The floating-point numbers that the reference computes in. */
export type Precision = "f32" | "f64";

/** A dense row-major array with its shape. Labels are Int32Array, everything else is Real. */
export interface Tensor {
  readonly shape: Shape;
  readonly data: Real | Int32Array;
}

/** Everything that random ops depend on beside their attributes. Both are unsigned 32-bit. */
export interface Randomness {
  readonly seed: number;
  readonly step: number;
}

/** What a gradient rule sees of the forward node, and how it adds backward nodes. Tensors are named by number. */
export interface GradientCall<A extends Attrs> {
  readonly inputs: readonly number[];
  readonly inputShapes: readonly Shape[];
  readonly outputs: readonly number[];
  /** Gradients of the loss with respect to the outputs; empty for the loss itself. */
  readonly dOutputs: readonly number[];
  readonly attrs: A;
  /** Whether anybody needs the gradient with respect to input i. */
  readonly wanted: readonly boolean[];
  emit<B extends Attrs>(op: Op<B>, inputs: readonly number[], attrs: B): readonly number[];
}

export interface Op<A extends Attrs = Attrs> {
  readonly name: string;
  /** Names of the outputs, in order. */
  readonly outputs: readonly string[];
  /**
   * True where every output element is a sum of products: then |err| ≤ 8·2⁻²⁴·Σ|terms| bounds an f32 backend (see
   * `magnitude`).
   */
  readonly contraction: boolean;
  /** Output shapes, or a UsageError that says which sizes do not fit. */
  shapes(inputs: readonly Shape[], attrs: A): readonly Shape[];
  /** Multiply-adds of the contraction; elementwise work and sums count nothing, as in the paper's figures. */
  macs(inputs: readonly Shape[], attrs: A): number;
  /** The meaning. Writes every element of every output. */
  reference(inputs: readonly Tensor[], outputs: readonly Tensor[], attrs: A, randomness: Randomness): void;
  /** Per input, the tensor that holds its gradient (undefined: none). Ops of the backward pass have no rule. */
  gradient?(call: GradientCall<A>): readonly (number | undefined)[];
}

export type NoAttrs = Readonly<Record<string, never>>;

export const noMacs = (): number => 0;

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function allocate(shape: Shape, precision: Precision): Tensor & { readonly data: Real } {
  const size = sizeOf(shape);
  return { shape, data: precision === "f32" ? new Float32Array(size) : new Float64Array(size) };
}

/** Runs an op's reference on dense tensors. Outputs start as NaN, so an element that the loops miss shows. */
export function applyOp<A extends Attrs>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
  precision: Precision,
  randomness: Randomness = { seed: 0, step: 0 },
): readonly (Tensor & { readonly data: Real })[] {
  const outputs = op
    .shapes(
      inputs.map((input) => input.shape),
      attrs,
    )
    .map((shape) => allocate(shape, precision));
  for (const output of outputs) output.data.fill(Number.NaN);
  op.reference(inputs, outputs, attrs, randomness);
  return outputs;
}

/**
 * Σ|terms| of every output element of a contraction. Its terms are products of inputs, so it is the op applied to
 * absolute values.
 */
export function magnitude<A extends Attrs>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
): readonly (Tensor & { readonly data: Real })[] {
  if (!op.contraction) throw new UsageError(`${op.name} is not a contraction, so it has no sum of absolute terms`);
  const absolute = inputs.map((input) => ({ shape: input.shape, data: Float64Array.from(input.data, Math.abs) }));
  return applyOp(op, absolute, attrs, "f64");
}

/** Checks that a shape has the given extents; `undefined` leaves one free. */
export function expectShape(
  op: string,
  operand: string,
  shape: Shape,
  expected: readonly (number | undefined)[],
): void {
  const fits =
    shape.length === expected.length && expected.every((extent, i) => extent === undefined || extent === shape[i]);
  if (fits) return;
  const wanted = `[${expected.map((extent) => extent ?? "any").join(", ")}]`;
  throw new UsageError(`${op}: ${operand} has shape ${showShape(shape)}, expected ${wanted}`, { op, operand, shape });
}
