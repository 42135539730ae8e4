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
    found.findings.map((finding) => finding.found),
    [true, true],
  );
  const { figures } = compactnessSection(found);
  const markup = figures.map((figure) => figure.markup).join("");
  for (const { network } of found.runs) assert.ok(markup.includes(`>${network}</text>`), network);
});
