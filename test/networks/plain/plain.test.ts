// networks/plain: sizes counted by hand, names, fields, and a graph without any skip connection.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { createNetwork } from "../../../src/model/create.ts";
import { exportStateDict, importStateDict } from "../../../src/model/stateDict.ts";
import { plain } from "../../../src/networks/plain/family.ts";
import {
  architecture,
  buildGraph,
  canonicalName,
  connectionsIn,
  defineSpec,
  depthOf,
  macs,
  namedSpec,
  networkTitle,
  parameterCount,
  type SpecFields,
  smallestInput,
  variantName,
} from "../../../src/networks/registry.ts";
import { resolveConfig } from "../../../src/train/resolveConfig.ts";
import { namedDenseNet } from "../densenet/named.ts";

const cifar = { height: 32, width: 32 };
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

// Widths by hand, with c₀ and c̄ of the DenseNet's blocks:
//   40-12       c₀ 16, 160, 304; c̄ = c₀ + 66 = 82, 226, 370; √(12·c̄) = 31.4, 52.1, 66.6
//   BC-100-12   c₀ 24, 108, 150; c̄ = c₀ + 90 = 114, 198, 240; √((12·c̄ + 1296)/10) = 16.3, 19.2, 20.4
//   121         c₀ 64, 128, 256, 512; c̄ = 144, 304, 624, 752; √((32·c̄ + 9216)/10) = 37.2, 43.5, 54.02, 57.7
const widths: readonly (readonly [name: string, widths: readonly number[], depth: number])[] = [
  ["plain-40-12", [31, 52, 67], 40],
  ["plain-BC-100-12", [16, 19, 20], 100],
  ["plain-121", [37, 44, 54, 58], 121],
];
for (const [name, expected, depth] of widths) {
  test(`${name} · widths ${expected.join("-")}, ${depth} layers, and the stem of the DenseNet of that name`, () => {
    const spec = plain.define(plain.variants.get(name) ?? {});
    assert.deepEqual(spec.widths, expected);
    const side = plain.usualInput(spec);
    assert.equal(depthOf(architecture(spec, { height: side, width: side })), depth);
    const twin = namedDenseNet(name.replace("plain-", ""));
    assert.deepEqual(
      [spec.numInitFeatures, spec.stem, spec.blockConfig, spec.bottleneck, spec.numClasses],
      [twin.numInitFeatures, twin.stem, twin.blockConfig, twin.bottleneck, twin.numClasses],
    );
  });
}

test("plain-40-12 · 886 525 parameters and 210.8 M multiply-adds, counted by hand", () => {
  // A composite function: γ and β of what it reads, then 3×3 weights.
  const layer = (read: number, made: number): number => 2 * read + 9 * read * made;
  const transition = (read: number, made: number): number => 2 * read + read * made;
  const params = sum([
    9 * 3 * 16, // stem
    layer(16, 31) + 11 * layer(31, 31),
    transition(31, 52),
    12 * layer(52, 52),
    transition(52, 67),
    12 * layer(67, 67),
    2 * 67, // norm5
    67 * 10 + 10, // classifier
  ]);
  assert.equal(params, 886_525);
  assert.equal(parameterCount(namedSpec("plain-40-12")), params);

  const multiplyAdds = sum([
    1024 * (9 * 3 * 16 + 9 * 16 * 31 + 11 * 9 * 31 * 31 + 31 * 52), // at 32×32, the transition before it pools
    256 * (12 * 9 * 52 * 52 + 52 * 67),
    64 * 12 * 9 * 67 * 67,
    670,
  ]);
  assert.equal(macs(namedSpec("plain-40-12"), cifar), multiplyAdds);
  assert.equal((multiplyAdds / 1e6).toFixed(1), "210.8");
});

test("a layer costs as many multiply-adds as the average dense layer of the same block, within the rounding of widths", () => {
  for (const name of ["40-12", "100-12", "BC-40-12", "BC-100-12", "121"]) {
    const [dense, chain] = [namedSpec(name), namedSpec(`plain-${name}`)].map((spec) => {
      const side = name === "121" ? 224 : 32;
      return architecture(spec, { height: side, width: side });
    });
    for (const [index, block] of dense.blocks.entries()) {
      const ofBlock = (shape: typeof dense, path: string): number =>
        sum(shape.layers.filter((layer) => layer.path.startsWith(`${path}.`)).map((layer) => layer.macs));
      const twin = chain.blocks[index];
      assert.equal(twin.layers, block.layers);
      const ratio = ofBlock(chain, twin.path) / ofBlock(dense, block.path);
      // A width is rounded to within a half; the first layer of a block reads what the transition left.
      assert.ok(Math.abs(ratio - 1) < 0.08, `${name}, block ${index + 1}: ${ratio}`);
    }
  }
});

test("connections · one a layer, so blocks of 12 have 12", () => {
  assert.deepEqual(architecture(namedSpec("plain-40-12"), cifar).blocks.map(connectionsIn), [12, 12, 12]);
});

for (const [spelling, name] of [
  ["plain40-12", "plain-40-12"],
  ["Plain-BC (L=100, k=12)", "plain-BC-100-12"],
  ["plain_bc_100_12", "plain-BC-100-12"],
  ["PLAIN121", "plain-121"],
] as const) {
  test(`canonicalName · ${spelling} is ${name}`, () => assert.equal(canonicalName(spelling), name));
}

