// train: the learning-rate range test, on a tiny network and on made losses.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { UsageError } from "../../src/errors.ts";
import { type RangeTestOptions, type RatePoint, rangeTest, suggestRate } from "../../src/train/rangeTest.ts";
import { tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const points = (losses: readonly number[]): RatePoint[] =>
  losses.map((smoothed, index) => ({ learningRate: 10 ** (index / 10 - 4), loss: smoothed, smoothed }));

const fallingTo = (lowest: number): number[] => Array.from({ length: 60 }, (_, n) => 1 + Math.abs(n - lowest) / 50);

for (const [name, losses, rate] of [
  ["lowest at 40 · nine updates earlier", fallingTo(40), 0.13],
  ["lowest at 9 · the first rate", fallingTo(9), 1e-4],
  ["it never fell", fallingTo(0), undefined],
  ["it ends in no number", [...fallingTo(60).slice(0, 40), Number.POSITIVE_INFINITY], 0.1],
  ["no point at all", [], undefined],
] as const) {
  test(`suggested rate · ${name}`, () => assert.equal(suggestRate(points(losses)), rate));
}

async function tested(changes: Partial<RangeTestOptions>): Promise<RatePoint[]> {
  await using backend = await createWasmBackend({ threads: 1 });
  const config = tinyConfig();
  const model = tinyModel(config);
  const before = structuredClone([...model.state].map(([, { data }]) => data));
  const found = await Array.fromAsync(
    rangeTest({ model, dataset: tinyDataset(), backend, config, loadBatches: makeBatches, ...changes }),
  );
  assert.deepEqual(
    [...model.state].map(([, { data }]) => data),
    before,
    "the model stays what it was",
  );
  return found;
}

test("a network · rates rise geometrically over epochs, the loss falls and then grows", {
  timeout: 60_000,
}, async () => {
  const found = await tested({ from: 1e-3, to: 100, updates: 80 });
  const rates = found.map(({ learningRate }) => learningRate);
  assert.equal(rates[0], 1e-3);
  for (const [index, rate] of rates.slice(1).entries()) {
    assert.ok(Math.abs(rate / rates[index] - 10 ** (5 / 79)) < 1e-9, `rate ${index + 1}`);
  }
  const lowest = Math.min(...found.map(({ smoothed }) => smoothed));
  assert.ok(lowest < 0.97 * (found[0]?.loss ?? 0), "it fell");
  assert.ok((found.at(-1)?.smoothed ?? 0) > lowest, "it grew");
  const rate = suggestRate(found);
  assert.ok(rate !== undefined && rate > 1e-3 && rate < 10, `${rate}`);
});

test("a rate beyond all bounds · ends at the first loss that is no number, or where it has tripled", async () => {
  const found = await tested({ from: 1e4, to: 1e30, updates: 40 });
  assert.ok(found.length < 40, `${found.length} updates`);
});

for (const [name, changes, says] of [
  ["rates that fall", { from: 1, to: 0.1 }, /rates from 1 to 0.1, expected a rise/],
  ["a rate of 0", { from: 0 }, /from 0 to 10/],
  ["9 updates", { updates: 9 }, /got 9 updates, expected a whole number of at least 10/],
  ["one image", { dataset: tinyDataset(1) }, /1 training images do not fill a batch of 16/],
] as const) {
  test(`${name} · refused`, async () => {
    await assert.rejects(tested(changes), (error) => error instanceof UsageError && says.test(error.message));
  });
}
