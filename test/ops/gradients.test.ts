// ops: each gradient rule against central differences in f64. A case is data: an op, the shapes of its inputs, its
// attributes.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Attrs, applyOp, type Op, type Tensor } from "../../src/ops/op.ts";
import { type OpName, opOf, ops } from "../../src/ops/table.ts";
import { assertGradient, dot, draw } from "./differences.ts";

interface Case {
  readonly op: OpName;
  readonly what: string;
  readonly shapes: readonly (readonly number[])[];
  readonly attrs?: Attrs;
  /** Inputs that have a gradient; all of them where left out. */
  readonly wanted?: readonly number[];
  /** Replaces drawn inputs. */
  readonly fixed?: Readonly<Record<number, Tensor>>;
}

/** Variances must be positive. */
const variance = (channels: number) => {
  const { shape, data } = draw("variance", [channels]);
  return { shape, data: data.map((v) => 1.2 + v) };
};

const cases: readonly Case[] = [
  {
    op: "conv2d",
    what: "1×1",
    shapes: [
      [2, 5, 4, 3],
      [3, 5, 1, 1],
    ],
    attrs: { stride: 1, padding: 0 },
  },
  {
    op: "conv2d",
    what: "3×3 padding 1",
    shapes: [
      [2, 3, 5, 4],
      [2, 3, 3, 3],
    ],
    attrs: { stride: 1, padding: 1 },
  },
  {
    op: "conv2d",
    what: "3×3 on a 1×2 map",
    shapes: [
      [1, 2, 1, 2],
      [3, 2, 3, 3],
    ],
    attrs: { stride: 1, padding: 1 },
  },
  {
    op: "conv2d",
    what: "7×7 stride 2 padding 3",
    shapes: [
      [1, 2, 9, 8],
      [2, 2, 7, 7],
    ],
    attrs: { stride: 2, padding: 3 },
  },
  {
    op: "conv2d",
    what: "3×3 stride 2 leaves a rest",
    shapes: [
      [2, 2, 6, 8],
      [2, 2, 3, 3],
    ],
    attrs: { stride: 2, padding: 0 },
  },
  { op: "channelStatistics", what: "odd map", shapes: [[3, 2, 5, 3]] },
  {
    op: "normalize",
    what: "all five inputs independent",
    shapes: [[2, 3, 3, 5], [3], [3], [3], [3]],
    attrs: { eps: 1e-5 },
    fixed: { 2: variance(3) },
  },
  { op: "relu", what: "both signs", shapes: [[2, 3, 4, 5]] },
  { op: "avgPool2d", what: "2×2, a row and a column left over", shapes: [[2, 3, 5, 7]], attrs: { window: [2, 2] } },
  { op: "avgPool2d", what: "3×2", shapes: [[1, 2, 7, 4]], attrs: { window: [3, 2] } },
  {
    op: "maxPool2d",
    what: "3×3 stride 2 padding 1",
    shapes: [[2, 2, 7, 6]],
    attrs: { kernel: 3, stride: 2, padding: 1 },
  },
  { op: "maxPool2d", what: "2×2 stride 2", shapes: [[1, 3, 5, 4]], attrs: { kernel: 2, stride: 2, padding: 0 } },
  { op: "globalAvgPool", what: "3×5", shapes: [[2, 4, 3, 5]] },
  {
    op: "concat",
    what: "three feature maps",
    shapes: [
      [2, 3, 2, 5],
      [2, 1, 2, 5],
      [2, 4, 2, 5],
    ],
  },
  { op: "concat", what: "two vectors", shapes: [[3], [5]] },
  {
    op: "concat",
    what: "only the second wanted",
    shapes: [
      [2, 3, 2, 5],
      [2, 1, 2, 5],
    ],
    wanted: [1],
  },
  { op: "linear", what: "5→3", shapes: [[4, 5], [3, 5], [3]] },
  {
    op: "softmaxCrossEntropy",
    what: "mean over 4",
    shapes: [[4, 3], [4]],
    wanted: [0],
    fixed: { 1: { shape: [4], data: Int32Array.of(2, 0, 1, 2) } },
    attrs: { smoothing: 0 },
  },
  {
    op: "softmaxCrossEntropy",
    what: "smoothing 0.3",
    shapes: [[4, 3], [4]],
    wanted: [0],
    fixed: { 1: { shape: [4], data: Int32Array.of(2, 0, 1, 2) } },
    attrs: { smoothing: 0.3 },
  },
  { op: "dropout", what: "rate 0.4", shapes: [[2, 3, 4, 5]], attrs: { rate: 0.4, stream: 3 } },
  {
    op: "sampleGate",
    what: "keep 0.5 of the images",
    shapes: [[9, 2, 2, 3]],
    attrs: { keepProbability: 0.5, stream: 1, per: "image" },
  },
  {
    op: "sampleGate",
    what: "keep 0.9 of the batches",
    shapes: [[3, 2, 2, 3]],
    attrs: { keepProbability: 0.9, stream: 1, per: "batch" },
  },
  { op: "identityShortcut", what: "stride 2, 3→5 channels", shapes: [[2, 3, 5, 4]], attrs: { stride: 2, channels: 5 } },
  { op: "identityShortcut", what: "stride 3, 2→2 channels", shapes: [[2, 2, 7, 5]], attrs: { stride: 3, channels: 2 } },
  {
    op: "add",
    what: "three",
    shapes: [
      [2, 3, 2, 2],
      [2, 3, 2, 2],
      [2, 3, 2, 2],
    ],
  },
];

