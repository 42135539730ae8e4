import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { linearProbes, lossDistances, supervisionFindings } from "../../src/analyze/deepSupervision.ts";
import { pooledMaps, spread } from "../../src/analyze/featureMaps.ts";
import { RIDGE, RidgeProbe } from "../../src/analyze/ridge.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import { createNetwork } from "../../src/model/create.ts";
import { buildGraph, defineSpec, namedSpec } from "../../src/networks/registry.ts";
import { draws } from "../seeded.ts";
import { tinyDataset } from "../train/tiny.ts";

let backend: Backend;
before(async () => {
  backend = await createWasmBackend({ threads: 2 });
});
after(() => backend.dispose());

const dataset = tinyDataset(70, 40);
const spec = defineSpec({ growthRate: 3, blockConfig: [2, 2], numInitFeatures: 5, numClasses: 10 });
const { height, width, mean, std, classes, name } = dataset;
const trained: TrainedModel = {
  model: createNetwork(spec),
  preprocessing: { height, width, mean, std },
  classes,
  dataset: name,
};

const distances: readonly (readonly [string, number, number])[] = [
  // From block 1 two transitions and the classifier; from the last layer the classifier alone.
  ["40-12", 3, 1],
  ["BC-40-12", 3, 1],
  ["121", 4, 1],
  // 12 + 12 + 12 layers and two transitions lie ahead of the first one's maps, but for itself.
  ["plain-40-12", 38, 1],
];
for (const [variant, first, last] of distances) {
  test(`distance to the loss · ${variant} · ${first} from the first layer, ${last} from the last`, () => {
    const found = lossDistances(namedSpec(variant));
    assert.equal(found[0]?.toLoss, first);
    assert.equal(found.at(-1)?.toLoss, last);
  });
}

test("distance to the image · a dense layer's own convolutions and the stem's, plus transitions", () => {
  const found = lossDistances(namedSpec("BC-40-12"));
  assert.deepEqual(
    [0, 5, 6, 17].map((at) => found[at]?.toImage),
    [3, 3, 4, 5],
  );
});

test("ridge probe · the normal equations hold, also for a run of features alone, and constant features do nothing", () => {
  const random = draws("ridge");
  const [count, wide] = [60, 5];
  const labels = Array.from({ length: count }, (_, n) => n % 3);
  const values = Float64Array.from({ length: count * wide }, (_, at) =>
    at % wide === 4 ? 7 : random() + (at % wide === labels[Math.floor(at / wide)] ? 1 : 0),
  );
  const features = { values, width: wide, labels };
  const probe = new RidgeProbe(features, 3);
  // Gradient descent on the same objective, to the end.
  const columns = [0, 1, 2];
  const z = columns.map((f) => {
    const column = labels.map((_, n) => values[n * wide + f]);
    const average = column.reduce((a, b) => a + b) / count;
    const deviation = Math.sqrt(column.reduce((sum, x) => sum + (x - average) ** 2, 0) / count);
    return column.map((x) => (x - average) / deviation);
  });
  const weights = columns.map(() => [0, 0, 0]);
  for (let step = 0; step < 4000; step++) {
    const residual = labels.map((label, n) =>
      [0, 1, 2].map(
        (c) =>
          columns.reduce((sum, f) => sum + (z[f]?.[n] ?? 0) * (weights[f]?.[c] ?? 0), 0) -
          (label === c ? 2 / 3 : -1 / 3),
      ),
    );
    for (const f of columns) {
      for (const c of [0, 1, 2]) {
        const slope = residual.reduce((sum, of, n) => sum + (of[c] ?? 0) * (z[f]?.[n] ?? 0), 0) / count;
        const row = weights[f] as number[];
        row[c] = (row[c] ?? 0) - 0.3 * (slope + RIDGE * (row[c] ?? 0));
      }
    }
  }
  const wrong = labels.filter((label, n) => {
    const scores = [0, 1, 2].map((c) => columns.reduce((sum, f) => sum + (z[f]?.[n] ?? 0) * (weights[f]?.[c] ?? 0), 0));
    return scores.indexOf(Math.max(...scores)) !== label;
  }).length;
  assert.equal(probe.error(features, 0, 3), (100 * wrong) / count);
  assert.equal(probe.error(features, 0, 5), probe.error(features, 0, 4));
  assert.ok(probe.error(features, 3, 4) > 40 && probe.error(features, 0, 3) < 20);
});

