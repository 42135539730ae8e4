import assert from "node:assert/strict";
import { test } from "node:test";
import { nearestNeighbours } from "../../src/analyze/neighbours.ts";

test("neighbours · by direction and not by length, nearest first, equal ones in their order, never oneself", () => {
  const vectors = [
    [1, 0],
    [0, 2],
    [5, 0],
    [1, 1],
    [3, 3],
    [0, 0],
  ].map((values) => Float32Array.from(values));
  const found = nearestNeighbours(vectors, 2);
  assert.deepEqual(
    found.map((near) => near.map(({ index }) => index)),
    [
      [2, 3],
      [3, 4],
      [0, 3],
      [4, 0],
      [3, 0],
      [0, 1],
    ],
  );
  assert.ok(Math.abs(found[3][0].similarity - 1) < 1e-6 && Math.abs(found[3][1].similarity - Math.SQRT1_2) < 1e-6);
  assert.equal(found[5][0].similarity, 0);
  assert.deepEqual(
    nearestNeighbours(vectors.slice(0, 2), 5).map(({ length }) => length),
    [1, 1],
  );
});
