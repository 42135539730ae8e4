// The WebGPU backend on an adapter, real or emulated on the CPU: conformance, PyTorch's fixtures, training beside wasm,
// a lost device.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Backend } from "../../../src/backends/backend.ts";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { compileProgram } from "../../../src/backends/webgpu/compile.ts";
import { findAdapter } from "../../../src/backends/webgpu/gpu.ts";
import { lacksHalves } from "../../../src/backends/webgpu/halves.ts";
import { createWebgpuBackend, type WebgpuBackend, type WebgpuOptions } from "../../../src/backends/webgpu/webgpu.ts";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import { makeBatches } from "../../../src/data/epoch.ts";
import { DeviceError } from "../../../src/errors.ts";
import { evaluate } from "../../../src/infer/evaluate.ts";
import { activationDtypes } from "../../../src/plan/plan.ts";
import { planInference, planTraining } from "../../../src/plan/planners.ts";
import { type RecomputePolicy, recomputePolicies } from "../../../src/plan/recompute.ts";
import type { TrainConfig } from "../../../src/train/config.ts";
import { createTrainer } from "../../../src/train/createTrainer.ts";
import type { EpochEvent, RecoveredEvent, StepEvent, TrainEvent } from "../../../src/train/events.ts";
import type { PartialTrainConfig } from "../../../src/train/resolveConfig.ts";
import type { Trainer, TrainerOptions } from "../../../src/train/trainer.ts";
import { kernelBounds } from "../../conformance/bounds.ts";
import { type AnyCase, contentsOf, planOf, titleOf } from "../../conformance/case.ts";
import { allCases } from "../../conformance/cases.ts";
import {
  type CaseProgram,
  compileCases,
  expectationAfter,
  expectationOf,
  faultsIn,
  halved,
  storedInHalves,
} from "../../conformance/runCase.ts";
import { assertGolden, loadFixture } from "../../golden/fixture.ts";
import { planEngine } from "../../golden/planEngine.ts";
import { collect, timeless, tinyConfig, tinyDataset, tinyModel } from "../../train/tiny.ts";
import { gpuOrReason } from "./gpu.ts";

const gpu = await gpuOrReason();
const skip = typeof gpu === "string" ? gpu : false;
const open = async (options: WebgpuOptions = {}): Promise<WebgpuBackend> => {
  if (typeof gpu === "string") throw new Error(gpu);
  return createWebgpuBackend({ gpu, ...options });
};

/** An adapter that the CPU emulates takes seconds to compile one of these shaders, so there nothing is run twice. */
const emulated = typeof gpu === "string" || (await findAdapter(gpu)).software;
const shadersOf = (given: AnyCase, tiled: boolean): string =>
  JSON.stringify(compileProgram({ plan: planOf(given) }, { tiled, bindingBytes: 2 ** 30, windows: 7 }).shaders);
/** Every case that tiling changes anything in; the shaders of the others are those of the direct way. */
const tiledCases = emulated ? allCases.filter((given) => shadersOf(given, true) !== shadersOf(given, false)) : allCases;
const some = emulated ? allCases.filter((_, index) => index % 7 === 0) : allCases;
const largest = allCases.reduce((a, b) => (planOf(b).arenaBytes > planOf(a).arenaBytes ? b : a));
const ways: Readonly<Record<string, { readonly options: WebgpuOptions; readonly cases: readonly AnyCase[] }>> = {
  direct: { options: { tiled: false }, cases: allCases },
  tiled: { options: { tiled: true }, cases: tiledCases },
  // More than the largest dispatch touches contiguously, less than the largest case's memory, so every case is seen
  // through windows.
  "direct, through windows of 1.5 MiB": {
    options: { tiled: false, bindingBytes: 1.5 * 2 ** 20 },
    cases: [...new Set([...some, largest])],
  },
};

/** SwiftShader, among others, has no f16. */
const adapterHasHalves = typeof gpu !== "string" && lacksHalves(await findAdapter(gpu)) === undefined;

