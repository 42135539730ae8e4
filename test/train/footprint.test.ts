import assert from "node:assert/strict";
import { test } from "node:test";
import { differentiate } from "../../src/graph/differentiate.ts";
import { buildGraph, namedSpec, parameterCount } from "../../src/networks/registry.ts";
import { planTraining } from "../../src/plan/planners.ts";
import { recomputePolicies } from "../../src/plan/recompute.ts";
import { footprint, requireFit } from "../../src/train/footprint.ts";
import { type PartialTrainConfig, resolveConfig } from "../../src/train/resolveConfig.ts";

for (const [name, side] of [
  ["40-12", 32],
  ["BC-100-12", 32],
  ["BC-40-12", 17],
  ["121", 64],
  ["plain-BC-40-12", 32],
] as const) {
  for (const recompute of recomputePolicies) {
    test(`footprint · ${name} ${side}×${side} recompute ${recompute} · a lower bound of the plan, above a fifth of it`, () => {
      const spec = namedSpec(name);
      const size = { height: side, width: side };
      const batch = 4;
      const plan = planTraining(differentiate(buildGraph(spec, { ...size, batch, mode: "training" })), { recompute });
      const { parameters, bytesPerImage } = footprint(spec, size, {
        recompute,
        activationDtype: "f32",
        optimizer: "sgd",
      });
      assert.equal(parameters, parameterCount(spec));
      assert.ok(batch * bytesPerImage <= plan.arenaBytes, `${batch * bytesPerImage} > ${plan.arenaBytes}`);
      assert.ok(
        batch * bytesPerImage > plan.arenaBytes / 5,
        `${batch * bytesPerImage} is far below ${plan.arenaBytes}`,
      );
    });
  }
}

const embedded = { height: 32, width: 32 };
const config = (settings: PartialTrainConfig) => resolveConfig({ settings }).config;

/** What cannot be is refused in a moment: nothing is built and nothing allocated to find out. */
const ABSURD: readonly [name: string, settings: PartialTrainConfig, error: string, says: RegExp][] = [
  [
    "10,000 layers in a block",
    { model: { blockConfig: [10_000] } },
    "UsageError",
    /^model\.blockConfig: got \[10000\]/,
  ],
  [
    "10,000 layers in blocks",
    { model: { blockConfig: Array(10).fill(1000) } },
    "UsageError",
    /^model\.variant: BC-40-12 with blockConfig \[1000,.*\] has 20011 layers with weights, expected at most 4000/,
  ],
  [
    "a bottleneck factor of a million",
    { model: { bottleneckFactor: 1e6 } },
    "UsageError",
    /^model\.bottleneckFactor: got 1000000, expected a whole number from 1 to 1024/,
  ],
  [
    "all fields of a network at their most",
    { model: { blockConfig: [600, 600], growthRate: 4096, bottleneckFactor: 1024 } },
    "ResourceError",
    /^model\.variant: BC-40-12 with .*growthRate 4096.*, of \d+ parameters with gradients and momenta, needs at least \d+\.\d GiB/,
  ],
  [
    "images of 100,000 pixels",
    { data: { imageSize: 100_000 } },
    "UsageError",
    /^data\.imageSize: got 100000, expected/,
  ],
  [
    "a batch of 10^9",
    { batchSize: 1e9 },
    "UsageError",
    /^batchSize: got 1000000000, expected a whole number from 1 to/,
  ],
  [
    "the largest batch of the largest images",
    { batchSize: 2 ** 20, data: { imageSize: 16_384 } },
    "ResourceError",
    /^batchSize: BC-40-12 on 1048576 images of 16384×16384 at once needs at least \d+\.\d GiB of memory, expected at most 1024\.0 GiB/,
  ],
];
for (const [name, settings, error, says] of ABSURD) {
  test(`footprint · refused within a second: ${name}`, () => {
    const began = performance.now();
    assert.throws(() => config(settings), { name: error, message: says });
    assert.ok(performance.now() - began < 1000, `took ${performance.now() - began} ms`);
  });
}

test("footprint · what wasm cannot address is refused on wasm and not on a GPU, which may have it", () => {
  const large = config({ batchSize: 4096 });
  const spec = namedSpec("BC-40-12");
  assert.throws(() => requireFit(large, spec, embedded, "wasm"), {
    name: "ResourceError",
    message:
      /^batchSize: BC-40-12 on 4096 images of 32×32 at once .* expected at most 4\.0 GiB, which wasm can address$/,
  });
  requireFit(large, spec, embedded, "webgpu");
  requireFit(config({ batchSize: 4096, accumulationSteps: 8 }), spec, embedded, "wasm");
});

test("footprint · one image too many for wasm is about the images, not the batch", () => {
  const spec = namedSpec("121");
  assert.throws(() => requireFit(config({ batchSize: 2 }), spec, { height: 8192, width: 8192 }, "wasm"), {
    message: /^data\.imageSize: BC-40-12 on an image of 8192×8192/,
  });
});
