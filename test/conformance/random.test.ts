// Whole nets that nobody thought of: a random spec at a random size, its training plan on wasm.
//
// 1. Every kernel call of the plan is judged as a case, on what the device itself held before the call, with the bounds
//    of bounds.ts; nothing else that is alive may change. This covers lifetimes, addresses and the order of calls.
// 2. Loss, logits and gradients of a step against the f64 reference. How far f32 may be off depends on the net (batch
//    norm over few values amplifies, and one ReLU near 0 may open or close), so the net itself says, in two ways: the
//    reference in f32 differs from f64 by what rounding each stored number does (u), and a backend's sums are in f32
//    too (8u, bounds.ts), hence 16 times that; and the reference in f64 moves when parameters and images move by up to
//    64u, hence twice that. Distances are 2-norms over all gradients together.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Backend } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import type { DenseNetSpec } from "../../src/networks/densenet/spec.ts";
import { defineSpec } from "../../src/networks/registry.ts";
import { formula } from "../golden/formula.ts";
import { defineDenseNet } from "../networks/densenet/named.ts";
import { fc, testSeed } from "../seeded.ts";
import type { Contents } from "./case.ts";
import { imagesOf, type NetworkCase, networkOf, scalarsOf, valuesOf, writeAll } from "./network.ts";
import { expectationAfter, faultsIn } from "./runCase.ts";

const callRuns = 2;
const stepRuns = 6;

const cifarNet: fc.Arbitrary<NetworkCase & { readonly spec: DenseNetSpec }> = fc
  .record({
    growthRate: fc.integer({ min: 1, max: 7 }),
    blockConfig: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
    numInitFeatures: fc.integer({ min: 1, max: 13 }),
    bottleneck: fc.boolean(),
    bottleneckFactor: fc.integer({ min: 1, max: 4 }),
    compression: fc.constantFrom(0.5, 0.75, 1),
    dropRate: fc.constantFrom(0, 0.2, 0.5),
    inChannels: fc.constantFrom(1, 3),
    numClasses: fc.integer({ min: 2, max: 11 }),
    batch: fc.integer({ min: 3, max: 9 }),
    height: fc.integer({ min: 9, max: 19 }),
    width: fc.integer({ min: 9, max: 19 }),
    recompute: fc.constantFrom("none" as const, "bottleneck" as const),
  })
  .map(({ batch, height, width, recompute, ...fields }) => ({
    spec: defineDenseNet({ ...fields, stem: "cifar" }),
    batch,
    height,
    width,
    recompute,
  }));

const imagenetNet: fc.Arbitrary<NetworkCase> = cifarNet.map(({ spec, height, width, ...rest }) => ({
  ...rest,
  spec: defineSpec({ ...spec, stem: "imagenet", blockConfig: spec.blockConfig.slice(0, 2) }),
  height: 2 * height + 15,
  width: 2 * width + 15,
}));

/** The second family: no feature map is read by more than one layer. */
const chain: fc.Arbitrary<NetworkCase> = fc
  .tuple(cifarNet, fc.array(fc.integer({ min: 1, max: 13 }), { minLength: 3, maxLength: 3 }))
  .map(([{ spec, ...rest }, widths]) => {
    const { blockConfig, numInitFeatures, bottleneck, bottleneckFactor, dropRate, inChannels, numClasses } = spec;
    return {
      ...rest,
      spec: defineSpec({
        family: "plain",
        widths: widths.slice(0, blockConfig.length),
        ...{ blockConfig, numInitFeatures, bottleneck, bottleneckFactor, dropRate, inChannels, numClasses },
      }),
    };
  });

/** The third family: two read what one made, and the sums of branches and shortcuts go on. */
const residual: fc.Arbitrary<NetworkCase> = fc
  .record({
    blockConfig: fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 3 }),
    wider: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 3, maxLength: 3 }),
    preActivation: fc.boolean(),
    stochasticDepth: fc.constantFrom(1, 0.5),
    gatePer: fc.constantFrom("image" as const, "batch" as const),
    dropRate: fc.constantFrom(0, 0.2),
    inChannels: fc.constantFrom(1, 3),
    numClasses: fc.integer({ min: 2, max: 11 }),
    batch: fc.integer({ min: 3, max: 9 }),
    height: fc.integer({ min: 9, max: 19 }),
    width: fc.integer({ min: 9, max: 19 }),
    recompute: fc.constantFrom("none" as const, "bottleneck" as const),
  })
  .map(({ batch, height, width, recompute, wider, blockConfig, ...fields }) => {
    let maps = 1;
    const widths = wider.slice(0, blockConfig.length).map((more) => {
      maps += more;
      return maps;
    });
    return { spec: defineSpec({ family: "resnet", blockConfig, widths, ...fields }), batch, height, width, recompute };
  });

type Values = ReadonlyMap<string, ArrayLike<number>>;

const u = 2 ** -24;
const nudges = ["first", "second", "third", "fourth"];

