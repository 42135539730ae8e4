// networks/densenet: a spec is complete, frozen and possible, or one sentence says which field is not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import { defineSpec, parameterCount, type SpecFields } from "../../../src/networks/registry.ts";
import { fc } from "../../seeded.ts";
import { type DenseNetFields, defineDenseNet } from "./named.ts";

test("defineSpec · defaults are DenseNet-BC-100-12 with k₀ = 2k, frozen through and through", () => {
  const spec = defineDenseNet();
  assert.deepEqual(spec, {
    family: "densenet",
    growthRate: 12,
    blockConfig: [16, 16, 16],
    numInitFeatures: 24,
    bottleneck: true,
    bottleneckFactor: 4,
    compression: 0.5,
    dropRate: 0,
    stem: "cifar",
    inChannels: 3,
    numClasses: 10,
  });
  assert.ok(Object.isFrozen(spec) && Object.isFrozen(spec.blockConfig));
});

test("defineSpec · the caller's blockConfig is copied, not kept", () => {
  const blockConfig = [2, 3];
  const spec = defineDenseNet({ blockConfig });
  blockConfig[0] = 99;
  assert.deepEqual(spec.blockConfig, [2, 3]);
});

test("defineSpec · B, C, BC and plain are switched one by one; only BC and the ImageNet stem begin with 2k maps", () => {
  const firstMaps = (fields: DenseNetFields): number => defineDenseNet({ growthRate: 20, ...fields }).numInitFeatures;
  assert.equal(firstMaps({ bottleneck: false, compression: 1 }), 16);
  assert.equal(firstMaps({ bottleneck: true, compression: 1 }), 16);
  assert.equal(firstMaps({ bottleneck: false, compression: 0.5 }), 16);
  assert.equal(firstMaps({ bottleneck: true, compression: 0.5 }), 40);
  assert.equal(firstMaps({ bottleneck: false, compression: 1, stem: "imagenet" }), 40);
  assert.equal(defineSpec({ stem: "imagenet" }).numClasses, 1000);
});

test("defineSpec · a defined spec survives JSON and defining it again", () => {
  fc.assert(
    fc.property(
      fc.record({
        growthRate: fc.integer({ min: 1, max: 64 }),
        blockConfig: fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 5 }),
        numInitFeatures: fc.integer({ min: 1, max: 100 }),
        bottleneck: fc.boolean(),
        bottleneckFactor: fc.integer({ min: 1, max: 6 }),
        compression: fc.double({ min: 0.5, max: 1, noNaN: true }),
        dropRate: fc.double({ min: 0, max: 0.9, noNaN: true }),
        stem: fc.constantFrom("cifar" as const, "imagenet" as const),
      }),
      (fields) => {
        const spec = defineSpec(fields);
        const again = defineSpec(JSON.parse(JSON.stringify(spec)));
        assert.deepEqual(JSON.stringify(again), JSON.stringify(spec));
        assert.equal(parameterCount(again), parameterCount(spec));
      },
    ),
  );
});

const impossible: readonly [string, unknown, RegExp][] = [
  ["growthRate 0", { growthRate: 0 }, /^growthRate: got 0, expected a whole number from 1 to/],
  ["growthRate negative", { growthRate: -12 }, /^growthRate: got -12, /],
  ["growthRate fraction", { growthRate: 12.5 }, /^growthRate: got 12\.5, /],
  ["growthRate text", { growthRate: "12" }, /^growthRate: got "12", /],
  ["growthRate NaN", { growthRate: Number.NaN }, /^growthRate: got NaN, /],
  ["growthRate infinite", { growthRate: Number.POSITIVE_INFINITY }, /^growthRate: got Infinity, /],
  ["growthRate beyond exact arithmetic", { growthRate: 1e9 }, /^growthRate: got 1000000000, /],
  ["blockConfig empty", { blockConfig: [] }, /^blockConfig: got \[\], expected a list of at least one/],
  ["blockConfig no list", { blockConfig: 16 }, /^blockConfig: got 16, expected a list/],
  ["blockConfig with 0", { blockConfig: [6, 0, 6] }, /^blockConfig\[1\]: got 0, /],
  ["blockConfig with a fraction", { blockConfig: [6, 6, 1.5] }, /^blockConfig\[2\]: got 1\.5, /],
  ["blockConfig with null", { blockConfig: [null] }, /^blockConfig\[0\]: got null, /],
  [
    "blockConfig endless",
    { blockConfig: [9_000, 9_000] },
    /^blockConfig\[0\]: got 9000, expected a whole number from 1 to 1000$/,
  ],
  [
    "blockConfig of 17 blocks",
    { blockConfig: new Array(17).fill(1) },
    /^blockConfig: got \[1,.*\], expected a list of at least one and at most 16 numbers of layers, such as \[16, 16, 16\]$/,
  ],
  ["numInitFeatures 0", { numInitFeatures: 0 }, /^numInitFeatures: got 0, /],
  ["bottleneck no flag", { bottleneck: 1 }, /^bottleneck: got 1, expected true or false$/],
  ["bottleneckFactor 0", { bottleneckFactor: 0 }, /^bottleneckFactor: got 0, /],
  ["compression 0", { compression: 0 }, /^compression: got 0, expected a number above 0 and at most 1$/],
  ["compression above 1", { compression: 1.5 }, /^compression: got 1\.5, /],
  ["compression NaN", { compression: Number.NaN }, /^compression: got NaN, /],
  [
    "compression that leaves no map",
    { growthRate: 2, blockConfig: [2, 2], numInitFeatures: 4, compression: 0.1 },
    /^compression: got 0\.1, expected at least 0\.125, which leaves one of the 8 feature maps after block 1$/,
  ],
  ["dropRate 1", { dropRate: 1 }, /^dropRate: got 1, expected a probability of at least 0 and below 1$/],
  ["dropRate negative", { dropRate: -0.1 }, /^dropRate: got -0\.1, /],
  ["stem unknown", { stem: "svhn" }, /^stem: got "svhn", expected "cifar" or "imagenet"$/],
  ["inChannels 0", { inChannels: 0 }, /^inChannels: got 0, /],
  ["numClasses fraction", { numClasses: 0.5 }, /^numClasses: got 0\.5, /],
  ["field misspelt", { growthrate: 12 }, /^growthrate: a DenseNet has no such field; did you mean growthRate\?$/],
  ["field foreign", { zebra: 1 }, /^zebra: a DenseNet has no such field; its fields are growthRate, /],
  ["no object", [1], /^a spec must be an object of fields, got \[1\]$/],
];
for (const [name, fields, message] of impossible) {
  test(`defineSpec · ${name} · one sentence`, () => {
    assert.throws(
      () => defineSpec(fields as SpecFields),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  });
}
