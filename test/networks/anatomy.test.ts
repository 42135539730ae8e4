import assert from "node:assert/strict";
import { test } from "node:test";
import { anatomyOf, buildGraph, defineSpec, type NetworkSpec, namedSpec } from "../../src/networks/registry.ts";

const networks: readonly (readonly [string, NetworkSpec])[] = [
  ["40-12", namedSpec("40-12")],
  ["BC-40-12", namedSpec("BC-40-12")],
  ["121", namedSpec("121")],
  ["plain-40-12", namedSpec("plain-40-12")],
  ["plain-BC-40-12", namedSpec("plain-BC-40-12")],
  ["resnet-20", namedSpec("resnet-20")],
  ["preresnet-164", namedSpec("preresnet-164", { stochasticDepth: 0.5 })],
  ["compression 0.3", defineSpec({ growthRate: 3, blockConfig: [2, 4, 3], numInitFeatures: 7, compression: 0.3 })],
];

for (const [name, spec] of networks) {
  test(`anatomy of ${name} · every name is in the graph, every weight's input maps are those of its sources`, () => {
    const { layers, blockInputs, readers } = anatomyOf(spec);
    for (const mode of ["training", "inference"] as const) {
      const graph = buildGraph(spec, { batch: 2, height: 64, width: 64, mode });
      const shapes = new Map(graph.tensors.map(({ name, shape }) => [name, shape]));
      for (const { maps, state, silencedBy, index, block } of layers) {
        const [own, whole] = [shapes.get(maps), shapes.get(state)];
        assert.ok(own?.length === 4 && whole?.length === 4, `${maps}, ${state}`);
        assert.deepEqual(whole?.slice(2), own?.slice(2), state);
        for (const parameter of silencedBy) assert.ok(shapes.has(parameter), parameter);
        if (spec.family !== "densenet") continue;
        assert.equal(own?.[1], spec.growthRate, maps);
        assert.equal(whole?.[1], (shapes.get(blockInputs[block])?.[1] ?? 0) + index * spec.growthRate, state);
      }
      for (const { weight, sources } of readers) {
        const channels = sources.reduce((sum, source) => sum + source.channels, 0);
        assert.equal(shapes.get(weight)?.[1], channels, weight);
      }
    }
    assert.equal(readers.length, spec.family === "densenet" ? layers.length + blockInputs.length : 0);
  });
}
