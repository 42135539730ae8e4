// backends/reference: every kernel as the composition of the ops it fuses, over dense copies of its views. Nothing here
// is clever: this is what the other backends' kernels must equal.
import { add } from "../../ops/add.ts";
import { avgPool2d, avgPool2dGrad } from "../../ops/avgPool2d.ts";
import { channelStatistics, channelStatisticsGrad } from "../../ops/channelStatistics.ts";
import { conv2d, conv2dGradInput, conv2dGradWeight } from "../../ops/conv2d.ts";
import { dropout } from "../../ops/dropout.ts";
import { identityShortcut, identityShortcutGrad } from "../../ops/identityShortcut.ts";
import { linear, linearGrad } from "../../ops/linear.ts";
import { maxPool2d, maxPool2dGrad } from "../../ops/maxPool2d.ts";
import { normalize, normalizeGrad } from "../../ops/normalize.ts";
import { type Attrs, applyOp, type Op, type Randomness, type Real, type Tensor } from "../../ops/op.ts";
import { relu, reluGrad } from "../../ops/relu.ts";
import { expectedGate, sampleGate } from "../../ops/sampleGate.ts";
import { softmaxCrossEntropy, softmaxCrossEntropyGrad } from "../../ops/softmaxCrossEntropy.ts";
import { updateRunning } from "../../ops/updateRunning.ts";
import type {
  BufferName,
  Composite,
  CompositeBackward,
  Gate,
  KernelName,
  KernelTable,
  PoolSize,
  View,
  WindowSize,
  Write,
} from "../../plan/plan.ts";
import type { RunScalars } from "../backend.ts";
import { gather, type ReferenceMemory, scatter } from "./memory.ts";

export type ReferenceKernels = {
  readonly [K in KernelName]: (args: Readonly<KernelTable[K]>, memory: ReferenceMemory, scalars: RunScalars) => void;
};

type Dense = Tensor & { readonly data: Real };

function apply<A extends Attrs>(
  memory: ReferenceMemory,
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
): readonly Dense[] {
  return applyOp(op, inputs, attrs, memory.precision);
}

function channelsAt(memory: ReferenceMemory, view: View): Dense {
  return gather(memory, view, [view.channels]);
}

function mapsAt(memory: ReferenceMemory, view: View, batch: number, height: number, width: number): Dense {
  return gather(memory, view, [batch, view.channels, height, width]);
}

function inputMaps(memory: ReferenceMemory, view: View, { batch, height, width }: WindowSize | PoolSize): Dense {
  return mapsAt(memory, view, batch, height, width);
}

function outputMaps(memory: ReferenceMemory, view: View, { batch, outHeight, outWidth }: WindowSize | PoolSize): Dense {
  return mapsAt(memory, view, batch, outHeight, outWidth);
}

function overwriteBuffer(memory: ReferenceMemory, buffer: BufferName, value: Dense): void {
  memory.tensor(buffer).data.set(value.data);
}

/** normalize of x, the value before the composite's ReLU. */
function normalized(memory: ReferenceMemory, x: Dense, composite: Composite): Dense {
  const { mean, variance, gamma, beta, eps } = composite;
  const statistics = [channelsAt(memory, mean), channelsAt(memory, variance)];
  return apply(memory, normalize, [x, ...statistics, memory.tensor(gamma), memory.tensor(beta)], { eps })[0];
}

function composed(memory: ReferenceMemory, x: Dense, composite: Composite | undefined): Dense {
  return composite ? apply(memory, relu, [normalized(memory, x, composite)], {})[0] : x;
}

/** dy with the gradient that reaches it through the batch statistics of y. */
function withStatistics(
  memory: ReferenceMemory,
  dy: Dense,
  { y, mean, dMean, dVariance }: NonNullable<KernelTable["convGrad"]["dyStatistics"]>,
): Dense {
  const vectors = [mean, dMean, dVariance].map((view) => channelsAt(memory, view));
  const operands = [gather(memory, y, dy.shape), ...vectors];
  const [through] = apply(memory, channelStatisticsGrad, operands, {});
  return { shape: dy.shape, data: dy.data.map((value, i) => value + through.data[i]) };
}

/**
 * From the gradient of composite(x) to that of x, which is written to dx; the other four go to `grad`. Without a
 * composite the gradient is that of the operand as it was loaded.
 */
