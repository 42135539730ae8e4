// model: first values. Distributions are judged by moments with bounds of 5 standard errors.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { initializeParameters } from "../../src/model/initialize.ts";
import { buildGraph, defineSpec, namedSpec } from "../../src/networks/registry.ts";

const size = { batch: 1, height: 32, width: 32, mode: "inference" } as const;

function moments(data: Float32Array): { mean: number; deviation: number; kurtosis: number } {
  const average = (f: (v: number) => number) => data.reduce((sum, v) => sum + f(v), 0) / data.length;
  const mean = average((v) => v);
  const deviation = Math.sqrt(average((v) => (v - mean) ** 2));
  return { mean, deviation, kurtosis: average((v) => ((v - mean) / deviation) ** 4) };
}

describe("initializeParameters", () => {
  const graph = buildGraph(namedSpec("BC-100-12"), size);
  const initial = initializeParameters(graph, { seed: 1, fan: "out" });
  const dataOf = (path: string, from = initial) => {
    const tensor = from.get(path);
    assert.ok(tensor, path);
    return tensor.data;
  };

  test("every parameter and running statistic, with its shape, and nothing else", () => {
    const expected = graph.tensors.filter(({ kind }) => kind === "parameter" || kind === "state");
    assert.deepEqual(
      [...initial].map(([path, { shape }]) => [path, shape]),
      expected.map(({ name, shape }) => [name, shape]),
    );
  });

  test("gamma and running variance 1, beta, running mean and classifier bias 0", () => {
    const norm = "features.denseblock2.denselayer3.norm1";
    assert.ok(dataOf(`${norm}.weight`).every((v) => v === 1));
    assert.ok(dataOf(`${norm}.running_var`).every((v) => v === 1));
    assert.ok(dataOf(`${norm}.bias`).every((v) => v === 0));
    assert.ok(dataOf(`${norm}.running_mean`).every((v) => v === 0));
    assert.ok(dataOf("classifier.bias").every((v) => v === 0));
  });

  // [path, out, in, k]: layer 16 of block 3 reads 150 + 15·12 = 330 maps.
  for (const fan of ["out", "in"] as const) {
    test(`convolutions are normal with variance 2/(k²·fan ${fan})`, () => {
      const values = initializeParameters(graph, { seed: 1, fan });
      for (const [path, outChannels, inChannels, kernel] of [
        ["features.denseblock3.denselayer16.conv1.weight", 48, 330, 1],
        ["features.denseblock1.denselayer1.conv2.weight", 12, 48, 3],
      ] as const) {
        const data = dataOf(path, values);
        assert.equal(data.length, outChannels * inChannels * kernel * kernel);
        const expected = Math.sqrt(2 / (kernel * kernel * (fan === "out" ? outChannels : inChannels)));
        const { mean, deviation, kurtosis } = moments(data);
        assert.ok(Math.abs(mean) < (5 * expected) / Math.sqrt(data.length), `${path}: mean ${mean}`);
        assert.ok(
          Math.abs(deviation / expected - 1) < 5 / Math.sqrt(2 * data.length),
          `${path}: deviation ${deviation}`,
        );
        assert.ok(Math.abs(kurtosis - 3) < 5 * Math.sqrt(24 / data.length), `${path}: kurtosis ${kurtosis}`);
      }
    });
  }

  test("the classifier is uniform in ±1/√features", () => {
    const data = dataOf("classifier.weight");
    const bound = 1 / Math.sqrt(342);
    const { mean, deviation } = moments(data);
    assert.ok(data.every((v) => Math.abs(v) <= bound));
    assert.ok(Math.max(...data) > 0.99 * bound);
    assert.ok(Math.abs(deviation / (bound / Math.sqrt(3)) - 1) < 0.05);
    assert.ok(Math.abs(mean) < (5 * bound) / Math.sqrt(3 * data.length));
  });

  test("a tensor depends on seed, path and shape alone", () => {
    const path = "features.denseblock1.denselayer1.conv1.weight";
    const other = buildGraph(defineSpec({ growthRate: 12, blockConfig: [1] }), size);
    assert.deepEqual(dataOf(path, initializeParameters(other, { seed: 1, fan: "out" })), dataOf(path));
    assert.notDeepEqual(dataOf(path, initializeParameters(other, { seed: 2, fan: "out" })), dataOf(path));
    // Two tensors of one shape have no value in common beyond chance.
    const twin = new Set(dataOf("features.denseblock2.denselayer2.conv2.weight"));
    const shared = dataOf("features.denseblock1.denselayer1.conv2.weight").filter((v) => twin.has(v)).length;
    assert.ok(shared < 20, `${shared} values shared`);
  });
});
