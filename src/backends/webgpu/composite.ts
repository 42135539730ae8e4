// backends/webgpu: the composite function on load, and the sums that its backward pass leaves.
//
// A kernel finds a channel's four coefficients where it first needs them and keeps them for all elements of the channel
// that it loads. A dispatch that left them in memory for the kernels behind it would cost each of those a wait.
import type { Composite, CompositeBackward, Write } from "../../plan/plan.ts";
import { type Dispatch, f32, loneLanes, type Operand, totalOf } from "./dispatch.ts";
import type { Addresses } from "./kernel.ts";

const identity = `
struct Channel { none: u32 }
fn channel_at(c: u32) -> Channel { return Channel(0u); }
fn activate(value: f32, channel: Channel) -> f32 { return value; }`;

/**
 * WGSL `channel_at(c)` of a channel and `activate(value, channel)`: relu of the normalized value, NaN stays NaN;
 * without a composite the value itself. WGSL allows inverseSqrt an error of 2 ulp; one step of Newton's leaves about
 * one.
 */
export function loading(composite: Composite | undefined): string {
  if (!composite) return identity;
  return `
struct Channel { scale: f32, shift: f32, mean: f32, rstd: f32 }
fn channel_at(c: u32) -> Channel {
  let spread = load_variance(c) + ${f32(composite.eps)};
  let root = inverseSqrt(spread);
  let rstd = root * fma(-0.5 * spread * root, root, 1.5);
  let scale = load_gamma(c) * rstd;
  return Channel(scale, fma(-load_mean(c), scale, load_beta(c)), load_mean(c), rstd);
}
fn activate(value: f32, channel: Channel) -> f32 {
  let pre = fma(value, channel.scale, channel.shift);
  return select(pre, 0.0, pre < 0.0);
}`;
}

/** What `loading`'s text reads. */
export function loadingOperands(at: Addresses, composite: Composite | undefined): Dispatch["operands"] {
  if (!composite) return {};
  const { mean, variance, gamma, beta } = composite;
  return { mean: at.view(mean), variance: at.view(variance), gamma: at.buffer(gamma), beta: at.buffer(beta) };
}

/**
 * WGSL `compositeBackward(value, channel, x, dx)`: propagates the gradient `value` of relu(normalize(x)) at x[x] to
 * dx[dx] and returns its contributions to dBeta and dGamma. Not `rectified`: of normalize(x).
 */
export function compositeBackward(write: Write, rectified = true): string {
  const g = rectified
    ? `
  let open = fma(at, channel.scale, channel.shift) > 0.0;
  let g = select(0.0, value, open);`
    : `
  let g = value;`;
  return `
fn compositeBackward(value: f32, channel: Channel, x: u32, dx: u32) -> vec2f {
  let at = load_x(x);${g}
  store_dx(dx, ${write === "accumulate" ? "fma(channel.scale, g, load_dx(dx))" : "channel.scale * g"});
  return vec2f(g, g * ((at - channel.mean) * channel.rstd));
}`;
}

/** Sums the `parts` pairs of each channel, in order, into the four gradients of a composite. sums: [C, parts, 2]. */
export function finishComposite(
  at: Addresses,
  { x, normalize, grad }: CompositeBackward,
  sums: Operand,
  parts: number,
): Dispatch {
  const accumulate = grad.write === "accumulate";
  return {
    label: "composite sums",
    operands: {
      sums,
      ...loadingOperands(at, normalize),
      dGamma: at.buffer(grad.dGamma),
      dBeta: at.buffer(grad.dBeta),
      dMean: at.view(grad.dMean),
      dVariance: at.view(grad.dVariance),
    },
    numbers: { parts },
    code: `${totalOf("vec2f", loneLanes)}${loading(normalize)}
fn body(c: u32, lane: u32) {
  var own = vec2f(0.0);
  for (var i = lane; i < call.parts; i += ${loneLanes}u) {
    let part = 2u * (c * call.parts + i);
    own += vec2f(load_sums(part), load_sums(part + 1u));
  }
  let sum = total(own, lane);
  if (lane > 0u) { return; }
  let channel = channel_at(c);
  store_dBeta(c, sum.x);
  store_dGamma(c, sum.y);
  store_dMean(c, ${accumulate ? "load_dMean(c)" : "0.0"} - channel.scale * sum.x);
  store_dVariance(c, ${accumulate ? "load_dVariance(c)" : "0.0"} - 0.5 * channel.scale * channel.rstd * sum.y);
}`,
    size: loneLanes,
    groups: x.channels,
  };
}
