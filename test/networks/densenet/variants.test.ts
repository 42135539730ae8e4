// networks/densenet: the named networks, their spellings, and what a typo is answered with.
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import { editDistance, nearestName } from "../../../src/nearestName.ts";
import { densenet } from "../../../src/networks/densenet/family.ts";
import { architecture, canonicalName, depthOf, namedSpec, variantName } from "../../../src/networks/registry.ts";
import { fc } from "../../seeded.ts";
import { namedDenseNet } from "./named.ts";

const variantNames = [...densenet.variants.keys()];

test(
  "variantNames · every network of the paper, its technical report and torchvision, and BC-28-12 for a first " +
    "run, each its own spec",
  () => {
    assert.deepEqual([...variantNames].sort(), [
      "100-12",
      "100-24",
      "121",
      "161",
      "169",
      "201",
      "232",
      "264",
      "264-k48",
      "40-12",
      "BC-100-12",
      "BC-190-40",
      "BC-250-24",
      "BC-28-12",
      "BC-40-12",
      "BC-40-36",
      "BC-40-48",
      "BC-40-60",
    ]);
    assert.equal(new Set(variantNames.map((name) => JSON.stringify(namedSpec(name)))).size, variantNames.length);
    for (const name of variantNames)
      assert.equal(variantName(namedSpec(name, { numClasses: 7, inChannels: 1, dropRate: 0.2 })), name);
    assert.equal(variantName(namedSpec("BC-100-12", { growthRate: 13 })), "BC-100-13");
    assert.equal(variantName(namedSpec("BC-100-12", { compression: 0.7 })), undefined);
    assert.equal(variantName(namedSpec("BC-100-12", { blockConfig: [16, 16, 17] })), undefined);
  },
);

const spellings: readonly [string, string][] = [
  ["densenet121", "121"],
  ["DenseNet-121", "121"],
  ["121-k32", "121"],
  ["densenet161_k48", "161"],
  ["264-K48", "264-k48"],
  ["densenet264_k48", "264-k48"],
  ["densenet-bc-100-12", "BC-100-12"],
  ["bc-100-12", "BC-100-12"],
  ["DenseNet-BC (L=100, k=12)", "BC-100-12"],
  ["densenet_bc_L190_k40", "BC-190-40"],
  ["L40-k12", "40-12"],
  ["Wide-DenseNet-BC-40-36", "BC-40-36"],
  ["100-24", "100-24"],
  ["22-12", "22-12"],
  ["DenseNet-B (L=40, k=12)", "B-40-12"],
  ["densenet_c_40_12", "C-40-12"],
  ["L58-k24-BC", "BC-58-24"],
];
for (const [spelling, name] of spellings) {
  test(`canonicalName · ${spelling} is ${name}`, () => assert.equal(canonicalName(spelling), name));
}

test(
  "namedSpec · 40-12 has 12 layers a block, BC-100-12 16; plain nets begin with 16 maps and keep all, ImageNet " +
    "nets have 1000 classes",
  () => {
    const plain = namedDenseNet("40-12");
    assert.deepEqual(
      [plain.blockConfig, plain.numInitFeatures, plain.compression, plain.bottleneck, plain.numClasses],
      [[12, 12, 12], 16, 1, false, 10],
    );
    const compact = namedDenseNet("BC-100-12");
    assert.deepEqual(
      [compact.blockConfig, compact.numInitFeatures, compact.compression, compact.bottleneck],
      [[16, 16, 16], 24, 0.5, true],
    );
    const big = namedDenseNet("161");
    assert.deepEqual(
      [big.blockConfig, big.numInitFeatures, big.growthRate, big.numClasses, big.stem],
      [[6, 12, 36, 24], 96, 48, 1000, "imagenet"],
    );
  },
);

