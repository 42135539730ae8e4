// Test support: cases of dropout, the classifier, the loss, and the kernels that run over all parameters.
import type { BufferRole } from "../../src/plan/plan.ts";
import type { Case, CaseBuffer, Fill } from "./case.ts";
import { features, placed, showOffset } from "./features.ts";

interface DropoutShape {
  readonly channels: number;
  readonly plane: readonly [height: number, width: number];
  readonly batch: number;
  readonly rate: number;
  readonly stream: number;
  readonly seed: number;
  readonly step: number;
  readonly offset?: number;
}

function dropoutCase({
  channels,
  plane: [height, width],
  batch,
  rate,
  stream,
  seed,
  step,
  offset,
}: DropoutShape): Case<"dropout"> {
  const x = placed("x", channels, offset);
  return {
    kernel: "dropout",
    name:
      `rate ${rate} c=${channels} ${height}×${width} n=${batch} stream ${stream} seed ${seed} step ` +
      `${step}${showOffset("x", offset)}`,
    args: { x: x.view, rate, stream, batch, plane: height * width },
    buffers: { x: { shape: [batch, x.all, height, width] } },
    // Never 0, so that a wrong mask shows in every element.
    inputs: [{ at: x.view, fill: { center: 2, width: 2 } }],
    scalars: { seed, step },
  };
}

export const dropout = [
  dropoutCase({ channels: 1, plane: [1, 1], batch: 1, rate: 0.5, stream: 0, seed: 0, step: 0 }),
  dropoutCase({ channels: 7, plane: [7, 5], batch: 3, rate: 0.2, stream: 3, seed: 1, step: 17, offset: 5 }),
  dropoutCase({
    channels: 13,
    plane: [13, 9],
    batch: 5,
    rate: 0.5,
    stream: 98,
    seed: 2 ** 32 - 1,
    step: 2 ** 31 + 5,
    offset: 2,
  }),
  dropoutCase({ channels: 2, plane: [57, 61], batch: 2, rate: 0.9, stream: 1, seed: 12345, step: 2 ** 32 - 1 }),
  dropoutCase({ channels: 5, plane: [1, 7], batch: 37, rate: 0, stream: 2, seed: 7, step: 1 }),
];

interface LinearShape {
  readonly features: number;
  readonly classes: number;
  readonly batch: number;
  readonly offset?: number;
  /** x as pooled feature maps [N, F, 1, 1]. */
  readonly pooled?: boolean;
}

const linearShapes: readonly LinearShape[] = [
  { features: 1, classes: 1, batch: 1 },
  { features: 13, classes: 10, batch: 3, pooled: true },
  { features: 5, classes: 7, batch: 37, offset: 3, pooled: true },
  { features: 342, classes: 100, batch: 5, pooled: true },
  { features: 20, classes: 2, batch: 5, offset: 1 },
];

const describeLinear = ({ features: f, classes, batch, offset, pooled }: LinearShape): string =>
  `f=${f} classes=${classes} n=${batch}${pooled ? " of [N, F, 1, 1]" : ""}${showOffset("x", offset)}`;

function linearCase(shape: LinearShape): Case<"linear"> {
  const { features: f, classes, batch, offset, pooled } = shape;
  const x = placed("x", f, offset);
  return {
    kernel: "linear",
    name: describeLinear(shape),
    args: { x: x.view, weight: "weight", bias: "bias", y: "y", batch, classes },
    buffers: {
      x: { shape: pooled ? [batch, x.all, 1, 1] : [batch, x.all] },
      weight: { shape: [classes, f] },
      bias: { shape: [classes] },
      y: { shape: [batch, classes] },
    },
    inputs: [
      { at: x.view, fill: features("usual") },
      { at: { buffer: "weight" }, fill: { center: 0, width: 1 } },
      { at: { buffer: "bias" }, fill: { center: 0.5, width: 1 } },
    ],
  };
}

