// model: a model made by hand is complete and usable, or one sentence says what is wrong, and nothing that would use it
// takes it.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { DenseNetError, InputError, UsageError } from "../../src/errors.ts";
import { evaluate } from "../../src/infer/evaluate.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { requireUsable } from "../../src/model/check.ts";
import { createNetwork } from "../../src/model/create.ts";
import type { Model, ModelTensor } from "../../src/model/model.ts";
import { buildGraph, type NetworkSpec, parameterCount } from "../../src/networks/registry.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import { tinyConfig, tinyDataset, tinyModel } from "../train/tiny.ts";

// Two layers in the last block, so that the classifier is not square.
const config = tinyConfig({ model: { blockConfig: [1, 2] } });
const dataset = tinyDataset();
const whole = tinyModel(config);
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

function withTensor(path: string, change: (tensor: ModelTensor) => Partial<ModelTensor> | undefined): Model {
  const state = new Map(whole.state);
  const tensor = state.get(path);
  assert.ok(tensor, path);
  const changes = change(tensor);
  if (changes === undefined) state.delete(path);
  else state.set(path, { ...tensor, ...changes });
  return { ...whole, state };
}

const norm = "features.denseblock1.denselayer1.norm1";
const faults: readonly (readonly [name: string, model: unknown, says: RegExp])[] = [
  [
    "a tensor is missing",
    withTensor("classifier.bias", () => undefined),
    /^the model: 41 of the network's 42 tensors match; 1 is missing: classifier\.bias$/,
  ],
  [
    "a tensor too many",
    { ...whole, state: new Map([...whole.state, ["classifier.weights", whole.state.get("classifier.bias")]]) },
    /; 1 is not the network's: classifier\.weights \(the nearest name is classifier\.weight\)$/,
  ],
  [
    "the classifier is transposed",
    withTensor("classifier.weight", ({ shape, data }) => ({ shape: shape.toReversed(), data })),
    /: classifier\.weight has shape \[(\d+), 10\], the network expects \[10, \1\]: it is transposed$/,
  ],
  [
    "tensors of a network with other classes",
    { ...whole, state: createNetwork({ ...whole.spec, numClasses: 11 }).state },
    /: classifier\.weight has shape \[11, \d+\], the network expects \[10, \d+\] \(1 more differs too\)$/,
  ],
  [
    "a weight is NaN",
    withTensor("features.conv0.weight", ({ data }) => ({ data: data.with(5, Number.NaN) })),
    /holds NaN at position 5/,
  ],
  [
    "a shift is infinite",
    withTensor(`${norm}.bias`, ({ data }) => ({ data: data.with(0, Number.NEGATIVE_INFINITY) })),
    /norm1\.bias holds -Infinity at position 0, expected finite numbers$/,
  ],
  [
    "a running variance is negative",
    withTensor(`${norm}.running_var`, ({ data }) => ({ data: data.with(2, -1) })),
    /norm1\.running_var holds -1 at position 2, expected variances of at least 0$/,
  ],
  [
    "fewer numbers than the shape says",
    withTensor("classifier.bias", () => ({ data: new Float32Array(3) })),
    /classifier\.bias holds 3 numbers, expected a Float32Array of 10 numbers$/,
  ],
  [
    "a list instead of a Float32Array",
    withTensor("classifier.bias", () => ({ data: new Array(10).fill(0) as unknown as Float32Array })),
    /classifier\.bias holds no Float32Array, expected a Float32Array of 10 numbers$/,
  ],
  [
    "no shape",
    withTensor("classifier.bias", () => ({ shape: undefined as unknown as number[] })),
    /classifier\.bias has no shape, expected a tensor with shape and data$/,
  ],
  [
    "another role",
    withTensor(`${norm}.running_var`, () => ({ role: "mean" })),
    /norm1\.running_var has the role "mean", in the network it is variance$/,
  ],
  [
    "no role",
    withTensor("classifier.bias", () => ({ role: undefined as unknown as "shift" })),
    /classifier\.bias has the role nothing, in the network it is shift$/,
  ],
  [
    "no count of batches",
    { spec: whole.spec, state: whole.state },
    /batchesTracked is nothing, expected the number of batches/,
  ],
  ["no tensors", { spec: whole.spec }, /^the model: got \{"spec":.*, expected a network's spec with its tensors/],
  ["no model", undefined, /^the model: got nothing, expected a network's spec with its tensors/],
  [
    "a name for a spec",
    { ...whole, spec: "121" },
    /^spec: got "121", expected a network's spec.*; namedSpec\("121"\) makes/,
  ],
  ["no spec", { ...whole, spec: undefined }, /^spec: got nothing, expected a network's spec/],
];

for (const [name, faulty, says] of faults) {
  test(`model · ${name} · refused where it is checked, trained, evaluated or asked for predictions`, async () => {
    const model = faulty as Model;
    const { height, width, mean, std, classes } = dataset;
    const trained: TrainedModel = { model, preprocessing: { height, width, mean, std }, classes, dataset: "tiny" };
    const refused = (error: unknown): boolean =>
      error instanceof DenseNetError &&
      (error instanceof InputError || error instanceof UsageError) &&
      says.test(error.message) &&
      !error.message.includes("undefined");
    assert.throws(() => requireUsable(model), refused);
    assert.throws(() => createTrainer({ model, dataset, backend, config, loadBatches: makeBatches }), refused);
    await assert.rejects(createPredictor(trained, backend), refused);
    await assert.rejects(evaluate({ trained, dataset, backend, loadBatches: makeBatches }), refused);
  });
}

test("model · one that is whole is taken, a running variance of 0 too", () => {
  requireUsable(whole);
  requireUsable(withTensor(`${norm}.running_var`, ({ data }) => ({ data: data.with(0, 0) })));
});

for (const given of ["121", undefined, null, 121] as const) {
  test(`spec · ${JSON.stringify(given) ?? "nothing"} is no spec, wherever one is taken`, () => {
    const spec = given as unknown as NetworkSpec;
    const refused = (error: unknown): boolean =>
      error instanceof UsageError &&
      error.message.startsWith(`spec: got ${JSON.stringify(given) ?? "nothing"}, `) &&
      error.message.includes('namedSpec("121") makes') === (given === "121");
    assert.throws(() => createNetwork(spec), refused);
    assert.throws(() => buildGraph(spec, { batch: 1, height: 32, width: 32, mode: "inference" }), refused);
    assert.throws(() => parameterCount(spec), refused);
  });
}
