import assert from "node:assert/strict";
import { test } from "node:test";
import { differentiate } from "../../src/graph/differentiate.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { gradientOf } from "../../src/plan/names.ts";
import { placesOf } from "../../src/plan/places.ts";
import type { PlanBuffer } from "../../src/plan/plan.ts";
import { planInference, planTraining } from "../../src/plan/planners.ts";

const size = { batch: 4, height: 32, width: 32 };
const overlap = (a: PlanBuffer, b: PlanBuffer): boolean =>
  a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

test("keep · the calls are the same, and nothing written later lies over a kept buffer", () => {
  const graph = differentiate(buildGraph(namedSpec("BC-40-12"), { ...size, mode: "training" }));
  const keep = graph.tensors.filter(({ name }) => /denselayer\d+\.conv2:y$|pool:y$/.test(name)).map(({ id }) => id);
  const [bare, kept] = [{}, { keep }].map((options) => planTraining(graph, { recompute: "none", ...options }));
  assert.deepEqual(kept.calls, bare.calls);
  const buffers = new Set(keep.map((id) => placesOf(graph).view(id).buffer));
  assert.equal(buffers.size, 3);
  for (const name of [...buffers].flatMap((buffer) => [buffer, gradientOf(buffer)])) {
    const buffer = kept.buffers.get(name);
    assert.ok(buffer && buffer.death === kept.calls.length, name);
    const over = [...kept.buffers.values()].filter(
      (other) => other.role === "arena" && other.name !== name && other.death > buffer.birth && overlap(other, buffer),
    );
    assert.deepEqual(over, [], name);
  }
  assert.ok(kept.arenaBytes > bare.arenaBytes);
});

test("keep · inference keeps maps too", () => {
  const graph = buildGraph(namedSpec("40-12"), { ...size, mode: "inference" });
  const [first] = graph.tensors.filter(({ name }) => name === "features.conv0:y").map(({ id }) => id);
  assert.ok(first !== undefined);
  const { buffer } = placesOf(graph).view(first);
  const plan = planInference(graph, { keep: [first] });
  assert.equal(plan.buffers.get(buffer)?.death, plan.calls.length);
  assert.notEqual(planInference(graph).buffers.get(buffer)?.death, plan.calls.length);
});
