// checkpoint: a calibration returns as it was saved; one that cannot be is refused, none at all is fine.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readCalibration } from "../../src/checkpoint/calibration.ts";
import { decodeModel, encodeModel, type TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { InputError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec } from "../../src/networks/registry.ts";

const point = { threshold: 0.25, precision: 0.5, recall: 1 };
const calibration = {
  count: 100,
  temperature: 1.7,
  answers: [
    { targetPrecision: 0.9, threshold: 0.6, coverage: 0.5 },
    { targetPrecision: 0.99, threshold: null, coverage: 0 },
  ],
  classes: [point, null],
};
const trained: TrainedModel = {
  model: createNetwork(namedSpec("BC-40-12", { blockConfig: [1, 1], numClasses: 2 }), { seed: 4 }),
  preprocessing: { height: 32, width: 32, mean: [0.1, 0.2, 0.3], std: [1, 2, 3] },
  classes: ["cat", "dog"],
  dataset: "animals",
};

test("checkpoint · a calibration returns as it was saved, and a network without one has none", () => {
  assert.deepEqual(decodeModel(encodeModel({ ...trained, calibration }), "x"), { ...trained, calibration });
  assert.ok(!("calibration" in decodeModel(encodeModel(trained), "x")));
});

for (const [name, change] of [
  ["no object", 3],
  ["a temperature of 0", { ...calibration, temperature: 0 }],
  ["a temperature that is text", { ...calibration, temperature: "1.7" }],
  ["a count that is no whole number", { ...calibration, count: 0.5 }],
  ["a threshold above 1", { ...calibration, answers: [{ targetPrecision: 0.9, threshold: 1.5, coverage: 0.5 }] }],
  ["answers that are no list", { ...calibration, answers: {} }],
  ["operating points of another number of classes", { ...calibration, classes: [point] }],
  ["an operating point without recall", { ...calibration, classes: [{ threshold: 0.2, precision: 0.5 }, null] }],
] as const) {
  test(`checkpoint · a calibration with ${name} is refused`, () => {
    assert.equal(readCalibration(change, 2), undefined);
    const bytes = encodeModel({ ...trained, calibration: change } as unknown as TrainedModel);
    assert.throws(
      () => decodeModel(bytes, "net.safetensors"),
      (error) => error instanceof InputError && /^net\.safetensors: calibration in the metadata/.test(error.message),
    );
  });
}
