// Temperature, reliability and thresholds against scikit-learn and SciPy (scripts/fixtures/trust.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { calibrate, fitTemperature, type LabelledLogits, reliability } from "../../src/analyze/calibration.ts";
import { classScores, meanScores } from "../../src/analyze/classScores.ts";
import { softmax } from "../../src/infer/scores.ts";

const oracle = JSON.parse(readFileSync(new URL("./fixtures/trust.json", import.meta.url), "utf8"));
const images: LabelledLogits = {
  logits: Float32Array.from(oracle.logits),
  labels: oracle.labels,
  classes: oracle.classes,
};

/** Doubles added in another order. */
const EXACT = 1e-12;

function near(found: unknown, expected: unknown, bound: number, what: string): void {
  if (Array.isArray(expected)) {
    assert.ok(Array.isArray(found) && found.length === expected.length, `${what}: of another length`);
    for (const [index, value] of expected.entries()) near(found[index], value, bound, `${what}[${index}]`);
  } else if (typeof expected === "object" && expected !== null) {
    for (const [key, value] of Object.entries(expected)) {
      near((found as Record<string, unknown>)[key], value, bound, `${what}.${key}`);
    }
  } else if (typeof expected === "number" && typeof found === "number") {
    assert.ok(Math.abs(found - expected) <= bound, `${what}: ${found}, expected ${expected}`);
  } else assert.equal(found, expected, what);
}

for (const [name, temperature] of [
  ["uncalibrated", 1],
  ["calibrated", oracle.temperature],
] as const) {
  test(`reliability · ${name} · bins, ECE, Brier score and loss are scikit-learn's`, () => {
    const found = reliability(images, temperature);
    const expected = oracle[name];
    assert.deepEqual(
      found.bins.map(({ count }) => count),
      expected.counts,
    );
    const filled = found.bins.filter(({ count }) => count > 0);
    near(
      filled.map((bin) => bin.accuracy),
      expected.accuracy,
      EXACT,
      "accuracy",
    );
    near(
      filled.map((bin) => bin.confidence),
      expected.confidence,
      EXACT,
      "confidence",
    );
    for (const key of ["calibrationError", "brier", "loss"] as const) near(found[key], expected[key], EXACT, key);
  });
}

test("temperature · SciPy's optimum, and the loss is flat there", () => {
  const found = fitTemperature(images);
  // A minimum is known to the square root of the rounding of its value.
  near(found, oracle.temperature, 3e-8 * oracle.temperature, "temperature");
  const loss = (temperature: number): number => reliability(images, temperature).loss;
  const best = loss(found ?? 0);
  for (const factor of [0.99, 1.01]) assert.ok(loss(factor * (found ?? 0)) > best);
});

test("temperature · calibrated logits have the temperature 1, logits times k the temperature k·T", () => {
  const base = fitTemperature(images) ?? 0;
  for (const factor of [0.125, 1 / base, 4]) {
    const logits = images.logits.map((logit) => factor * logit);
    // Rounding of k·z to float32 is 2⁻²⁴ of each logit.
    near(fitTemperature({ ...images, logits }), factor * base, 1e-6 * factor * base, `times ${factor}`);
  }
});

test("calibrate · thresholds by target precision and operating points of the classes are scikit-learn's", () => {
  const { calibration } = calibrate(images);
  assert.equal(calibration?.count, 240);
  // Scores move with the temperature, which is known to 3e-8.
  near(calibration?.answers, oracle.answers, 1e-7, "answers");
  near(calibration?.classes, oracle.points, 1e-7, "classes");
});