test("pooled maps · those of the interpreter in f64, of every channel of every image", async () => {
  const names = ["features.conv0:y", "features.denseblock1.denselayer2.conv2:y", "features.denseblock2:features2"];
  const found = await pooledMaps(names, { trained, dataset, backend, loadBatches: makeBatches, images: 40 });
  const graph = buildGraph(spec, { batch: 32, height, width, mode: "inference" });
  const chosen = spread(dataset.train.length, 40).slice(0, 32);
  const how = { batchSize: 32, seed: 0, epoch: 0, shuffle: false, augment: "none", indices: chosen } as const;
  const [batch] = await Array.fromAsync(makeBatches(dataset, "train", how));
  assert.ok(batch);
  const given = new Map(
    graph.tensors.flatMap(({ id, name, kind }) => {
      const data = kind === "input" ? batch.images : trained.model.state.get(name)?.data;
      return kind === "value" || data === undefined ? [] : [[id, data] as const];
    }),
  );
  const values = evaluateGraph(graph, given, { precision: "f64", seed: 0, step: 0 });
  for (const name of names) {
    const tensor = graph.tensors.find((candidate) => candidate.name === name);
    const view = found.views.get(name);
    const features = view && found.train.get(view.buffer);
    assert.ok(tensor && view && features);
    const maps = values.get(tensor.id) ?? [];
    const [images = 0, channels = 0, rows = 0, columns = 0] = tensor.shape;
    const plane = rows * columns;
    for (let c = 0; c < channels; c++) {
      const of = Array.from({ length: images * plane }, (_, at) =>
        Number(maps[(Math.floor(at / plane) * channels + c) * plane + (at % plane)]),
      );
      const average = of.reduce((a, b) => a + b) / of.length;
      const variance = of.reduce((sum, x) => sum + (x - average) ** 2, 0) / of.length;
      for (const n of [0, 13, 31]) {
        const expected =
          of.slice(n * plane, (n + 1) * plane).reduce((sum, x) => sum + Math.max(0, x - average), 0) /
          (plane * Math.sqrt(variance + 1e-5));
        const value: number = features.values[n * features.width + view.offset + c] ?? Number.NaN;
        assert.ok(Math.abs(value - expected) < 1e-4, `${name} image ${n} channel ${c}: ${value}, expected ${expected}`);
      }
    }
  }
});

test("linear probes · one for what enters each block and two for each layer; findings say how many beat chance", async () => {
  const linear = await linearProbes({ trained, dataset, backend, loadBatches: makeBatches, images: 1000 });
  assert.deepEqual([linear.trainImages, linear.testImages], [70, 40]);
  assert.deepEqual(
    linear.probes.map(({ block, index, own }) => [block, index, own !== undefined]),
    [
      [1, 0, false],
      [1, 1, true],
      [1, 2, true],
      [2, 0, false],
      [2, 1, true],
      [2, 2, true],
    ],
  );
  for (const { own = 50, state } of linear.probes) assert.ok(own >= 0 && own <= 100 && state >= 0 && state <= 100);
  const network = { name: "n", distances: lossDistances(spec), linear };
  assert.deepEqual(supervisionFindings([network])[0]?.found, true);
  const chain = { name: "chain", distances: lossDistances(namedSpec("plain-40-12")) };
  assert.deepEqual(
    supervisionFindings([chain]).map(({ found }) => found),
    [false],
  );
  const blind = { ...linear, probes: linear.probes.map((probe) => ({ ...probe, own: 90 })) };
  assert.equal(supervisionFindings([{ ...network, linear: blind }])[1]?.found, false);
});

test("spread · whole splits as they are, of larger ones evenly spread positions", () => {
  assert.deepEqual([...spread(3, 10)], [0, 1, 2]);
  assert.deepEqual([...spread(10, 4)], [0, 2, 5, 7]);
});
