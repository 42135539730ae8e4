// Every file that the real tools wrote gives the logits that its network had there.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { describeWeights } from "../../src/formats/describe.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { logitsOf, relativeDifference, unpackFixtures } from "./oracle.ts";

const { folder, entries } = unpackFixtures();
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

for (const { file, tool, input, logits, classes, sigmoid = false } of entries) {
  test(`${file} by ${tool} · ${input.join("×")} · within 1e-4 of the largest logit`, async () => {
    const weights = await openWeights(join(folder, file));
    const { trained } = describeWeights(weights, file);
    const difference = relativeDifference(await logitsOf(trained.model, input, backend), logits);
    assert.ok(difference < 1e-4, `differs by ${difference.toExponential(1)} of the largest logit`);
    assert.deepEqual(weights.classes, classes);
    assert.equal(trained.outputs === "sigmoid", sigmoid);
  });
}
