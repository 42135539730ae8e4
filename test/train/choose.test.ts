// train: what is chosen for a folder of images, at the borders of each choice.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Choice,
  chooseAugment,
  chooseBalance,
  chooseBatchSize,
  chooseEpochs,
  chooseImageSize,
  chooseNetwork,
  chooseRate,
  chooseSettings,
  chooseStem,
  chooseWarmup,
  chosenConfig,
  epochsWithin,
} from "../../src/train/choose.ts";
import { resolveConfig } from "../../src/train/resolveConfig.ts";

const facts = (images: number, side = 100) => ({ counts: [images - 1, 1], side });
const even = (images: number, side = 100) => ({ counts: [images / 2, images / 2], side });
const speed = (imagesPerSecond: number) => ({ imagesPerSecond, trainCount: 900, valCount: 300 });

const sgd = { batchSize: 32, optimizer: "sgd" } as const;

const CASES: readonly (readonly [name: string, choice: Choice | undefined, value: unknown, reason: RegExp])[] = [
  ["images of 20 pixels", chooseImageSize(facts(100, 20)), 32, /smallest usual size.* at most 20 pixels/],
  ["images of 32 pixels", chooseImageSize(facts(100, 32)), 32, /at least 32 pixels/],
  ["images of 63 pixels", chooseImageSize(facts(100, 63)), 48, /at least 63 pixels/],
  ["images of 64 pixels", chooseImageSize(facts(100, 64)), 64, /at least 64 pixels/],
  ["few images of 500 pixels", chooseImageSize(facts(19_999, 500)), 128, /enough for 19,999 images/],
  ["many images of 500 pixels", chooseImageSize(facts(20_000, 500)), 224, /enough for 20,000 images/],
  ["many images of 200 pixels", chooseImageSize(facts(20_000, 200)), 192, /at least 200 pixels/],
  ["the stem of 48 pixels", chooseStem(48), "cifar", /all 48 pixels/],
  ["the stem of 64 pixels", chooseStem(64), "imagenet", /quarters/],
  ["augmentation at 48 pixels", chooseAugment(48), "standard", /shifts/],
  ["augmentation at 64 pixels", chooseAugment(64), "imagenet", /crops/],
  ["the network of 19,999 images", chooseNetwork(facts(19_999)), "BC-40-12", /small, for 19,999/],
  ["the network of 20,000 images", chooseNetwork(facts(20_000)), "BC-100-12", /20,000/],
  ["a batch of 5,000 images", chooseBatchSize(facts(5000)), 64, /paper/],
  ["a batch of 4,999 images", chooseBatchSize(facts(4999)), 32, /157 updates in an epoch of 4,999/],
  ["a batch of 256 images", chooseBatchSize(facts(256)), 32, /8 updates/],
  ["a batch of 255 images", chooseBatchSize(facts(255)), 16, /16 updates/],
  ["a batch of 10 images", chooseBatchSize(facts(10)), 8, /2 updates/],
  ["epochs of 2,000 images", chooseEpochs(facts(2000)), 100, /shows 200,000 images/],
  ["epochs of 100 images", chooseEpochs(facts(100)), 300, /shows 30,000 images/],
  ["epochs of 1,000,000 images", chooseEpochs(facts(1_000_000)), 20, /shows 20,000,000 images/],
  ["10 images a second, 100 s", epochsWithin(100, speed(10)), 1, /the least there is; .* takes 100 seconds/],
  ["10 images a second, 106 s", epochsWithin(106, speed(10)), 1, /as many as fit/],
  ["10 images a second, 211 s", epochsWithin(211, speed(10)), 2, /at 10 images a second/],
  ["10,000 images a second, an hour", epochsWithin(3600, speed(10_000)), 300, /the paper's; 34,200 would fit/],
  ["a rate of 0.085", chooseRate(0.085, sgd), 0.085, /range test$/],
  ["a rate of 0.001", chooseRate(0.001, sgd), 0.05, /which said 0.001/],
  ["a rate of 2", chooseRate(2, sgd), 0.3, /which said 2; only 0.05 to 0.3/],
  ["a rate of 0.1 for adamw", chooseRate(0.1, { ...sgd, optimizer: "adamw" }), 0.003, /only 0.0005 to 0.003/],
  ["no rate", chooseRate(undefined, sgd), 0.05, /the usual one for this batch size/],
  ["warm-up of 100 epochs", chooseWarmup(100), 1, /wildest/],
  ["warm-up of 3 epochs", chooseWarmup(3), 0.3, /wildest/],
  ["classes of 30 and 10", chooseBalance({ counts: [30, 10], side: 32 }), true, /3\.0 times/],
  ["classes of 29 and 10", chooseBalance({ counts: [29, 10], side: 32 }), undefined, /^$/],
];

for (const [name, choice, value, reason] of CASES) {
  test(`${name} · ${value ?? "no choice"}`, () => {
    assert.equal(choice?.value, value);
    assert.match(choice?.reason ?? "", reason);
  });
}

test("all together are settings of a run, and what the person said is not chosen", () => {
  const { config, sources } = resolveConfig({
    chosen: chosenConfig(chooseSettings(facts(400, 80))),
    settings: { lr: 1 },
  });
  assert.deepEqual(config.model, { variant: "BC-40-12", stem: "imagenet" });
  assert.deepEqual([config.data.imageSize, config.data.balance, config.batchSize], [64, true, 32]);
  assert.deepEqual([sources.epochs, sources.lr, sources.momentum], ["chosen", "caller", "default"]);
  const said = new Map<string, unknown>([
    ["data.imageSize", 48],
    ["epochs", 5],
  ]);
  const rest = new Map(chooseSettings(even(400), said).map(({ path, value }) => [path, value]));
  assert.equal(rest.get("model.stem"), "cifar", "the stem goes by the size that was said");
  assert.equal(rest.get("warmupEpochs"), 0.5, "the warm-up by the epochs that were said");
  assert.ok(!rest.has("data.imageSize") && !rest.has("epochs") && !rest.has("data.balance"));
});

test("a network that was named keeps its stem", () => {
  const choices = chooseSettings(even(400), new Map([["model.variant", "BC-100-12"]]));
  assert.ok(choices.every(({ path }) => !path.startsWith("model.")));
});
