// backends/reference: kernels on views, one by one. Backward kernels are judged by central differences of the forward
// kernels; what a kernel must not touch is compared bit by bit.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { referenceKernels } from "../../../src/backends/reference/kernels.ts";
import type { ReferenceMemory } from "../../../src/backends/reference/memory.ts";
import type { Composite, CompositeBackward, CompositeGrad, PoolSize, WindowSize } from "../../../src/plan/plan.ts";
import { assertGradient, dot, draw } from "../../ops/differences.ts";
import { type BufferCase, drawnMemory, view } from "./buffers.ts";

const kernels = referenceKernels;

function f64(memory: ReferenceMemory, buffer: string): Float64Array {
  return memory.tensor(buffer).data as Float64Array;
}

/** Channels [from, from + count) of a buffer [N, C, H, W] or [C], and the rest, as arrays. */
function split(data: Float64Array, shape: readonly number[], from: number, count: number) {
  const channels = shape.length === 1 ? shape[0] : shape[1];
  const plane = shape.slice(2).reduce((product, extent) => product * extent, 1);
  const inside = (i: number) => {
    const channel = Math.floor(i / plane) % channels;
    return channel >= from && channel < from + count;
  };
  return { inside: data.filter((_, i) => inside(i)), outside: data.filter((_, i) => !inside(i)) };
}

// A block's buffer of 6 channels, of which the kernel reads channels 1 to 4; y goes to channels 2 to 4 of 5.
const XC = 4;
const YC = 3;
const xShape = [2, 6, 5, 4];
const x = view("x", XC, 1);
const y = view("y", YC, 2);
const composite: Composite = {
  mean: view("mean", XC, 1),
  variance: view("variance", XC, 1),
  gamma: "gamma",
  beta: "beta",
  eps: 1e-5,
};
const grad: CompositeGrad = {
  dGamma: "dGamma",
  dBeta: "dBeta",
  dMean: view("dMean", XC, 1),
  dVariance: view("dVariance", XC, 1),
  write: "accumulate",
};
const backward: CompositeBackward = { x, normalize: composite, grad };
const compositeBuffers: Readonly<Record<string, BufferCase>> = {
  x: { shape: xShape },
  dx: { shape: xShape },
  mean: { shape: [6] },
  variance: { shape: [6] },
  gamma: { shape: [XC], role: "parameter" },
  beta: { shape: [XC], role: "parameter" },
  dGamma: { shape: [XC], role: "gradient" },
  dBeta: { shape: [XC], role: "gradient" },
  dMean: { shape: [6] },
  dVariance: { shape: [6] },
};

function withPositiveVariance<M extends ReferenceMemory>(memory: M): M {
  const variance = f64(memory, "variance");
  variance.set(variance.map((v) => 1.3 + v));
  return memory;
}

/**
 * Runs `forward` and `backward` on L = Σ weights·y. Afterwards dx, dMean and dVariance must have grown by the gradient
 * inside their views and be untouched outside, dGamma and dBeta must be the gradient.
 */
function checkComposite(
  memory: ReferenceMemory & { readonly gapsIntact: () => boolean },
  yShape: readonly number[],
  yView: { offset: number; channels: number },
  forward: () => void,
  backward: () => void,
  withStatistics: boolean,
): () => number {
  const before = new Map(["dx", "dMean", "dVariance"].map((name) => [name, f64(memory, name).slice()]));
  const dy = f64(memory, "dy");
  const weights = split(dy, yShape, yView.offset, yView.channels).inside;
  const yBefore = split(f64(memory, "y"), yShape, yView.offset, yView.channels).outside;
  const loss = () => {
    forward();
    return dot(split(f64(memory, "y"), yShape, yView.offset, yView.channels).inside, weights);
  };
  loss();
  assert.deepEqual(
    split(f64(memory, "y"), yShape, yView.offset, yView.channels).outside,
    yBefore,
    "y outside its view",
  );
  backward();
  assert.ok(memory.gapsIntact(), "memory between buffers");

  const vector = withStatistics ? (["mean", "variance"] as const) : [];
  for (const name of ["x", ...vector] as const) {
    const gradientName = name === "x" ? "dx" : name === "mean" ? "dMean" : "dVariance";
    const shape = memory.tensor(name).shape;
    const added = f64(memory, gradientName).map((v, i) => v - (before.get(gradientName)?.[i] ?? Number.NaN));
    assert.ok(
      split(added, shape, 1, XC).outside.every((v) => v === 0),
      `${gradientName} outside its view`,
    );
    assertGradient(name, f64(memory, name), added, loss);
  }
  for (const name of withStatistics ? ["gamma", "beta"] : []) {
    const gradient = f64(memory, name === "gamma" ? "dGamma" : "dBeta");
    assertGradient(name, f64(memory, name), gradient, loss);
  }
  return loss;
}

