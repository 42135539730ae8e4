// What the plan has no kernel for is refused with a sentence that says where, whatever the graph: no op is lost, no
// missing dimension becomes a number.
import assert from "node:assert/strict";
import { test } from "node:test";
import { differentiate } from "../../src/graph/differentiate.ts";
import type { Graph, GraphNode } from "../../src/graph/graph.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { gradientOf, gradientSumOf, hostBuffers, momentumOf } from "../../src/plan/names.ts";
import { planAccumulation, planInference, planTraining, planUpdate } from "../../src/plan/planners.ts";
import { findSteps } from "../../src/plan/steps/find.ts";
import type { MatchStep } from "../../src/plan/steps/step.ts";
import { stepKinds } from "../../src/plan/steps/table.ts";

const spec = namedSpec("BC-40-12", { blockConfig: [1, 1, 1] });
const size = { batch: 2, height: 8, width: 8 };
const inference = buildGraph(spec, { ...size, mode: "inference" });
const training = differentiate(buildGraph(spec, { ...size, mode: "training" }));
const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };

const at = (graph: Graph, op: GraphNode["op"], path: string): GraphNode => {
  const node = graph.nodes.find((one) => one.op === op && one.path === path);
  assert.ok(node, `the graph has ${op} ${path}`);
  return node;
};
/** The graph with one node changed. */
const changed = (graph: Graph, node: GraphNode, change: Partial<GraphNode>): Graph => ({
  ...graph,
  nodes: graph.nodes.map((one) => (one === node ? { ...one, ...change } : one)),
});
const withNode = (graph: Graph, node: Omit<GraphNode, "id" | "pass">): Graph => ({
  ...graph,
  nodes: [...graph.nodes, { ...node, id: graph.nodes.length, pass: "forward" }],
});

const relu = at(inference, "relu", "features.denseblock1.denselayer1.relu1");
const conv = at(inference, "conv2d", "features.denseblock1.denselayer1.conv1");
const norm = at(inference, "normalize", "features.denseblock1.denselayer1.norm1");
const pool = at(inference, "avgPool2d", "features.transition1.pool");
const concat = inference.nodes.find(({ op }) => op === "concat");
assert.ok(concat);
const shapeless = (id: number | undefined, shape: readonly number[]): Graph => ({
  ...inference,
  tensors: inference.tensors.map((tensor) => (tensor.id === id ? { ...tensor, shape } : tensor)),
});

for (const [what, graph, says] of [
  [
    "an op without a kind of step",
    changed(inference, pool, { op: "add", path: "sum" }),
    /^sum: no kind of step computes add read by normalize \S+ and concat \S+; the plan knows pooledConv, conv, pool, maxPool, stat/,
  ],
  [
    "a ReLU that nobody reads, beside one that is stored for two",
    changed(inference, at(inference, "conv2d", "features.denseblock1.denselayer1.conv2"), {
      inputs: [relu.outputs[0] ?? -1, 0],
    }),
    /^features.denseblock1.denselayer1.norm2: no kind of step computes normalize read by relu /,
  ],
  [
    "a normalize without ReLU",
    changed(inference, conv, { inputs: [norm.outputs[0] ?? -1, conv.inputs[1] ?? -1] }),
    /^features.denseblock1.denselayer1.norm1: no kind of step computes normalize read by relu \S+ and conv2d /,
  ],
  [
    "a max pool without the composite function",
    changed(inference, pool, { op: "maxPool2d" }),
    /^features.transition1.pool: no kind of step computes maxPool2d read by /,
  ],
  [
    "a concatenation of what is concatenated already",
    withNode(inference, { ...concat, path: "twice" }),
    /^twice: \S+ is concatenated twice$/,
  ],
  [
    "a convolution without a stride",
    changed(inference, conv, { attrs: { padding: 0 } }),
    /^features.denseblock1.denselayer1.conv1: conv2d needs a number stride, it has undefined$/,
  ],
  [
    "a pool without a window",
    changed(inference, pool, { attrs: {} }),
    /^features.transition1.pool: avgPool2d needs a window \[height, width\], it has undefined$/,
  ],
  [
    "a normalize without β",
    changed(inference, norm, { inputs: norm.inputs.slice(0, 4) }),
    /^features.denseblock1.denselayer1.norm1: normalize has no input number 4$/,
  ],
  [
    "images that are no feature maps",
    shapeless(inference.images, [2, 3, 64]),
    /^images has shape \[2, 3, 64\], expected \[batch, channels, height, width\]$/,
  ],
  [
    "a scalar where channels are needed",
    shapeless(conv.outputs[0], []),
    /^features.denseblock1.denselayer1.conv1:y has shape \[\], /,
  ],
] as const) {
  test(`${what} is an error that says where`, () => {
    assert.throws(
      () => planInference(graph),
      (error: Error) => {
        assert.match(error.message, says);
        return error instanceof RangeError;
      },
    );
  });
}

test("what a plan lacks is a new kind of step and a row: a ReLU with two consumers, computed once for both", () => {
  const conv2 = at(inference, "conv2d", "features.denseblock1.denselayer1.conv2");
  const weight = conv2.inputs[1] ?? -1;
  const graph = changed(inference, conv2, { inputs: [relu.outputs[0] ?? -1, weight] });
  const relu2 = at(graph, "relu", "features.denseblock1.denselayer1.relu2");
  const norm2 = at(graph, "normalize", "features.denseblock1.denselayer1.norm2");
  // What conv2 read before is left without a reader.
  const { nodes } = graph;
  const without = { ...graph, nodes: nodes.filter((node) => node !== relu2 && node !== norm2) };
  const activation: MatchStep = (node, forward) => {
    const normalize = node.op === "relu" && forward.consumers(node.outputs[0] ?? -1).length > 1;
    const before = normalize ? forward.producer(node.inputs[0] ?? -1) : undefined;
    return before && { nodes: [before, node], forward() {}, backward() {} };
  };
  const { steps } = findSteps(without, { ...stepKinds, activation });
  const index = steps.findIndex((step) => step.nodes.includes(relu));
  assert.deepEqual(steps[index]?.nodes, [norm, relu]);
  assert.deepEqual(
    steps.slice(index + 1, index + 3).map((step) => step.nodes.map(({ path, op }) => `${op} ${path}`)),
    [["conv2d features.denseblock1.denselayer1.conv1"], ["conv2d features.denseblock1.denselayer1.conv2"]],
  );
});

test("two kinds of step that claim one node are an error", () => {
  const kinds = {
    ...stepKinds,
    greedy: (node: GraphNode) => (node === relu ? { nodes: [relu], forward() {}, backward() {} } : undefined),
  };
  assert.throws(
    () => findSteps(inference, kinds),
    /^RangeError: features.denseblock1.denselayer1.relu1: two steps of the plan would compute this relu$/,
  );
});

test("buffers bear the names of names.ts: what the host reads and writes, gradients, their sums, momenta", () => {
  const parameters = training.tensors.filter(({ kind }) => kind === "parameter").map(({ name }) => name);
  const step = planTraining(training, { recompute: "none", optimizer });
  for (const name of [
    ...Object.values(hostBuffers),
    ...parameters.flatMap((of) => [of, gradientOf(of), momentumOf(of)]),
  ]) {
    assert.ok(step.buffers.has(name), name);
  }
  for (const of of parameters) {
    assert.equal(planAccumulation(training, "add").buffers.get(gradientSumOf(of))?.role, "gradientSum", of);
    assert.equal(planUpdate(training, optimizer, 2).buffers.get(momentumOf(of))?.role, "momentum", of);
  }
});
