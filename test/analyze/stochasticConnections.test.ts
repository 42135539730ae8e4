import assert from "node:assert/strict";
import { test } from "node:test";
import {
  connectionFindings,
  connectionProbabilities,
  stochasticConnections,
} from "../../src/analyze/stochasticConnections.ts";
import { UsageError } from "../../src/errors.ts";
import { namedSpec } from "../../src/networks/registry.ts";
import { draws } from "../seeded.ts";

test("connections · what drawing 200,000 steps counts, within four standard errors", () => {
  const keep = [0.9, 0.6, 0.5, 0.7];
  const random = draws("stochastic depth");
  const steps = 200_000;
  const counts = keep.map((_, before) => new Array<number>(before + 1).fill(0));
  for (let step = 0; step < steps; step++) {
    const there = keep.map((probability) => random() < probability);
    counts.forEach((row, before) => {
      row.forEach((_, source) => {
        if (there.slice(source, before).every((kept) => !kept)) row[source] = (row[source] ?? 0) + 1;
      });
    });
  }
  connectionProbabilities(keep).forEach((row, before) => {
    row.forEach((probability, source) => {
      const found = (counts[before]?.[source] ?? 0) / steps;
      const error = Math.sqrt((probability * (1 - probability)) / steps);
      assert.ok(Math.abs(found - probability) <= 4 * error, `${source} to ${before + 1}: ${found}, ${probability}`);
    });
  });
});

test("connections · the pairs that are expected in a step are those that 20,000 drawn steps have", () => {
  const keepProbabilities = [0.9, 0.6, 0.5, 0.7];
  const random = draws("connected pairs");
  const steps = 20_000;
  const counts = Array.from({ length: steps }, () => {
    const there = [true, ...keepProbabilities.map((probability) => random() < probability)];
    const pairs = there.flatMap((reads, layer) =>
      there.slice(0, layer).map((made, source) => reads && made && !there.slice(source + 1, layer).includes(true)),
    );
    return pairs.filter((connected) => connected).length;
  });
  const mean = counts.reduce((sum, count) => sum + count, 0) / steps;
  // A sum of four independent draws has a variance of at most 4·¼.
  assert.ok(Math.abs(mean - 2.7) <= 4 / Math.sqrt(steps), `${mean}`);
  const probabilities = connectionProbabilities(keepProbabilities);
  const [finding] = connectionFindings([{ stage: 1, keepProbabilities, probabilities }]);
  assert.match(finding?.measured ?? "", /in a step 2\.7 of 10 pairs are expected/);
});

test("connections · ResNet-110 with p_L = 0.5 · three stages, neighbours 1, the last with one between 1 − p of it", () => {
  const stages = stochasticConnections(namedSpec("resnet-110", { stochasticDepth: 0.5 }));
  assert.deepEqual(
    stages.map(({ probabilities }) => probabilities.length),
    [18, 18, 18],
  );
  for (const { probabilities, keepProbabilities } of stages) {
    probabilities.forEach((row, before) => {
      assert.equal(row.length, before + 1);
      assert.equal(row.at(-1), 1);
      if (before > 0) assert.ok(Math.abs((row.at(-2) ?? 0) - (1 - (keepProbabilities[before - 1] ?? 0))) < 1e-15);
    });
  }
  assert.ok(Math.abs((stages[2]?.keepProbabilities.at(-1) ?? 0) - 0.5) < 1e-15);
  assert.deepEqual(
    connectionFindings(stages).map(({ found }) => found),
    [true],
  );
});

for (const variant of ["BC-40-12", "resnet-20"]) {
  test(`connections · ${variant} has no stochastic depth`, () => {
    assert.throws(
      () => stochasticConnections(namedSpec(variant)),
      (error) => error instanceof UsageError && /always counts/.test(error.message),
    );
  });
}
