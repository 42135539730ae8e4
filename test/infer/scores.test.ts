import assert from "node:assert/strict";
import { test } from "node:test";
import { softmax, topPredictions } from "../../src/infer/scores.ts";

test("softmax · by hand: ln 1, ln 2, ln 5 become 1/8, 2/8, 5/8", () => {
  const scores = softmax([0, Math.log(2), Math.log(5)]);
  for (const [index, expected] of [1 / 8, 2 / 8, 5 / 8].entries())
    assert.ok(Math.abs(scores[index] - expected) < 1e-15);
});

test("softmax · great logits do not overflow, and only differences count", () => {
  assert.deepEqual([...softmax([1e30, 0])], [1, 0]);
  assert.deepEqual([...softmax([-1000, -1000])], [0.5, 0.5]);
});

test("topPredictions · best first, equal ones by index, no more than there are", () => {
  const classes = ["a", "b", "c", "d"];
  assert.deepEqual(
    topPredictions([1, 3, 3, 2], classes, 3).map(({ label, index }) => [label, index]),
    [
      ["b", 1],
      ["c", 2],
      ["d", 3],
    ],
  );
  assert.equal(topPredictions([1, 3, 3, 2], classes, 9).length, 4);
});

test("topPredictions · the order is that of the logits where their probabilities round to the same", () => {
  const order = topPredictions([1000, -3000, -2000], ["a", "b", "c"], 3).map(({ label }) => label);
  assert.deepEqual(order, ["a", "c", "b"]);
});