function writeBack(
  memory: ReferenceMemory,
  dLoaded: Dense,
  composite: CompositeBackward | undefined,
  size: WindowSize | PoolSize,
  dx: View,
  write: Write,
): void {
  if (!composite) {
    scatter(memory, dx, dLoaded, write);
    return;
  }
  const { normalize: forward } = composite;
  const x = inputMaps(memory, composite.x, size);
  const dNormalized = apply(memory, reluGrad, [normalized(memory, x, forward), dLoaded], {})[0];
  writeBackNormalized(memory, dNormalized, x, composite, dx, write);
}

/** From the gradient of normalize(x) to that of x, which is written to dx; the other four go to `grad`. */
function writeBackNormalized(
  memory: ReferenceMemory,
  dNormalized: Dense,
  x: Dense,
  { normalize: forward, grad }: CompositeBackward,
  dx: View,
  write: Write,
): void {
  const statistics = [channelsAt(memory, forward.mean), channelsAt(memory, forward.variance)];
  const operands = [x, ...statistics, memory.tensor(forward.gamma), dNormalized];
  const [dInput, dMean, dVariance, dGamma, dBeta] = apply(memory, normalizeGrad, operands, { eps: forward.eps });
  scatter(memory, dx, dInput, write);
  scatter(memory, grad.dMean, dMean, grad.write);
  scatter(memory, grad.dVariance, dVariance, grad.write);
  overwriteBuffer(memory, grad.dGamma, dGamma);
  overwriteBuffer(memory, grad.dBeta, dBeta);
}

function gatedBy(
  memory: ReferenceMemory,
  x: Dense,
  gate: Gate | undefined,
  { seed = 0, step = 0 }: Partial<Randomness>,
): Dense {
  return gate ? applyOp(sampleGate, [x], { ...gate }, memory.precision, { seed, step })[0] : x;
}

/**
 * How many classes stand before the label: greater logit, or equal logit and smaller index. A NaN among the logits: all
 * others do.
 */
function rankOf(logits: Real, label: number): number {
  if (logits.some(Number.isNaN)) return logits.length - 1;
  let rank = 0;
  logits.forEach((logit, k) => {
    if (logit > logits[label] || (logit === logits[label] && k < label)) rank++;
  });
  return rank;
}

