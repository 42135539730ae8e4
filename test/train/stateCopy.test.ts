import assert from "node:assert/strict";
import { test } from "node:test";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { DivergedError } from "../../src/errors.ts";
import type { StateDict } from "../../src/model/model.ts";
import { StateCopy } from "../../src/train/stateCopy.ts";
import { fakeExecutable } from "./fakeExecutable.ts";
import { tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const { height, width, mean, std, classes, name } = tinyDataset(2, 1);
const model = { ...tinyModel(tinyConfig()), batchesTracked: 30 };
const trained: TrainedModel = { model, preprocessing: { height, width, mean, std }, classes, dataset: name };
const parameters = [...model.state].filter(([path]) => !path.includes("running"));
const momentum: StateDict = new Map(
  parameters.map(([path, { shape, data }]) => [path, { shape, data: data.map((value) => value / 2) }]),
);
const secondMoment: StateDict = new Map(
  parameters.map(([path, { shape, data }]) => [path, { shape, data: data.map((value) => value ** 2) }]),
);
/** After 7 updates of 3 micro-batches. */
const copyAfter7 = () => new StateCopy(trained, { momentum, secondMoment }, 7, 3);

test("stateCopy · load writes every tensor under its path and every moment under its own", async () => {
  const device = fakeExecutable();
  await copyAfter7().load(device);
  assert.equal(device.values.size, model.state.size + 2 * momentum.size);
  for (const [path, { data }] of model.state) assert.deepEqual(device.values.get(path), data, path);
  for (const [path, { data }] of momentum) assert.deepEqual(device.values.get(`momentum(${path})`), data, path);
  for (const [path, { data }] of secondMoment) assert.deepEqual(device.values.get(`secondMoment(${path})`), data, path);
});

test("stateCopy · take reads all in one transfer, and only if updates came after the copy", async () => {
  const device = fakeExecutable();
  const copy = copyAfter7();
  await copy.load(device);
  for (const [buffer, values] of device.values)
    device.values.set(
      buffer,
      values.map((value) => value + 1),
    );
  device.calls.splice(0);
  await copy.take(device, 7);
  assert.deepEqual(device.calls, []);
  assert.equal(copy.trained, trained);

  await copy.take(device, 9);
  assert.equal(device.calls.length, 1);
  assert.equal(copy.step, 9);
  // 30 micro-batches after 7 updates, 3 more for each of the next two.
  assert.equal(copy.trained.model.batchesTracked, 36);
  for (const [path, { role, shape, data }] of model.state) {
    assert.deepEqual(copy.trained.model.state.get(path), { role, shape, data: data.map((value) => value + 1) }, path);
  }
  for (const [path, { shape, data }] of secondMoment) {
    const raised = { shape, data: data.map((value) => value + 1) };
    assert.deepEqual(copy.moments.secondMoment?.get(path), raised, path);
  }
  for (const [path, { shape, data }] of momentum) {
    assert.deepEqual(copy.moments.momentum.get(path), { shape, data: data.map((value) => value + 1) }, path);
  }
});

for (const [what, buffer, value] of [
  ["a weight", "features.conv0.weight", Number.NaN],
  ["a running variance", "features.norm5.running_var", Number.POSITIVE_INFINITY],
  ["a momentum", "momentum(classifier.bias)", Number.NEGATIVE_INFINITY],
] as const) {
  test(`stateCopy · ${what} that is not finite is named, and the copy stays what it was`, async () => {
    const device = fakeExecutable();
    const copy = copyAfter7();
    await copy.load(device);
    device.values.get(buffer)?.fill(value, 1, 2);
    await assert.rejects(
      copy.take(device, 8),
      (error) =>
        error instanceof DivergedError &&
        error.message === `${buffer} holds ${value} after update 8; expected finite numbers`,
    );
    assert.equal(copy.trained, trained);
    assert.deepEqual(copy.moments, { momentum, secondMoment });
    assert.equal(copy.step, 7);
  });
}
