// Convolutions by subgroup matrices: an adapter's own where it has them, and the shapes that makers offer, emulated on
// any adapter with f16.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { findAdapter } from "../../../src/backends/webgpu/gpu.ts";
import { lacksHalves } from "../../../src/backends/webgpu/halves.ts";
import { findMatrices, matrixFeatures } from "../../../src/backends/webgpu/matrix.ts";
import { tileFor } from "../../../src/backends/webgpu/tile.ts";
import { createWebgpuBackend, type WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import type { Plan } from "../../../src/plan/plan.ts";
import { kernelBounds } from "../../conformance/bounds.ts";
import { type AnyCase, type Contents, contentsOf, planOf, titleOf } from "../../conformance/case.ts";
import { allCases } from "../../conformance/cases.ts";
import {
  type CaseProgram,
  compileCases,
  type Expectation,
  expectationAfter,
  faultsIn,
  halved,
  storedInHalves,
  withRoundedOperands,
} from "../../conformance/runCase.ts";
import { type EmulatedMatrices, withEmulatedMatrices } from "./emulatedMatrices.ts";
import { gpuOrReason } from "./gpu.ts";
import { runPlan, withStatistics, wrongIn } from "./sequences.ts";

const found = await gpuOrReason();
const adapter = typeof found === "string" ? undefined : await findAdapter(found);
const skip = typeof found === "string" ? found : ((adapter && lacksHalves(adapter)) ?? false);
const gpu = found as GPU;
const ownMatrices = adapter && findMatrices(adapter.adapter);

/** NVIDIA's and AMD's, NVIDIA's smaller ones, Apple's. */
const shapes: readonly EmulatedMatrices[] = [
  { M: 16, N: 16, K: 16 },
  { M: 16, N: 8, K: 8 },
  { M: 8, N: 8, K: 8 },
];
const ways: Readonly<Record<string, { readonly gpu: GPU; readonly skip: string | false; readonly most: number }>> = {
  "the adapter's own": {
    gpu,
    skip: skip || (!ownMatrices && "the adapter has no subgroup matrices"),
    most: Number.POSITIVE_INFINITY,
  },
  ...Object.fromEntries(
    shapes.map((shape, index) => [
      `${shape.M}×${shape.N}×${shape.K}, emulated`,
      { gpu: skip === false ? withEmulatedMatrices(gpu, shape) : gpu, skip, most: index === 0 ? 3 : 1 },
    ]),
  ),
};
/** By the height of their tile, on which the matrices' places depend. */
const convolutions = Map.groupBy(
  allCases.filter((given) => given.kernel === "conv"),
  ({ args }) => tileFor(args.y.channels, { tiled: true }).down,
);

/** What stands in the buffers, as f16 has it: feature maps, which lie in it, and weights, which are rounded to it. */
function inHalves(plan: Plan, given: AnyCase): Contents {
  const contents = halved(plan, contentsOf(given, plan));
  return new Map(contents).set("weight", Float32Array.from(Float16Array.from(contents.get("weight") ?? [])));
}
const allowing = (expectation: Expectation): Expectation => storedInHalves(withRoundedOperands(expectation));

for (const [way, { gpu, skip, most }] of Object.entries(ways)) {
  describe(`webgpu with subgroup matrices, ${way}`, { skip }, () => {
    const cases = [...convolutions.values()].flatMap((of) => of.slice(-most));
    let backend: WebgpuBackend;
    let program: CaseProgram;
    before(async () => {
      backend = await createWebgpuBackend({ gpu, activationDtype: "f16", tiled: true });
      program = await compileCases(backend, cases);
    });
    after(async () => {
      await program.dispose();
      await backend.dispose();
    });
    test("they are used, for tiles of every height", () => {
      assert.deepEqual(new Set(convolutions.keys()), new Set([4, 8, 12, 16]));
      assert.equal(backend.info.features.subgroupMatrices, true);
      assert.ok(backend.target.matrices);
    });
    for (const given of cases) {
      test(`${titleOf(given)} · ${kernelBounds.conv.claim} and the rounding of what is loaded and stored`, async () => {
        const contents = inHalves(planOf(given), given);
        const expectation = allowing(await expectationAfter(planOf(given), contents, "direct", given.scalars));
        assert.deepEqual(faultsIn(expectation, await program.run(given, contents)), []);
      });
    }
    for (const [index, given] of cases.entries()) {
      const { given: whole, plan } = withStatistics(given, index % 2 === 0 ? 0 : 0.3);
      test(`${plan.calls.map(({ kernel }) => kernel).join(", ")} · ${given.name}`, async () => {
        const contents = inHalves(plan, whole);
        assert.deepEqual(await wrongIn(plan, contents, await runPlan(backend, plan, contents), allowing), []);
      });
    }
  });
}

const [f16, f32] = ["f16", "f32"];
for (const [what, configs, sizes, chosen] of [
  [
    "the largest of f16 summed in f32",
    [
      { M: 16, N: 8, K: 8, componentType: f16, resultComponentType: f32 },
      { M: 16, N: 16, K: 16, componentType: f16, resultComponentType: f16 },
      { M: 16, N: 16, K: 16, componentType: f16, resultComponentType: f32 },
      { M: 16, N: 8, K: 16, componentType: f16, resultComponentType: f32 },
    ],
    [32, 32],
    { m: 16, n: 16, k: 16, lanes: 32 },
  ],
  [
    "in the subgroups that there are",
    [{ M: 16, N: 16, K: 16, componentType: f16, resultComponentType: f32 }],
    [64, 64],
    { m: 16, n: 16, k: 16, lanes: 64 },
  ],
  ["none of f32", [{ M: 8, N: 8, K: 8, componentType: f32, resultComponentType: f32 }], [32, 32], undefined],
  [
    "none that does not divide a tile",
    [{ M: 16, N: 64, K: 16, componentType: f16, resultComponentType: f32 }],
    [32, 32],
    undefined,
  ],
  [
    "none larger than what a subgroup owns of a tile",
    [{ M: 16, N: 16, K: 16, componentType: f16, resultComponentType: f32 }],
    [8, 8],
    undefined,
  ],
  [
    "none in subgroups that do not divide a workgroup",
    [{ M: 16, N: 16, K: 16, componentType: f16, resultComponentType: f32 }],
    [128, 128],
    undefined,
  ],
] as const) {
  test(`of an adapter's subgroup matrices are taken: ${what}`, () => {
    const [subgroupMinSize, subgroupMaxSize] = sizes;
    const info = { subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs: configs };
    const offering = (features: readonly string[]) => ({ features: new Set(features), info }) as unknown as GPUAdapter;
    assert.deepEqual(findMatrices(offering(matrixFeatures)), chosen);
    assert.equal(findMatrices(offering(matrixFeatures.slice(1))), undefined);
  });
}

test("subgroup matrices that are not wanted are not used", { skip }, async () => {
  const offering = withEmulatedMatrices(gpu, { M: 16, N: 16, K: 16 });
  const backend = await createWebgpuBackend({ gpu: offering, activationDtype: "f16", tiled: true, matrices: false });
  assert.equal(backend.target.matrices, undefined);
  await backend.dispose();
});

test("subgroup matrices that multiply wrongly are passed over, with a sentence", { skip }, async () => {
  const broken = withEmulatedMatrices(gpu, { M: 16, N: 16, K: 16 }, "turned");
  const backend = await createWebgpuBackend({ gpu: broken, activationDtype: "f16", tiled: true });
  assert.equal(backend.target.matrices, undefined);
  assert.equal(backend.info.features.subgroupMatrices, false);
  assert.match(
    backend.info.notes.at(-1) ?? "",
    /^Its subgroup matrices are not used: it computes a convolution wrongly/,
  );
  await backend.dispose();
});