/** Every float moved by up to 64u of itself, not the same way under two keys. */
function nudged(contents: Contents, key: string): Contents {
  const moved = new Map<string, Float32Array | Int32Array>();
  for (const [name, data] of contents) {
    const moves = formula(`${key} ${name}`, data.length, 1, 128 * u);
    moved.set(name, data instanceof Int32Array ? data : data.map((value, i) => value * moves[i]));
  }
  return moved;
}

/** Losses, logits and gradients of one step. */
async function stepOn(backend: Backend, given: NetworkCase, nudge?: string): Promise<Values> {
  const network = networkOf(given);
  const executable = await backend.compile({ train: network.plan });
  try {
    for (const contents of [network.initial, imagesOf(given, 1)]) {
      await writeAll(executable, nudge ? nudged(contents, nudge) : contents, "train");
    }
    await executable.run("train", scalarsOf(1));
    return await valuesOf(executable, "train", network, ["gradient"]);
  } finally {
    await executable.dispose();
  }
}

/** ‖a − b‖/‖b‖ over all tensors together that `chosen` names. */
function distance(a: Values, b: Values, chosen: (name: string) => boolean): number {
  let [difference, size] = [0, 0];
  for (const [name, exact] of b) {
    if (!chosen(name)) continue;
    const found = a.get(name);
    for (let i = 0; i < exact.length; i++) {
      difference += (Number(found?.[i]) - exact[i]) ** 2;
      size += exact[i] ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

const parts: Readonly<Record<string, (name: string) => boolean>> = {
  gradient: (name) => name.startsWith("d("),
  loss: (name) => name === "sampleLoss",
  logits: (name) => name === "logits",
};

const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };

/** The plan cut to its first n calls, for n = 0, 1, …: what a device holds between calls is what a cut plan leaves. */
async function judgeEachCall(backend: Backend, given: NetworkCase): Promise<void> {
  const { plan, initial } = networkOf(given);
  const cuts = Object.fromEntries(
    Array.from({ length: plan.calls.length + 1 }, (_, n) => [`${n}`, { ...plan, calls: plan.calls.slice(0, n) }]),
  );
  const executable = await backend.compile(cuts);
  const stateAfter = async (calls: number): Promise<Contents> => {
    const cut = `${calls}`;
    await writeAll(executable, initial, cut);
    await writeAll(executable, imagesOf(given, 1), cut);
    await executable.run(cut, scalarsOf(1));
    // What the last call touched, and what this one will.
    const alive = [...plan.buffers.values()].filter(
      ({ role, birth, death }) => role !== "arena" || (birth <= calls && calls - 1 <= death),
    );
    const names = alive.map(({ name }) => name);
    const read = await executable.read(names, cut);
    return new Map(names.map((name, index) => [name, read[index]]));
  };
  try {
    let state = await stateAfter(0);
    for (const [index, call] of plan.calls.entries()) {
      const next = await stateAfter(index + 1);
      const alive = new Map(
        [...plan.buffers.values()]
          .filter(({ role, birth, death }) => role !== "arena" || (birth <= index && index <= death))
          .map((buffer) => [buffer.name, { ...buffer, birth: -1, death: 1 }]),
      );
      const before = new Map([...state].filter(([name]) => alive.has(name)));
      const expectation = await expectationAfter(
        { ...plan, buffers: alive, calls: [call] },
        before,
        "winograd",
        scalarsOf(1),
      );
      assert.deepEqual(faultsIn(expectation, next), [], `call ${index}: ${call.kernel} of ${call.path}`);
      state = next;
    }
  } finally {
    await executable.dispose();
  }
}

describe(`random nets of each kind, seed ${testSeed}`, () => {
  const f64 = createReferenceBackend({ precision: "f64" });
  const f32 = createReferenceBackend({ precision: "f32" });
  let backend: Backend;
  before(async () => {
    backend = await createWasmBackend({ threads: 2 });
  });
  after(() => backend.dispose());

  for (const [kind, arbitrary] of Object.entries({ cifar: cifarNet, imagenet: imagenetNet, chain, residual })) {
    test(`${kind} · every call of ${callRuns} training plans within the bounds of its kernel`, async () => {
      const property = fc.asyncProperty(arbitrary, (given) => judgeEachCall(backend, { ...given, optimizer }));
      await fc.assert(property, { numRuns: callRuns });
    });
    test(`${kind} · loss, logits and gradients of ${stepRuns} nets as near as f32 can be`, async () => {
      const property = fc.asyncProperty(arbitrary, async (given) => {
        const exact = await stepOn(f64, given);
        const own = await stepOn(f32, given);
        const found = await stepOn(backend, given);
        const moved: Values[] = [];
        for (const nudge of nudges) moved.push(await stepOn(f64, given, nudge));
        for (const [part, chosen] of Object.entries(parts)) {
          const off = distance(found, exact, chosen);
          const rounding = distance(own, exact, chosen);
          const sensitivity = Math.max(...moved.map((values) => distance(values, exact, chosen)));
          assert.ok(
            off <= Math.max(16 * rounding, 2 * sensitivity),
            `the ${part} is off by ${off} of its norm, the reference in f32 by ${rounding}, in f64 it moves by ` +
              `${sensitivity}`,
          );
        }
      });
      await fc.assert(property, { numRuns: stepRuns });
    });
  }
});
