// graph: what the evaluated graph means: factored batch norm is batch norm, dropout's mask is one mask, missing values
// are named.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import type { Graph, TensorId } from "../../src/graph/graph.ts";
import { buildGraph, defineSpec } from "../../src/networks/registry.ts";
import type { Real } from "../../src/ops/op.ts";
import { givenFor } from "./given.ts";

const size = { batch: 3, height: 6, width: 5, mode: "training" } as const;

function trained(graph: Graph, seed = 1, step = 2) {
  const values = evaluateGraph(graph, givenFor(graph), { precision: "f64", seed, step });
  const ids = new Map(graph.tensors.map(({ name, id }) => [name, id]));
  return (name: string): Float64Array => {
    const id = ids.get(name);
    assert.ok(id !== undefined, `no tensor ${name}`);
    return values.get(id) as Float64Array;
  };
}

function assertNear(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < found.length; i++) {
    assert.ok(Math.abs(found[i] - expected[i]) <= tolerance, `element ${i}: ${found[i]}, expected ${expected[i]}`);
  }
}

/**
 * Batch norm as the textbook writes it, on the concatenated features: Ioffe and Szegedy 2015, algorithm 1 and section
 * 3.
 */
function textbook(x: Float64Array, gamma: Float64Array, beta: Float64Array, dy: Float64Array, batch: number) {
  const channels = gamma.length;
  const plane = x.length / (batch * channels);
  const count = batch * plane;
  const y = new Float64Array(x.length);
  const dx = new Float64Array(x.length);
  const mean = new Float64Array(channels);
  const unbiased = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const at = Array.from({ length: count }, (_, i) => (Math.floor(i / plane) * channels + c) * plane + (i % plane));
    mean[c] = at.reduce((sum, i) => sum + x[i], 0) / count;
    const variance = at.reduce((sum, i) => sum + (x[i] - mean[c]) ** 2, 0) / count;
    unbiased[c] = (variance * count) / (count - 1);
    const deviation = Math.sqrt(variance + 1e-5);
    const hat = at.map((i) => (x[i] - mean[c]) / deviation);
    const meanDy = at.reduce((sum, i) => sum + dy[i], 0) / count;
    const meanDyHat = at.reduce((sum, i, j) => sum + dy[i] * hat[j], 0) / count;
    at.forEach((i, j) => {
      y[i] = gamma[c] * hat[j] + beta[c];
      dx[i] = (gamma[c] / deviation) * (dy[i] - meanDy - hat[j] * meanDyHat);
    });
  }
  return { y, dx, mean, unbiased };
}

describe("factored batch norm", () => {
  const spec = defineSpec({ growthRate: 3, blockConfig: [3], bottleneck: false, compression: 1, numInitFeatures: 4 });
  const value = trained(differentiate(buildGraph(spec, size)));
  const norm = "features.denseblock1.denselayer3.norm1";

  test("of a concatenation · value and running statistics equal the textbook's", () => {
    const x = value("features.denseblock1:features2");
    const gamma = value(`${norm}.weight`);
    const { y, mean, unbiased } = textbook(x, gamma, value(`${norm}.bias`), value(`d(${norm}:y)`), size.batch);
    assertNear(value(`${norm}:y`), y, 1e-12);
    const oldMean = value(`${norm}.running_mean`);
    const oldVariance = value(`${norm}.running_var`);
    assertNear(
      value(`${norm}:runningMean`),
      mean.map((v, c) => 0.9 * oldMean[c] + 0.1 * v),
      1e-12,
    );
    assertNear(
      value(`${norm}:runningVariance`),
      unbiased.map((v, c) => 0.9 * oldVariance[c] + 0.1 * v),
      1e-12,
    );
  });

  test("of shared statistics · the stem's gradient is the sum of every consumer's textbook gradient", () => {
    const stem = value("features.conv0:y");
    const channels = 4;
    const plane = size.height * size.width;
    const expected = new Float64Array(stem.length);
    const consumers: readonly (readonly [features: string, norm: string])[] = [
      ["features.conv0:y", "features.denseblock1.denselayer1.norm1"],
      ["features.denseblock1:features1", "features.denseblock1.denselayer2.norm1"],
      ["features.denseblock1:features2", "features.denseblock1.denselayer3.norm1"],
      ["features.denseblock1:features3", "features.norm5"],
    ];
    for (const [features, path] of consumers) {
      const gamma = value(`${path}.weight`);
      const { dx } = textbook(value(features), gamma, value(`${path}.bias`), value(`d(${path}:y)`), size.batch);
      for (let i = 0; i < expected.length; i++) {
        const image = Math.floor(i / (channels * plane));
        expected[i] += dx[image * gamma.length * plane + (i % (channels * plane))];
      }
    }
    assertNear(value("d(features.conv0:y)"), expected, 1e-12);
  });
});

describe("dropout", () => {
  // Sixteen maps, so that no pixel is zero in all of them after ReLU, which would look like a dropped one.
  const spec = defineSpec({ growthRate: 3, blockConfig: [2, 1], numInitFeatures: 16, dropRate: 0.3 });
  const graph = differentiate(buildGraph(spec, size));

  test("the same elements are zero forward and backward", () => {
    const value = trained(graph);
    const path = "features.denseblock1.denselayer1.conv1";
    const kept = value(`${path}:dropped`);
    const dKept = value(`d(${path}:dropped)`);
    const dInput = value(`d(${path}:y)`);
    const share = kept.filter((v) => v !== 0).length / kept.length;
    assert.ok(Math.abs(share - 0.7) < 0.05, `${share} kept`);
    kept.forEach((v, i) => {
      assert.equal(dInput[i], v === 0 ? 0 : dKept[i] / 0.7);
    });
  });

  test("the mask changes with the step and with the seed, and only with them", () => {
    const name = "features.denseblock1.denselayer1.conv1:dropped";
    const at = (seed: number, step: number) => trained(graph, seed, step)(name);
    assert.deepEqual(at(1, 2), at(1, 2));
    assert.notDeepEqual(at(1, 2), at(1, 3));
    assert.notDeepEqual(at(1, 2), at(4, 2));
  });
});

describe("evaluateGraph", () => {
  const graph = buildGraph(defineSpec({ growthRate: 2, blockConfig: [1] }), { ...size, mode: "inference" });
  const options = { precision: "f32", seed: 0, step: 0 } as const;
  const weight = graph.tensors.find(({ name }) => name === "classifier.weight")?.id as TensorId;

  test("a missing or misshapen tensor is named", () => {
    const missing = givenFor(graph);
    missing.delete(weight);
    assert.throws(
      () => evaluateGraph(graph, missing, options),
      (error) =>
        error instanceof InputError &&
        /classifier\.weight: expected 60 values \[10, 6\], given none/.test(error.message),
    );
    const short = givenFor(graph).set(weight, new Float64Array(7));
    assert.throws(() => evaluateGraph(graph, short, options), /classifier\.weight: expected 60 .* given 7/);
  });

  test("f32 rounds what it stores, f64 does not, and they agree to f32's precision", () => {
    const given = givenFor(graph);
    const f32 = evaluateGraph(graph, given, options).get(graph.logits) as Real;
    const f64 = evaluateGraph(graph, given, { ...options, precision: "f64" }).get(graph.logits) as Real;
    assert.ok(f32 instanceof Float32Array && f64 instanceof Float64Array);
    assertNear(f32, f64, 1e-5);
    assert.ok(f64.some((v) => v !== Math.fround(v)));
  });
});
