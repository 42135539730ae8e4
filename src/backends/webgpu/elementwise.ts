// backends/webgpu: kernels that touch each float once: dropout, sums of gradients, the optimizer.
import { dropThreshold } from "../../ops/random.ts";
import type { Gate } from "../../plan/plan.ts";
import { type Dispatch, f32, f32Bits, forEach, type Operand } from "./dispatch.ts";
import type { Emit } from "./kernel.ts";

/** WGSL `mix32`, the hash of ops/random.ts. */
const mixing = `
fn mix32(word: u32) -> u32 {
  var x = word;
  x ^= x >> 16u;
  x *= 0x7feb352du;
  x ^= x >> 15u;
  x *= 0x846ca68bu;
  x ^= x >> 16u;
  return x;
}`;
/** WGSL: the key of one dropout or gate in this step. */
const drawKey = "mix32(run.seed ^ mix32(run.step ^ mix32(call.stream + 0x9e3779b9u)))";

/** WGSL `dropOut(value, i)`, i being the logical index; reads call.stream. */
export const dropOut = (rate: number): string => `${mixing}
fn dropOut(value: f32, i: u32) -> f32 {
  let key = ${drawKey};
  let kept = (mix32(i ^ key) >> 8u) >= ${dropThreshold(rate)}u;
  return select(0.0, value * ${f32(1 / (1 - rate))}, kept);
}`;

/** WGSL `isOpen(image)`: whether the branch of an image counts; reads `gateNumbers`. */
export function gating(gate: Gate | undefined): string {
  if (!gate) return "\nfn isOpen(image: u32) -> bool { return true; }";
  return `${mixing}
fn isOpen(image: u32) -> bool {
  let key = ${drawKey};
  return (mix32(${gate.per === "image" ? "image" : "0u"} ^ key) >> 8u) >= call.threshold;
}`;
}

/** The probability too is a number of the call, because every unit of a net has one of its own. */
export const gateNumbers = (gate: Gate | undefined): Dispatch["numbers"] =>
  gate ? { stream: gate.stream, threshold: dropThreshold(1 - gate.keepProbability) } : {};

/** The mask is a function of (seed, step, stream, index) only, so the backward pass calls the same kernel. */
export const emitDropout: Emit<"dropout"> = ({ x, rate, stream, batch, plane }, at) => {
  const image = x.channels * plane;
  return [
    forEach(batch * image, {
      label: "dropout",
      operands: { x: at.view(x) },
      numbers: { xStride: at.batchStride(x), image, stream },
      code: `${dropOut(rate)}
fn each(i: u32) {
  let at = i / call.image * call.xStride + i % call.image;
  store_x(at, dropOut(load_x(at), i));
}`,
    }),
  ];
};

/** Words of a role that one dispatch takes: several roles' parts must fit their bindings together. */
const rolePart = 2 ** 24;

/** A dispatch for each part of roles that run parallel. */
function overRoles(
  roles: Readonly<Record<string, Operand>>,
  dispatch: Pick<Dispatch, "label" | "numbers" | "code">,
): readonly Dispatch[] {
  const words = Math.max(...Object.values(roles).map((role) => role.words));
  return Array.from({ length: Math.ceil(words / rolePart) }, (_, part) => {
    const count = Math.min(rolePart, words - part * rolePart);
    const operands = Object.fromEntries(
      Object.entries(roles).map(([name, { space, start }]) => [
        name,
        { space, start: start + part * rolePart, words: count },
      ]),
    );
    return forEach(count, { ...dispatch, operands });
  });
}

export const emitAccumulateGradients: Emit<"accumulateGradients"> = ({ mode }, at) =>
  overRoles(
    { gradient: at.role("gradient"), sum: at.role("gradientSum") },
    {
      label: "accumulateGradients",
      numbers: {},
      code: `fn each(i: u32) { store_sum(i, ${mode === "add" ? "load_sum(i) + " : ""}load_gradient(i)); }`,
    },
  );

/** SGD as PyTorch states it: g += weightDecay·w; v = momentum·v + g; w −= rate·(nesterov ? g + momentum·v : v). */
export const emitSgd: Emit<"sgd"> = ({ momentum, nesterov, weightDecay, gradientScale, source }, at) =>
  overRoles(
    { weight: at.role("parameter"), velocity: at.role("momentum"), gradient: at.role(source) },
    {
      label: "sgd",
      numbers: { momentum: f32Bits(momentum), decay: f32Bits(weightDecay), scale: f32Bits(gradientScale) },
      code: `fn each(i: u32) {
  let momentum = bitcast<f32>(call.momentum);
  let weight = load_weight(i);
  let gradient = fma(weight, bitcast<f32>(call.decay), load_gradient(i) * bitcast<f32>(call.scale));
  let velocity = fma(load_velocity(i), momentum, gradient);
  store_velocity(i, velocity);
  store_weight(i, fma(-run.learningRate, ${nesterov ? `fma(velocity, momentum, gradient)` : "velocity"}, weight));
}`,
    },
  );

/** AdamW as PyTorch states it, with the corrections of the moments taken from the run's scalars. */
export const emitAdamw: Emit<"adamw"> = ({ betas, epsilon, weightDecay, gradientScale, source }, at) =>
  overRoles(
    {
      weight: at.role("parameter"),
      first: at.role("momentum"),
      second: at.role("secondMoment"),
      gradient: at.role(source),
    },
    {
      label: "adamw",
      numbers: {
        keepFirst: f32Bits(betas[0]),
        addFirst: f32Bits(1 - betas[0]),
        keepSecond: f32Bits(betas[1]),
        addSecond: f32Bits(1 - betas[1]),
        epsilon: f32Bits(epsilon),
        decay: f32Bits(weightDecay),
        scale: f32Bits(gradientScale),
      },
      code: `fn each(i: u32) {
  let gradient = load_gradient(i) * bitcast<f32>(call.scale);
  let first = fma(load_first(i), bitcast<f32>(call.keepFirst), gradient * bitcast<f32>(call.addFirst));
  let square = gradient * gradient * bitcast<f32>(call.addSecond);
  let second = fma(load_second(i), bitcast<f32>(call.keepSecond), square);
  store_first(i, first);
  store_second(i, second);
  let direction = first / run.firstCorrection / (sqrt(second / run.secondCorrection) + bitcast<f32>(call.epsilon));
  let kept = load_weight(i) * (1.0 - run.learningRate * bitcast<f32>(call.decay));
  store_weight(i, fma(-run.learningRate, direction, kept));
}`,
    },
  );
