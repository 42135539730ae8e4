// What people see of a training run: how often, and in how much room.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Progress } from "../../src/cli/progress.ts";
import type { StartEvent, StepEvent } from "../../src/train/events.ts";

const start = { type: "start", stepsPerEpoch: 100, config: { epochs: 7 } } as StartEvent;
const stepAt = (step: number): StepEvent => ({
  ...{ type: "step", step, epoch: 2, loss: 1.2345, top1Error: 41.7, learningRate: 0.1 },
  ...{ imagesPerSecond: 1234, etaSeconds: 61 },
});

/** What is written when a step comes every `every` milliseconds. */
function shown(stream: { readonly isTTY: boolean; readonly columns?: number }, every: number, steps: number): string[] {
  const written: string[] = [];
  let now = 0;
  const write = (text: string): number => written.push(text);
  const progress = new Progress({ ...stream, write }, () => now);
  progress.show(start);
  for (let step = 0; step < steps; step++) {
    now += every;
    progress.show(stepAt(150 + step));
  }
  return written;
}

test("a terminal is redrawn at most every 80 ms, a log gets a line at most every 10 s and not at once", () => {
  assert.equal(shown({ isTTY: true }, 10, 24).length, 3);
  assert.equal(shown({ isTTY: true }, 90, 24).length, 24);
  assert.deepEqual(shown({ isTTY: false }, 1000, 25), [
    "epoch 2/7  step 59/100  loss 1.234  error 41.7 %  1,234 images/s  ETA 1 min 01 s\n",
    "epoch 2/7  step 69/100  loss 1.234  error 41.7 %  1,234 images/s  ETA 1 min 01 s\n",
  ]);
});

test("the line fits into the terminal: the bar takes what is left, then goes, then the facts are cut", () => {
  const escapes = new RegExp(`\r|${String.fromCharCode(27)}\\[\\d*[Km]`, "g");
  for (const columns of [200, 100, 80, 70, 60, 40, 12]) {
    const [line = ""] = shown({ isTTY: true, columns }, 10, 1).map((text) => text.replaceAll(escapes, ""));
    assert.ok(line.length < columns, `${line.length} of ${columns}`);
    const bar = /[━╌]*/.exec(line.slice("epoch 2/7  ".length))?.[0] ?? "";
    const room = columns - 1 - "epoch 2/7    loss 1.234  error 41.7 %  1,234 images/s  ETA 1 min 01 s".length;
    assert.equal(bar.length, room < 6 ? 0 : Math.min(32, room), `${columns} columns`);
    assert.equal(bar.replaceAll("╌", "").length, Math.round(bar.length / 2));
  }
});
