// An image that turns out to be unreadable in the middle of a run: the updates before it are saved, and the run goes on
// from there to the same bits.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { InputError, ResourceError } from "../../src/errors.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { RunState } from "../../src/train/runState.ts";
import type { BatchLoader } from "../../src/train/trainer.ts";
import { lateDevice } from "../train/fakeDevices.ts";
import { timeless, tinyConfig, tinyDataset, tinyModel } from "../train/tiny.ts";

const wasm = await createWasmBackend({ threads: 1 });
after(() => wasm.dispose());
const dataset = tinyDataset();
// Four updates an epoch.
const config = tinyConfig({ epochs: 2 });

interface Outcome {
  readonly events: TrainEvent[];
  readonly saved: Checkpoint | undefined;
  readonly error: unknown;
}
async function train(backend: Backend, loadBatches: BatchLoader, from?: Checkpoint): Promise<Outcome> {
  let saved: Checkpoint | undefined;
  const trainer = createTrainer({
    model: from?.trained.model ?? tinyModel(config),
    dataset,
    backend,
    config,
    loadBatches,
    ...(from?.training ? { resume: from.training } : {}),
    save: async (checkpoint, { step }) => {
      saved = checkpoint;
      return `step ${step}`;
    },
  });
  const events: TrainEvent[] = [];
  try {
    for await (const event of trainer.run()) events.push(event);
  } catch (error) {
    return { events, saved, error };
  }
  return { events, saved, error: undefined };
}

/** The batches up to `batch` of `split` in `epoch`; there it rejects. */
const failing = (error: Error, split: string, epoch: number, batch: number): BatchLoader =>
  async function* (data, which, options) {
    let number = options.startBatch ?? 0;
    for await (const made of makeBatches(data, which, options)) {
      if (which === split && options.epoch === epoch && number++ === batch) throw error;
      yield made;
    }
  };
const results = (events: readonly TrainEvent[]): unknown[] =>
  events.filter(({ type }) => type === "step" || type === "epoch").map(timeless);
const whole = await train(wasm, makeBatches);

for (const [name, error, split, epoch, batch, step] of [
  ["in the middle of an epoch", new InputError("cat/7.jpg: does not decode"), "train", 1, 2, 6],
  ["in the first batch of a run", new InputError("cat/7.jpg: does not decode"), "train", 0, 0, 0],
  ["in the first batch of an epoch", new InputError("cat/7.jpg: does not decode"), "train", 1, 0, 4],
  ["in validation", new InputError("dog/1.jpg: does not decode"), "val", 0, 0, 4],
  ["because files have run out", new ResourceError("cat/7.jpg: too many files open"), "train", 0, 3, 3],
] as const) {
  for (const [device, backend] of [
    ["that waits", wasm],
    ["that runs ahead", lateDevice(wasm, 3)],
  ] as const) {
    test(
      `unreadable image · ${name}, on a device ${device} · ${step} updates are saved, and resuming gives the ` +
        "same bits",
      async () => {
        const broken = await train(backend, failing(error, split, epoch, batch));
        assert.equal(broken.error, error);
        const reported = broken.events.filter(({ type }) => type === "step").length;
        assert.equal(reported, step);
        assert.equal(broken.events.at(-1)?.type, "checkpoint");
        assert.ok(broken.saved?.training);
        assert.equal((broken.saved.training.run as RunState).step, step);
        const rest = await train(backend, makeBatches, broken.saved);
        assert.equal(rest.error, undefined);
        assert.deepEqual([...results(broken.events), ...results(rest.events)], results(whole.events));
        assert.deepEqual(rest.saved?.trained, whole.saved?.trained);
      },
    );
  }
}
