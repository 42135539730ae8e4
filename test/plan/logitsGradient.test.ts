import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import { differentiateLogits } from "../../src/graph/differentiate.ts";
import { nodeTensor } from "../../src/infer/nodes.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { planInference, planTraining } from "../../src/plan/planners.ts";

const size = { batch: 2, height: 32, width: 32 };
const graph = buildGraph(namedSpec("BC-40-12"), { ...size, mode: "inference" });

for (const [node, first] of [
  ["features.denseblock3", "features.pool5"],
  ["features.denseblock2.denselayer4", "features.denseblock2.denselayer5.conv1"],
  ["features.transition1", "features.denseblock2.denselayer1.conv1"],
] as const) {
  test(`gradient of the logits at ${node} · inference and then the backward pass down to ${first}, without weights`, () => {
    const { id, name } = nodeTensor(graph, node);
    const found = differentiateLogits(graph, [id]);
    assert.deepEqual([...found.gradients.keys()], [id]);
    assert.equal(found.tensors[found.gradients.get(id) ?? -1].name, `d(${name})`);
    const { calls } = planTraining(found, { recompute: "none", keep: [id] });
    const forward = planInference(graph).calls;
    assert.deepEqual(calls.slice(0, forward.length), forward);
    const backward = calls.slice(forward.length);
    assert.equal(backward.at(-1)?.path, first);
    const kernels = new Set(backward.map(({ kernel }) => kernel));
    for (const kernel of ["convGradWeight", "convGrad", "statisticsGrad"] as const) {
      assert.ok(!kernels.has(kernel), kernel);
    }
    // What the backward pass computes is claimed once, but for sums, which are addresses.
    const claimed = backward.flatMap(({ computes }) => computes);
    assert.equal(new Set(claimed).size, claimed.length);
    const nodes = found.nodes.filter(({ pass, op }) => pass === "backward" && op !== "add" && op !== "slice");
    const missing = nodes.filter((one) => !claimed.includes(one.id)).map(({ op }) => op);
    assert.deepEqual(
      [...new Set(missing)].filter((op) => !/concat/i.test(op)),
      [],
    );
  });
}

test("gradient of the logits · refused where they do not depend on the tensor, and a second time", () => {
  const { id } = nodeTensor(graph, "features.conv0");
  assert.throws(() => differentiateLogits(differentiateLogits(graph, [id]), [id]), UsageError);
  const { loss = -1, ...withLoss } = buildGraph(namedSpec("BC-40-12"), { ...size, mode: "inference", loss: true });
  assert.throws(() => differentiateLogits({ ...withLoss, loss }, [loss]), /the logits do not depend on loss/);
});
