// networks/plain: one training step of tiny chains: the interpreter, the plan on the reference and the plan on wasm,
// with each recompute policy. Gradients against central differences stand in test/graph/differentiate.test.ts, single
// kernels of random chains in test/conformance/random.test.ts.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { Backend } from "../../../src/backends/backend.ts";
import { createReferenceBackend } from "../../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { differentiate } from "../../../src/graph/differentiate.ts";
import { evaluateGraph } from "../../../src/graph/evaluate.ts";
import type { TensorId } from "../../../src/graph/graph.ts";
import { buildGraph, defineSpec } from "../../../src/networks/registry.ts";
import { type RecomputePolicy, recomputePolicies } from "../../../src/plan/recompute.ts";
import {
  imagesOf,
  type NetworkCase,
  networkOf,
  scalarsOf,
  seed,
  valuesOf,
  writeAll,
} from "../../conformance/network.ts";

type Values = ReadonlyMap<string, ArrayLike<number>>;

const chains: Readonly<Record<string, Omit<NetworkCase, "recompute">>> = {
  "three blocks": {
    spec: defineSpec({ family: "plain", blockConfig: [2, 1, 3], widths: [5, 7, 6], numInitFeatures: 4, numClasses: 4 }),
    batch: 4,
    height: 9,
    width: 11,
  },
  "bottlenecks and dropout": {
    spec: defineSpec({
      family: "plain",
      blockConfig: [2, 2],
      widths: [4, 6],
      bottleneck: true,
      bottleneckFactor: 3,
      dropRate: 0.2,
      numClasses: 3,
    }),
    batch: 5,
    height: 8,
    width: 6,
  },
  "ImageNet stem, one channel": {
    spec: defineSpec({
      family: "plain",
      blockConfig: [1, 2],
      widths: [6, 8],
      bottleneck: true,
      stem: "imagenet",
      inChannels: 1,
      numClasses: 5,
    }),
    batch: 6,
    height: 19,
    width: 23,
  },
};

const f64 = createReferenceBackend({ precision: "f64" });
const f32 = createReferenceBackend({ precision: "f32" });
const wasm = [await createWasmBackend({ threads: 1 }), await createWasmBackend({ threads: 2 })];
after(async () => {
  for (const backend of [f64, f32, ...wasm]) await backend.dispose();
});

/** Loss by image, logits, gradients and new running statistics of one step. */
async function stepOn(backend: Backend, given: NetworkCase): Promise<Values> {
  const network = networkOf(given);
  const executable = await backend.compile({ train: network.plan });
  try {
    await writeAll(executable, network.initial, "train");
    await writeAll(executable, imagesOf(given, 1), "train");
    await executable.run("train", scalarsOf(1));
    return await valuesOf(executable, "train", network, ["gradient", "state"]);
  } finally {
    await executable.dispose();
  }
}

/** The same from the graph alone, with the mean loss. */
function interpreted(given: NetworkCase): Values {
  const { spec, batch, height, width } = given;
  const graph = differentiate(buildGraph(spec, { batch, height, width, mode: "training" }));
  const contents = new Map([...networkOf(given).initial, ...imagesOf(given, 1)]);
  const inputs = new Map(
    graph.tensors.flatMap(({ id, name }): [TensorId, Float32Array | Int32Array][] => {
      const data = contents.get(name);
      return data === undefined ? [] : [[id, data]];
    }),
  );
  const values = evaluateGraph(graph, inputs, { precision: "f64", seed, step: 1 });
  const found = new Map<string, ArrayLike<number>>();
  const keep = (name: string, id: TensorId | undefined): void => {
    const data = id === undefined ? undefined : values.get(id);
    assert.ok(data, name);
    found.set(name, data);
  };
  keep("loss", graph.loss);
  keep("logits", graph.logits);
  for (const id of graph.gradients.values()) keep(graph.tensors[id].name, id);
  for (const { op, inputs, outputs } of graph.nodes) {
    if (op === "updateRunning") for (const i of [0, 1]) keep(graph.tensors[inputs[2 + i]].name, outputs[i]);
  }
  return found;
}

/** ‖a − b‖/‖b‖ over all tensors of `b` together. */
function distance(a: Values, b: Values): number {
  let [difference, size] = [0, 0];
  for (const [name, exact] of b) {
    const found = a.get(name);
    for (let i = 0; i < exact.length; i++) {
      difference += (Number(found?.[i]) - exact[i]) ** 2;
      size += exact[i] ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

const only = (values: Values, chosen: (name: string) => boolean): Values =>
  new Map([...values].filter(([name]) => chosen(name)));

const parts: Readonly<Record<string, (name: string) => boolean>> = {
  "the gradients": (name) => name.startsWith("d("),
  "the running statistics": (name) => name.includes("running"),
  "the logits": (name) => name === "logits",
};

for (const [what, chain] of Object.entries(chains)) {
  describe(what, () => {
    test("the plan on the reference in f64 is the graph's meaning, with each recompute policy", async () => {
      const meaning = interpreted({ ...chain, recompute: "none" });
      for (const recompute of recomputePolicies) {
        const found = await stepOn(f64, { ...chain, recompute });
        for (const [name, exact] of meaning) {
          if (name === "loss") {
            const losses = Array.from(found.get("sampleLoss") ?? []);
            const mean = losses.reduce((sum, loss) => sum + loss, 0) / chain.batch;
            assert.ok(
              Math.abs(mean - exact[0]) <= 1e-12 * Math.abs(exact[0]),
              `${recompute}: loss ${mean}, ${exact[0]}`,
            );
            continue;
          }
          const most = Math.max(...Array.from(exact, Math.abs));
          const values = found.get(name);
          assert.equal(values?.length, exact.length, name);
          for (let i = 0; i < exact.length; i++) {
            const error = Math.abs(Number(values?.[i]) - exact[i]);
            assert.ok(error <= 1e-9 * most, `${recompute}: ${name}[${i}] is off by ${error} of ${most}`);
          }
        }
      }
    });

    test("wasm with one and two threads is as near f64 as f32 can be, and the recompute policy changes no bit", async () => {
      const policies: readonly RecomputePolicy[] = recomputePolicies;
      const exact = await stepOn(f64, { ...chain, recompute: "none" });
      const own = await stepOn(f32, { ...chain, recompute: "none" });
      for (const backend of wasm) {
        const [first, ...others] = await Promise.all(
          policies.map((recompute) => stepOn(backend, { ...chain, recompute })),
        );
        for (const [part, chosen] of Object.entries(parts)) {
          const off = distance(first, only(exact, chosen));
          const rounding = distance(own, only(exact, chosen));
          // The factor of random.test.ts: sums in f32 too, not only what is stored.
          assert.ok(
            off <= 16 * rounding,
            `${part} are off by ${off} of their norm, the reference in f32 by ${rounding}`,
          );
        }
        for (const other of others) assert.deepEqual(other, first);
      }
    });
  });
}
