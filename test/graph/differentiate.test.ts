// graph: the backward pass of whole nets, against central differences in f64 and against its own contract.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import type { Graph, TensorId } from "../../src/graph/graph.ts";
import { type BuildOptions, buildGraph, defineSpec, namedSpec, type SpecFields } from "../../src/networks/registry.ts";
import { maxPool2dGrad } from "../../src/ops/maxPool2d.ts";
import { type Attrs, allocate, type Real } from "../../src/ops/op.ts";
import { givenFor } from "./given.ts";

type Values = Map<TensorId, Real | Int32Array>;

const nets: readonly { what: string; fields: SpecFields; size: Omit<BuildOptions, "mode"> }[] = [
  {
    what: "basic",
    fields: {
      growthRate: 3,
      blockConfig: [2, 2],
      bottleneck: false,
      compression: 1,
      numInitFeatures: 4,
      numClasses: 4,
    },
    size: { batch: 3, height: 7, width: 6 },
  },
  {
    what: "BC, three blocks",
    fields: { growthRate: 2, blockConfig: [2, 1, 2], numInitFeatures: 4, numClasses: 3 },
    size: { batch: 4, height: 9, width: 11 },
  },
  {
    what: "BC with dropout",
    fields: { growthRate: 2, blockConfig: [2, 2], numInitFeatures: 4, numClasses: 3, dropRate: 0.2 },
    size: { batch: 4, height: 8, width: 6 },
  },
  {
    what: "ImageNet stem, four blocks at 29×31, one input channel",
    fields: {
      growthRate: 2,
      blockConfig: [1, 2, 1, 1],
      numInitFeatures: 4,
      stem: "imagenet",
      inChannels: 1,
      numClasses: 5,
    },
    size: { batch: 6, height: 29, width: 31 },
  },
  {
    what: "a chain of two blocks",
    fields: { family: "plain", blockConfig: [2, 2], widths: [4, 5], numInitFeatures: 3, numClasses: 4 },
    size: { batch: 3, height: 7, width: 6 },
  },
  {
    what: "a chain with bottlenecks, dropout and the ImageNet stem",
    fields: {
      family: "plain",
      blockConfig: [2, 1],
      widths: [3, 4],
      bottleneck: true,
      bottleneckFactor: 2,
      dropRate: 0.2,
      stem: "imagenet",
      inChannels: 1,
      numClasses: 3,
    },
    size: { batch: 5, height: 19, width: 17 },
  },
  {
    what: "a residual net",
    fields: { family: "resnet", blockConfig: [1, 2], widths: [3, 5], numClasses: 4 },
    size: { batch: 3, height: 7, width: 6 },
  },
  {
    what: "a residual net with dropout and stochastic depth per image",
    fields: {
      family: "resnet",
      blockConfig: [2, 1, 1],
      widths: [2, 3, 3],
      stochasticDepth: 0.4,
      gatePer: "image",
      dropRate: 0.2,
      numClasses: 3,
    },
    size: { batch: 6, height: 9, width: 7 },
  },
  {
    what: "a pre-activation residual net",
    fields: { family: "resnet", preActivation: true, blockConfig: [2, 1, 1], widths: [2, 2, 1], numClasses: 3 },
    size: { batch: 4, height: 7, width: 6 },
  },
  {
    what: "a pre-activation residual net with stochastic depth per batch",
    fields: {
      family: "resnet",
      preActivation: true,
      blockConfig: [2, 2],
      widths: [2, 3],
      stochasticDepth: 0.5,
      numClasses: 3,
    },
    size: { batch: 4, height: 5, width: 6 },
  },
];

/**
 * Fourth-order differences bear a wider step than second-order ones, and need it: batch norm hides most of a scale's
 * effect on the loss, so with 1e-5 the rounding of the loss would show in the smallest gradients.
 */
const STEP = 1e-4;

const randomness = { precision: "f64", seed: 5, step: 9 } as const;

/** Which side of each kink the net is on: signs before every ReLU and winners of every max pool. */
function sideOfKinks(graph: Graph, values: Values): string {
  const sides: string[] = [];
  for (const { op, inputs, outputs, attrs } of graph.nodes) {
    const x = { shape: graph.tensors[inputs[0]].shape, data: values.get(inputs[0]) as Real };
    if (op === "relu") sides.push(Array.from(x.data, (v) => (v > 0 ? "+" : "-")).join(""));
    if (op === "maxPool2d") {
      const dy = allocate(graph.tensors[outputs[0]].shape, "f64");
      dy.data.fill(1);
      const dx = allocate(x.shape, "f64");
      maxPool2dGrad.reference([x, dy], [dx], attrs as Attrs as never, randomness);
      sides.push(dx.data.join(""));
    }
  }
  return sides.join("|");
}

