import assert from "node:assert/strict";
import { test } from "node:test";
import { featureMemory, memoryFindings } from "../../src/analyze/featureMemory.ts";
import { summarize } from "../../src/analyze/summary.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { planTraining } from "../../src/plan/planners.ts";

const how = { height: 32, width: 32, batch: 8 };
const specs = [10, 20, 40].map((layers) => namedSpec("BC-100-12", { blockConfig: [layers, layers, layers] }));

test("memory · naive is the summary's with gradients, shared and recomputed are what the plans allocate", () => {
  const { depths } = featureMemory(specs, how);
  assert.deepEqual(
    depths.map(({ depth }) => depth),
    [64, 124, 244],
  );
  const graph = differentiate(buildGraph(specs[0], { ...how, mode: "training" }));
  assert.deepEqual(depths[0]?.bytes, {
    naive: 2 * summarize(specs[0], how).activationBytesNaive,
    // The largest module is the batch norm of the first transition: 24 + 120 maps of 32×32 in and out.
    sharedGradients: summarize(specs[0], how).activationBytesNaive + 4 * 8 * 2 * 144 * 1024,
    shared: planTraining(graph, { recompute: "none" }).arenaBytes,
    recomputed: planTraining(graph, { recompute: "bottleneck" }).arenaBytes,
  });
});

test("memory · naive grows with nearly the square of the depth, the plans linearly", () => {
  const memory = featureMemory(specs, how);
  assert.ok(memory.exponents.naive > 1.5 && memory.exponents.shared < 1.1 && memory.exponents.recomputed < 1.1);
  assert.deepEqual(
    memoryFindings(memory).map(({ found }) => found),
    [true, true],
  );
  const quadratic = { ...memory, exponents: { ...memory.exponents, naive: 1, recomputed: 2 } };
  assert.deepEqual(
    memoryFindings(quadratic).map(({ found }) => found),
    [false, false],
  );
});
