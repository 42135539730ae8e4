import assert from "node:assert/strict";
import { test } from "node:test";
import { learningRate, type ScheduleConfig } from "../../src/train/schedule.ts";

const paper: ScheduleConfig = {
  lr: 0.1,
  schedule: "multistep",
  milestones: [0.5, 0.75],
  gamma: 0.1,
  warmupEpochs: 0,
  epochs: 300,
};
const steps = 782; // ⌈50000/64⌉

function near(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 4 * Number.EPSILON * Math.abs(expected), `${actual} is not ${expected}`);
}

test("schedule · paper, 300 epochs: 0.1, then 0.01 after exactly 150 epochs, 0.001 after 225", () => {
  for (const [step, rate] of [
    [0, 0.1],
    [150 * steps - 1, 0.1],
    [150 * steps, 0.01],
    [225 * steps - 1, 0.01],
    [225 * steps, 0.001],
    [300 * steps - 1, 0.001],
  ] as const) {
    near(learningRate(paper, step, steps), rate);
  }
});

test("schedule · ImageNet, 90 epochs: drops after epochs 30 and 60, though thirds are not exact in binary", () => {
  const imagenet = { ...paper, epochs: 90, milestones: [30 / 90, 60 / 90] };
  for (const [epoch, rate] of [
    [0, 0.1],
    [29, 0.1],
    [30, 0.01],
    [59, 0.01],
    [60, 0.001],
    [89, 0.001],
  ] as const) {
    near(learningRate(imagenet, epoch * 5005, 5005), rate);
    near(learningRate(imagenet, epoch * 5005 + 5004, 5005), rate);
  }
});

test(
  "schedule · an odd number of epochs: half of 5 is done in the middle of the third, so the fourth is the first " +
    "lower one",
  () => {
    const rates = [0, 1, 2, 3, 4].map((epoch) => learningRate({ ...paper, epochs: 5 }, epoch * 10, 10));
    for (const [epoch, rate] of [0.1, 0.1, 0.1, 0.01, 0.001].entries()) near(rates[epoch], rate);
  },
);

test(
  "schedule · cosine: the whole rate at the start, half in the middle, a quarter's value by hand, almost none at " +
    "the end",
  () => {
    const cosine: ScheduleConfig = { ...paper, schedule: "cosine", epochs: 4 };
    near(learningRate(cosine, 0, 100), 0.1);
    near(learningRate(cosine, 200, 100), 0.05);
    // 0.05·(1 + cos 45°)
    near(learningRate(cosine, 100, 100), 0.05 * (1 + Math.SQRT1_2));
    assert.ok(learningRate(cosine, 399, 100) < 2e-6);
    assert.ok(learningRate(cosine, 399, 100) > 0);
  },
);

test("schedule · constant never changes", () => {
  for (const step of [0, 1, 150 * steps, 300 * steps - 1]) {
    assert.equal(learningRate({ ...paper, schedule: "constant" }, step, steps), 0.1);
  }
});

test("schedule · warm-up: equal rises to the whole rate at its last step, the cosine begins after it", () => {
  const warm: ScheduleConfig = { ...paper, schedule: "cosine", epochs: 10, warmupEpochs: 0.5 };
  for (let step = 0; step < 5; step++) near(learningRate(warm, step, 10), (0.1 * (step + 1)) / 5);
  near(learningRate(warm, 5, 10), 0.1);
  // 95 steps follow the warm-up; 19 of them are a fifth.
  near(learningRate(warm, 5 + 19, 10), 0.05 * (1 + Math.cos(Math.PI / 5)));
  near(learningRate({ ...warm, schedule: "constant" }, 2, 10), 0.06);
});
