import assert from "node:assert/strict";
import { test } from "node:test";
import { embeddingMap, renderMap } from "../../src/analyze/embeddingMap.node.ts";
import { draw } from "../ops/differences.ts";

const GROUPS = 3;
/** 20 directions around each of three axes. */
const vectors = Array.from({ length: 60 }, (_, n) => {
  const { data } = draw(`vector ${n}`, [8]);
  return Float32Array.from(data, (value, at) => 0.3 * value + (at === n % GROUPS ? 2 : 0));
});

test("map · the same bits again with one seed, others with another; 0…1 each way", () => {
  const points = embeddingMap(vectors);
  assert.deepEqual(embeddingMap(vectors), points);
  assert.notDeepEqual(embeddingMap(vectors, 1), points);
  for (const axis of ["x", "y"] as const) {
    const values = points.map((point) => point[axis]);
    assert.deepEqual([Math.min(...values), Math.max(...values)], [0, 1]);
  }
});

test("map · the nearest on the map is of the same group", () => {
  const points = embeddingMap(vectors);
  const distance = (a: number, b: number): number =>
    a === b ? Number.POSITIVE_INFINITY : Math.hypot(points[a].x - points[b].x, points[a].y - points[b].y);
  for (const own of points.keys()) {
    const nearest = [...points.keys()].reduce((best, at) => (distance(own, at) < distance(own, best) ? at : best), own);
    assert.equal(nearest % GROUPS, own % GROUPS, `vector ${own}`);
  }
});

test("map · four images are too few", () => {
  assert.throws(() => embeddingMap(vectors.slice(0, 4)), /at least 5 images, got 4/);
});

test("map · the page escapes every text and has no script", () => {
  const hostile = '<script>alert("1")</script>';
  const text = renderMap({
    title: hostile,
    description: hostile,
    command: hostile,
    images: [{ file: hostile, label: hostile, dataUri: "data:image/jpeg;base64,AAAA", x: 0, y: 1 }],
  });
  assert.ok(!/<script/i.test(text));
  assert.match(text, /<title>&lt;script&gt;.*: &lt;script&gt;/);
});