function linearGradCase(shape: LinearShape): Case<"linearGrad"> {
  const { features: f, classes, batch, offset, pooled } = shape;
  const x = placed("x", f, offset);
  const maps = pooled ? [batch, x.all, 1, 1] : [batch, x.all];
  return {
    kernel: "linearGrad",
    name: describeLinear(shape),
    args: {
      x: x.view,
      weight: "weight",
      dy: "dy",
      dx: { ...x.view, buffer: "dx" },
      dWeight: "dWeight",
      dBias: "dBias",
      batch,
      classes,
    },
    buffers: {
      x: { shape: maps },
      weight: { shape: [classes, f] },
      dy: { shape: [batch, classes] },
      dx: { shape: maps },
      dWeight: { shape: [classes, f] },
      dBias: { shape: [classes] },
    },
    inputs: [
      { at: x.view, fill: features("usual") },
      { at: { buffer: "weight" }, fill: { center: 0, width: 1 } },
      { at: { buffer: "dy" }, fill: { center: 0, width: 1 } },
    ],
  };
}

export const linear = linearShapes.map(linearCase);
export const linearGrad = linearShapes.map(linearGradCase);

interface LossShape {
  readonly why: string;
  readonly classes: number;
  readonly batch: number;
  readonly logits: Fill;
  readonly labels: readonly number[];
  readonly gradient?: boolean;
  readonly smoothing?: number;
}

function lossCase({
  why,
  classes,
  batch,
  logits,
  labels,
  gradient = true,
  smoothing = 0,
}: LossShape): Case<"softmaxCrossEntropy"> {
  return {
    kernel: "softmaxCrossEntropy",
    name: `classes=${classes} n=${batch} labels ${labels.join(",")} (${why})`,
    args: {
      logits: "logits",
      labels: "labels",
      sampleLoss: "sampleLoss",
      sampleRank: "sampleRank",
      ...(gradient ? { dLogits: "dLogits" } : {}),
      scale: 1 / batch,
      smoothing,
      batch,
      classes,
    },
    buffers: {
      logits: { shape: [batch, classes] },
      labels: { shape: [batch], dtype: "i32" },
      sampleLoss: { shape: [batch] },
      sampleRank: { shape: [batch] },
      ...(gradient ? { dLogits: { shape: [batch, classes] } } : {}),
    },
    inputs: [
      { at: { buffer: "logits" }, fill: logits },
      { at: { buffer: "labels" }, fill: { values: labels } },
    ],
  };
}

export const softmaxCrossEntropy = [
  lossCase({ why: "first and last label", classes: 10, batch: 5, logits: { center: 0, width: 6 }, labels: [0, 9, 4] }),
  lossCase({ why: "many images", classes: 7, batch: 37, logits: { center: -3, width: 9 }, labels: [6, 0, 5, 1] }),
  lossCase({ why: "many classes", classes: 100, batch: 3, logits: { center: 1, width: 4 }, labels: [0, 99, 50] }),
  ...[0.1, 0.75].map((smoothing) =>
    lossCase({
      why: `smoothing ${smoothing}`,
      classes: 37,
      batch: 5,
      logits: { center: 2, width: 8 },
      labels: [0, 36, 17],
      smoothing,
    }),
  ),
  lossCase({
    why: "one class, smoothed",
    classes: 1,
    batch: 2,
    logits: { center: 5, width: 1 },
    labels: [0],
    smoothing: 0.1,
  }),
  lossCase({ why: "one class", classes: 1, batch: 2, logits: { center: 5, width: 1 }, labels: [0] }),
  lossCase({
    why: "no gradient",
    classes: 5,
    batch: 3,
    logits: { center: 0, width: 3 },
    labels: [4, 0],
    gradient: false,
  }),
  lossCase({ why: "equal logits", classes: 10, batch: 3, logits: { values: [1.5] }, labels: [0, 9, 5] }),
  lossCase({
    why: "some equal logits",
    classes: 5,
    batch: 4,
    logits: { values: [1, 2, 2, 0.5, 2] },
    labels: [1, 2, 4, 0],
  }),
  lossCase({ why: "logits of ±80", classes: 5, batch: 5, logits: { center: 0, width: 160 }, labels: [0, 1, 2, 3, 4] }),
  lossCase({ why: "logits of ±1e4", classes: 5, batch: 5, logits: { center: 0, width: 2e4 }, labels: [0, 1, 2, 3, 4] }),
  lossCase({
    why: "some NaN",
    classes: 3,
    batch: 4,
    logits: { values: [1, Number.NaN, 0, 0.5, 1, 2, Number.NaN, 0, 1, 3, 2, 1] },
    labels: [0, 2, 1, 0],
  }),
];

