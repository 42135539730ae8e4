// networks/densenet: what buildGraph makes of a spec, against the tables of the paper and torchvision's module paths.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UsageError } from "../../../src/errors.ts";
import type { Graph, GraphNode } from "../../../src/graph/graph.ts";
import { buildGraph, defineSpec, namedSpec } from "../../../src/networks/registry.ts";
import { sizeOf } from "../../../src/ops/op.ts";
import { opOf } from "../../../src/ops/table.ts";
import { namedDenseNet } from "./named.ts";

/**
 * Counted apart from this code (architecture.test.ts): name, parameters with 10 (cifar) or 1000 classes, multiply-adds
 * per image as printed there, classifier inputs.
 */
const TABLE: readonly (readonly [name: string, params: number, macs: string, features: number])[] = [
  ["40-12", 1_019_722, "264.8 M", 448],
  ["100-12", 6_979_642, "1.770 G", 1168],
  ["100-24", 27_249_082, "6.889 G", 2320],
  ["BC-100-12", 769_162, "287.9 M", 342],
  ["BC-250-24", 15_324_406, "5.419 G", 1734],
  ["BC-190-40", 25_624_430, "9.302 G", 2190],
  ["BC-40-36", 1_542_682, "647 M", 396],
  ["BC-40-48", 2_733_130, "1.150 G", 528],
  ["BC-40-60", 4_261_690, "1.796 G", 660],
  ["121", 7_978_856, "2.834 G", 1024],
  ["169", 14_149_480, "3.360 G", 1664],
  ["201", 20_013_928, "4.291 G", 1920],
  ["264", 33_337_704, "5.752 G", 2688],
  ["161", 28_681_000, "7.728 G", 2208],
  ["232", 55_570_984, "10.119 G", 3648],
  ["264-k48", 72_686_632, "12.851 G", 4032],
];
/** Of torchvision's networks: running means and variances. */
const RUNNING: Readonly<Record<string, number>> = { "121": 83_648, "169": 158_400, "201": 229_056, "161": 219_936 };