for (const [way, { options, cases }] of Object.entries(ways)) {
  describe(`webgpu ${way}`, { skip }, () => {
    let backend: WebgpuBackend;
    let program: CaseProgram;
    before(async () => {
      backend = await open(options);
      program = await compileCases(backend, cases);
    });
    after(async () => {
      await program.dispose();
      await backend.dispose();
    });
    for (const given of cases) {
      test(`${titleOf(given)} · ${kernelBounds[given.kernel].claim}`, async () => {
        const expectation = await expectationOf(given, "direct");
        assert.deepEqual(faultsIn(expectation, await program.run(given, expectation.before)), []);
      });
    }
  });
}

describe("webgpu with feature maps in f16", { skip: skip || (!adapterHasHalves && "the adapter has no f16") }, () => {
  for (const tiled of [false, true]) {
    const cases = tiled ? some : allCases.filter((_, index) => index % 3 === 1);
    let backend: WebgpuBackend;
    let program: CaseProgram;
    before(async () => {
      backend = await open({ tiled, activationDtype: "f16", matrices: false });
      program = await compileCases(backend, cases);
    });
    after(async () => {
      await program.dispose();
      await backend.dispose();
    });
    for (const given of cases) {
      test(`${tiled ? "tiled" : "direct"} · ${titleOf(given)} · and a store's rounding`, async () => {
        const plan = planOf(given);
        const contents = halved(plan, contentsOf(given, plan));
        const expectation = storedInHalves(await expectationAfter(plan, contents, "direct", given.scalars));
        assert.deepEqual(faultsIn(expectation, await program.run(given, contents)), []);
      });
    }
  }
});

test("f16 that an adapter lacks is refused with a sentence", {
  skip: skip || (adapterHasHalves && "this one has it"),
}, async () => {
  await assert.rejects(
    open({ activationDtype: "f16" }),
    (error) => error instanceof DeviceError && /shader-f16/.test(error.message),
  );
});

describe("webgpu against PyTorch", { skip }, () => {
  let backend: WebgpuBackend;
  before(async () => {
    backend = await open();
  });
  after(() => backend.dispose());
  const engine = (recompute: RecomputePolicy) =>
    planEngine({
      name: "webgpu",
      precision: "f32",
      big: false,
      backend,
      planInference,
      planStep: (graph, { momentum, weightDecay }) => [
        planTraining(graph, { recompute, optimizer: { momentum, weightDecay, nesterov: true } }),
      ],
    });
  const residual = ["resnet-stochastic", "preresnet-stochastic", ...(emulated ? [] : ["resnet", "preresnet"])];
  const fixtures = {
    none: { nets: ["densenet-bc", "densenet-plain", ...residual], curves: ["densenet-bc", "resnet-stochastic"] },
    bottleneck: {
      nets: ["densenet-bc", "densenet-plain", ...(emulated ? [] : ["preresnet-stochastic"])],
      curves: ["densenet-bc"],
    },
  };
  for (const recompute of recomputePolicies) {
    const { nets, curves } = fixtures[recompute];
    for (const name of nets) {
      test(`${name} · recompute ${recompute} · logits, loss, running statistics, every gradient`, async () => {
        const fixture = loadFixture(name);
        const { infer, train } = engine(recompute);
        const [inferred, trained] = [await infer(fixture), await train(fixture)];
        const isValue = ({ name: tensor }: { readonly name: string }): boolean => tensor.startsWith("value:");
        for (const tensor of fixture.tensors.filter((one) => !isValue(one))) {
          assertGolden([tensor], "f32", (wanted) =>
            wanted.startsWith("eval:") ? inferred.get("logits") : trained.get(wanted),
          );
        }
      });
    }
    for (const name of curves) {
      test(`${name} · recompute ${recompute} · ten steps of SGD`, async () => {
        const fixture = loadFixture(`${name}-curve`);
        const found = await engine(recompute).curve(fixture);
        assertGolden(fixture.tensors, "f32", (tensor) => found.get(tensor));
      });
    }
  }
});