test("namedSpec · names by depth and growth rate · bottlenecks make 6N + 4 layers, others 3N + 4; titles say them", () => {
  const kinds = ["40-36", "C-40-36", "B-40-36", "BC-40-36"].map((name) => {
    const { blockConfig, bottleneck, compression, numInitFeatures } = namedDenseNet(name);
    return [blockConfig[2], bottleneck, compression, numInitFeatures];
  });
  assert.deepEqual(kinds, [
    [12, false, 1, 16],
    [12, false, 0.5, 16],
    [6, true, 1, 16],
    [6, true, 0.5, 72],
  ]);
  for (const name of ["22-12", "B-40-12", "C-40-12", "BC-58-24", "resnet-68", "preresnet-83"]) {
    assert.equal(variantName(namedSpec(name, { numClasses: 100 })), name);
  }
  for (const name of ["22-12", "BC-100-12", "resnet-68", "plain-58-12"]) {
    const spec = namedSpec(name);
    assert.equal(depthOf(architecture(spec, { height: 32, width: 32 })), Number(/\d+/.exec(name)?.[0]), name);
  }
});

for (const [name, depths] of [
  ["BC-41-12", "6N + 4, expected one such as 40 or 46"],
  ["41-12", "3N + 4, expected one such as 40 or 43"],
  ["4-12", "3N + 4, expected one such as 7 or 10"],
  ["resnet-33", "6N + 2, expected one such as 32 or 38"],
  ["preresnet-164000", undefined],
  ["plain-BC-41-12", "6N + 4, expected one such as 40 or 46"],
] as const) {
  test(`namedSpec · ${name} · ${depths ?? "is no depth"}`, () => {
    assert.throws(
      () => namedSpec(name),
      (error) =>
        error instanceof UsageError &&
        error.message.startsWith(`no model is named "${name}"`) &&
        error.message.includes(depths ?? "did you mean preresnet-164?"),
    );
  });
}

test("namedSpec · overrides win, undefined ones do not, and k₀ follows an overridden growthRate", () => {
  const spec = namedDenseNet("BC-100-12", { growthRate: 10, numClasses: 100, dropRate: undefined });
  assert.deepEqual([spec.growthRate, spec.numInitFeatures, spec.numClasses, spec.dropRate], [10, 20, 100, 0]);
  assert.throws(() => namedDenseNet("BC-100-12", { compression: 0 }), UsageError);
});

const typos: readonly [string, string][] = [
  ["122", "121"],
  ["densnet121", "121"],
  ["CB-40-12", "BC-40-12"],
  ["densenet-264-k49", "264-k48"],
];
for (const [typo, meant] of typos) {
  test(`namedSpec · ${typo} · suggests ${meant}`, () => {
    assert.throws(
      () => namedSpec(typo),
      (error) =>
        error instanceof UsageError &&
        error.message.startsWith(`no model is named "${typo}"; did you mean ${meant}? expected one of 40-12, `),
    );
  });
}

test("namedSpec · a name like no other · lists the names without a suggestion", () => {
  for (const name of ["resnet", "", "???", "constructor"]) {
    assert.throws(
      () => namedSpec(name),
      (error) =>
        error instanceof UsageError && error.message.startsWith(`no model is named "${name}"; expected one of `),
    );
  }
});

test("editDistance · symmetric, zero only for equal words, a swap of neighbours is one edit", () => {
  assert.equal(editDistance("kitten", "sitting"), 3);
  assert.equal(editDistance("12", "21"), 1);
  assert.equal(editDistance("", "abc"), 3);
  fc.assert(
    fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (a, b) => {
      const distance = editDistance(a, b);
      assert.equal(distance, editDistance(b, a));
      assert.equal(distance === 0, a === b);
      assert.ok(distance >= Math.abs(a.length - b.length) && distance <= Math.max(a.length, b.length));
    }),
  );
  assert.equal(nearestName("--bach-size", ["--batch-size", "--epochs"]), "--batch-size");
  assert.equal(nearestName("zebra", ["--batch-size", "--epochs"]), undefined);
});
