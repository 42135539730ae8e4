// networks/resnet: sizes counted by hand, names, fields, the graph's shortcuts and gates, state dicts.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import type { Graph, GraphNode } from "../../../src/graph/graph.ts";
import { createNetwork } from "../../../src/model/create.ts";
import { exportStateDict, importStateDict } from "../../../src/model/stateDict.ts";
import {
  architecture,
  buildGraph,
  canonicalName,
  defineSpec,
  depthOf,
  macs,
  namedSpec,
  networkTitle,
  parameterCount,
  type SpecFields,
} from "../../../src/networks/registry.ts";

const cifar = { height: 32, width: 32 };

// Original, n units a stage: conv0 and its batch norm, then 2 convolutions and batch norms a unit.
//   stem 3·9·16 + 2·16 · stage of width w and n units 2n·(9·w² + 2·w), its first convolution reads w/2 from stage 2 on
//   classifier 64·10 + 10
const original = (n: number): number =>
  464 + 2 * n * (9 * 256 + 32) + 2 * n * (9 * 1024 + 64) - 9 * 512 + 2 * n * (9 * 4096 + 128) - 9 * 2048 + 650;
// Pre-activation: a unit of width w behind the first of its stage reads and makes 4w maps: 8w + 4w² + 2w + 9w² + 2w + 4w²
// numbers; the first one reads c: 2c + c·w + 2w + 9w² + 2w + 4w², and its shortcut 4·w·c.
const unit = (w: number): number => 12 * w + 17 * w ** 2;
const first = (c: number, w: number): number => 2 * c + c * w + 4 * w + 13 * w ** 2 + 4 * w * c;
const preActivation = (n: number): number =>
  432 + first(16, 16) + first(64, 32) + first(128, 64) + (n - 1) * (unit(16) + unit(32) + unit(64)) + 512 + 2570;

for (const [name, byHand, published, depth] of [
  ["resnet-20", original(3), 269_722, 20],
  ["resnet-32", original(5), 464_154, 32],
  ["resnet-44", original(7), 658_586, 44],
  ["resnet-56", original(9), 853_018, 56],
  ["resnet-110", original(18), 1_727_962, 110],
  ["preresnet-164", preActivation(18), 1_703_258, 164],
  ["preresnet-1001", preActivation(111), 10_327_706, 1001],
] as const) {
  test(`${name} · ${published.toLocaleString("en")} parameters, counted by hand, and ${depth} layers`, () => {
    const spec = namedSpec(name);
    assert.equal(byHand, published);
    assert.equal(parameterCount(spec), published);
    const graph = buildGraph(spec, { batch: 1, height: 8, width: 8, mode: "inference" });
    const inGraph = graph.tensors
      .filter(({ kind }) => kind === "parameter")
      .reduce((total, { shape }) => total + shape.reduce((product, extent) => product * extent, 1), 0);
    assert.equal(inGraph, published);
    assert.equal(depthOf(architecture(spec, cifar)), depth);
  });
}

test("resnet-20 · 40.55 M multiply-adds, counted by hand", () => {
  const stem = 1024 * 9 * 3 * 16;
  const stages = [1024 * 6 * 9 * 256, 256 * 9 * (512 + 5 * 1024), 64 * 9 * (2048 + 5 * 4096)];
  assert.equal(
    macs(namedSpec("resnet-20"), cifar),
    stages.reduce((a, b) => a + b, stem + 640),
  );
});

for (const [spelling, name] of [
  ["ResNet110", "resnet-110"],
  ["resnet (L=56)", "resnet-56"],
  ["RESNET_20", "resnet-20"],
  ["pre-activation ResNet-164", "preresnet-164"],
  ["Pre-act ResNet 1001", "preresnet-1001"],
  ["PreResNet164", "preresnet-164"],
] as const) {
  test(`canonicalName · ${spelling} is ${name}`, () => assert.equal(canonicalName(spelling), name));
}

test("names · typos find the net, titles name it", () => {
  for (const imageNet of ["resnet-50", "resnet-101", "ResNet152"]) {
    assert.throws(() => namedSpec(imageNet), /no model is named "[^"]+"; did you mean (pre)?resnet-\d+\?/);
  }
  assert.throws(() => namedSpec("restnet-110"), /did you mean resnet-110\?/);
  assert.equal(networkTitle(namedSpec("resnet-110")), "ResNet-110");
  const stochastic = namedSpec("resnet-68", { stochasticDepth: 0.5, gatePer: "image" });
  assert.equal(networkTitle(stochastic, "resnet-68"), "ResNet-68 with stochastic depth");
  const narrow = namedSpec("resnet-68", { stochasticDepth: 0.5, widths: [8, 16, 32] });
  assert.equal(networkTitle(narrow, "resnet-68"), "A ResNet like resnet-68");
  assert.equal(networkTitle(namedSpec("preresnet-164", { numClasses: 3 })), "Pre-activation ResNet-164");
});

