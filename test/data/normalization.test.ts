// data: mean and deviation of pixels in 0…1; those of another scale are refused, in the loader and in a predictor.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { cifar10Normalization, imagenetNormalization, normalizationTable } from "../../src/data/normalization.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { tinyConfig, tinyDataset, tinyModel } from "../train/tiny.ts";

const refused: readonly (readonly [string, number, number])[] = [
  ["CIFAR-10's on 0…255", 125.3, 63],
  ["ImageNet's on 0…255", 123.675, 58.395],
  ["a mean below 0", -0.5, 0.5],
  ["a mean just above 1", 1.01, 0.5],
  ["a deviation of 0", 0.5, 0],
  ["a negative deviation", 0.5, -0.2],
  ["a deviation above 1", 0.5, 1.5],
  ["not a number", Number.NaN, 0.2],
  ["a deviation that is missing", 0.5, Number.NaN],
];
const message = /^preprocessing: channel 1 has mean .*expected a mean from 0 to 1 .*divide by 255/;
for (const [name, mean, std] of refused) {
  test(`normalisation · ${name} · refused`, () => {
    assert.throws(() => normalizationTable({ mean: [0.5, mean, 0.5], std: [0.2, std, 0.2] }), {
      name: "InputError",
      message,
    });
  });
}

test("normalisation · published constants, 0…1 as it is, −1…1 and one standing for ±1024 are taken", () => {
  const ranges = [
    { mean: [0], std: [1] },
    { mean: [0.5], std: [0.5] },
    { mean: [0.5], std: [1 / 2048] },
  ];
  for (const normalization of [cifar10Normalization, imagenetNormalization, ...ranges])
    normalizationTable(normalization);
});

test("normalisation · on the wrong scale in a data set or a checkpoint · nothing is loaded, nothing predicted", async () => {
  const wrong = { mean: [0.5, 125.3, 0.5], std: [0.2, 63, 0.2] };
  const dataset = { ...tinyDataset(8, 4), ...wrong };
  const how = { batchSize: 4, seed: 0, epoch: 0, shuffle: false, augment: "none" } as const;
  await assert.rejects(makeBatches(dataset, "train", how).next(), { name: "InputError", message });
  const { height, width, classes, name } = dataset;
  const trained = {
    model: tinyModel(tinyConfig()),
    preprocessing: { height, width, ...wrong },
    classes,
    dataset: name,
  };
  await assert.rejects(createPredictor(trained, createReferenceBackend({ precision: "f32" })), {
    name: "InputError",
    message,
  });
});