/**
 * Three parameters, 1 + 4095 + 91 floats: no multiple of a vector, of a pair of them or of a number of threads. The
 * same for all cases.
 */
const shapes: Readonly<Record<string, readonly number[]>> = { bias: [1], weight: [13, 35, 3, 3], gamma: [91] };

const parallel = (role: BufferRole): Record<string, CaseBuffer> =>
  Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`${role}(${name})`, { shape, role }]));

const fillParallel = (role: BufferRole, width: number, center = 0) =>
  Object.keys(shapes).map((name) => ({ at: { buffer: `${role}(${name})` }, fill: { center, width } }));

const allParameters = {
  ...parallel("parameter"),
  ...parallel("gradient"),
  ...parallel("gradientSum"),
  ...parallel("momentum"),
};
const allFills = [
  ...fillParallel("parameter", 0.5),
  ...fillParallel("gradient", 2),
  ...fillParallel("gradientSum", 5),
  ...fillParallel("momentum", 3),
];

export const accumulateGradients = (["add", "set"] as const).map(
  (mode): Case<"accumulateGradients"> => ({
    kernel: "accumulateGradients",
    name: `${mode} 4187 floats`,
    args: { mode },
    buffers: allParameters,
    inputs: allFills,
  }),
);

function sgdCase(args: Case<"sgd">["args"], learningRate: number): Case<"sgd"> {
  const { momentum, nesterov, weightDecay, gradientScale, source } = args;
  return {
    kernel: "sgd",
    name:
      `${source}·${gradientScale} momentum ${momentum}${nesterov ? " nesterov" : ""} decay ${weightDecay} rate ` +
      `${learningRate}`,
    args,
    buffers: allParameters,
    inputs: allFills,
    scalars: { learningRate },
  };
}

export const sgd = [
  sgdCase({ momentum: 0.9, nesterov: true, weightDecay: 1e-4, gradientScale: 1, source: "gradient" }, 0.1),
  sgdCase({ momentum: 0.9, nesterov: false, weightDecay: 5e-4, gradientScale: 1, source: "gradient" }, 0.01),
  sgdCase({ momentum: 0, nesterov: false, weightDecay: 0, gradientScale: 1, source: "gradient" }, 1),
  sgdCase({ momentum: 0.9, nesterov: true, weightDecay: 1e-4, gradientScale: 0.25, source: "gradientSum" }, 0.1),
  sgdCase({ momentum: 0.9, nesterov: true, weightDecay: 1e-4, gradientScale: 1, source: "gradient" }, 0),
];

function adamwCase(args: Case<"adamw">["args"], learningRate: number, update: number): Case<"adamw"> {
  const { betas, epsilon, weightDecay, gradientScale, source } = args;
  const corrections = [1 - betas[0] ** update, 1 - betas[1] ** update] as const;
  return {
    kernel: "adamw",
    name:
      `${source}·${gradientScale} betas ${betas.join(" ")} epsilon ${epsilon} decay ${weightDecay} rate ` +
      `${learningRate} update ${update}`,
    args,
    buffers: { ...allParameters, ...parallel("secondMoment") },
    // A second moment is a sum of squares.
    inputs: [...allFills, ...fillParallel("secondMoment", 1.9, 2)],
    scalars: { learningRate, corrections },
  };
}

const adam = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.05, gradientScale: 1, source: "gradient" } as const;

export const adamw = [
  adamwCase(adam, 1e-3, 1),
  adamwCase(adam, 1e-3, 1000),
  adamwCase({ ...adam, betas: [0.5, 0.9], epsilon: 0.1 }, 0.1, 3),
  adamwCase({ ...adam, betas: [0, 0], weightDecay: 0 }, 0.01, 1),
  adamwCase({ ...adam, gradientScale: 0.25, source: "gradientSum" }, 0.01, 20),
  adamwCase(adam, 0, 5),
];
