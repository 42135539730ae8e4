// plan: kernel calls over buffers at fixed addresses. Plain data: it prints itself (print.ts) and any backend can run
// it.
//
// A kernel's meaning is the composition of the ops it fuses. Feature maps are [N, C, H, W]; a view is a run of channels
// of a buffer, so a dense block is one buffer and concatenation is an address. Per-channel statistics are buffers [C]
// that are addressed by the same channel numbers as the features they describe.
import type { GateScope } from "../ops/sampleGate.ts";

/**
 * Unique within a plan and shared by name between plans compiled together: `images`, a state-dict path,
 * `d(features.conv0.weight)` (names.ts).
 */
export type BufferName = string;

/**
 * How feature maps of the forward pass may lie in memory. Everything else is f32 (labels i32), and so is all arithmetic
 * on them.
 */
export const activationDtypes = ["f32", "f16"] as const;
/** An entry of `activationDtypes`. */
export type ActivationDtype = (typeof activationDtypes)[number];

/** How the numbers of a buffer are stored. */
export type Dtype = ActivationDtype | "i32";
export const dtypeBytes = { f32: 4, f16: 2, i32: 4 } as const satisfies Readonly<Record<Dtype, number>>;

/**
 * What a buffer is for. `gradientSum`: gradients summed over micro-batches. `momentum`: the velocity of SGD, the first
 * moment of AdamW. `state`: running statistics. `arena`: lives within one run.
 */
export type BufferRole = "parameter" | "gradient" | "gradientSum" | "momentum" | "secondMoment" | "state" | "arena";

/** A buffer of a plan: its shape, its size in bytes and where it lies. */
export interface PlanBuffer {
  readonly name: BufferName;
  readonly shape: readonly number[];
  /** f16: feature maps [N, C, H, W] of the forward pass in a plan for f16; gradients and images never. */
  readonly dtype: Dtype;
  /** Every role but `arena` persists from run to run and is shared by name between plans compiled together. */
  readonly role: BufferRole;
  readonly bytes: number;
  /**
   * Byte offset: in the arena, or among the buffers of the same persistent role (parameters, gradients, gradientSums
   * and momenta run parallel). f16 buffers have an arena of their own, because a GPU sees memory as an array of one
   * type.
   */
  readonly offset: number;
  /**
   * Arena only: index of the first and last call that touches it. -1: written before the run; calls.length: read after
   * it.
   */
  readonly birth: number;
  readonly death: number;
}

/** `channels` channels of a buffer [N, C, H, W] or [C], from `offset`. */
export interface View {
  readonly buffer: BufferName;
  readonly offset: number;
  readonly channels: number;
}

/** Whether a kernel's output replaces what is there or is added to it. */
export type Write = "overwrite" | "accumulate";

/**
 * Applied while an operand is loaded: relu(gamma·(x − mean)/√(variance + eps) + beta). Training: batch statistics;
 * inference: running.
 */
export interface Composite {
  readonly mean: View;
  readonly variance: View;
  readonly gamma: BufferName; // [C]
  readonly beta: BufferName; // [C]
  readonly eps: number;
}

/** Where the backward pass of a Composite leaves what it finds beside dx. */
export interface CompositeGrad {
  readonly dGamma: BufferName; // [C], overwritten
  readonly dBeta: BufferName; // [C], overwritten
  /** Gradients with respect to batch mean and (biased) variance; applied once per channel by `statisticsGrad`. */
  readonly dMean: View;
  readonly dVariance: View;
  readonly write: Write; // of dMean, dVariance
}

/** What a kernel needs to propagate a gradient backward through relu(normalize(x)). */
export interface CompositeBackward {
  readonly x: View;
  readonly normalize: Composite;
  readonly grad: CompositeGrad;
}

/**
 * Stochastic depth: in a training step the branch of a residual unit counts or it does not, each image's or that of the
 * whole batch. Open and closed follow from (seed, step, stream, image number or 0), as in ops/sampleGate.ts.
 */
export interface Gate {
  readonly keepProbability: number;
  readonly stream: number;
  readonly per: GateScope;
}

/**
 * Of the shortcut of a residual unit [N, C', height, width] beside a branch [N, C, ⌈height/stride⌉, ⌈width/stride⌉]:
 * every stride-th pixel counts, and channels from C' on are zeros.
 */