describe("kernels against central differences, on views, accumulating", () => {
  const windows: readonly (readonly [what: string, size: WindowSize])[] = [
    ["1×1", { batch: 2, height: 5, width: 4, outHeight: 5, outWidth: 4, kernel: 1, stride: 1, padding: 0 }],
    ["3×3", { batch: 2, height: 5, width: 4, outHeight: 5, outWidth: 4, kernel: 3, stride: 1, padding: 1 }],
    ["7×7 stride 2", { batch: 2, height: 5, width: 4, outHeight: 3, outWidth: 2, kernel: 7, stride: 2, padding: 3 }],
  ];
  for (const [what, size] of windows) {
    for (const fused of [true, false]) {
      test(`conv ${what}${fused ? " after normalize and ReLU" : ""} · convGradInput and convGradWeight`, () => {
        const yShape = [2, 5, size.outHeight, size.outWidth];
        const weightShape = [YC, XC, size.kernel, size.kernel];
        const memory = withPositiveVariance(
          drawnMemory({
            ...compositeBuffers,
            y: { shape: yShape },
            dy: { shape: yShape },
            weight: { shape: weightShape, role: "parameter" },
            dWeight: { shape: weightShape, role: "gradient" },
          }),
        );
        const dy = view("dy", YC, 2);
        const load = fused ? { composite } : {};
        const back = fused ? { composite: backward } : {};
        const loss = checkComposite(
          memory,
          yShape,
          y,
          () => kernels.conv({ x, ...load, weight: "weight", y, size }, memory, {}),
          () => {
            const dx = view("dx", XC, 1);
            kernels.convGradInput({ dy, weight: "weight", dx, write: "accumulate", ...back, size }, memory, {});
            kernels.convGradWeight({ x, ...load, dy, dWeight: "dWeight", size }, memory, {});
          },
          fused,
        );
        assertGradient("weight", f64(memory, "weight"), f64(memory, "dWeight"), loss);
      });
    }
  }

  for (const fused of [true, false]) {
    test(`avgPool 2×2${fused ? " after normalize and ReLU" : ""} · avgPoolGrad`, () => {
      const load = fused ? { composite } : {};
      const back = fused ? { composite: backward } : {};
      const size: PoolSize = {
        batch: 2,
        height: 5,
        width: 4,
        outHeight: 2,
        outWidth: 2,
        windowHeight: 2,
        windowWidth: 2,
      };
      const yShape = [2, 5, 2, 2];
      const memory = withPositiveVariance(
        drawnMemory({ ...compositeBuffers, y: { shape: yShape }, dy: { shape: yShape } }),
      );
      const to = view("y", XC, 1);
      checkComposite(
        memory,
        yShape,
        to,
        () => kernels.avgPool({ x, ...load, y: to, size }, memory, {}),
        () => {
          const views = { dy: view("dy", XC, 1), dx: view("dx", XC, 1) };
          kernels.avgPoolGrad({ ...views, ...back, write: "accumulate", size }, memory, {});
        },
        fused,
      );
    });
  }

  test("maxPool 3×3 stride 2 · maxPoolGrad", () => {
    const size: WindowSize = {
      batch: 2,
      height: 5,
      width: 4,
      outHeight: 3,
      outWidth: 2,
      kernel: 3,
      stride: 2,
      padding: 1,
    };
    const yShape = [2, 5, 3, 2];
    const memory = withPositiveVariance(
      drawnMemory({ ...compositeBuffers, y: { shape: yShape }, dy: { shape: yShape } }),
    );
    const to = view("y", XC, 1);
    checkComposite(
      memory,
      yShape,
      to,
      () => kernels.maxPool({ x, composite, y: to, size }, memory, {}),
      () => {
        const views = { dy: view("dy", XC, 1), dx: view("dx", XC, 1) };
        kernels.maxPoolGrad({ ...views, composite: backward, write: "accumulate", size }, memory, {});
      },
      true,
    );
  });

  test("channelStatistics · statisticsGrad adds to dx", () => {
    const memory = drawnMemory(compositeBuffers);
    const before = f64(memory, "dx").slice();
    const place = { x, batch: 2, plane: 20 };
    const weights = ["dMean", "dVariance"].map((name) => split(f64(memory, name), [6], 1, XC).inside);
    const loss = () => {
      kernels.channelStatistics({ ...place, mean: view("mean", XC, 1), variance: view("variance", XC, 1) }, memory, {});
      const found = ["mean", "variance"].map((name) => split(f64(memory, name), [6], 1, XC).inside);
      return dot(found[0], weights[0]) + dot(found[1], weights[1]);
    };
    loss();
    const vectors = { mean: view("mean", XC, 1), dMean: view("dMean", XC, 1), dVariance: view("dVariance", XC, 1) };
    kernels.statisticsGrad({ ...place, dx: view("dx", XC, 1), ...vectors }, memory, {});
    const added = f64(memory, "dx").map((v, i) => v - before[i]);
    assertGradient("x", f64(memory, "x"), added, loss);
    assert.ok(memory.gapsIntact());
  });

  test("linear from a buffer [N, F, 1, 1] · linearGrad", () => {
    const memory = drawnMemory({
      pooled: { shape: [3, 5, 1, 1] },
      dPooled: { shape: [3, 5, 1, 1] },
      weight: { shape: [4, 5], role: "parameter" },
      bias: { shape: [4], role: "parameter" },
      dWeight: { shape: [4, 5], role: "gradient" },
      dBias: { shape: [4], role: "gradient" },
      logits: { shape: [3, 4] },
      dLogits: { shape: [3, 4] },
    });
    const sizes = { batch: 3, classes: 4 };
    const from = view("pooled", 5);
    const loss = () => {
      kernels.linear({ x: from, weight: "weight", bias: "bias", y: "logits", ...sizes }, memory, {});
      return dot(f64(memory, "logits"), f64(memory, "dLogits"));
    };
    const gradients = { dx: view("dPooled", 5), dWeight: "dWeight", dBias: "dBias" };
    kernels.linearGrad({ x: from, weight: "weight", dy: "dLogits", ...gradients, ...sizes }, memory, {});
    assertGradient("x", f64(memory, "pooled"), f64(memory, "dPooled"), loss);
    assertGradient("weight", f64(memory, "weight"), f64(memory, "dWeight"), loss);
    assertGradient("bias", f64(memory, "bias"), f64(memory, "dBias"), loss);
    assert.ok(memory.gapsIntact());
  });

  test("softmaxCrossEntropy · dLogits is scale times the gradient of Σ sampleLoss", () => {
    const memory = drawnMemory({
      logits: { shape: [3, 4] },
      dLogits: { shape: [3, 4] },
      sampleLoss: { shape: [3] },
      sampleRank: { shape: [3] },
      labels: { shape: [3], dtype: "i32" },
    });
    memory.integers("labels").data.set([3, 0, 2]);
    const samples = { logits: "logits", labels: "labels", sampleLoss: "sampleLoss", sampleRank: "sampleRank" };
    const call = { ...samples, scale: 0.25, smoothing: 0.3, batch: 3, classes: 4 };
    const loss = () => {
      kernels.softmaxCrossEntropy(call, memory, {});
      return f64(memory, "sampleLoss").reduce((sum, v) => sum + 0.25 * v, 0);
    };
    kernels.softmaxCrossEntropy({ ...call, dLogits: "dLogits" }, memory, {});
    assertGradient("logits", f64(memory, "logits"), f64(memory, "dLogits"), loss);
  });
});