describe("gradients of whole nets against central differences, f64", () => {
  for (const { what, fields, size } of nets) {
    test(what, () => {
      const forward = buildGraph(defineSpec(fields), { ...size, mode: "training" });
      const graph = differentiate(forward);
      const given = givenFor(graph);
      const found = evaluateGraph(graph, given, randomness);
      const at = () => {
        const values = evaluateGraph(forward, given, randomness);
        return { loss: (values.get(forward.loss as TensorId) as Real)[0], side: sideOfKinks(forward, values) };
      };
      let checked = 0;
      let crossed = 0;
      for (const { id, name, kind } of forward.tensors) {
        if (kind !== "parameter") continue;
        const data = given.get(id) as Float64Array;
        const gradient = found.get(graph.gradients.get(id) as TensorId) as Float64Array;
        assert.equal(gradient.length, data.length, name);
        const scale = Math.max(1e-3, ...gradient.map(Math.abs));
        // A few elements of every parameter: first, last, and two between.
        const last = data.length - 1;
        for (const index of new Set([0, Math.floor(last / 3), Math.floor((2 * last) / 3), last])) {
          const value = data[index];
          const [farBelow, below, above, farAbove] = [-2, -1, 1, 2].map((steps) => {
            data[index] = value + steps * STEP;
            return at();
          });
          data[index] = value;
          if (farAbove.side !== farBelow.side) {
            crossed++; // the loss has a kink in between, so the difference quotient means nothing
            continue;
          }
          const difference = (8 * (above.loss - below.loss) - (farAbove.loss - farBelow.loss)) / (12 * STEP);
          const error = Math.abs(gradient[index] - difference);
          assert.ok(error <= 1e-7 * scale, `${name}[${index}]: ${gradient[index]}, central difference ${difference}`);
          checked++;
        }
      }
      assert.ok(checked > 10 * crossed, `${checked} elements checked, ${crossed} next to a kink`);
    });
  }
});

describe("the training graph", () => {
  const spec = namedSpec("BC-40-12");
  const forward = buildGraph(spec, { batch: 2, height: 32, width: 32, mode: "training" });
  const graph = differentiate(forward);

  test("every parameter has a gradient of its shape, named d(path)", () => {
    const parameters = graph.tensors.filter(({ kind }) => kind === "parameter");
    assert.equal(graph.gradients.size, parameters.length);
    for (const { id, name, shape } of parameters) {
      const gradient = graph.tensors[graph.gradients.get(id) as TensorId];
      assert.deepEqual(gradient.shape, shape);
      assert.equal(gradient.name, `d(${name})`);
    }
  });

  test("the forward part is unchanged, backward nodes name the forward node they differentiate", () => {
    assert.deepEqual(graph.nodes.slice(0, forward.nodes.length), forward.nodes);
    for (const { pass, of, path } of graph.nodes.slice(forward.nodes.length)) {
      assert.equal(pass, "backward");
      assert.ok(of !== undefined && of < forward.nodes.length);
      assert.equal(graph.nodes[of].path, path);
    }
  });

  test("names are unique, inputs stand before use, everything computed is used or asked for", () => {
    assert.equal(new Set(graph.tensors.map(({ name }) => name)).size, graph.tensors.length);
    const known = new Set(graph.tensors.filter(({ kind }) => kind !== "value").map(({ id }) => id));
    const used = new Set([graph.loss, ...graph.gradients.values()]);
    for (const { inputs, outputs } of graph.nodes) {
      for (const input of inputs) {
        assert.ok(known.has(input));
        used.add(input);
      }
      for (const output of outputs) known.add(output);
    }
    const running = graph.nodes.filter(({ op }) => op === "updateRunning").flatMap(({ outputs }) => outputs);
    const unused = graph.tensors.filter(({ id, kind }) => kind === "value" && !used.has(id) && !running.includes(id));
    assert.deepEqual(
      unused.map(({ name }) => name),
      [],
    );
  });

  test("no gradient with respect to images: the stem convolution has only a weight gradient", () => {
    const stem = graph.nodes.filter(({ path, pass }) => path === "features.conv0" && pass === "backward");
    assert.ok(stem.some(({ op }) => op === "conv2dGradWeight"));
    assert.ok(!stem.some(({ op }) => op === "conv2dGradInput"));
  });

  test("statistics are differentiated once per group of maps, and nodes grow with layers, not connections", () => {
    const count = (op: string) => graph.nodes.filter((node) => node.op === op).length;
    assert.equal(count("channelStatisticsGrad"), count("channelStatistics"));
    const nodes = (layers: number) =>
      differentiate(
        buildGraph(defineSpec({ growthRate: 2, blockConfig: [layers] }), {
          batch: 2,
          height: 4,
          width: 4,
          mode: "training",
        }),
      ).nodes.length;
    assert.equal(nodes(40) - nodes(30), nodes(20) - nodes(10));
  });

  test("a graph without a loss, or with gradients already, is refused", () => {
    const inference = buildGraph(spec, { batch: 2, height: 32, width: 32, mode: "inference" });
    assert.throws(() => differentiate(inference), UsageError);
    assert.throws(() => differentiate(graph), UsageError);
  });
});
