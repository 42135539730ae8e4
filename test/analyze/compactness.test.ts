import assert from "node:assert/strict";
import { test } from "node:test";
import { compactness, compactnessSection, compactRuns } from "../../src/analyze/compactness.ts";
import { readResults } from "../../src/analyze/paper/results.node.ts";

test("compactness · the paper's points with counted parameters, and the recorded runs on C10+", async () => {
  const results = await readResults();
  const found = compactness(compactRuns(results));
  assert.deepEqual(
    found.denseNetBC.map(({ params, testError }) => [params, testError]),
    [
      [769_162, 4.51],
      [15_324_406, 3.62],
      [25_624_430, 3.46],
    ],
  );
  assert.deepEqual(
    found.denseNet.map(({ params }) => params),
    [1_019_722, 6_979_642, 27_249_082],
  );
  assert.deepEqual(
    found.resNet.map(({ testError }) => testError),
    [5.46, 4.62],
  );
  assert.equal(found.runs.length, results.filter(({ column }) => column === "C10+").length);
  assert.ok(found.runs.length > 0);
  for (const { testError, macs = 0 } of found.runs) assert.ok(testError > 0 && testError < 100 && macs > 1e6);
  assert.deepEqual(
    found.findings.slice(0, 2).map((finding) => finding.found),
    [true, true],
  );
  const { figures } = compactnessSection(found);
  const markup = figures.map((figure) => figure.markup).join("");
  for (const { network } of found.runs) assert.ok(markup.includes(`>${network}</text>`), network);
});

const run = (network: string, params: number, testError: number, training = "alike", epochs = 4) => ({
  network,
  params,
  macs: 1e7,
  testError,
  epochs,
  training,
});
const dense = [run("DenseNet-BC-22-12", 80_000, 20), run("DenseNet-BC-40-12", 176_000, 15)];
const others = [run("DenseNet-B-28-12", 200_000, 16), run("DenseNet-22-12", 350_000, 14)];

for (const [name, runs, wanted] of [
  ["as the paper says", [...dense, ...others, run("ResNet-32", 464_000, 14.6)], [true, true]],
  [
    "a plain one is smaller and better",
    [...dense, run("DenseNet-B-16-12", 70_000, 12), run("ResNet-20", 270_000, 21)],
    undefined,
  ],
  [
    "the same, of five runs",
    [...dense, ...others.slice(0, 1), run("DenseNet-B-16-12", 70_000, 12), run("ResNet-32", 464_000, 9)],
    [false, false],
  ],
  ["no DenseNet-BC is small enough", [...dense, ...others, run("ResNet-8", 75_000, 30)], [true, false]],
  ["half a point higher still counts", [...dense, ...others, run("ResNet-32", 464_000, 14.5)], [true, true]],
  ["five runs, but trained otherwise", [...dense, ...others, run("ResNet-32", 464_000, 14, "longer", 24)], undefined],
  [
    "stochastic depth is no plain ResNet",
    [...dense, ...others, run("ResNet-32 with stochastic depth", 464_000, 2)],
    [true],
  ],
] as const) {
  test(`findings of our own runs · ${name}`, () => {
    const found = compactness(runs).findings.slice(2);
    assert.deepEqual(
      wanted === undefined ? [] : wanted,
      found.map((finding) => finding.found),
    );
    if (wanted !== undefined) assert.match(found[0]?.criterion ?? "", /our 5 runs of 4 epochs/);
  });
}
