import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gradientFindings, gradientFlow, type NetworkGradients } from "../../src/analyze/gradientFlow.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { UsageError } from "../../src/errors.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { evaluateGraph } from "../../src/graph/evaluate.ts";
import { createNetwork } from "../../src/model/create.ts";
import { anatomyOf, buildGraph, defineSpec, type NetworkSpec } from "../../src/networks/registry.ts";
import { tinyDataset } from "../train/tiny.ts";

const dataset = tinyDataset();
const batchSize = 8;
const specs: Readonly<Record<string, NetworkSpec>> = {
  "DenseNet-BC": defineSpec({ growthRate: 3, blockConfig: [3, 2], numInitFeatures: 5, numClasses: 10, dropRate: 0.3 }),
  "plain DenseNet": defineSpec({
    growthRate: 3,
    blockConfig: [2, 2],
    bottleneck: false,
    compression: 1,
    numClasses: 10,
  }),
  chain: defineSpec({ family: "plain", blockConfig: [3, 2], widths: [4, 6], numClasses: 10 }),
  ResNet: defineSpec({ family: "resnet", blockConfig: [2, 2], widths: [4, 6], numClasses: 10 }),
  "pre-activation ResNet": defineSpec({
    family: "resnet",
    blockConfig: [2, 2],
    widths: [3, 4],
    preActivation: true,
    numClasses: 10,
  }),
};

const backends: Record<string, Backend> = {};
before(async () => {
  backends.reference = createReferenceBackend({ precision: "f64" });
  backends.wasm = await createWasmBackend({ threads: 2 });
});
after(async () => {
  for (const backend of Object.values(backends)) await backend.dispose();
});

/** The graph's own interpreter in f64 on the same batch. */
async function interpreted(spec: NetworkSpec) {
  const dry = defineSpec({ ...spec, dropRate: 0 });
  const graph = differentiate(buildGraph(dry, { batch: batchSize, height: 16, width: 16, mode: "training" }));
  const how = { batchSize, seed: 0, epoch: 0, shuffle: true, augment: "none" } as const;
  const { value: batch } = await makeBatches(dataset, "train", how).next();
  assert.ok(batch);
  const { state } = createNetwork(spec);
  const given = new Map(
    graph.tensors.flatMap(({ id, name, kind }) => {
      const data = kind === "input" ? (name === "labels" ? batch.labels : batch.images) : state.get(name)?.data;
      return kind === "value" || data === undefined ? [] : [[id, data] as const];
    }),
  );
  const values = evaluateGraph(graph, given, { precision: "f64", seed: 0, step: 0 });
  const norm = (name: string): number => {
    const tensor = graph.tensors.find((candidate) => candidate.name === name);
    assert.ok(tensor, name);
    return Math.hypot(...(values.get(tensor.id) ?? []));
  };
  return anatomyOf(spec).layers.map(({ path, maps }) => ({
    norm: Math.sqrt(batchSize) * norm(`d(${maps})`),
    weightNorm: Math.hypot(
      ...graph.tensors
        .filter(({ name, kind, shape }) => kind === "parameter" && shape.length === 4 && name.startsWith(`${path}.`))
        .map(({ name }) => norm(`d(${name})`)),
    ),
  }));
}

for (const [name, spec] of Object.entries(specs)) {
  for (const [backend, bound] of [
    ["reference", 1e-6],
    ["wasm", 1e-4],
  ] as const) {
    test(`gradient flow · ${name} on ${backend} · norms are the interpreter's in f64 within ${bound}`, async () => {
      const { moments } = await gradientFlow({
        model: createNetwork(spec),
        dataset,
        backend: backends[backend] as Backend,
        loadBatches: makeBatches,
        batchSize,
      });
      const expected = await interpreted(spec);
      assert.equal(moments[0]?.layers.length, expected.length);
      moments[0]?.layers.forEach(({ path, norm, weightNorm }, index) => {
        for (const [found, wanted] of [
          [norm, expected[index]?.norm ?? Number.NaN],
          [weightNorm, expected[index]?.weightNorm ?? Number.NaN],
        ] as const) {
          assert.ok(Math.abs(found - wanted) <= bound * wanted, `${path}: ${found}, expected ${wanted}`);
        }
      });
    });
  }
}

test("gradient flow · moments are those asked for, over epochs' ends, and the loss falls", async () => {
  const { moments } = await gradientFlow({
    model: createNetwork(specs["DenseNet-BC"] as NetworkSpec),
    dataset,
    backend: backends.wasm as Backend,
    loadBatches: makeBatches,
    batchSize,
    moments: [0, 3, 25],
  });
  assert.deepEqual(
    moments.map(({ step }) => step),
    [0, 3, 25],
  );
  assert.ok((moments[2]?.loss ?? 9) < (moments[0]?.loss ?? 0));
});

test("gradient flow · fewer images than a batch, and other classes than the network's, are refused", async () => {
  const model = createNetwork(specs.chain as NetworkSpec);
  const how = { model, dataset, backend: backends.wasm as Backend, loadBatches: makeBatches };
  const refused = (message: RegExp) => (error: unknown) => error instanceof UsageError && message.test(error.message);
  await assert.rejects(
    gradientFlow({ ...how, batchSize: 59 }),
    refused(/58 training images do not fill a batch of 59/),
  );
  const classes = ["one"];
  await assert.rejects(
    gradientFlow({ ...how, dataset: { ...dataset, classes } }),
    refused(/10 classes, tiny has 3 and 1/),
  );
});

test("gradient flow · findings: vanished where the first layer has a hundredth of the last, not where it has a half", () => {
  const network = (name: string, firstOverLast: number): NetworkGradients => ({
    name,
    fromStart: { moments: [{ step: 5, loss: 1, layers: [], firstOverLast, decadesPerLayer: 0 }] },
  });
  const found = (...networks: NetworkGradients[]) => gradientFindings(networks).map((finding) => finding.found);
  assert.deepEqual(found(network("dense", 0.5), network("chain", 0.005)), [true, true]);
  assert.deepEqual(found(network("dense", 0.05), network("chain", 0.005)), [true, false]);
  assert.deepEqual(found(network("dense", 0.5), network("chain", 0.5)), [false, false]);
  assert.deepEqual(found(network("dense", 0.5)), [false], "alone, nothing is alleviated that another network has");
});
