import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import {
  type Checkpoint,
  decodeModel,
  decodeTraining,
  encodeModel,
  encodeTraining,
} from "../../src/checkpoint/checkpoint.ts";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { makeBatches } from "../../src/data/epoch.ts";
import { InputError, UsageError } from "../../src/errors.ts";
import { savedConfig } from "../../src/run/start.node.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { createTrainer } from "../../src/train/createTrainer.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { PartialTrainConfig } from "../../src/train/resolveConfig.ts";
import type { RunState } from "../../src/train/runState.ts";
import type { BatchLoader, Trainer } from "../../src/train/trainer.ts";
import { draws, testSeed } from "../seeded.ts";
import { resumeOnDisk, startOnDisk } from "./onDisk.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "./tiny.ts";

const dataset = tinyDataset();
const root = await mkdtemp(join(tmpdir(), "densenet-resume-"));
after(() => rm(root, { recursive: true, force: true }));

/**
 * Trains from the start or from a checkpoint; every checkpoint goes through its bytes. Stops when `stop` returns true
 * after an event.
 */
async function train(
  config: TrainConfig,
  backend: Awaited<ReturnType<typeof createWasmBackend>>,
  {
    from,
    stop = () => false,
    loadBatches = makeBatches,
  }: { from?: Checkpoint; stop?: (event: TrainEvent) => boolean; loadBatches?: BatchLoader } = {},
) {
  const model = from?.trained.model ?? tinyModel(config);
  let saved: Checkpoint | undefined;
  const trainer = createTrainer({
    model,
    dataset,
    backend,
    config,
    loadBatches,
    ...(from?.training ? { resume: from.training } : {}),
    save: async (checkpoint, { step }) => {
      const trained = decodeModel(encodeModel(checkpoint.trained), "memory");
      assert.ok(checkpoint.training);
      saved = { trained, training: decodeTraining(encodeTraining(checkpoint.training), "memory", trained.model) };
      return `step ${step}`;
    },
  });
  const controller = new AbortController();
  const events: TrainEvent[] = [];
  for await (const event of trainer.run(controller.signal)) {
    events.push(event);
    if (stop(event)) controller.abort();
  }
  assert.ok(saved);
  return { events, saved };
}

/** All that must not depend on where a run was interrupted. */
function comparable({ trained, training }: Checkpoint) {
  assert.ok(training);
  const { history, ...run } = training.run as RunState;
  return {
    trained,
    momentum: training.momentum,
    secondMoment: training.secondMoment,
    run,
    history: JSON.parse(
      JSON.stringify(history, (key, value) => (["seconds", "imagesPerSecond"].includes(key) ? 0 : value)),
    ),
  };
}

const results = (events: TrainEvent[]) =>
  events.filter(({ type }) => type === "step" || type === "epoch").map(timeless);

const cases: [name: string, threads: number, changes: PartialTrainConfig][] = [
  ["one thread", 1, {}],
  ["two threads", 2, { epochs: 2 }],
  ["accumulation in two micro-batches, recomputed", 1, { epochs: 2, accumulationSteps: 2, recompute: "bottleneck" }],
  [
    "adamw, erased rectangles, balanced classes",
    1,
    { epochs: 2, optimizer: "adamw", data: { erase: 0.5, balance: true } },
  ],
  ["adamw in two micro-batches", 1, { epochs: 2, optimizer: "adamw", accumulationSteps: 2 }],
];
for (const [name, threads, changes] of cases) {
  test(`resume · stopped after any update and resumed = uninterrupted, bit by bit · ${name}`, async () => {
    const backend = await createWasmBackend({ threads });
    const config = tinyConfig(changes);
    const whole = await train(config, backend);
    const steps = config.epochs * 4;
    for (let at = 1; at <= steps; at++) {
      const first = await train(config, backend, { stop: (event) => event.type === "step" && event.step === at });
      const last = first.events.at(-1);
      // Stopping after the very last update still leaves its validation to do.
      assert.deepEqual(last, { type: "interrupted", step: at, epoch: Math.ceil(at / 4), path: `step ${at}` });
      const second = await train(config, backend, { from: first.saved });
      assert.deepEqual(
        [...results(first.events), ...results(second.events)],
        results(whole.events),
        `stopped after update ${at}`,
      );
      assert.deepEqual(comparable(second.saved), comparable(whole.saved), `stopped after update ${at}`);
    }
    await backend.dispose();
  });
}