const randomness = { seed: 7, step: 11 };

/** Runs an op's gradient rule at once: each emitted op is evaluated on the spot. */
function gradients(
  op: Op,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  dOutputs: readonly Tensor[],
  attrs: Attrs,
  wanted: readonly number[],
) {
  const values = [...inputs, ...outputs, ...dOutputs];
  const ids = (start: number, count: number) => Array.from({ length: count }, (_, i) => start + i);
  assert.ok(op.gradient);
  const result = op.gradient({
    inputs: ids(0, inputs.length),
    inputShapes: inputs.map(({ shape }) => shape),
    outputs: ids(inputs.length, outputs.length),
    dOutputs: ids(inputs.length + outputs.length, dOutputs.length),
    attrs,
    wanted: inputs.map((_, i) => wanted.includes(i)),
    emit(rule, operands, ruleAttrs) {
      const results = applyOp(
        rule,
        operands.map((id) => values[id]),
        ruleAttrs,
        "f64",
        randomness,
      );
      values.push(...results);
      return ids(values.length - results.length, results.length);
    },
  });
  return result.map((id) => (id === undefined ? undefined : values[id]));
}

describe("gradient rules against central differences, f64", () => {
  for (const { op: name, what, shapes, attrs = {}, wanted = shapes.map((_, i) => i), fixed = {} } of cases) {
    test(`${name} · ${what}`, () => {
      const op = opOf(name);
      const inputs = shapes.map((shape, i) => fixed[i] ?? draw(`${name} ${what} ${i}`, shape));
      const run = () => applyOp(op, inputs, attrs, "f64", randomness);
      const outputs = run();
      // L = Σ weights·outputs, so the weights are the outputs' gradients. The loss op is its own L.
      const isLoss = name === "softmaxCrossEntropy";
      const weights = outputs.map(({ shape }, i) =>
        isLoss ? { shape, data: Float64Array.of(1) } : draw(`weights ${i}`, shape),
      );
      const loss = () => run().reduce((sum, { data }, i) => sum + dot(data, weights[i].data), 0);
      const found = gradients(op, inputs, outputs, isLoss ? [] : weights, attrs, wanted);
      assert.equal(found.length, inputs.length);
      inputs.forEach(({ shape, data }, i) => {
        const gradient = found[i];
        if (!wanted.includes(i)) {
          assert.equal(gradient, undefined);
          return;
        }
        assert.ok(gradient && data instanceof Float64Array);
        assert.deepEqual(gradient.shape, shape);
        assertGradient(`${name} input ${i}`, data, gradient.data, loss);
      });
    });
  }

  test("every op with a gradient rule has a case", () => {
    const covered = new Set(cases.map(({ op }) => op));
    const names = Object.keys(ops) as OpName[];
    assert.deepEqual(
      names.filter((name) => opOf(name).gradient && !covered.has(name)),
      [],
    );
  });
});