test("names · typos find the chain, titles name a changed one, the DenseNets keep their names", () => {
  assert.throws(() => namedSpec("plian-40-12"), /did you mean plain-40-12\?/);
  assert.throws(() => namedSpec("plain-CB-100-12"), /did you mean plain-BC-100-12\?/);
  const changed = namedSpec("plain-40-12", { blockConfig: [1, 1, 1] });
  assert.equal(networkTitle(changed, "plain-40-12"), "A plain network like plain-40-12");
  assert.equal(networkTitle(namedSpec("plain-40-12", { numClasses: 3 })), "Plain-40-12");
  assert.equal(variantName(namedSpec("40-12")), "40-12");
});

const impossible: readonly (readonly [what: string, fields: object, says: RegExp])[] = [
  ["a DenseNet's field", { compression: 0.5 }, /^compression: a plain network has no such field; its fields are /],
  ["a misspelt field", { width: [1] }, /^width: a plain network has no such field; did you mean widths\?$/],
  [
    "too few widths",
    { blockConfig: [1, 1], widths: [4] },
    /^widths: got \[4\], expected a number of feature maps for each of the 2 blocks$/,
  ],
  ["a width of 0", { blockConfig: [1, 1], widths: [4, 0] }, /^widths\[1\]: got 0, expected a whole number from 1 to /],
];
for (const [what, fields, says] of impossible) {
  test(`defineSpec · ${what} · one sentence`, () => {
    assert.throws(
      () => defineSpec({ family: "plain", ...fields } as SpecFields),
      (error) => error instanceof UsageError && says.test(error.message),
    );
  });
}

test("settings · a chain takes widths, and growthRate is refused by name before anything is opened", () => {
  const { model } = resolveConfig({ file: { model: { variant: "Plain40-12", widths: [4, 5, 6] } } }).config;
  assert.deepEqual(model, { variant: "plain-40-12", widths: [4, 5, 6] });
  assert.throws(
    () => resolveConfig({ file: { model: { variant: "plain-40-12", growthRate: 8 } } }),
    (error) =>
      error instanceof UsageError && /model\.growthRate.*a plain network has no such field/.test(error.message),
  );
  assert.throws(
    () => resolveConfig({ file: { model: { variant: "BC-40-12", widths: [4] } } }),
    (error) => error instanceof UsageError && /model\.widths.*a DenseNet has no such field/.test(error.message),
  );
});

describe("the graph", () => {
  const spec = defineSpec({
    family: "plain",
    blockConfig: [2, 1],
    widths: [5, 7],
    bottleneck: true,
    numInitFeatures: 4,
  });
  const graph = buildGraph(spec, { batch: 2, height: 8, width: 6, mode: "training" });
  const shapeOf = (path: string): readonly number[] | undefined =>
    graph.tensors.find(({ name }) => name === path)?.shape;

  test("no feature map is read twice but by batch norm and its statistics; nothing is concatenated or added", () => {
    const ops = new Set(graph.nodes.map(({ op }) => op));
    assert.ok(!ops.has("concat") && !ops.has("add"));
    const readers = (id: number, of: Graph): number =>
      of.nodes.filter(({ op, inputs }) => op !== "channelStatistics" && inputs[0] === id).length;
    for (const { op, outputs } of graph.nodes) {
      if (["conv2d", "relu", "avgPool2d"].includes(op)) assert.equal(readers(outputs[0], graph), 1);
    }
  });

  test("shapes and names · stem, layers with bottlenecks of 4 widths, transition, classifier", () => {
    assert.deepEqual(
      Object.fromEntries(
        [
          "features.conv0.weight",
          "features.block1.layer1.norm1.weight",
          "features.block1.layer1.conv1.weight",
          "features.block1.layer1.conv2.weight",
          "features.block1.layer2.conv1.weight",
          "features.transition1.conv.weight",
          "features.block2.layer1.conv2.weight",
          "classifier.weight",
        ].map((path) => [path, shapeOf(path)]),
      ),
      {
        "features.conv0.weight": [4, 3, 3, 3],
        "features.block1.layer1.norm1.weight": [4],
        "features.block1.layer1.conv1.weight": [20, 4, 1, 1],
        "features.block1.layer1.conv2.weight": [5, 20, 3, 3],
        "features.block1.layer2.conv1.weight": [20, 5, 1, 1],
        "features.transition1.conv.weight": [7, 5, 1, 1],
        "features.block2.layer1.conv2.weight": [7, 28, 3, 3],
        "classifier.weight": [10, 7],
      },
    );
  });

  test("images too small · the layer is named, and the smallest size works", () => {
    assert.equal(smallestInput(namedSpec("plain-121")), 29);
    assert.throws(
      () => buildGraph(namedSpec("plain-40-12"), { batch: 2, height: 3, width: 32, mode: "inference" }),
      /features\.transition2\.pool: images of 3×32 .* 4×4/,
    );
    buildGraph(namedSpec("plain-40-12"), { batch: 2, height: 4, width: 4, mode: "training" });
  });
});

test("state dict · a chain returns as it left, recognised by its shapes alone, and is no DenseNet", () => {
  for (const fields of [
    { blockConfig: [2, 1, 3], widths: [5, 7, 4] },
    { blockConfig: [1], widths: [6], bottleneck: true, bottleneckFactor: 2, stem: "imagenet", numClasses: 3 },
  ] as const) {
    const model = createNetwork(defineSpec({ family: "plain", ...fields }), { seed: 2 });
    const found = importStateDict(exportStateDict(model)).model;
    assert.deepEqual(found, model);
  }
});
