// backends/webgpu: the composite function on load, and the sums that its backward pass leaves.
import type { Composite, CompositeBackward, Write } from "../../plan/plan.ts";
import { type Dispatch, f32, forEach, loneLanes, type Operand, totalOf } from "./dispatch.ts";
import type { Addresses } from "./kernel.ts";

/** scale, shift, mean, 1/√(variance + eps) of each channel. */
export interface Coefficients {
  readonly operand: Operand;
  readonly dispatch: Dispatch;
}

const inverseRoot = `
/** WGSL allows inverseSqrt an error of 2 ulp; one step of Newton's leaves about one. */
fn inverseRoot(x: f32) -> f32 {
  let r = inverseSqrt(x);
  return r * fma(-0.5 * x * r, r, 1.5);
}`;

/** A dispatch that computes the coefficients of a composite once per call, for all threads of the kernels after it. */
export function coefficientsOf(at: Addresses, { mean, variance, gamma, beta, eps }: Composite): Coefficients {
  const operand = at.scratch(4 * mean.channels);
  const dispatch = forEach(mean.channels, {
    label: "coefficients",
    operands: {
      mean: at.view(mean),
      variance: at.view(variance),
      gamma: at.buffer(gamma),
      beta: at.buffer(beta),
      coefficients: operand,
    },
    numbers: {},
    code: `${inverseRoot}
fn each(c: u32) {
  let rstd = inverseRoot(load_variance(c) + ${f32(eps)});
  let scale = load_gamma(c) * rstd;
  store_coefficients(4u * c, scale);
  store_coefficients(4u * c + 1u, fma(-load_mean(c), scale, load_beta(c)));
  store_coefficients(4u * c + 2u, load_mean(c));
  store_coefficients(4u * c + 3u, rstd);
}`,
  });
  return { operand, dispatch };
}

/** WGSL `activate(value, c)`: relu of the normalized value; NaN stays NaN. */
export const activate = `
fn activate(value: f32, c: u32) -> f32 {
  let pre = fma(value, load_coefficients(4u * c), load_coefficients(4u * c + 1u));
  return select(pre, 0.0, pre < 0.0);
}`;

/**
 * WGSL `goBack(value, c, x, dx)`: takes the gradient `value` of relu(normalize(x)) at x[x] of channel c back to dx[dx] and returns its shares
 * in dBeta and dGamma.
 */
export function goBack(write: Write): string {
  return `
fn goBack(value: f32, c: u32, x: u32, dx: u32) -> vec2f {
  let scale = load_coefficients(4u * c);
  let at = load_x(x);
  let open = fma(at, scale, load_coefficients(4u * c + 1u)) > 0.0;
  let g = select(0.0, value, open);
  store_dx(dx, ${write === "accumulate" ? "fma(scale, g, load_dx(dx))" : "scale * g"});
  return vec2f(g, g * ((at - load_coefficients(4u * c + 2u)) * load_coefficients(4u * c + 3u)));
}`;
}

/** Sums the `parts` pairs of each channel, in order, into the four gradients of a composite. sums: [C, parts, 2]. */
export function finishComposite(
  at: Addresses,
  { x, grad }: CompositeBackward,
  coefficients: Operand,
  sums: Operand,
  parts: number,
): Dispatch {
  const accumulate = grad.write === "accumulate";
  return {
    label: "composite sums",
    operands: {
      sums,
      coefficients,
      dGamma: at.buffer(grad.dGamma),
      dBeta: at.buffer(grad.dBeta),
      dMean: at.view(grad.dMean),
      dVariance: at.view(grad.dVariance),
    },
    numbers: { parts },
    code: `${totalOf("vec2f", loneLanes)}
fn body(c: u32, lane: u32) {
  var own = vec2f(0.0);
  for (var i = lane; i < call.parts; i += ${loneLanes}u) {
    let part = 2u * (c * call.parts + i);
    own += vec2f(load_sums(part), load_sums(part + 1u));
  }
  let sum = total(own, lane);
  if (lane > 0u) { return; }
  let scale = load_coefficients(4u * c);
  store_dBeta(c, sum.x);
  store_dGamma(c, sum.y);
  store_dMean(c, ${accumulate ? "load_dMean(c)" : "0.0"} - scale * sum.x);
  store_dVariance(c, ${accumulate ? "load_dVariance(c)" : "0.0"} - 0.5 * scale * load_coefficients(4u * c + 3u) * sum.y);
}`,
    size: loneLanes,
    groups: x.channels,
  };
}