export interface ShortcutSize {
  readonly height: number;
  readonly width: number;
  readonly stride: number;
}

/** Sizes of a convolution or pooling: input H×W, output outHeight×outWidth, square kernel, zero padding. */
export interface WindowSize {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

/**
 * Average pooling never overlaps: windows of windowHeight×windowWidth side by side; leftover rows and columns are
 * ignored.
 */
export interface PoolSize {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly windowHeight: number;
  readonly windowWidth: number;
}

/** The running statistics [C] of one batch norm, and the batch statistics that update them. */
export interface RunningEntry {
  readonly mean: View;
  readonly variance: View;
  readonly runningMean: BufferName;
  readonly runningVariance: BufferName;
}

/** The kernel table. A backend that lacks one of these does not type-check. */
export interface KernelTable {
  /** y = conv2d(composite(x), weight). weight [O, C, k, k]. */
  conv: { x: View; composite?: Composite; weight: BufferName; y: View; size: WindowSize };
  /** mean and biased variance over N, H, W of each channel of x. */
  channelStatistics: { x: View; mean: View; variance: View; batch: number; plane: number };
  /**
   * In place: x = keep ? x / (1 − rate) : 0; keep from (seed, step, stream, logical element index n·C·HW + c·HW + p of
   * the view).
   */
  dropout: { x: View; rate: number; stream: number; batch: number; plane: number };
  /** y = avgPool(composite(x)). */
  avgPool: { x: View; composite?: Composite; y: View; size: PoolSize };
  /** y = maxPool(composite(x)), padding never wins. */
  maxPool: { x: View; composite: Composite; y: View; size: WindowSize };
  /** y[N, K] = x[N, F]·weightᵀ + bias. weight [K, F]. x may be a buffer [N, F, 1, 1]. */
  linear: { x: View; weight: BufferName; bias: BufferName; y: BufferName; batch: number; classes: number };
  /**
   * y = relu?(scale·gate(normalize(x)) + shortcut), what is absent left out: the end of a residual unit, and without a
   * shortcut a composite function that more than one kernel reads. `normalize` is a composite's affine map without its
   * ReLU. A closed gate makes zeros, whatever it closes on. Either a gate or a scale that is not 1 (inference).
   */
  residualAdd: {
    x: View;
    normalize?: Composite;
    gate?: Gate;
    scale: number;
    shortcut?: ShortcutSize & { readonly x: View };
    relu: boolean;
    y: View;
    batch: number;
    height: number; // of x and y
    width: number;
  };
  /**
   * sampleLoss[n] = −Σ_k q_k·log softmax(logits[n])[k], where q_k = (k is labels[n] ? 1 − smoothing : 0) + smoothing/K;
   * sampleRank[n] = how many classes stand before the label (greater logit, or equal logit and smaller index; NaN
   * logits rank the label last). With dLogits: dLogits = scale·(softmax − q).
   */
  softmaxCrossEntropy: {
    logits: BufferName; // [N, K]
    labels: BufferName; // [N] i32
    sampleLoss: BufferName; // [N]
    sampleRank: BufferName; // [N]
    dLogits?: BufferName; // [N, K]
    scale: number;
    smoothing: number;
    batch: number;
    classes: number;
  };
  linearGrad: {
    x: View;
    weight: BufferName;
    dy: BufferName; // [N, K]
    dx: View; // overwritten
    dWeight: BufferName; // overwritten
    dBias: BufferName; // overwritten
    batch: number;
    classes: number;
  };
  /**
   * dx of avgPool(composite(x)) with respect to x, statistics held; without composite with respect to the pool's input
   * (overwritten).
   */
  avgPoolGrad: { dy: View; dx: View; write: Write; composite?: CompositeBackward; size: PoolSize };
  /** As avgPoolGrad; of equal maxima in a window the first in row order gets the gradient. */
  maxPoolGrad: { dy: View; dx: View; write: Write; composite: CompositeBackward; size: WindowSize };
  /**
   * dx of conv2d(composite(x), weight) with respect to x, statistics held; without composite with respect to the
   * convolution's input.
   */
  convGradInput: {
    dy: View;
    weight: BufferName;
    dx: View;
    write: Write;
    composite?: CompositeBackward;
    size: WindowSize;
  };
  /**
   * dx and the gradient of the shortcut of residualAdd with scale 1, statistics held. y is given where there is a ReLU:
   * dy counts where not y ≤ 0. `normalize` is propagated through without its ReLU.
   */
  residualAddGrad: {
    dy: View;
    y?: View;
    gate?: Gate;
    dx: View;
    write: Write;
    normalize?: CompositeBackward;
    shortcut?: ShortcutSize & { readonly dx: View; readonly write: Write };
    batch: number;
    height: number; // of dy and dx
    width: number;
  };
  /** dWeight of conv2d(composite(x), weight), overwritten. */
  convGradWeight: { x: View; composite?: Composite; dy: View; dWeight: BufferName; size: WindowSize };
  /**
   * convGradInput and convGradWeight of conv2d(composite(x), weight), 1×1, in one pass over x. With `dyStatistics`, dy
   * is taken as dy + (dMean + 2·(y − mean)·dVariance) / count, which `statisticsGrad` would make of it; dy itself stays
   * as it is.
   */
  convGrad: {
    dy: View;
    dyStatistics?: { y: View; mean: View; dMean: View; dVariance: View };
    weight: BufferName;
    dWeight: BufferName; // overwritten
    dx: View;
    write: Write;
    composite: CompositeBackward;
    size: WindowSize;
  };
  /**
   * In place, once per channel, when all consumers have added theirs: dx += (dMean + 2·(x − mean)·dVariance) / count,
   * count = N·H·W.
   */
  statisticsGrad: { dx: View; x: View; mean: View; dMean: View; dVariance: View; batch: number; plane: number };
  /**
   * running = (1 − momentum)·running + momentum·batch, with the unbiased variance: batch variance·count/(count − 1).
   */
  updateRunningStatistics: { entries: readonly RunningEntry[]; momentum: number; count: number };
  /** gradientSum = gradientSum + gradient ("add") or gradient ("set"), over all parameters. */
  accumulateGradients: { mode: "set" | "add" };
  /**
   * v = momentum·v + (g·gradientScale + weightDecay·w); w −= learningRate·(nesterov ? g' + momentum·v : v), over all
   * parameters; learningRate is a run scalar. `source`: which role holds g.
   */
  sgd: {
    momentum: number;
    nesterov: boolean;
    weightDecay: number;
    gradientScale: number;
    source: "gradient" | "gradientSum";
  };
  /**
   * AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2), over all parameters, with g' = g·gradientScale:
   * m = β₁·m + (1 − β₁)·g'; v = β₂·v + (1 − β₂)·g'²; w = w·(1 − learningRate·weightDecay) − learningRate·(m/c₁) /
   * (√(v/c₂) + epsilon). learningRate and the corrections c₁, c₂ are run scalars; m is the role momentum.
   */
  adamw: {
    betas: readonly [first: number, second: number];
    epsilon: number;
    weightDecay: number;
    gradientScale: number;
    source: "gradient" | "gradientSum";
  };
}

/** A row of the kernel table. */
export type KernelName = keyof KernelTable;

/**
 * One kernel call. `computes` names the graph nodes it stands for; every node of a graph is claimed by exactly one call
 * (recomputation aside).
 */
export type KernelCall = {
  readonly [K in KernelName]: {
    readonly kernel: K;
    readonly args: Readonly<KernelTable[K]>;
    readonly path: string;
    readonly computes: readonly number[];
    /** True where a forward kernel runs a second time to save memory. */
    readonly recompute: boolean;
    readonly macs: number;
    /** Bytes of feature maps and weights the kernel must touch once. */
    readonly trafficBytes: number;
  };
}[KernelName];

/** What a device does in one run: kernel calls in order, over buffers at fixed addresses. Sizes are in bytes. */
export interface Plan {
  readonly buffers: ReadonlyMap<BufferName, PlanBuffer>;
  readonly calls: readonly KernelCall[];
  /**
   * Graph nodes that need no kernel because they are addresses: concatenation, and the slices and sums it becomes in
   * the backward pass.
   */
  readonly addressed: readonly number[];
  /** Of both arenas. */
  readonly arenaBytes: number;
  /** Of these, the arena of the f16 buffers; 0 in a plan for f32. */
  readonly f16ArenaBytes: number;
  readonly persistentBytes: number;
  /** arenaBytes + persistentBytes. */
  readonly peakBytes: number;
}