test("calibrate · a threshold keeps its promise on its own images, and the next lower probability breaks it", () => {
  const { calibration } = calibrate(images);
  const scored = oracle.labels.map((label: number, n: number) => {
    const p = softmax(images.logits.subarray(4 * n, 4 * n + 4), calibration?.temperature);
    return { score: Math.max(...p), right: p.indexOf(Math.max(...p)) === label };
  });
  const precision = (least: number): number => {
    // A hair lower: the same number in another order of sums.
    const given = scored.filter(({ score }: { score: number }) => score >= least - EXACT);
    return given.filter(({ right }: { right: boolean }) => right).length / given.length;
  };
  for (const { targetPrecision, threshold } of calibration?.answers ?? []) {
    assert.ok(threshold !== null && precision(threshold) >= targetPrecision, `${targetPrecision}`);
    const lower = scored
      .map(({ score }: { score: number }) => score)
      .filter((score: number) => score < threshold - EXACT);
    assert.ok(precision(Math.max(...lower)) < targetPrecision, `below ${targetPrecision}`);
  }
});

for (const [name, given, expected] of [
  [
    "fewer than 30 images",
    { logits: new Float32Array(58), labels: new Array(29).fill(0), classes: 2 },
    /29 .* too few/,
  ],
  [
    "answers that are all right",
    {
      logits: Float32Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? 1 : 0)),
      labels: new Array(40).fill(0),
      classes: 2,
    },
    /no temperature/,
  ],
  [
    "answers that are all wrong",
    {
      logits: Float32Array.from({ length: 80 }, (_, i) => (i % 2 === 0 ? 1 : 0)),
      labels: new Array(40).fill(1),
      classes: 2,
    },
    /no temperature/,
  ],
] as const) {
  test(`calibrate · ${name} · nothing, and why`, () => {
    const { calibration, missing } = calibrate(given);
    assert.equal(calibration, undefined);
    assert.match(missing ?? "", expected);
  });
}

test("calibrate · a class without images has no operating point, a precision nobody reaches no threshold", () => {
  // Forty images of class 0 in three classes, of which every fourth is taken for class 1, all equally sure.
  const logits = Float32Array.from({ length: 120 }, (_, i) =>
    i % 3 === (Math.floor(i / 3) % 4 === 0 ? 1 : 0) ? 2 : 0,
  );
  const { calibration } = calibrate({ logits, labels: new Array(40).fill(0), classes: 3 });
  assert.deepEqual(
    calibration?.answers.map(({ threshold }) => threshold),
    [null, null, null, null, null],
  );
  assert.deepEqual(calibration?.classes.slice(1), [null, null]);
  assert.equal(calibration?.classes[0]?.recall, 1);
});

test("class scores · precision, recall, F1 and their means are scikit-learn's", () => {
  const confusion = Array.from({ length: images.classes }, () => new Array<number>(images.classes).fill(0));
  for (const [n, label] of oracle.labels.entries()) {
    const row = images.logits.subarray(4 * n, 4 * n + 4);
    const guess = row.indexOf(Math.max(...row));
    const counts = confusion[label] ?? [];
    counts[guess] = (counts[guess] ?? 0) + 1;
  }
  const scores = classScores(confusion);
  for (const key of ["precision", "recall", "f1"] as const) {
    near(
      scores.map((score) => score[key]),
      oracle[key],
      EXACT,
      key,
    );
  }
  assert.deepEqual(
    scores.map(({ count }) => count),
    oracle.support,
  );
  const { precision, recall, f1 } = meanScores(scores);
  near([precision, recall, f1], oracle.macro, EXACT, "macro");
});

test("class scores · a class that no image is taken for has no precision and counts 0 in the mean", () => {
  const scores = classScores([
    [4, 0, 0],
    [2, 0, 0],
    [0, 0, 0],
  ]);
  assert.deepEqual(
    scores.map(({ precision, recall, f1 }) => [precision, recall, f1]),
    [
      [4 / 6, 1, 0.8],
      [Number.NaN, 0, 0],
      [Number.NaN, Number.NaN, Number.NaN],
    ],
  );
  assert.deepEqual(meanScores(scores), { precision: 1 / 3, recall: 0.5, f1: 0.4 });
});
