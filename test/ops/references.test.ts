// ops: references against values computed by hand or by another formula.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { InputError, UsageError } from "../../src/errors.ts";
import { type Attrs, applyOp, magnitude, type Precision, type Tensor } from "../../src/ops/op.ts";
import { dropoutKey, dropThreshold, isKept, lowbias32 } from "../../src/ops/random.ts";
import { type OpName, opOf, ops } from "../../src/ops/table.ts";
import { draw } from "./differences.ts";

function tensor(shape: readonly number[], ...values: number[]): Tensor {
  return { shape, data: Float64Array.from(values) };
}

function run(op: OpName, inputs: readonly Tensor[], attrs: Attrs = {}, precision: Precision = "f64") {
  return applyOp(opOf(op), inputs, attrs, precision).map(({ data }) => Array.from(data));
}

describe("op references", () => {
  test("table · each op stands under its own name", () => {
    for (const [key, op] of Object.entries(ops)) assert.equal(op.name, key);
  });

  test("conv2d · 3×3 of ones with padding counts the pixels under the window", () => {
    const ones = tensor([1, 1, 3, 3], ...new Array(9).fill(1));
    assert.deepEqual(run("conv2d", [ones, ones], { stride: 1, padding: 1 })[0], [4, 6, 4, 6, 9, 6, 4, 6, 4]);
  });

  test("conv2d · is a cross-correlation: the kernel is not flipped", () => {
    const x = tensor([1, 1, 1, 3], 1, 10, 100);
    const w = tensor([1, 1, 1, 1], 2);
    assert.deepEqual(run("conv2d", [x, w], { stride: 2, padding: 0 })[0], [2, 200]);
    const square = tensor([1, 1, 2, 2], 1, 2, 3, 4);
    assert.deepEqual(
      run("conv2d", [square, tensor([1, 1, 2, 2], 1, 10, 100, 1000)], { stride: 1, padding: 0 })[0],
      [4321],
    );
  });

  test("channelStatistics · biased variance, two images, two channels", () => {
    const x = tensor([2, 2, 1, 2], 1, 2, 10, 10, 3, 6, 10, 14);
    assert.deepEqual(run("channelStatistics", [x]), [
      [3, 11],
      [3.5, 3],
    ]);
  });

  test("channelStatistics · mean 3000 σ survives in f32", () => {
    const data = Float32Array.from({ length: 4096 }, (_, i) => 3000 + (i % 2 === 0 ? 1 : -1));
    const [mean, variance] = run("channelStatistics", [{ shape: [1, 1, 64, 64], data }], {}, "f32");
    assert.deepEqual([mean, variance], [[3000], [1]]);
  });

  test("normalize · γ·(x − mean)/√(variance + eps) + β", () => {
    const x = tensor([1, 2, 1, 2], 5, 7, 1, 1);
    const vectors = [tensor([2], 5, 0), tensor([2], 3, 15), tensor([2], 4, 8), tensor([2], 1, -1)];
    assert.deepEqual(run("normalize", [x, ...vectors], { eps: 1 })[0], [1, 5, 1, 1]);
  });

  test("relu and maxPool2d · NaN is not lost", () => {
    assert.deepEqual(run("relu", [tensor([3], -1, Number.NaN, 2)])[0], [0, Number.NaN, 2]);
    const x = tensor([1, 1, 1, 3], 1, Number.NaN, 5);
    assert.ok(Number.isNaN(run("maxPool2d", [x], { kernel: 3, stride: 2, padding: 1 })[0][0]));
  });

  test("reluGrad · the derivative at 0 is 0", () => {
    assert.deepEqual(run("reluGrad", [tensor([3], -1, 0, 2), tensor([3], 5, 6, 7)])[0], [0, 0, 7]);
  });

  test("maxPool2d · padding never wins, the first of equal maxima gets the gradient", () => {
    const attrs = { kernel: 3, stride: 2, padding: 1 };
    const x = tensor([1, 1, 3, 3], -4, -2, -2, -2, -9, -9, -9, -9, -1);
    assert.deepEqual(run("maxPool2d", [x], attrs)[0], [-2, -2, -2, -1]);
    const dx = run("maxPool2dGrad", [x, tensor([1, 1, 2, 2], 1, 10, 100, 1000)], attrs)[0];
    assert.deepEqual(dx, [0, 11, 0, 100, 0, 0, 0, 0, 1000]);
  });

  test("avgPool2d · a rest is dropped and gets no gradient", () => {
    const x = tensor([1, 1, 3, 3], 1, 2, 50, 3, 6, 50, 50, 50, 50);
    assert.deepEqual(run("avgPool2d", [x], { window: [2, 2] })[0], [3]);
    const dx = run("avgPool2dGrad", [tensor([1, 1, 1, 1], 4)], { window: [2, 2], height: 3, width: 3 })[0];
    assert.deepEqual(dx, [1, 1, 0, 1, 1, 0, 0, 0, 0]);
  });

  test("concat and slice · channels of each image stay together", () => {
    const a = tensor([2, 1, 1, 2], 1, 2, 3, 4);
    const b = tensor([2, 2, 1, 2], 5, 6, 7, 8, 9, 10, 11, 12);
    const [y] = run("concat", [a, b]);
    assert.deepEqual(y, [1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11, 12]);
    const whole = tensor([2, 3, 1, 2], ...y);
    assert.deepEqual(run("slice", [whole], { start: 1, length: 2 })[0], Array.from(b.data));
  });

  test("softmaxCrossEntropy · logits of ±1000 neither overflow nor vanish", () => {
    const logits = tensor([2, 2], 1000, -1000, 1000, -1000);
    const labels = { shape: [2], data: Int32Array.of(0, 1) };
    assert.deepEqual(run("softmaxCrossEntropy", [logits, labels], { smoothing: 0 })[0], [1000]);
    assert.deepEqual(run("softmaxCrossEntropyGrad", [logits, labels], { smoothing: 0 })[0], [0, 0, 0.5, -0.5]);
  });

  test("softmaxCrossEntropy · equal logits of 10 classes cost log 10", () => {
    const labels = { shape: [1], data: Int32Array.of(3) };
    const [[loss]] = run("softmaxCrossEntropy", [tensor([1, 10], ...new Array(10).fill(0.5)), labels], {
      smoothing: 0,
    });
    assert.ok(Math.abs(loss - Math.log(10)) < 1e-15);
  });

  test("softmaxCrossEntropy · smoothed labels as PyTorch 2.15's cross_entropy(label_smoothing=0.1), f64", () => {
    const logits = tensor([3, 4], 2.5, -1.25, 0.5, 0, 0.25, 3, -2, 1.5, 1, 1, 1, 1);
    const labels = { shape: [3], data: Int32Array.of(0, 3, 2) };
    const [[loss]] = run("softmaxCrossEntropy", [logits, labels], { smoothing: 0.1 });
    assert.ok(Math.abs(loss - 1.215747479071646) < 1e-15);
    const [gradient] = run("softmaxCrossEntropyGrad", [logits, labels], { smoothing: 0.1 });
    const expected = [
      -0.03971932853350624, -0.002016137435086189, 0.028019619087572105, 0.013715846881020418, 0.008137027983381137,
      0.24930646574360385, -0.006597370022297901, -0.25084612370468706, 0.075, 0.075, -0.225, 0.075,
    ];
    for (const [i, value] of expected.entries())
      assert.ok(Math.abs(gradient[i] - value) < 1e-15, `${i}: ${gradient[i]}`);
  });

  test("softmaxCrossEntropy · a label beyond the classes is named", () => {
    const labels = { shape: [2], data: Int32Array.of(0, 3) };
    assert.throws(
      () => run("softmaxCrossEntropy", [tensor([2, 3], 0, 0, 0, 0, 0, 0), labels], { smoothing: 0 }),
      (error) => error instanceof InputError && /labels\[1\] is 3, expected a class from 0 to 2/.test(error.message),
    );
  });

  test("updateRunning · momentum 0.1 and the unbiased variance", () => {
    const inputs = [tensor([1], 10), tensor([1], 8), tensor([1], 1), tensor([1], 2)];
    const [[mean], [variance]] = run("updateRunning", inputs, { momentum: 0.1, count: 5 });
    assert.ok(Math.abs(mean - 1.9) < 1e-14);
    assert.ok(Math.abs(variance - (0.9 * 2 + 0.1 * 10)) < 1e-14);
  });

  test("sampleGate · opens or closes whole images, without scaling them", () => {
    const x = { shape: [64, 2, 1, 2], data: new Float64Array(256).fill(3) };
    const [y] = run("sampleGate", [x], { keepProbability: 0.75, stream: 5, per: "image" });
    const images = Array.from({ length: 64 }, (_, n) => new Set(y.slice(4 * n, 4 * n + 4)));
    assert.ok(images.every((values) => values.size === 1));
    const open = images.filter((values) => values.has(3)).length;
    assert.equal(images.filter((values) => values.has(0)).length, 64 - open);
    assert.ok(open > 36 && open < 60, `${open} of 64 open, expected about 48`);
  });

  test("sampleGate · per batch, all images share one draw, which is open three times in four", () => {
    const x = { shape: [3, 1, 1, 1], data: new Float64Array(3).fill(3) };
    let open = 0;
    for (let stream = 0; stream < 64; stream++) {
      const [y] = run("sampleGate", [x], { keepProbability: 0.75, stream, per: "batch" });
      assert.equal(new Set(y).size, 1);
      if (y[0] === 3) open++;
      else assert.equal(y[0], 0);
    }
    assert.ok(open > 36 && open < 60, `${open} of 64 open, expected about 48`);
  });

  test("sampleGate · a closed gate gives 0 whatever it closes on, and keepProbability 1 never closes", () => {
    const bad = { shape: [64, 1, 1, 1], data: new Float64Array(64).fill(Number.NaN) };
    const [y] = run("sampleGate", [bad], { keepProbability: 0.5, stream: 5, per: "image" });
    assert.ok(y.includes(0));
    const fine = { shape: [64, 1, 1, 1], data: new Float64Array(64).fill(2) };
    assert.deepEqual(
      new Set(run("sampleGate", [fine], { keepProbability: 1, stream: 5, per: "image" })[0]),
      new Set([2]),
    );
  });

  test("expectedGate · the branch times its probability", () => {
    assert.deepEqual([...run("expectedGate", [tensor([2, 1, 1, 1], 4, -8)], { keepProbability: 0.75 })[0]], [3, -6]);
  });

  test("identityShortcut · every second pixel and a channel of zeros, and its adjoint", () => {
    const x = tensor([1, 1, 3, 4], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    const [y] = run("identityShortcut", [x], { stride: 2, channels: 2 });
    assert.deepEqual([...y], [1, 3, 9, 11, 0, 0, 0, 0]);
    const dy = tensor([1, 2, 2, 2], 1, 2, 3, 4, 5, 6, 7, 8);
    const [dx] = run("identityShortcutGrad", [dy], { stride: 2, channels: 1, height: 3, width: 4 });
    assert.deepEqual([...dx], [1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0]);
  });
});

describe("contractions", () => {
  const shapes: Readonly<Record<string, { inputs: readonly (readonly number[])[]; attrs: Attrs }>> = {
    conv2d: {
      inputs: [
        [2, 11, 6, 5],
        [3, 11, 3, 3],
      ],
      attrs: { stride: 1, padding: 1 },
    },
    conv2dGradInput: {
      inputs: [
        [2, 7, 6, 5],
        [7, 3, 3, 3],
      ],
      attrs: { stride: 1, padding: 1, height: 6, width: 5 },
    },
    conv2dGradWeight: {
      inputs: [
        [2, 3, 6, 5],
        [2, 7, 6, 5],
      ],
      attrs: { stride: 1, padding: 1, kernel: 3 },
    },
    linear: { inputs: [[3, 50], [7, 50], [7]], attrs: {} },
    linearGrad: {
      inputs: [
        [3, 50],
        [7, 50],
        [3, 7],
      ],
      attrs: {},
    },
    avgPool2d: { inputs: [[2, 3, 6, 5]], attrs: { window: [2, 2] } },
    avgPool2dGrad: { inputs: [[2, 3, 3, 2]], attrs: { window: [2, 2], height: 6, width: 5 } },
    globalAvgPool: { inputs: [[2, 3, 6, 5]], attrs: {} },
    globalAvgPoolGrad: { inputs: [[2, 3]], attrs: { height: 6, width: 5 } },
    add: {
      inputs: [
        [2, 3],
        [2, 3],
        [2, 3],
      ],
      attrs: {},
    },
  };

  for (const [name, { inputs: inputShapes, attrs }] of Object.entries(shapes)) {
    test(`${name} · f32 within 8u·Σ|terms| of f64, and Σ|terms| bounds the value`, () => {
      const op = opOf(name as OpName);
      const inputs = inputShapes.map((shape, i) => draw(`${name} ${i}`, shape));
      const f64 = applyOp(op, inputs, attrs, "f64");
      const f32 = applyOp(op, inputs, attrs, "f32");
      magnitude(op, inputs, attrs).forEach(({ data: terms }, output) => {
        terms.forEach((sum, i) => {
          assert.ok(Math.abs(f64[output].data[i]) <= sum * (1 + 1e-12));
          assert.ok(Math.abs(f32[output].data[i] - f64[output].data[i]) <= 8 * 2 ** -24 * sum);
        });
      });
    });
  }

  test("magnitude · linear: |x|·|w| + |b| by hand", () => {
    const inputs = [tensor([1, 2], -1, 2), tensor([1, 2], 3, -4), tensor([1], -5)];
    assert.deepEqual(Array.from(applyOp(ops.linear, inputs, {}, "f64")[0].data), [-16]);
    assert.deepEqual(Array.from(magnitude(ops.linear, inputs, {})[0].data), [16]);
  });

  test("every op that says so is a case here, and no other has a magnitude", () => {
    const contractions = Object.values(ops).filter((op) => op.contraction);
    assert.deepEqual(contractions.map((op) => op.name).sort(), Object.keys(shapes).sort());
    assert.throws(() => magnitude(opOf("relu"), [tensor([1], 1)], {}), UsageError);
  });
});

describe("counter-based randomness", () => {
  /** The mixer once more, in 64-bit integers. */
  function mixed(word: bigint): bigint {
    const mask = 0xffffffffn;
    let x = word & mask;
    x ^= x >> 16n;
    x = (x * 0x7feb352dn) & mask;
    x ^= x >> 15n;
    x = (x * 0x846ca68bn) & mask;
    return x ^ (x >> 16n);
  }

  test("lowbias32 and dropoutKey · equal big-integer arithmetic", () => {
    for (const word of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 123456789]) {
      assert.equal(BigInt(lowbias32(word)), mixed(BigInt(word)));
    }
    for (const [seed, step, stream] of [
      [0, 0, 0],
      [1, 2, 3],
      [0xffffffff, 0xfffffff0, 77],
    ]) {
      const expected = mixed(BigInt(seed) ^ mixed(BigInt(step) ^ mixed(BigInt(stream) + 0x9e3779b9n)));
      assert.equal(BigInt(dropoutKey(seed, step, stream)), expected);
    }
  });

  test("isKept · the kept share is 1 − rate within 5 standard deviations, and 24-bit edges are exact", () => {
    for (const rate of [0.1, 0.2, 0.5]) {
      const key = dropoutKey(42, 1000, 7);
      const threshold = dropThreshold(rate);
      let kept = 0;
      for (let i = 0; i < 100_000; i++) if (isKept(i, key, threshold)) kept++;
      assert.ok(Math.abs(kept - 100_000 * (1 - rate)) < 5 * Math.sqrt(100_000 * rate * (1 - rate)), `${rate}: ${kept}`);
    }
    assert.equal(dropThreshold(0), 0);
    assert.equal(dropThreshold(0.5), 2 ** 23);
  });

  test("dropout · kept values are divided by 1 − rate, the mask follows seed, step and stream", () => {
    const x = { shape: [1, 1, 30, 30], data: new Float64Array(900).fill(3) };
    const mask = (stream: number, seed: number, step: number) =>
      applyOp(ops.dropout, [x], { rate: 0.25, stream }, "f64", { seed, step })[0].data.join();
    assert.deepEqual(new Set(mask(0, 1, 1).split(",")), new Set(["0", "4"]));
    assert.equal(mask(0, 1, 1), mask(0, 1, 1));
    assert.equal(new Set([mask(0, 1, 1), mask(1, 1, 1), mask(0, 2, 1), mask(0, 1, 2)]).size, 4);
  });
});