function countOf(graph: Graph, kind: "parameter" | "state"): number {
  return graph.tensors.filter((tensor) => tensor.kind === kind).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

function macsOf(graph: Graph): number {
  const shapes = (node: GraphNode) => node.inputs.map((id) => graph.tensors[id].shape);
  return graph.nodes.reduce((sum, node) => sum + opOf(node.op).macs(shapes(node), node.attrs), 0);
}

/** 287_899_999 → "287.9 M" with as many digits as `like`. */
function printed(macs: number, like: string): string {
  const [number, unit] = like.split(" ");
  const digits = number.split(".")[1]?.length ?? 0;
  return `${(macs / (unit === "G" ? 1e9 : 1e6)).toFixed(digits)} ${unit}`;
}

describe("sizes of the graph equal the paper's", () => {
  for (const [name, params, macs, features] of TABLE) {
    test(`${name} · parameters, multiply-adds, classifier inputs`, () => {
      const spec = namedDenseNet(name);
      const side = spec.stem === "cifar" ? 32 : 224;
      const graph = buildGraph(spec, { batch: 1, height: side, width: side, mode: "inference" });
      assert.equal(countOf(graph, "parameter"), params);
      assert.equal(printed(macsOf(graph), macs), macs);
      const weight = graph.tensors.find((tensor) => tensor.name === "classifier.weight");
      assert.equal(weight?.shape[1], features);
      if (name in RUNNING) assert.equal(countOf(graph, "state"), RUNNING[name]);
    });
  }

  test("40-12 with 100 classes · 1,060,132 parameters", () => {
    const { growthRate, blockConfig, bottleneck, compression } = namedDenseNet("40-12");
    const spec = defineSpec({ growthRate, blockConfig, bottleneck, compression, numClasses: 100 });
    const graph = buildGraph(spec, { batch: 1, height: 32, width: 32, mode: "inference" });
    assert.equal(countOf(graph, "parameter"), 1_060_132);
  });
});

const small = defineSpec({ growthRate: 3, blockConfig: [2, 3], numInitFeatures: 5 });
const training = { batch: 2, height: 8, width: 7, mode: "training" } as const;

describe("structure", () => {
  test("121 · paths are torchvision's state dict", () => {
    const graph = buildGraph(namedSpec("121"), { batch: 1, height: 64, width: 64, mode: "training" });
    const shapes = new Map(graph.tensors.map(({ name, shape }) => [name, shape]));
    // From torchvision.models.densenet121().state_dict().
    const expected: Readonly<Record<string, readonly number[]>> = {
      "features.conv0.weight": [64, 3, 7, 7],
      "features.norm0.running_var": [64],
      "features.denseblock1.denselayer1.norm1.weight": [64],
      "features.denseblock1.denselayer1.conv1.weight": [128, 64, 1, 1],
      "features.denseblock1.denselayer1.norm2.running_mean": [128],
      "features.denseblock1.denselayer1.conv2.weight": [32, 128, 3, 3],
      "features.transition1.norm.bias": [256],
      "features.transition1.conv.weight": [128, 256, 1, 1],
      "features.denseblock4.denselayer16.norm1.weight": [992],
      "features.norm5.weight": [1024],
      "classifier.weight": [1000, 1024],
      "classifier.bias": [1000],
    };
    for (const [path, shape] of Object.entries(expected)) assert.deepEqual(shapes.get(path), shape, path);
    const learned = graph.tensors.filter(({ kind }) => kind === "parameter" || kind === "state");
    // 121 batch norms of four tensors (torchvision has a fifth, num_batches_tracked), 120 convolutions, one linear
    // layer.
    assert.equal(learned.length, 121 * 4 + 120 + 2);
    assert.equal(graph.tensors[graph.logits].shape.join(), "1,1000");
  });

  test("plain layers have one 3×3 convolution, the cifar stem no batch norm", () => {
    const spec = defineSpec({ growthRate: 3, blockConfig: [1], bottleneck: false, compression: 1 });
    const graph = buildGraph(spec, training);
    assert.deepEqual(
      graph.tensors.filter(({ kind }) => kind === "parameter").map(({ name }) => name),
      [
        "features.conv0.weight",
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock1.denselayer1.norm1.bias",
        "features.denseblock1.denselayer1.conv1.weight",
        "features.norm5.weight",
        "features.norm5.bias",
        "classifier.weight",
        "classifier.bias",
      ],
    );
  });

  test("statistics stand once behind each new group of maps, never behind a concatenation", () => {
    const graph = buildGraph(small, training);
    const maker = new Map(graph.nodes.flatMap(({ op, outputs }) => outputs.map((id) => [id, op])));
    const statistics = graph.nodes.filter(({ op }) => op === "channelStatistics");
    assert.ok(statistics.every(({ inputs: [x] }) => maker.get(x) !== "concat"));
    // The stem, a bottleneck and new maps per layer, the transition.
    assert.equal(statistics.length, 1 + 2 * 5 + 1);
    assert.equal(new Set(statistics.map(({ inputs: [x] }) => x)).size, statistics.length);
  });

  test("every normalize in training has its running statistics updated with count N·H·W", () => {
    const graph = buildGraph(small, training);
    const updates = graph.nodes.filter(({ op }) => op === "updateRunning");
    const normalizes = graph.nodes.filter(({ op }) => op === "normalize");
    assert.deepEqual(
      updates.map(({ path }) => path),
      normalizes.map(({ path }) => path),
    );
    const counts = new Map(updates.map(({ path, attrs }) => [path, attrs.count]));
    assert.equal(counts.get("features.denseblock1.denselayer1.norm1"), 2 * 8 * 7);
    assert.equal(counts.get("features.norm5"), 2 * 4 * 3);
    const updated = updates.flatMap(({ inputs }) => inputs.slice(2));
    const states = graph.tensors.filter(({ kind }) => kind === "state");
    assert.deepEqual(new Set(updated), new Set(states.map(({ id }) => id)));
  });

  test("inference · running statistics, no statistics of the batch, no dropout, no loss unless asked for", () => {
    const spec = defineSpec({ growthRate: 3, blockConfig: [2, 3], dropRate: 0.2 });
    const graph = buildGraph(spec, { ...training, mode: "inference" });
    const used = new Set(graph.nodes.map(({ op }) => op));
    for (const op of ["channelStatistics", "updateRunning", "dropout", "softmaxCrossEntropy"] as const) {
      assert.ok(!used.has(op), op);
    }
    for (const { op, inputs } of graph.nodes) {
      if (op === "normalize") assert.ok(inputs.slice(1, 3).every((id) => graph.tensors[id].kind === "state"));
    }
    assert.equal(graph.loss, undefined);
    const evaluation = buildGraph(spec, { ...training, mode: "inference", loss: true });
    assert.ok(evaluation.loss !== undefined && evaluation.labels !== undefined);
  });

  test("dropout stands behind every convolution but the stem's, each with its own stream", () => {
    const spec = defineSpec({ growthRate: 3, blockConfig: [2, 3], dropRate: 0.2 });
    const graph = buildGraph(spec, training);
    const convolutions = graph.nodes.filter(({ op }) => op === "conv2d");
    const dropouts = graph.nodes.filter(({ op }) => op === "dropout");
    assert.deepEqual(
      dropouts.map(({ inputs }) => inputs[0]),
      convolutions.slice(1).map(({ outputs }) => outputs[0]),
    );
    assert.deepEqual(
      dropouts.map(({ attrs }) => attrs.stream),
      dropouts.map((_, i) => i),
    );
    assert.ok(dropouts.every(({ attrs }) => attrs.rate === 0.2));
  });

  test("names are unique, ids are positions, inputs stand before use", () => {
    for (const mode of ["training", "inference"] as const) {
      const graph = buildGraph(namedSpec("BC-40-12"), { batch: 2, height: 32, width: 32, mode });
      assert.equal(new Set(graph.tensors.map(({ name }) => name)).size, graph.tensors.length);
      graph.tensors.forEach(({ id }, i) => {
        assert.equal(id, i);
      });
      const known = new Set(graph.tensors.filter(({ kind }) => kind !== "value").map(({ id }) => id));
      graph.nodes.forEach(({ id, inputs, outputs }, i) => {
        assert.equal(id, i);
        for (const input of inputs) assert.ok(known.has(input));
        for (const output of outputs) known.add(output);
      });
      assert.equal(known.size, graph.tensors.length);
    }
  });

  test("nodes grow in proportion to layers, not to connections", () => {
    const nodes = (layers: number) => {
      const spec = defineSpec({ growthRate: 2, blockConfig: [layers] });
      return buildGraph(spec, training).nodes.length;
    };
    assert.equal(nodes(40) - nodes(30), nodes(20) - nodes(10));
  });
});

describe("impossible sizes", () => {
  const cases = [
    { name: "121", size: [28, 224], says: /features\.transition3\.pool: images of 28×224 .* smallest .* 29×29/ },
    { name: "121", size: [224, 1], says: /features\.transition1\.pool/ },
    { name: "BC-40-12", size: [32, 3], says: /features\.transition2\.pool: images of 32×3 .* 4×4/ },
    { name: "BC-40-12", size: [0, 0], says: /features\.conv0/ },
  ] as const;
  for (const { name, size, says } of cases) {
    test(`${name} at ${size.join("×")}`, () => {
      const [height, width] = size;
      assert.throws(
        () => buildGraph(namedSpec(name), { batch: 2, height, width, mode: "inference" }),
        (error) => error instanceof UsageError && says.test(error.message),
      );
    });
  }

  test("the smallest size that the message names works", () => {
    for (const [name, side] of [
      ["121", 29],
      ["BC-40-12", 4],
    ] as const) {
      const graph = buildGraph(namedSpec(name), { batch: 2, height: side, width: side, mode: "training" });
      assert.equal(graph.tensors[graph.logits].shape[0], 2);
    }
  });

  test("training with one value per channel is refused: it has no variance", () => {
    const options = { batch: 1, height: 29, width: 29 };
    assert.throws(
      () => buildGraph(namedSpec("121"), { ...options, mode: "training" }),
      (error) => error instanceof UsageError && /features\.denseblock4\.denselayer1\.norm1.*has 1/.test(error.message),
    );
    assert.equal(buildGraph(namedSpec("121"), { ...options, mode: "inference" }).batch, 1);
  });
});
