// data: an epoch in which every class is seen equally often.
import assert from "node:assert/strict";
import { test } from "node:test";
import { balancedIndices } from "../../src/data/balance.ts";

/** Counts of each class, images in a mixed order. */
const labelsOf = (counts: readonly number[]): Uint16Array =>
  Uint16Array.from(
    counts
      .flatMap((count, label) => Array.from({ length: count }, (_, n) => ({ label, key: (n * 7919 + label) % 1009 })))
      .sort((a, b) => a.key - b.key)
      .map(({ label }) => label),
  );

const seen = (labels: Uint16Array, indices: Int32Array): Map<number, number[]> =>
  Map.groupBy([...indices], (index) => labels[index]);

for (const counts of [
  [90, 10],
  [5, 5, 5],
  [1, 2, 40],
  [100, 33, 7, 1],
]) {
  test(`classes of ${counts.join(", ")} · as many images as before, classes alike within one`, () => {
    const labels = labelsOf(counts);
    for (const epoch of [0, 1, 2, 7]) {
      const indices = balancedIndices(labels, 3, epoch);
      assert.equal(indices.length, labels.length);
      const sizes = [...seen(labels, indices).values()].map(({ length }) => length);
      assert.equal(sizes.length, counts.length);
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, sizes.join(", "));
    }
  });
}

test("a class goes through all its images before it repeats one", () => {
  const labels = labelsOf([90, 10]);
  const epochs = [0, 1].map((epoch) => seen(labels, balancedIndices(labels, 3, epoch)));
  const large = epochs.flatMap((epoch) => epoch.get(0) ?? []);
  assert.equal(new Set(large.slice(0, 90)).size, 90, "90 of the large class in two epochs of 50, none twice");
  const small = epochs[0]?.get(1) ?? [];
  assert.deepEqual(
    Object.values(Object.groupBy(small, (index) => index)).map((times) => times?.length),
    Array(10).fill(5),
    "each of 10 five times in 50",
  );
});

test("a function of seed and epoch; where classes are even, a permutation", () => {
  const labels = labelsOf([20, 20]);
  assert.deepEqual(balancedIndices(labels, 3, 4), balancedIndices(labels, 3, 4));
  assert.notDeepEqual(balancedIndices(labels, 3, 4), balancedIndices(labels, 4, 4));
  assert.deepEqual(
    [...balancedIndices(labels, 3, 4)].sort((a, b) => a - b),
    [...labels.keys()],
  );
});