describe("webgpu trains", { skip }, () => {
  const dataset = tinyDataset(160, 60);
  const config = tinyConfig({ epochs: 4 });
  const trainer = (backend: Backend, changes: Partial<TrainerOptions> = {}): Trainer =>
    createTrainer({ model: tinyModel(config), dataset, backend, config, loadBatches: makeBatches, ...changes });
  const losses = (events: readonly TrainEvent[]): number[] =>
    events.filter((event): event is StepEvent => event.type === "step").map(({ loss }) => loss);
  const lastError = (events: readonly TrainEvent[]): number =>
    events.filter((event): event is EpochEvent => event.type === "epoch").at(-1)?.valTop1Error ?? Number.NaN;

  const residual = (changes: PartialTrainConfig["model"]): TrainConfig =>
    tinyConfig({ epochs: 4, dropRate: 0, model: { blockConfig: [1, 1, 1], stochasticDepth: 0.5, ...changes } });
  for (const [what, own] of Object.entries({
    "a DenseNet": config,
    "a residual net": residual({ variant: "resnet-20", gatePer: "image" }),
    ...(emulated
      ? {}
      : { "a pre-activation residual net": residual({ variant: "preresnet-164", widths: [4, 8, 12] }) }),
  })) {
    test(`${what} · ten steps as wasm does, the same bits twice, and to the same accuracy`, async (t) => {
      const wasm = await createWasmBackend({ threads: 1 });
      const backend = await open();
      const train = (device: Backend) => collect(trainer(device, { config: own, model: tinyModel(own) }).run());
      const cpu = await train(wasm);
      const first = await train(backend);
      const second = await train(backend);
      assert.deepEqual(losses(second), losses(first));
      // f32 losses of order 2; a step multiplies what rounding has parted by a small factor at this learning rate.
      const apart = losses(first)
        .slice(0, 10)
        .map((loss, step) => Math.abs(loss - (losses(cpu)[step] ?? Number.NaN)));
      t.diagnostic(`losses of ten steps differ by at most ${Math.max(...apart).toExponential(1)}`);
      assert.ok(
        apart.every((difference) => difference < 1e-4),
        apart.map((difference) => difference.toExponential(1)).join(" "),
      );
      t.diagnostic(`validation error after 4 epochs: wasm ${lastError(cpu)} %, webgpu ${lastError(first)} %`);
      assert.ok(Math.abs(lastError(first) - lastError(cpu)) <= 10);
      await wasm.dispose();
      await backend.dispose();
    });
  }

  test("with feature maps in f16 to the accuracy of f32", {
    skip: !adapterHasHalves && "the adapter has no f16",
  }, async (t) => {
    const longer = tinyConfig({
      epochs: 10,
      dropRate: 0,
      model: { variant: "BC-40-12", blockConfig: [1, 1], growthRate: 8 },
      data: { dir: "tiny", augment: "none" },
    });
    const trained = async (activationDtype: "f32" | "f16") => {
      const backend = await open({ activationDtype });
      const events = await collect(trainer(backend, { config: longer, model: tinyModel(longer) }).run());
      await backend.dispose();
      return { error: lastError(events), losses: losses(events) };
    };
    const [whole, halved] = [await trained("f32"), await trained("f16")];
    const apart = halved.losses.slice(0, 10).map((loss, step) => Math.abs(loss - (whole.losses[step] ?? Number.NaN)));
    t.diagnostic(
      `validation error: f32 ${whole.error} %, f16 ${halved.error} %; ten losses apart by at most ` +
        `${Math.max(...apart)}`,
    );
    assert.notDeepEqual(halved.losses, whole.losses);
    assert.ok(whole.error < 20 && Math.abs(halved.error - whole.error) <= 10);
  });

  /** What the device is asked for from now on. */
  function countTransfers({ device }: WebgpuBackend) {
    const counts = { submissions: 0, mappings: 0 };
    const { queue } = device;
    const submit = queue.submit.bind(queue);
    queue.submit = (commands) => {
      counts.submissions++;
      return submit(commands);
    };
    const createBuffer = device.createBuffer.bind(device);
    device.createBuffer = (wanted) => {
      const buffer = createBuffer(wanted);
      const mapAsync = buffer.mapAsync.bind(buffer);
      buffer.mapAsync = (...args) => {
        counts.mappings++;
        return mapAsync(...args);
      };
      return buffer;
    };
    return counts;
  }

  test(
    "an update and a batch of validation are two submissions and one mapping each, a copy of the whole state one " +
      "of each",
    async () => {
      const backend = await open();
      const counts = countTransfers(backend);
      const events = await collect(trainer(backend, { config: tinyConfig({ epochs: 1 }) }).run());
      // 160 images to train on and 60 to validate with, 16 at once; the state is copied at the end of the epoch.
      assert.equal(losses(events).length, 10);
      assert.deepEqual(counts, { submissions: 2 * (10 + 4) + 1, mappings: 10 + 4 + 1 });
      await backend.dispose();
    },
  );

  for (const activationDtype of activationDtypes) {
    test(`buffers read together are the bits of those read alone · ${activationDtype}`, {
      skip: activationDtype === "f16" && !adapterHasHalves && "the adapter has no f16",
    }, async () => {
      const backend = await open({ activationDtype });
      // Features of odd sizes, and labels.
      for (const kernel of ["conv", "softmaxCrossEntropy"]) {
        const given = allCases.find((one) => one.kernel === kernel);
        assert.ok(given);
        const plan = planOf(given, activationDtype);
        const executable = await backend.compile({ plan });
        for (const [name, data] of contentsOf(given, plan)) await executable.write(name, data, "plan");
        await executable.run("plan", given.scalars);
        const names = [...plan.buffers.keys()];
        const together = await executable.read(names, "plan");
        for (const [index, name] of names.entries()) {
          assert.deepEqual([together[index]], await executable.read([name], "plan"), name);
        }
      }
      await backend.dispose();
    });
  }

  test("a checkpoint goes from webgpu to wasm and back", async () => {
    const wasm = await createWasmBackend({ threads: 1 });
    const backend = await open();
    const saved: Checkpoint[] = [];
    const save = async (checkpoint: Checkpoint) => {
      saved.push(checkpoint);
      return "memory";
    };
    const reached: number[] = [];
    const found: number[] = [];
    for (const [device, until] of [
      [backend, 3],
      [wasm, 6],
      [backend, 9],
    ] as const) {
      const halt = new AbortController();
      const resume = saved.at(-1);
      const run = trainer(device, {
        save,
        ...(resume?.training ? { model: resume.trained.model, resume: resume.training } : {}),
      });
      for await (const event of run.run(halt.signal)) {
        if (event.type !== "step") continue;
        reached.push(event.step);
        found.push(event.loss);
        // The updates that are in flight by then are finished too.
        if (event.step >= until) halt.abort();
      }
    }
    assert.deepEqual(
      reached,
      reached.map((_, index) => index + 1),
    );
    assert.ok(reached.length >= 9);
    const uninterrupted = losses(await collect(trainer(wasm).run())).slice(0, reached.length);
    const apart = found.map((loss, step) => Math.abs(loss - (uninterrupted[step] ?? Number.NaN)));
    assert.ok(
      apart.every((difference) => difference < 1e-4),
      String(apart),
    );
    await wasm.dispose();
    await backend.dispose();
  });

  /** A backend that keeps at most `depth` updates in flight. */
  const atDepth = (backend: Backend, queueDepth: number): Backend => ({
    info: backend.info,
    async compile(plans) {
      const executable = await backend.compile(plans);
      return {
        peakBytes: executable.peakBytes,
        arenaBytes: executable.arenaBytes,
        queueDepth,
        write: (...args) => executable.write(...args),
        read: (...args) => executable.read(...args),
        run: (...args) => executable.run(...args),
        dispose: () => executable.dispose(),
        [Symbol.asyncDispose]: () => executable.dispose(),
      };
    },
    dispose: () => backend.dispose(),
    [Symbol.asyncDispose]: () => backend.dispose(),
  });

  for (const accumulationSteps of [1, 2]) {
    test(
      "losses, metrics, weights and momenta of one update in flight and of three are the same bits · " +
        `${accumulationSteps} micro-batches`,
      async () => {
        const backend = await open();
        const results = [];
        for (const depth of [1, 3]) {
          const config = tinyConfig({ epochs: 2, accumulationSteps });
          const saved: Checkpoint[] = [];
          const save = async (checkpoint: Checkpoint) => `checkpoint ${saved.push(checkpoint)}`;
          const run = trainer(atDepth(backend, depth), { config, save });
          const events = (await collect(run.run())).map(timeless);
          results.push({ events, trained: run.trained, momentum: saved.at(-1)?.training?.momentum });
        }
        assert.deepEqual(results[1], results[0]);
        await backend.dispose();
      },
    );
  }

  test("evaluates as wasm does, with one batch in flight and with three to the same bits", async () => {
    const { height, width, mean, std, classes, name } = dataset;
    const trained = { model: tinyModel(config), preprocessing: { height, width, mean, std }, classes, dataset: name };
    const wasm = await createWasmBackend({ threads: 1 });
    const backend = await open();
    const evaluateOn = (device: Backend) =>
      evaluate({ trained, dataset, backend: device, loadBatches: makeBatches, batchSize: 8 });
    const [cpu, one, three] = [
      await evaluateOn(wasm),
      await evaluateOn(atDepth(backend, 1)),
      await evaluateOn(backend),
    ];
    assert.deepEqual(three, one);
    assert.deepEqual(one.confusion, cpu.confusion);
    assert.ok(Math.abs(one.loss - cpu.loss) < 1e-4);
    await wasm.dispose();
    await backend.dispose();
  });

  test("a lost device without another to go on with is said in a sentence, by this run and every later one", async () => {
    const backend = await open();
    const run = trainer(backend).run();
    await assert.rejects(
      async () => {
        for await (const event of run) if (event.type === "step" && event.step === 2) backend.device.destroy();
      },
      (error) => error instanceof DeviceError && /lost/.test(error.message),
    );
    await assert.rejects(backend.compile({}), DeviceError);
    await backend.dispose();
  });

  /** Trains and destroys the device after some updates; `reopen` gives the next backend. */
  async function trainThroughLosses(losses: readonly number[], reopen: () => Promise<Backend>) {
    let backend = await open();
    const opened: Backend[] = [backend];
    const saved: Checkpoint[] = [];
    const run = trainer(backend, {
      save: async (checkpoint) => `checkpoint ${saved.push(structuredClone(checkpoint))}`,
      reopen: async () => {
        const next = await reopen();
        opened.push(next);
        return next;
      },
    });
    const events: TrainEvent[] = [];
    for await (const event of run.run()) {
      events.push(event);
      if (event.type !== "step" || !losses.includes(event.step)) continue;
      backend = run.backend as WebgpuBackend;
      backend.device.destroy();
    }
    for (const one of opened) await one.dispose();
    return { events, saved, trained: run.trained };
  }
  const timelessEvents = (events: readonly TrainEvent[]): unknown[] =>
    events.filter(({ type }) => type !== "recovered").map(timeless);

  test("a device lost twice in mid-epoch: the run goes on on the next and ends with the bits of one undisturbed", async (t) => {
    // Too slow a clock for a copy of the state 30 seconds after the last, which would leave fewer updates to repeat.
    const now = performance.now.bind(performance);
    t.mock.method(performance, "now", () => now() / 1000);
    const calm = await trainThroughLosses([], open);
    const lostAt = [7, 25];
    const stormy = await trainThroughLosses(lostAt, open);
    const recovered = stormy.events.filter((event): event is RecoveredEvent => event.type === "recovered");
    assert.deepEqual(
      recovered.map(({ backend, step, repeatedSteps }, index) => [
        backend.name,
        step >= (lostAt[index] ?? Number.NaN),
        repeatedSteps === step % 10,
      ]),
      [
        ["webgpu", true, true],
        ["webgpu", true, true],
      ],
    );
    for (const { reason } of recovered) assert.match(reason, /lost/);
    assert.deepEqual(timelessEvents(stormy.events), timelessEvents(calm.events));
    assert.deepEqual(stormy.trained, calm.trained);
    assert.deepEqual(
      stormy.saved.map(({ training }) => training?.momentum),
      calm.saved.map(({ training }) => training?.momentum),
    );
  });

  test("a device lost for good: wasm goes on from the same updates", async () => {
    const { events, trained } = await trainThroughLosses([13], () => createWasmBackend({ threads: 1 }));
    const recovered = events.find((event): event is RecoveredEvent => event.type === "recovered");
    assert.equal(recovered?.backend.name, "wasm");
    const wasm = await createWasmBackend({ threads: 1 });
    const calm = trainer(wasm);
    const expected = losses(await collect(calm.run()));
    const found = losses(events);
    assert.equal(found.length, expected.length);
    // As far as rounding has not yet parted two f32 backends, which the test above bounds for ten steps.
    for (const [step, loss] of found.slice(0, 20).entries())
      assert.ok(Math.abs(loss - (expected[step] ?? Number.NaN)) < 1e-2, `update ${step + 1}`);
    assert.equal(trained.model.batchesTracked, calm.trained.model.batchesTracked);
    await wasm.dispose();
  });
});
