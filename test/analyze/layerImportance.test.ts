import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  importanceFindings,
  type LayerImportance,
  layerImportance,
  redundancy,
} from "../../src/analyze/layerImportance.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { createNetwork } from "../../src/model/create.ts";
import type { Model } from "../../src/model/model.ts";
import { anatomyOf, buildGraph, defineSpec, type NetworkSpec } from "../../src/networks/registry.ts";
import { draws } from "../seeded.ts";
import { tinyDataset } from "../train/tiny.ts";

let backend: Backend;
before(async () => {
  backend = await createWasmBackend({ threads: 2 });
});
after(() => backend.dispose());

const dataset = tinyDataset(20, 60);
const dense = defineSpec({ growthRate: 4, blockConfig: [2, 2], numInitFeatures: 6, numClasses: 10 });
const residual = defineSpec({ family: "resnet", blockConfig: [2, 1], widths: [4, 8], numClasses: 10 });

function trainedModel(spec: NetworkSpec): TrainedModel {
  const { height, width, mean, std, classes, name } = dataset;
  return { model: createNetwork(spec), preprocessing: { height, width, mean, std }, classes, dataset: name };
}

function silenced({ model, ...rest }: TrainedModel, paths: readonly string[]): TrainedModel {
  const state = new Map(
    [...model.state].map(([path, tensor]) => [
      path,
      paths.includes(path) ? { ...tensor, data: new Float32Array(tensor.data.length) } : tensor,
    ]),
  );
  return { ...rest, model: { ...model, state } satisfies Model };
}

test("layer importance · each error is that of the network without the layer, and the whole is whole again after", async () => {
  const trained = trainedModel(dense);
  const found = await layerImportance({ trained, dataset, backend, loadBatches: makeBatches, images: 60 });
  const how = { dataset, backend, loadBatches: makeBatches, batchSize: 50 };
  assert.equal(found.error, (await evaluate({ ...how, trained })).top1Error);
  const { layers } = anatomyOf(dense);
  assert.equal(found.layers.length, layers.length);
  for (const [index, { silencedBy, path }] of layers.entries()) {
    const { top1Error } = await evaluate({ ...how, trained: silenced(trained, silencedBy) });
    assert.equal(found.layers[index]?.error, top1Error, path);
  }
  assert.ok(new Set(found.layers.map(({ error }) => error)).size > 1);
  for (const { redundancy } of found.layers) assert.ok(redundancy > 0 && redundancy < 1);
});

test("silenced · the maps of a dense layer are zero, of a residual unit the shortcut is left", () => {
  for (const spec of [
    dense,
    defineSpec({ ...dense, bottleneck: false }),
    residual,
    defineSpec({ ...residual, preActivation: true }),
  ]) {
    const graph = buildGraph(spec, { batch: 2, height: 16, width: 16, mode: "inference" });
    const random = draws("silenced");
    const images = Float64Array.from({ length: 2 * 3 * 16 * 16 }, () => random() - 0.5);
    const [first] = anatomyOf(spec).layers;
    const second = anatomyOf(spec).layers[1];
    assert.ok(first && second);
    // Statistics as training leaves them: a batch norm of zeros is not zero.
    const trained = trainedModel(spec);
    for (const { role, data } of trained.model.state.values()) if (role === "mean" || role === "shift") data.fill(0.3);
    const { model } = silenced(trained, second.silencedBy);
    const given = new Map(
      graph.tensors.flatMap(({ id, name, kind }) => {
        const data = kind === "input" ? images : model.state.get(name)?.data;
        return kind === "value" || data === undefined ? [] : [[id, data] as const];
      }),
    );
    const values = evaluateGraph(graph, given, { precision: "f64", seed: 0, step: 0 });
    const numbersOf = (name: string) =>
      values.get(graph.tensors.find((tensor) => tensor.name === name)?.id ?? -1) ?? [];
    const maps = Array.from(numbersOf(second.maps));
    const expected = spec.family === "densenet" ? maps.map(() => 0) : Array.from(numbersOf(first.maps));
    assert.ok(expected.length > 0);
    assert.deepEqual(maps, expected, second.path);
  }
});

test("redundancy · a repeated, negated or scaled map counts 1, a constant one 0, of the channels asked for alone", () => {
  const random = draws("redundancy");
  const plane = 50;
  const noise = (): number[] => Array.from({ length: plane }, random);
  const [a, b, c] = [noise(), noise(), noise()];
  const maps = [a, a.map((value) => 3 - 2 * value), b, c.map(() => 4)];
  const layout = { images: 1, channels: 4, plane };
  const among = { offset: 0, channels: 4 };
  const of = (offset: number, channels: number) => redundancy(maps.flat(), layout, { offset, channels }, among);
  assert.ok(Math.abs(of(0, 1) - 1) < 1e-12 && Math.abs(of(1, 1) - 1) < 1e-12);
  assert.equal(of(3, 1), 0);
  assert.ok(of(2, 1) < 0.5);
  assert.ok(redundancy(maps.flat(), layout, { offset: 1, channels: 1 }, { offset: 1, channels: 3 }) < 0.5);
});

test("importance · findings: little where the median unit costs a point, collective where no layer is needed", () => {
  const network = (errors: readonly number[], repeated: number, residual = true) => ({
    name: "n",
    importance: {
      images: 1000,
      classes: 10,
      error: 10,
      residual,
      layers: errors.map((error, index) => ({ path: `${index}`, place: index + 1, error, redundancy: repeated })),
    } satisfies LayerImportance,
  });
  const found = (one: ReturnType<typeof network>) => importanceFindings([one]).map((finding) => finding.found);
  assert.deepEqual(found(network([10.5, 10.2, 60], 0.3)), [true, true, true]);
  assert.deepEqual(found(network([14, 15, 90], 0.6)), [false, false, false]);
  assert.deepEqual(found(network([14, 15, 80], 0.3, false)), [true, true]);
});