describe("kernels by hand", () => {
  test("sampleRank · ties go to the smaller class, NaN ranks the label last", () => {
    const memory = drawnMemory({
      logits: { shape: [4, 3] },
      sampleLoss: { shape: [4] },
      sampleRank: { shape: [4] },
      labels: { shape: [4], dtype: "i32" },
    });
    f64(memory, "logits").set([1, 5, 3, 2, 2, 2, 2, 2, 2, 9, Number.NaN, 1]);
    memory.integers("labels").data.set([2, 0, 2, 0]);
    const samples = { logits: "logits", labels: "labels", sampleLoss: "sampleLoss", sampleRank: "sampleRank" };
    kernels.softmaxCrossEntropy({ ...samples, scale: 1, smoothing: 0, batch: 4, classes: 3 }, memory, {});
    assert.deepEqual(Array.from(f64(memory, "sampleRank")), [1, 0, 2, 2]);
  });

  test("dropout · in place, by the element's index in the view", () => {
    const buffers = { wide: { shape: [2, 5, 3, 2] }, tight: { shape: [2, 3, 3, 2] } };
    const memory = drawnMemory(buffers);
    f64(memory, "wide").fill(1);
    f64(memory, "tight").fill(1);
    const rest = { rate: 0.5, stream: 4, batch: 2, plane: 6 };
    const scalars = { seed: 3, step: 8 };
    kernels.dropout({ x: view("wide", 3, 2), ...rest }, memory, scalars);
    kernels.dropout({ x: view("tight", 3), ...rest }, memory, scalars);
    const { inside, outside } = split(f64(memory, "wide"), [2, 5, 3, 2], 2, 3);
    assert.deepEqual(inside, f64(memory, "tight"));
    assert.deepEqual(new Set(inside), new Set([0, 2]));
    assert.ok(outside.every((v) => v === 1));
    kernels.dropout({ x: view("tight", 3), ...rest }, memory, { seed: 3, step: 9 });
    assert.notDeepEqual(inside, f64(memory, "tight"));
  });

  test("updateRunningStatistics · several entries, unbiased variance", () => {
    const state = { shape: [2], role: "state" } as const;
    const memory = drawnMemory({ mean: { shape: [3] }, variance: { shape: [3] }, rm: state, rv: state });
    f64(memory, "mean").set([1, 2, 3]);
    f64(memory, "variance").set([4, 5, 6]);
    f64(memory, "rm").set([10, 20]);
    f64(memory, "rv").set([1, 1]);
    const entry = {
      mean: view("mean", 2, 1),
      variance: view("variance", 2, 1),
      runningMean: "rm",
      runningVariance: "rv",
    };
    kernels.updateRunningStatistics({ entries: [entry], momentum: 0.5, count: 6 }, memory, {});
    assert.deepEqual(Array.from(f64(memory, "rm")), [6, 11.5]);
    assert.deepEqual(Array.from(f64(memory, "rv")), [3.5, 4.1]);
  });

  const parameters: Readonly<Record<string, BufferCase>> = {
    w: { shape: [2], role: "parameter" },
    g: { shape: [2], role: "gradient" },
    s: { shape: [2], role: "gradientSum" },
    v: { shape: [2], role: "momentum" },
  };

  test("sgd · Nesterov with weight decay, two steps by hand", () => {
    const memory = drawnMemory(parameters);
    for (const [name, values] of Object.entries({ w: [1, -2], g: [4, 8], v: [0, 0] })) f64(memory, name).set(values);
    const args = { momentum: 0.5, nesterov: true, weightDecay: 0.25, gradientScale: 0.5, source: "gradient" } as const;
    kernels.sgd(args, memory, { learningRate: 0.5 });
    // g = 4·0.5 + 0.25·1 = 2.25; v = 2.25; w = 1 − 0.5·(2.25 + 0.5·2.25). Second weight: g = v = 3.5.
    assert.deepEqual(Array.from(f64(memory, "v")), [2.25, 3.5]);
    assert.deepEqual(Array.from(f64(memory, "w")), [-0.6875, -4.625]);
    kernels.sgd({ ...args, nesterov: false }, memory, { learningRate: 1 });
    // g = 2 + 0.25·(−0.6875) = 1.828125; v = 0.5·2.25 + g = 2.953125; w −= v.
    assert.equal(f64(memory, "v")[0], 2.953125);
    assert.equal(f64(memory, "w")[0], -3.640625);
    assert.throws(() => kernels.sgd(args, memory, {}), /learningRate/);
  });

  test("adamw · two updates as torch.optim.AdamW makes them", () => {
    const memory = drawnMemory({ ...parameters, q: { shape: [2], role: "secondMoment" } });
    for (const [name, values] of Object.entries({ w: [1, -2], v: [0, 0], q: [0, 0] })) f64(memory, name).set(values);
    const args = {
      betas: [0.8, 0.9],
      epsilon: 0.01,
      weightDecay: 0.1,
      gradientScale: 0.5,
      source: "gradient",
    } as const;
    for (const [update, gradient] of [
      [1, [4, -0.02]],
      [2, [-1, 0.06]],
    ] as const) {
      f64(memory, "g").set(gradient);
      const corrections = [1 - 0.8 ** update, 1 - 0.9 ** update] as const;
      kernels.adamw(args, memory, { learningRate: 0.05, corrections });
    }
    // torch.optim.AdamW([w], lr=0.05, betas=(0.8, 0.9), eps=0.01, weight_decay=0.1) in float64, gradients (2, −0.01) and
    // (−0.5, 0.03).
    for (const [i, expected] of [0.9192069710793076, -1.9737913517866967].entries()) {
      assert.ok(Math.abs(f64(memory, "w")[i] - expected) < 1e-15, `${f64(memory, "w")[i]} against ${expected}`);
    }
    assert.throws(() => kernels.adamw(args, memory, { learningRate: 1 }), /corrections/);
  });

  test("accumulateGradients · set, add, and sgd from the sum", () => {
    const memory = drawnMemory(parameters);
    for (const [name, values] of Object.entries({ w: [0, 0], g: [4, 8], v: [0, 0] })) f64(memory, name).set(values);
    kernels.accumulateGradients({ mode: "set" }, memory, {});
    f64(memory, "g").set([1, 2]);
    kernels.accumulateGradients({ mode: "add" }, memory, {});
    assert.deepEqual(Array.from(f64(memory, "s")), [5, 10]);
    const args = { momentum: 0, nesterov: false, weightDecay: 0, gradientScale: 0.5 } as const;
    kernels.sgd({ ...args, source: "gradientSum" }, memory, { learningRate: 1 });
    assert.deepEqual(Array.from(f64(memory, "w")), [-2.5, -5]);
  });

  test("overwrite replaces: a NaN that was there does not stay", () => {
    const size: WindowSize = {
      batch: 1,
      height: 2,
      width: 3,
      outHeight: 2,
      outWidth: 3,
      kernel: 1,
      stride: 1,
      padding: 0,
    };
    const memory = drawnMemory({
      dy: { shape: [1, 2, 2, 3] },
      dx: { shape: [1, 4, 2, 3] },
      weight: { shape: [2, 3, 1, 1], role: "parameter" },
    });
    f64(memory, "dx").fill(Number.NaN);
    const call = { dy: view("dy", 2), weight: "weight", dx: view("dx", 3, 1), size } as const;
    kernels.convGradInput({ ...call, write: "overwrite" }, memory, {});
    const { inside, outside } = split(f64(memory, "dx"), [1, 4, 2, 3], 1, 3);
    assert.ok(inside.every(Number.isFinite));
    assert.ok(outside.every(Number.isNaN));
    kernels.convGradInput({ ...call, write: "accumulate" }, memory, {});
    assert.deepEqual(
      split(f64(memory, "dx"), [1, 4, 2, 3], 1, 3).inside,
      inside.map((v) => 2 * v),
    );
  });

  test("a view beyond its buffer is refused", () => {
    const memory = drawnMemory(compositeBuffers);
    const beyond = { x: view("x", 4, 3), mean: view("mean", 4, 1), variance: view("variance", 4, 1) };
    assert.throws(
      () => kernels.channelStatistics({ ...beyond, batch: 2, plane: 20 }, memory, {}),
      /view of x: channels 3 to 7 of 6/,
    );
  });

  test("f32 storage rounds, f64 does not", () => {
    const buffers = { x: { shape: [1, 1, 1, 3] }, mean: { shape: [1] }, variance: { shape: [1] } };
    const run = (precision: "f32" | "f64") => {
      const memory = drawnMemory(buffers, precision);
      memory.tensor("x").data.set(draw("third", [3]).data.map((v) => v / 3));
      const views = { x: view("x", 1), mean: view("mean", 1), variance: view("variance", 1) };
      kernels.channelStatistics({ ...views, batch: 1, plane: 3 }, memory, {});
      return memory.tensor("mean").data[0];
    };
    assert.equal(run("f32"), Math.fround(run("f32")));
    assert.notEqual(run("f64"), Math.fround(run("f64")));
    assert.ok(Math.abs(run("f32") - run("f64")) < 1e-7);
  });
});
