import assert from "node:assert/strict";
import { test } from "node:test";
import { classErrors, constantGuess, meanClassError, worstFirst } from "../../src/analyze/classErrors.ts";

const confusion = [
  [90, 6, 0],
  [1, 1, 0],
  [0, 0, 0],
];

test("errors by class · each of its own images, a class without images has none", () => {
  assert.deepEqual(classErrors(confusion), [
    { label: 0, count: 96, error: 6.25 },
    { label: 1, count: 2, error: 50 },
    { label: 2, count: 0, error: Number.NaN },
  ]);
});

test("errors by class · the mean weighs classes alike and leaves out those without images; the worst comes first", () => {
  const errors = classErrors(confusion);
  assert.equal(meanClassError(errors), 28.125);
  assert.deepEqual(
    worstFirst(errors).map(({ label }) => label),
    [1, 0],
  );
});

test("a constant guess · the commonest class, the first of equal ones", () => {
  const names = ["cat", "dog", "owl"];
  assert.deepEqual(constantGuess({ labels: Uint16Array.of(1, 0, 1, 2) }, names), { name: "dog", error: 50 });
  assert.deepEqual(constantGuess({ labels: Uint16Array.of(2, 0) }, names), { name: "cat", error: 50 });
});