const impossible: readonly (readonly [what: string, fields: object, says: RegExp])[] = [
  ["a DenseNet's field", { growthRate: 12 }, /^growthRate: a ResNet has no such field; its fields are blockConfig, /],
  ["too few widths", { blockConfig: [1, 1], widths: [4] }, /^widths: got \[4\], expected .* each of the 2 stages$/],
  [
    "a stage that is narrower than the one before",
    { blockConfig: [1, 1], widths: [4, 3] },
    /^widths\[1\]: got 3, expected at least the 4 of the stage before/,
  ],
  ["a probability of 0", { stochasticDepth: 0 }, /^stochasticDepth: got 0, expected a number above 0 and at most 1$/],
  ["an unknown scope", { gatePer: "pixel" }, /^gatePer: got "pixel", expected "image" or "batch"$/],
];
for (const [what, fields, says] of impossible) {
  test(`defineSpec · ${what} · one sentence`, () => {
    assert.throws(
      () => defineSpec({ family: "resnet", ...fields } as SpecFields),
      (error) => error instanceof UsageError && says.test(error.message),
    );
  });
}

const small: SpecFields = { family: "resnet", blockConfig: [2, 2], widths: [3, 5], numClasses: 4 };
const size = { batch: 2, height: 7, width: 6 };
const nodesOf = (graph: Graph, op: GraphNode["op"]): readonly GraphNode[] =>
  graph.nodes.filter((node) => node.op === op && node.pass === "forward");

describe("the graph", () => {
  test("original · one shortcut changes shape, without parameters; batch norm stands behind every convolution", () => {
    const graph = buildGraph(defineSpec(small), { ...size, mode: "training" });
    assert.deepEqual(
      nodesOf(graph, "identityShortcut").map(({ path, attrs }) => [path, attrs]),
      [["features.stage2.unit1.shortcut", { stride: 2, channels: 5 }]],
    );
    assert.equal(nodesOf(graph, "conv2d").length, 9);
    assert.equal(nodesOf(graph, "normalize").length, 9);
    assert.equal(nodesOf(graph, "add").length, 4);
    assert.deepEqual(graph.tensors[nodesOf(graph, "add")[3].outputs[0]].shape, [2, 5, 4, 3]);
    const sums = new Set(nodesOf(graph, "add").map(({ outputs }) => outputs[0]));
    assert.equal(nodesOf(graph, "relu").filter(({ inputs }) => sums.has(inputs[0])).length, 4);
  });

  test("pre-activation · the first unit of a stage projects its activated input; nothing stands behind the sum", () => {
    const graph = buildGraph(defineSpec({ ...small, preActivation: true }), { ...size, mode: "training" });
    const shortcuts = nodesOf(graph, "conv2d").filter(({ path }) => path.endsWith(".shortcut"));
    assert.deepEqual(
      shortcuts.map(({ path, attrs }) => [path, attrs.stride]),
      [
        ["features.stage1.unit1.shortcut", 1],
        ["features.stage2.unit1.shortcut", 2],
      ],
    );
    for (const shortcut of shortcuts) {
      const branch = nodesOf(graph, "conv2d").find(({ path }) => path === shortcut.path.replace("shortcut", "conv1"));
      assert.equal(branch?.inputs[0], shortcut.inputs[0]);
    }
    assert.equal(nodesOf(graph, "identityShortcut").length, 0);
    const sums = new Set(nodesOf(graph, "add").map(({ outputs }) => outputs[0]));
    assert.equal(nodesOf(graph, "relu").filter(({ inputs }) => sums.has(inputs[0])).length, 0);
  });

  for (const preActivation of [false, true]) {
    test(`stochastic depth · p falls linearly to p_L; in inference it scales, preActivation ${preActivation}`, () => {
      const spec = defineSpec({ ...small, preActivation, stochasticDepth: 0.5, gatePer: "image" });
      const gates = nodesOf(buildGraph(spec, { ...size, mode: "training" }), "sampleGate");
      assert.deepEqual(
        gates.map(({ attrs }) => attrs),
        [0.875, 0.75, 0.625, 0.5].map((keepProbability, stream) => ({ keepProbability, per: "image", stream })),
      );
      const scaled = nodesOf(buildGraph(spec, { ...size, mode: "inference" }), "expectedGate");
      assert.deepEqual(
        scaled.map(({ attrs }) => attrs.keepProbability),
        [0.875, 0.75, 0.625, 0.5],
      );
    });
  }

  test("without stochastic depth there is no gate", () => {
    const graph = buildGraph(defineSpec(small), { ...size, mode: "training" });
    assert.equal(nodesOf(graph, "sampleGate").length, 0);
  });
});

test("state dict · a residual net returns as it left, recognised by its shapes alone", () => {
  for (const fields of [
    { blockConfig: [2, 1, 3], widths: [5, 7, 7] },
    { blockConfig: [1, 2], widths: [4, 3], preActivation: true, numClasses: 3, inChannels: 1 },
  ] as const) {
    const model = createNetwork(defineSpec({ family: "resnet", ...fields }), { seed: 2 });
    assert.deepEqual(importStateDict(exportStateDict(model)).model, model);
  }
});
