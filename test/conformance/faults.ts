// Test support: mistakes that kernels make, planted on purpose: in the arguments a kernel is compiled for, in what it
// reads, or in what it left behind. Every kernel has some. The checker must see each of them.
import type { CompositeBackward, Gate, KernelName, KernelTable, View, WindowSize } from "../../src/plan/plan.ts";

type Data = Float32Array | Int32Array;

export interface Fault<K extends KernelName> {
  readonly name: string;
  /** The case it is planted in: the first whose name contains this. */
  readonly inCase: string;
  readonly args?: (args: Readonly<KernelTable[K]>) => KernelTable[K];
  /** Changes what the kernel reads, as if it had overlooked it. */
  readonly reads?: (before: ReadonlyMap<string, Data>) => void;
  /** Changes what the kernel left. */
  readonly leaves?: (after: ReadonlyMap<string, Data>, before: ReadonlyMap<string, Data>) => void;
}

const at = (contents: ReadonlyMap<string, Data>, buffer: string): Data => {
  const data = contents.get(buffer);
  if (!data) throw new RangeError(`the case has no buffer ${buffer}`);
  return data;
};

const earlier = (view: View): View => ({ ...view, offset: view.offset - 1 });
const thinner = (size: WindowSize): WindowSize => ({ ...size, padding: size.padding - 1 });
const flipped = (write: "overwrite" | "accumulate") => (write === "overwrite" ? "accumulate" : "overwrite");

/** The second half of a buffer [N, …] as if its images were zeros: a thread's part that is left out of a sum. */
const halfIsZero = (buffer: string) => (before: ReadonlyMap<string, Data>) => {
  const data = at(before, buffer);
  data.fill(0, Math.floor(data.length / 2));
};

/** Columns [width − 1] of all rows as they were. */
const lastColumnUnwritten =
  (buffer: string, width: number) => (after: ReadonlyMap<string, Data>, before: ReadonlyMap<string, Data>) => {
    const [data, old] = [at(after, buffer), at(before, buffer)];
    for (let i = width - 1; i < data.length; i += width) data[i] = old[i];
  };

function backward(
  composite: CompositeBackward | undefined,
  change: (composite: CompositeBackward) => CompositeBackward,
): { composite?: CompositeBackward } {
  return composite ? { composite: change(composite) } : {};
}
const coarse = ({ normalize, ...rest }: CompositeBackward): CompositeBackward => ({
  ...rest,
  normalize: { ...normalize, eps: 1e-4 },
});
const otherSums = ({ grad, ...rest }: CompositeBackward): CompositeBackward => ({
  ...rest,
  grad: { ...grad, write: flipped(grad.write) },
});

/** β so high that every ReLU is open: the backward pass without its mask. */
const openReLU = (before: ReadonlyMap<string, Data>): void => {
  at(before, "beta").fill(1000);
};

/** What every kernel with a composite backward pass can get wrong; `inCase` accumulates. */
function compositeFaults<K extends "convGrad" | "convGradInput" | "avgPoolGrad" | "maxPoolGrad">(
  inCase: string,
): readonly Fault<K>[] {
  // One record type for four kernels that share these fields.
  const changed = (change: (args: KernelTable["avgPoolGrad"]) => object) => (args: Readonly<KernelTable[K]>) =>
    ({ ...args, ...change(args as KernelTable["avgPoolGrad"]) }) as KernelTable[K];
  return [
    { name: "dx replaces what was there", inCase, args: changed(() => ({ write: "overwrite" })) },
    {
      name: "dMean and dVariance replace what was there",
      inCase,
      args: changed(({ composite }) => backward(composite, otherSums)),
    },
    { name: "eps 1e-4", inCase, args: changed(({ composite }) => backward(composite, coarse)) },
    { name: "the ReLU's mask is forgotten", inCase, reads: openReLU },
    {
      name: "x is read a channel too early",
      inCase,
      args: changed(({ composite }) => backward(composite, (c) => ({ ...c, x: earlier(c.x) }))),
    },
  ];
}