const backend = await createWasmBackend({ threads: 1 });
after(() => backend.dispose());

test("resume · a run with adamw needs both moments of every parameter", async () => {
  const config = tinyConfig({ epochs: 1, optimizer: "adamw" });
  const { saved } = await train(config, backend);
  const { training, trained } = saved;
  assert.ok(training?.secondMoment !== undefined && training.secondMoment.size === training.momentum.size);
  assert.ok([...training.secondMoment.values()].some(({ data }) => data.some((value) => value > 0)));
  const { secondMoment, ...half } = training;
  const [[path], ...others] = [...secondMoment];
  for (const [state, says] of [
    [{ ...training, secondMoment: new Map(others) }, new RegExp(`secondMoment\\.${path} is missing`)],
    [{ ...training, secondMoment: new Map([...secondMoment, ["x", secondMoment.get(path)]]) }, /the two moments of/],
  ] as const) {
    const bytes = encodeTraining(state as typeof training);
    assert.throws(
      () => decodeTraining(bytes, "memory", trained.model),
      (error) => error instanceof InputError && says.test(error.message),
    );
  }
  assert.throws(
    () => createTrainer({ model: trained.model, dataset, backend, config, loadBatches: makeBatches, resume: half }),
    (error) => error instanceof InputError && /no second moments/.test(error.message),
  );
});

test("resume · stopped in the middle of a validation", async () => {
  const config = tinyConfig();
  const whole = await train(config, backend);
  const controller = new AbortController();
  let validations = 0;
  const loadBatches: BatchLoader = async function* (...args) {
    for await (const batch of makeBatches(...args)) {
      // The second batch of the second epoch's validation.
      if (args[1] === "val" && ++validations === 4) controller.abort();
      yield batch;
    }
  };
  const first = await trainWith(config, controller.signal, loadBatches);
  assert.equal(first.events.at(-1)?.type, "interrupted");
  assert.equal(first.events.filter(({ type }) => type === "epoch").length, 1);
  const second = await train(config, backend, { from: first.saved });
  assert.deepEqual([...results(first.events), ...results(second.events)], results(whole.events));
  assert.deepEqual(comparable(second.saved), comparable(whole.saved));
});

async function trainWith(config: TrainConfig, signal: AbortSignal, loadBatches: BatchLoader) {
  const model = tinyModel(config);
  let saved: Checkpoint | undefined;
  const save = async (checkpoint: Checkpoint) => {
    saved = checkpoint;
    return "memory";
  };
  const events = await collect(createTrainer({ model, dataset, backend, config, loadBatches, save }).run(signal));
  assert.ok(saved);
  return { events, saved };
}

test("resume · a finished run has nothing left to do and reports how it ended", async () => {
  const config = tinyConfig({ epochs: 1 });
  const whole = await train(config, backend);
  assert.ok(whole.saved.training);
  const { model } = whole.saved.trained;
  const again = createTrainer({
    model,
    dataset,
    backend,
    config,
    loadBatches: makeBatches,
    resume: whole.saved.training,
  });
  const events = await collect(again.run());
  assert.deepEqual(
    events.map(({ type }) => type),
    ["start", "end"],
  );
  assert.deepEqual(timeless(events[1]), timeless(whole.events.findLast(({ type }) => type === "end") as TrainEvent));
});

