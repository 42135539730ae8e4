// Plans of inference keep their packed and transformed weights from run to run; they must be those of the parameters,
// whoever changed them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { buildGraph, defineSpec } from "../../../src/networks/registry.ts";
import { planInference } from "../../../src/plan/planners.ts";
import { imagesOf, type NetworkCase, networkOf, scalarsOf, writeAll } from "../../conformance/network.ts";

const spec = defineSpec({ growthRate: 12, blockConfig: [2, 2], numInitFeatures: 16, compression: 0.5, numClasses: 5 });
const size = { batch: 8, height: 32, width: 32 };
const given: NetworkCase = {
  spec,
  ...size,
  recompute: "none",
  optimizer: { momentum: 0.9, nesterov: true, weightDecay: 1e-4 },
};

/** Logits as drawn, after each of two updates, and after one weight was written from outside. */
async function logitsOnTheWay(keepWeights: boolean): Promise<Float32Array[]> {
  const backend = await createWasmBackend({ keepWeights });
  try {
    const { plan, initial } = networkOf(given);
    const classify = planInference(buildGraph(spec, { ...size, mode: "inference" }));
    const executable = await backend.compile({ train: plan, classify });
    const found: Float32Array[] = [];
    const look = async (): Promise<void> => {
      await executable.write("images", imagesOf(given, 0).get("images") as Float32Array, "classify");
      await executable.run("classify");
      const [logits] = await executable.read(["logits"], "classify");
      found.push(logits as Float32Array);
    };
    await writeAll(executable, initial, "train");
    await look();
    for (const step of [0, 1]) {
      await writeAll(executable, imagesOf(given, step), "train");
      await executable.run("train", scalarsOf(step));
      await look();
    }
    const name = "features.denseblock1.denselayer1.conv2.weight";
    const [weights] = await executable.read([name]);
    await executable.write(
      name,
      weights.map((weight) => 2 * weight),
    );
    await look();
    return found;
  } finally {
    await backend.dispose();
  }
}

test("kept weights are those of the parameters · as drawn, after updates, after a write", async () => {
  const [kept, fresh] = [await logitsOnTheWay(true), await logitsOnTheWay(false)];
  assert.deepEqual(kept, fresh);
  for (const [before, after] of [0, 1, 2].map((i) => [fresh[i], fresh[i + 1]])) assert.notDeepEqual(before, after);
});