export const referenceKernels: ReferenceKernels = {
  conv({ x, composite, weight, y, size }, memory) {
    const input = composed(memory, inputMaps(memory, x, size), composite);
    scatter(memory, y, apply(memory, conv2d, [input, memory.tensor(weight)], windowAttrs(size))[0], "overwrite");
  },

  channelStatistics({ x, mean, variance, batch, plane }, memory) {
    const maps = mapsAt(memory, x, batch, 1, plane);
    const [batchMean, batchVariance] = apply(memory, channelStatistics, [maps], {});
    scatter(memory, mean, batchMean, "overwrite");
    scatter(memory, variance, batchVariance, "overwrite");
  },

  dropout({ x, rate, stream, batch, plane }, memory, { seed = 0, step = 0 }) {
    const maps = mapsAt(memory, x, batch, 1, plane);
    const [dropped] = applyOp(dropout, [maps], { rate, stream }, memory.precision, { seed, step });
    scatter(memory, x, dropped, "overwrite");
  },

  avgPool({ x, composite, y, size }, memory) {
    const input = composed(memory, inputMaps(memory, x, size), composite);
    const window = [size.windowHeight, size.windowWidth];
    scatter(memory, y, apply(memory, avgPool2d, [input], { window })[0], "overwrite");
  },

  maxPool({ x, composite, y, size }, memory) {
    const input = composed(memory, inputMaps(memory, x, size), composite);
    scatter(
      memory,
      y,
      apply(memory, maxPool2d, [input], { ...windowAttrs(size), kernel: size.kernel })[0],
      "overwrite",
    );
  },

  residualAdd(
    { x, normalize: composite, gate, scale, shortcut, relu: rectified, y, batch, height, width },
    memory,
    run,
  ) {
    const branch = mapsAt(memory, x, batch, height, width);
    const gated = gatedBy(memory, composite ? normalized(memory, branch, composite) : branch, gate, run);
    const scaled = scale === 1 ? gated : apply(memory, expectedGate, [gated], { keepProbability: scale })[0];
    let sum = scaled;
    if (shortcut) {
      const maps = mapsAt(memory, shortcut.x, batch, shortcut.height, shortcut.width);
      const attrs = { stride: shortcut.stride, channels: x.channels };
      sum = apply(memory, add, [scaled, apply(memory, identityShortcut, [maps], attrs)[0]], {})[0];
    }
    scatter(memory, y, rectified ? apply(memory, relu, [sum], {})[0] : sum, "overwrite");
  },

  residualAddGrad({ dy, y, gate, dx, write, normalize: composite, shortcut, batch, height, width }, memory, run) {
    const upstream = mapsAt(memory, dy, batch, height, width);
    const dSum = y ? apply(memory, reluGrad, [mapsAt(memory, y, batch, height, width), upstream], {})[0] : upstream;
    const dBranch = gatedBy(memory, dSum, gate, run);
    if (shortcut) {
      const { dx: dShortcut, write: how, ...size } = shortcut;
      const attrs = { ...size, channels: dShortcut.channels };
      scatter(memory, dShortcut, apply(memory, identityShortcutGrad, [dSum], attrs)[0], how);
    }
    if (!composite) scatter(memory, dx, dBranch, write);
    else {
      const source = mapsAt(memory, composite.x, batch, height, width);
      writeBackNormalized(memory, dBranch, source, composite, dx, write);
    }
  },

  linear({ x, weight, bias, y, batch }, memory) {
    const input = gather(memory, x, [batch, x.channels]);
    overwriteBuffer(memory, y, apply(memory, linear, [input, memory.tensor(weight), memory.tensor(bias)], {})[0]);
  },

  softmaxCrossEntropy({ logits, labels, sampleLoss, sampleRank, dLogits, scale, smoothing, batch, classes }, memory) {
    const all = memory.tensor(logits).data;
    for (let n = 0; n < batch; n++) {
      const row = all.subarray(n * classes, (n + 1) * classes);
      const label = memory.integers(labels).data.subarray(n, n + 1);
      const sample = [
        { shape: [1, classes], data: row },
        { shape: [1], data: label },
      ];
      memory.tensor(sampleLoss).data[n] = apply(memory, softmaxCrossEntropy, sample, { smoothing })[0].data[0];
      memory.tensor(sampleRank).data[n] = rankOf(row, label[0]);
      if (dLogits === undefined) continue;
      const gradient = apply(memory, softmaxCrossEntropyGrad, sample, { smoothing })[0].data.map((d) => scale * d);
      memory.tensor(dLogits).data.set(gradient, n * classes);
    }
  },

  linearGrad({ x, weight, dy, dx, dWeight, dBias, batch }, memory) {
    const input = gather(memory, x, [batch, x.channels]);
    const [dInput, dW, dB] = apply(memory, linearGrad, [input, memory.tensor(weight), memory.tensor(dy)], {});
    scatter(memory, dx, dInput, "overwrite");
    overwriteBuffer(memory, dWeight, dW);
    overwriteBuffer(memory, dBias, dB);
  },

  avgPoolGrad({ dy, dx, write, composite, size }, memory) {
    const { height, width, windowHeight, windowWidth } = size;
    const attrs = { window: [windowHeight, windowWidth], height, width };
    const dPooled = apply(memory, avgPool2dGrad, [outputMaps(memory, dy, size)], attrs)[0];
    writeBack(memory, dPooled, composite, size, dx, write);
  },

  maxPoolGrad({ dy, dx, write, composite, size }, memory) {
    const activated = composed(memory, inputMaps(memory, composite.x, size), composite.normalize);
    const operands = [activated, outputMaps(memory, dy, size)];
    const dPooled = apply(memory, maxPool2dGrad, operands, { ...windowAttrs(size), kernel: size.kernel })[0];
    writeBack(memory, dPooled, composite, size, dx, write);
  },

  convGradInput({ dy, weight, dx, write, composite, size }, memory) {
    const { height, width } = size;
    const operands = [outputMaps(memory, dy, size), memory.tensor(weight)];
    const dInput = apply(memory, conv2dGradInput, operands, { ...windowAttrs(size), height, width })[0];
    writeBack(memory, dInput, composite, size, dx, write);
  },

  convGradWeight({ x, composite, dy, dWeight, size }, memory) {
    const operands = [composed(memory, inputMaps(memory, x, size), composite), outputMaps(memory, dy, size)];
    const attrs = { ...windowAttrs(size), kernel: size.kernel };
    overwriteBuffer(memory, dWeight, apply(memory, conv2dGradWeight, operands, attrs)[0]);
  },

  convGrad({ dy, dyStatistics, weight, dWeight, dx, write, composite, size }, memory) {
    const { height, width, kernel } = size;
    const given = outputMaps(memory, dy, size);
    const upstream = dyStatistics ? withStatistics(memory, given, dyStatistics) : given;
    const activated = composed(memory, inputMaps(memory, composite.x, size), composite.normalize);
    const dW = apply(memory, conv2dGradWeight, [activated, upstream], { ...windowAttrs(size), kernel })[0];
    const attrs = { ...windowAttrs(size), height, width };
    const dInput = apply(memory, conv2dGradInput, [upstream, memory.tensor(weight)], attrs)[0];
    overwriteBuffer(memory, dWeight, dW);
    writeBack(memory, dInput, composite, size, dx, write);
  },

  statisticsGrad({ dx, x, mean, dMean, dVariance, batch, plane }, memory) {
    const vectors = [mean, dMean, dVariance].map((view) => channelsAt(memory, view));
    const operands = [mapsAt(memory, x, batch, 1, plane), ...vectors];
    scatter(memory, dx, apply(memory, channelStatisticsGrad, operands, {})[0], "accumulate");
  },

  updateRunningStatistics({ entries, momentum, count }, memory) {
    for (const { mean, variance, runningMean, runningVariance } of entries) {
      const batch = [channelsAt(memory, mean), channelsAt(memory, variance)];
      const running = [memory.tensor(runningMean), memory.tensor(runningVariance)];
      const [newMean, newVariance] = apply(memory, updateRunning, [...batch, ...running], { momentum, count });
      overwriteBuffer(memory, runningMean, newMean);
      overwriteBuffer(memory, runningVariance, newVariance);
    }
  },

  accumulateGradients({ mode }, memory) {
    const sums = memory.role("gradientSum");
    memory.role("gradient").forEach((gradient, i) => {
      sums[i] = mode === "add" ? sums[i] + gradient : gradient;
    });
  },

  /** As torch.optim.SGD: weight decay is part of the gradient, momentum without dampening (paper, section 4.2). */
  sgd({ momentum, nesterov, weightDecay, gradientScale, source }, memory, { learningRate }) {
    if (learningRate === undefined) throw new RangeError("sgd: the run gives no learningRate");
    const weights = memory.role("parameter");
    const velocities = memory.role("momentum");
    const gradients = memory.role(source);
    for (let i = 0; i < weights.length; i++) {
      const gradient = gradients[i] * gradientScale + weightDecay * weights[i];
      velocities[i] = momentum * velocities[i] + gradient;
      weights[i] -= learningRate * (nesterov ? gradient + momentum * velocities[i] : velocities[i]);
    }
  },

  /** As torch.optim.AdamW: weight decay apart from the gradient, epsilon outside of the corrected root. */
  adamw({ betas, epsilon, weightDecay, gradientScale, source }, memory, { learningRate, corrections }) {
    if (learningRate === undefined) throw new RangeError("adamw: the run gives no learningRate");
    if (corrections === undefined) throw new RangeError("adamw: the run gives no corrections");
    const weights = memory.role("parameter");
    const [first, second] = [memory.role("momentum"), memory.role("secondMoment")];
    const gradients = memory.role(source);
    for (let i = 0; i < weights.length; i++) {
      const gradient = gradients[i] * gradientScale;
      first[i] = betas[0] * first[i] + (1 - betas[0]) * gradient;
      second[i] = betas[1] * second[i] + (1 - betas[1]) * gradient * gradient;
      const direction = first[i] / corrections[0] / (Math.sqrt(second[i] / corrections[1]) + epsilon);
      weights[i] = weights[i] * (1 - learningRate * weightDecay) - learningRate * direction;
    }
  },
};

function windowAttrs({ stride, padding }: WindowSize): { readonly stride: number; readonly padding: number } {
  return { stride, padding };
}