test("resume · a saved run keeps its settings and its data; device, storage and those that change no bit may change", async () => {
  const config = tinyConfig();
  const { saved } = await train(config, backend, { stop: (event) => event.type === "step" && event.step === 2 });
  assert.ok(saved.training);
  const { model } = saved.trained;
  const make = (changes: PartialTrainConfig, data = dataset, run: unknown = saved.training?.run) =>
    createTrainer({
      model,
      dataset: data,
      backend,
      config: tinyConfig(changes),
      loadBatches: makeBatches,
      resume: { momentum: saved.training?.momentum ?? new Map(), run },
    });
  make({ recompute: "bottleneck", threads: 2, checkpointEverySteps: 3, keepCheckpoints: 5, data: { dir: "moved" } });
  make({ device: "webgpu", activationDtype: "f16" });
  for (const [changes, says] of [
    [{ batchSize: 32 }, /^batchSize: got 32, but the run to resume began with 16/],
    [{ seed: 8 }, /^seed: got 8/],
    [{ lr: 0.2 }, /^lr: got 0\.2/],
    [{ data: { augment: "none" } }, /^augment: got "none", but the run to resume began with "standard"/],
  ] as const) {
    assert.throws(
      () => make(changes),
      (error) => error instanceof UsageError && says.test(error.message),
    );
  }
  const { activationDtype: _, ...before } = (saved.training.run as RunState).config;
  make({}, dataset, { ...(saved.training.run as RunState), config: before });
  const fewer = tinyDataset(50, 21);
  assert.throws(
    () => make({}, fewer),
    (error) => error instanceof UsageError && /has 50 images, but .* 58/.test(error.message),
  );
  const broken = { ...(saved.training.run as RunState), step: -1 };
  assert.throws(
    () => make({}, dataset, broken),
    (error) => error instanceof InputError && /wrong step/.test(error.message),
  );
});

const script = fileURLToPath(new URL("./trainToEnd.ts", import.meta.url));

/**
 * Runs the script until it ends, or `signal` is sent once it has printed `after` lines and `delay` milliseconds are
 * over.
 */
async function runScript(
  runDir: string,
  epochs: number,
  kill?: { signal: NodeJS.Signals; after: number; delay: number },
) {
  const child = spawn(process.execPath, [script, runDir, String(epochs)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  let killed = false;
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    if (kill && !killed && output.split("\n").length > kill.after) {
      killed = true;
      setTimeout(() => child.kill(kill.signal), kill.delay);
    }
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, signal: child.signalCode, lines: output.trimEnd().split("\n") };
}

test("resume · killed with SIGKILL at up to 10 drawn points, the run ends with the bits of one that never was", async (t) => {
  const epochs = 14;
  const calm = join(root, "calm");
  assert.equal((await runScript(calm, epochs)).code, 0);
  const expected = await loadCheckpoint(calm);

  t.diagnostic(`seed ${testSeed}`);
  const draw = draws("kills of a run");
  const stormy = join(root, "stormy");
  let killed = 0;
  // A kill that comes late, on a machine that is busy, may find the run near its end, and the next one ended.
  while (killed < 10) {
    const { signal } = await runScript(stormy, epochs, {
      signal: "SIGKILL",
      after: 1 + Math.floor(draw() * 6),
      delay: draw() * 20,
    });
    if (signal !== "SIGKILL") break;
    killed++;
  }
  t.diagnostic(`killed ${killed} times`);
  assert.ok(killed >= 3, `killed ${killed} times`);
  assert.equal((await runScript(stormy, epochs)).code, 0);
  const found = await loadCheckpoint(stormy);
  assert.deepEqual(comparable(found), comparable(expected));
  assert.deepEqual(comparable(await loadCheckpoint(stormy, "best")), comparable(await loadCheckpoint(calm, "best")));
});

test("resume · SIGTERM finishes the update, saves and ends on its own; the run can go on", async () => {
  const runDir = join(root, "asked");
  const epochs = 250;
  const first = await runScript(runDir, epochs, { signal: "SIGTERM", after: 9, delay: 5 });
  assert.equal(first.code, 143);
  assert.equal(first.lines.at(-1), "interrupted");
  const config = await savedConfig(runDir);
  assert.deepEqual(config, tinyConfig({ epochs, checkpointEverySteps: 1 }));
  const { training } = await loadCheckpoint(runDir);
  assert.ok(training);
  const last = (training.run as RunState).step + 6;
  const trainUntilLast = async (trainer: Trainer): Promise<void> => {
    const stop = new AbortController();
    for await (const event of trainer.run(stop.signal)) if (event.type === "step" && event.step === last) stop.abort();
  };
  const trainer = await resumeOnDisk({ config, backend, runDir });
  await trainUntilLast(trainer);
  const calm = startOnDisk({ config, backend });
  await trainUntilLast(calm);
  assert.deepEqual(trainer.trained, calm.trained);
});