/** Gates that open and close for other images. */
function gateFaults<K extends "residualAdd" | "residualAddGrad">(_kernel: K): readonly Fault<K>[] {
  const changed = (change: (gate: Gate) => Gate) => (args: Readonly<KernelTable[K]>) =>
    (args.gate ? { ...args, gate: change(args.gate) } : args) as KernelTable[K];
  return [
    { name: "another stream", inCase: "c=9 5×7", args: changed((gate) => ({ ...gate, stream: gate.stream + 1 })) },
    { name: "one gate for all images", inCase: "c=9 5×7", args: changed((gate) => ({ ...gate, per: "batch" })) },
    { name: "a gate for each image", inCase: "gate 0.01 per batch", args: changed(() => alwaysOpen) },
  ];
}
const alwaysOpen: Gate = { keepProbability: 1, stream: 0, per: "image" };

export const plantedFaults: { readonly [K in KernelName]: readonly Fault<K>[] } = {
  conv: [
    {
      name: "eps 1e-4",
      inCase: "c=20→12 7×5",
      args: ({ composite, ...args }) => ({ ...args, ...(composite ? { composite: { ...composite, eps: 1e-4 } } : {}) }),
    },
    { name: "the composite is left out", inCase: "c=13→7 13×9", args: ({ composite: _, ...args }) => args },
    {
      name: "the mean is a channel off",
      inCase: "c=20→12 7×5",
      args: ({ composite, ...args }) => ({
        ...args,
        ...(composite
          ? { composite: { ...composite, mean: { ...composite.mean, offset: composite.mean.offset + 1 } } }
          : {}),
      }),
    },
    { name: "padding one too small", inCase: "c=7→2 7×5", args: (args) => ({ ...args, size: thinner(args.size) }) },
    {
      name: "padding one too small, strided",
      inCase: "c=3→13 31×33",
      args: (args) => ({ ...args, size: thinner(args.size) }),
    },
    { name: "x is read a channel too early", inCase: "c=20→12 7×5", args: (args) => ({ ...args, x: earlier(args.x) }) },
    {
      name: "y is written a channel too early",
      inCase: "c=20→12 7×5",
      args: (args) => ({ ...args, y: earlier(args.y) }),
    },
    {
      name: "the last image is left out",
      inCase: "c=13→7 13×9",
      args: (args) => ({ ...args, size: { ...args.size, batch: args.size.batch - 1 } }),
    },
    { name: "the last column is missing", inCase: "c=5→13 33×31", leaves: lastColumnUnwritten("y", 31) },
  ],
  channelStatistics: [
    {
      name: "E[x²] − E[x]² in f32",
      inCase: "|mean|/σ=30",
      leaves: (after) => {
        const [x, variance] = [at(after, "x"), at(after, "variance")];
        const channels = variance.length;
        const plane = 13 * 9;
        const images = x.length / (channels * plane);
        for (let c = 0; c < channels; c++) {
          let [sum, squares] = [0, 0];
          for (let n = 0; n < images; n++) {
            for (const value of x.subarray((n * channels + c) * plane, (n * channels + c + 1) * plane)) {
              sum = Math.fround(sum + value);
              squares = Math.fround(squares + Math.fround(value * value));
            }
          }
          const mean = Math.fround(sum / (images * plane));
          variance[c] = Math.fround(squares / (images * plane)) - Math.fround(mean * mean);
        }
      },
    },
    {
      name: "the unbiased variance",
      inCase: "c=7 33×31",
      leaves: (after) => {
        const count = 5 * 33 * 31;
        at(after, "variance").forEach((value, c, variance) => {
          variance[c] = (value * count) / (count - 1);
        });
      },
    },
    { name: "the last image is left out", inCase: "c=13 7×5", args: (args) => ({ ...args, batch: args.batch - 1 }) },
    { name: "a pixel too many is read", inCase: "c=1 1×1", args: (args) => ({ ...args, plane: args.plane + 1 }) },
  ],
  dropout: [
    { name: "another stream", inCase: "c=7 7×5", args: (args) => ({ ...args, stream: args.stream + 1 }) },
    { name: "another rate", inCase: "c=7 7×5", args: (args) => ({ ...args, rate: 0.21 }) },
    {
      name: "kept values are not scaled",
      inCase: "c=7 7×5",
      leaves: (after) => {
        at(after, "x").forEach((value, i, x) => {
          if (!Number.isNaN(value)) x[i] = value * 0.8;
        });
      },
    },
    {
      name: "a channel too many is dropped",
      inCase: "c=7 7×5",
      args: (args) => ({ ...args, x: { ...args.x, channels: args.x.channels + 1 } }),
    },
  ],
  avgPool: [
    {
      name: "eps 1e-4",
      inCase: "c=7 7×5",
      args: ({ composite, ...args }) => ({ ...args, ...(composite ? { composite: { ...composite, eps: 1e-4 } } : {}) }),
    },
    { name: "the composite is left out", inCase: "c=7 7×5", args: ({ composite: _, ...args }) => args },
    { name: "the last column is missing", inCase: "c=5 33×31", leaves: lastColumnUnwritten("y", 15) },
    {
      name: "the last image is left out",
      inCase: "c=7 7×5",
      args: (args) => ({ ...args, size: { ...args.size, batch: args.size.batch - 1 } }),
    },
  ],
  maxPool: [
    {
      name: "eps 1e-4",
      inCase: "c=7 7×5",
      args: ({ composite, ...args }) => ({ ...args, composite: { ...composite, eps: 1e-4 } }),
    },
    { name: "padding one too small", inCase: "c=7 7×5", args: (args) => ({ ...args, size: thinner(args.size) }) },
    {
      name: "a window one too small",
      inCase: "c=7 7×5",
      args: (args) => ({ ...args, size: { ...args.size, kernel: args.size.kernel - 1 } }),
    },
    {
      name: "a NaN is lost",
      inCase: "some NaN",
      leaves: (after) => {
        at(after, "y").forEach((value, i, y) => {
          if (Number.isNaN(value)) y[i] = 0.5;
        });
      },
    },
  ],
  residualAdd: [
    { name: "the shortcut is left out", inCase: "c=16 8×8", args: ({ shortcut: _, ...args }) => args },
    { name: "batch norm is left out", inCase: "c=16 8×8", args: ({ normalize: _, ...args }) => args },
    { name: "ReLU is left out", inCase: "c=16 8×8", args: (args) => ({ ...args, relu: false }) },
    { name: "ReLU where there is none", inCase: "c=12 9×13", args: (args) => ({ ...args, relu: true }) },
    {
      name: "eps 1e-4",
      inCase: "c=16 8×8",
      args: ({ normalize, ...args }) => ({ ...args, ...(normalize ? { normalize: { ...normalize, eps: 1e-4 } } : {}) }),
    },
    { name: "the gate is left out", inCase: "c=9 5×7", args: ({ gate: _, ...args }) => args },
    ...gateFaults("residualAdd"),
    { name: "the scale is left out", inCase: "scaled by 0.6", args: (args) => ({ ...args, scale: 1 }) },
    {
      name: "the shortcut is read from its second pixel on",
      inCase: "c=32 4×4",
      reads: (before) => {
        const data = at(before, "shortcut");
        data.copyWithin(0, 1);
      },
    },
    {
      name: "the shortcut's padding is at the other end",
      inCase: "c=32 4×4",
      leaves: (after) => {
        const y = at(after, "y");
        const half = 16 * 4 * 4;
        const first = y.slice(0, half);
        y.copyWithin(0, half, 2 * half);
        y.set(first, half);
      },
    },
    { name: "y is written a channel too early", inCase: "c=13 7×5", args: (args) => ({ ...args, y: earlier(args.y) }) },
  ],
  residualAddGrad: [
    {
      name: "ReLU's mask is forgotten",
      inCase: "c=16 8×8",
      reads: (before) => {
        at(before, "y").fill(1);
      },
    },
    ...gateFaults("residualAddGrad"),
    { name: "the gate is left out", inCase: "c=9 5×7", args: ({ gate: _, ...args }) => args },
    {
      name: "dx replaces what was there",
      inCase: "c=16 7×5 n=3 normalized relu accumulate",
      args: (args) => ({ ...args, write: "overwrite" }),
    },
    {
      name: "the shortcut's gradient replaces what was there",
      inCase: "shortcut accumulate",
      args: ({ shortcut, ...args }) => ({
        ...args,
        ...(shortcut ? { shortcut: { ...shortcut, write: "overwrite" } } : {}),
      }),
    },
    {
      name: "dMean and dVariance replace what was there",
      inCase: "sums accumulate",
      args: ({ normalize, ...args }) => ({ ...args, ...(normalize ? { normalize: otherSums(normalize) } : {}) }),
    },
    {
      name: "eps 1e-4",
      inCase: "c=16 8×8",
      args: ({ normalize, ...args }) => ({ ...args, ...(normalize ? { normalize: coarse(normalize) } : {}) }),
    },
    {
      name: "half of the images is missing in the sums",
      inCase: "c=16 7×5 n=3 normalized relu overwrite",
      reads: halfIsZero("dy"),
    },
  ],
  linear: [
    {
      name: "the bias is forgotten",
      inCase: "f=13",
      leaves: (after) => {
        const [y, bias] = [at(after, "y"), at(after, "bias")];
        y.forEach((value, i) => {
          y[i] = value - bias[i % bias.length];
        });
      },
    },
    {
      name: "the last feature is left out",
      inCase: "f=1 classes",
      args: (args) => ({ ...args, x: { ...args.x, channels: 0 } }),
    },
    { name: "x is read a channel too early", inCase: "f=5", args: (args) => ({ ...args, x: earlier(args.x) }) },
    { name: "the last image is left out", inCase: "f=13", args: (args) => ({ ...args, batch: args.batch - 1 }) },
  ],
  softmaxCrossEntropy: [
    {
      name: "the gradient is not divided by the batch",
      inCase: "first and last",
      args: (args) => ({ ...args, scale: 1 }),
    },
    { name: "labels are not smoothed", inCase: "smoothing 0.1", args: (args) => ({ ...args, smoothing: 0 }) },
    { name: "the gradient is not written", inCase: "first and last", args: ({ dLogits: _, ...args }) => args },
    {
      name: "equal logits stand behind the label",
      inCase: "some equal",
      leaves: (after) => {
        at(after, "sampleRank").fill(0);
      },
    },
    {
      name: "a logarithm good to 2e-5 only",
      inCase: "many images",
      leaves: (after) => {
        at(after, "sampleLoss").forEach((value, n, losses) => {
          losses[n] = value + 2e-5;
        });
      },
    },
  ],
  linearGrad: [
    { name: "the last image is left out", inCase: "f=13", args: (args) => ({ ...args, batch: args.batch - 1 }) },
    {
      name: "the last class is left out",
      inCase: "f=13",
      reads: (before) => void at(before, "weight").fill(0, 9 * 13),
    },
    { name: "x is read a channel too early", inCase: "f=5", args: (args) => ({ ...args, x: earlier(args.x) }) },
  ],
  avgPoolGrad: [
    ...compositeFaults<"avgPoolGrad">("c=7 7×5 n=3 window 2×2 composite dx(offset 4) accumulate"),
    { name: "the rest of a row is not cleared", inCase: "c=13 13×9", leaves: lastColumnUnwritten("dx", 9) },
  ],
  maxPoolGrad: [
    ...compositeFaults<"maxPoolGrad">("c=7 7×5 n=3 k=3 stride 2 padding 1 dx(offset 2) accumulate"),
    { name: "padding one too small", inCase: "c=7 7×5", args: (args) => ({ ...args, size: thinner(args.size) }) },
  ],
  convGrad: [
    ...compositeFaults<"convGrad">(
      "c=20→12 7×5 n=3 k=1 dx(offset 8) dy(offset 5) composite accumulate, statistics of y",
    ),
    {
      name: "dy is read a channel too early",
      inCase: "c=20→12 7×5 n=3 k=1 dx(offset 8) dy(offset 5) composite overwrite",
      args: (args) => ({ ...args, dy: earlier(args.dy) }),
    },
    {
      name: "the statistics are left out",
      inCase: "c=12→24 9×13 n=37 k=1 dx(offset 12) composite (groups of images) accumulate, statistics of y",
      args: ({ dyStatistics: _, ...args }) => args,
    },
    {
      name: "the factor 2 of dVariance is forgotten",
      inCase: "c=20→12 7×5 n=3 k=1 dx(offset 8) dy(offset 5) composite accumulate, statistics of y",
      reads: (before) => {
        at(before, "dYVariance").forEach((value, c, all) => {
          if (!Number.isNaN(value)) all[c] = value / 2;
        });
      },
    },
    { name: "a thread's part is left out", inCase: "c=12→24 9×13", reads: halfIsZero("dy") },
    {
      name: "the last image is left out",
      inCase: "c=12→24 9×13 n=37 k=1 dx(offset 12) composite (groups of images) overwrite",
      args: (args) => ({ ...args, size: { ...args.size, batch: args.size.batch - 1 } }),
    },
    { name: "the last column is missing", inCase: "c=20→12 7×5", leaves: lastColumnUnwritten("dx", 5) },
  ],
  convGradInput: [
    ...compositeFaults<"convGradInput">("c=20→12 7×5 n=3 k=1 dx(offset 8) dy(offset 5) composite accumulate"),
    {
      name: "dy is read a channel too early",
      inCase: "c=7→2 7×5",
      args: (args) => ({ ...args, dy: earlier(args.dy) }),
    },
    {
      name: "the weights are not turned",
      inCase: "c=6→6 1×7",
      reads: (before) => {
        const weight = at(before, "weight");
        for (let first = 0; first < weight.length; first += 9) weight.subarray(first, first + 9).reverse();
      },
    },
    { name: "the last column is missing", inCase: "c=7→2 7×5", leaves: lastColumnUnwritten("dx", 5) },
  ],
  convGradWeight: [
    { name: "a thread's part is left out", inCase: "c=7→2 7×5", reads: halfIsZero("dy") },
    {
      name: "the last image is left out",
      inCase: "c=12→24 9×13",
      args: (args) => ({ ...args, size: { ...args.size, batch: args.size.batch - 1 } }),
    },
    {
      name: "eps 1e-4",
      inCase: "c=20→12 7×5",
      args: ({ composite, ...args }) => ({ ...args, ...(composite ? { composite: { ...composite, eps: 1e-4 } } : {}) }),
    },
    { name: "the composite is left out", inCase: "c=13→7 13×9", args: ({ composite: _, ...args }) => args },
    { name: "padding one too small", inCase: "c=7→2 7×5", args: (args) => ({ ...args, size: thinner(args.size) }) },
  ],
  statisticsGrad: [
    {
      name: "the factor 2 of dVariance is forgotten",
      inCase: "c=13 7×5",
      reads: (before) => {
        at(before, "dVariance").forEach((value, c, all) => {
          if (!Number.isNaN(value)) all[c] = value / 2;
        });
      },
    },
    { name: "the mean is forgotten", inCase: "c=13 7×5", reads: (before) => void at(before, "mean").fill(0) },
    { name: "the last image is left out", inCase: "c=13 7×5", args: (args) => ({ ...args, batch: args.batch - 1 }) },
  ],
  updateRunningStatistics: [
    { name: "the biased variance", inCase: "count=105", args: (args) => ({ ...args, count: 2 ** 30 }) },
    {
      name: "momentum the other way round",
      inCase: "count=105",
      args: (args) => ({ ...args, momentum: 1 - args.momentum }),
    },
    {
      name: "the last consumer is left out",
      inCase: "count=105",
      args: (args) => ({ ...args, entries: args.entries.slice(0, -1) }),
    },
  ],
  accumulateGradients: [
    { name: "sets instead of adding", inCase: "add", args: () => ({ mode: "set" }) },
    { name: "adds instead of setting", inCase: "set", args: () => ({ mode: "add" }) },
  ],
  sgd: [
    { name: "momentum without Nesterov", inCase: "nesterov", args: (args) => ({ ...args, nesterov: false }) },
    { name: "no weight decay", inCase: "nesterov", args: (args) => ({ ...args, weightDecay: 0 }) },
    {
      name: "the gradient of one part instead of the sum",
      inCase: "gradientSum",
      args: (args) => ({ ...args, source: "gradient" }),
    },
    { name: "the sum is not scaled", inCase: "gradientSum", args: (args) => ({ ...args, gradientScale: 1 }) },
  ],
  adamw: [
    { name: "no weight decay", inCase: "decay 0.05", args: (args) => ({ ...args, weightDecay: 0 }) },
    { name: "no epsilon", inCase: "epsilon 0.1", args: (args) => ({ ...args, epsilon: 0 }) },
    {
      name: "the first moment keeps as much as the second",
      inCase: "decay 0.05",
      args: ({ betas: [, second], ...args }) => ({ ...args, betas: [second, second] }),
    },
    {
      name: "the gradient of one part instead of the sum",
      inCase: "gradientSum",
      args: (args) => ({ ...args, source: "gradient" }),
    },
    { name: "the sum is not scaled", inCase: "gradientSum", args: (args) => ({ ...args, gradientScale: 1 }) },
  ],
};
