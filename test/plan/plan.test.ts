// plan: what must hold of every plan, whatever the network: nothing lost, nothing computed twice, no two live buffers
// in one place.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { differentiate } from "../../src/graph/differentiate.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { buildGraph, macs, type NetworkSpec, namedSpec } from "../../src/networks/registry.ts";
import { layOut } from "../../src/plan/arena.ts";
import { hostBuffers } from "../../src/plan/names.ts";
import { activationDtypes, type Plan, type PlanBuffer } from "../../src/plan/plan.ts";
import { planInference, planTraining } from "../../src/plan/planners.ts";
import { printPlan } from "../../src/plan/print.ts";
import { type RecomputePolicy, recomputePolicies } from "../../src/plan/recompute.ts";

const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
const trainingGraph = (spec: NetworkSpec, batch: number, size: number): Graph =>
  differentiate(buildGraph(spec, { batch, height: size, width: size, mode: "training" }));
const trainingPlan = (spec: NetworkSpec, batch: number, size: number, recompute: RecomputePolicy): Plan =>
  planTraining(trainingGraph(spec, batch, size), { recompute, optimizer });

const networks = [
  ["40-12", namedSpec("40-12"), 32],
  ["BC-100-12", namedSpec("BC-100-12"), 32],
  ["BC-40-12 with dropout", namedSpec("BC-40-12", { dropRate: 0.2 }), 32],
  ["40-12 with dropout", namedSpec("40-12", { dropRate: 0.2 }), 32],
  ["121", namedSpec("121"), 64],
  ["resnet-110 with dropout", namedSpec("resnet-110", { dropRate: 0.2 }), 32],
  ["resnet-20 with stochastic depth", namedSpec("resnet-20", { stochasticDepth: 0.5, gatePer: "image" }), 32],
  ["preresnet-164 with stochastic depth", namedSpec("preresnet-164", { stochasticDepth: 0.5 }), 32],
] as const;

function requireDisjoint(plan: Plan): void {
  const arena = [...plan.buffers.values()].filter(({ role }) => role === "arena");
  const isF16 = ({ dtype }: PlanBuffer): boolean => dtype === "f16";
  for (const [i, a] of arena.entries()) {
    const end = isF16(a) ? plan.f16ArenaBytes : plan.arenaBytes - plan.f16ArenaBytes;
    assert.ok(a.offset + a.bytes <= end, `${a.name} ends within its arena`);
    for (const b of arena.slice(i + 1).filter((other) => isF16(other) === isF16(a))) {
      const liveTogether = a.birth <= b.death && b.birth <= a.death;
      const overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
      assert.ok(
        !(liveTogether && overlap),
        `${a.name} (calls ${a.birth}…${a.death}) and ${b.name} (${b.birth}…${b.death}) share memory`,
      );
    }
  }
}

describe("plan", () => {
  for (const [name, spec, size] of networks) {
    for (const recompute of recomputePolicies) {
      test(`${name} · recompute ${recompute} · every node of the graph is claimed once, live buffers are disjoint`, () => {
        const graph = trainingGraph(spec, 4, size);
        const plan = planTraining(graph, { recompute, optimizer });
        const claims = new Map<number, number>();
        for (const id of [...plan.calls.flatMap(({ computes }) => computes), ...plan.addressed]) {
          claims.set(id, (claims.get(id) ?? 0) + 1);
        }
        const wrong = graph.nodes
          .filter(({ id }) => claims.get(id) !== 1)
          .map(({ op, path, id }) => `${op} ${path}: ${claims.get(id) ?? 0}`);
        assert.deepEqual(wrong, []);
        requireDisjoint(plan);
      });
    }
  }

  test("no kernel concatenates, and statistics are computed once per channel", () => {
    const spec = namedSpec("BC-100-12");
    const plan = trainingPlan(spec, 2, 32, "none");
    const measured = new Map<string, number>();
    for (const call of plan.calls) {
      if (call.kernel !== "channelStatistics") continue;
      for (let c = 0; c < call.args.x.channels; c++) {
        const key = `${call.args.x.buffer} ${call.args.x.offset + c}`;
        measured.set(key, (measured.get(key) ?? 0) + 1);
      }
    }
    assert.deepEqual(new Set(measured.values()), new Set([1]));
    // Block features 24+16·12, 108+16·12, 150+16·12 and 48 bottleneck maps in each of 48 layers.
    assert.equal(measured.size, 216 + 300 + 342 + 48 * 48);
  });

  test("a transition convolves a quarter of the pixels", () => {
    const spec = namedSpec("121");
    const graph = buildGraph(spec, { batch: 1, height: 224, width: 224, mode: "inference" });
    const planned = planInference(graph).calls.reduce((sum, call) => sum + call.macs, 0);
    const transitions = [256 * 128 * 56 ** 2, 512 * 256 * 28 ** 2, 1024 * 512 * 14 ** 2].reduce(
      (sum, count) => sum + count,
      0,
    );
    assert.equal(planned, macs(spec, { height: 224, width: 224 }) - 0.75 * transitions);
  });

  test("memory grows linearly with depth, and recomputing bottlenecks saves more than half", () => {
    const layers = [6, 12, 24, 48];
    const bytes = layers.map((count) => {
      const spec = namedSpec("BC-100-12", { blockConfig: [count, count, count] });
      const [kept, again] = recomputePolicies.map((recompute) => trainingPlan(spec, 8, 32, recompute).arenaBytes);
      return { kept, again };
    });
    for (const policy of ["kept", "again"] as const) {
      const perLayer = layers.map((count, i) => bytes[i][policy] / count);
      // Constant parts (stem, transitions) weigh less and less: bytes per layer fall, they never rise.
      for (let i = 1; i < layers.length; i++)
        assert.ok(perLayer[i] <= perLayer[i - 1], `${policy}: ${perLayer.join(", ")} bytes per layer`);
    }
    assert.ok(bytes[3].again < 0.5 * bytes[3].kept);
  });

  test(
    "a call's traffic counts features of the forward pass in the plan's dtype; weights, gradients and images in " +
      "f32",
    () => {
      const plane = 4 * 4 * 32 ** 2; // bytes of a channel of 4 images in f32
      const weights = 4 * 24 * 3 * 3 * 3;
      const graph = trainingGraph(namedSpec("BC-40-12"), 4, 32);
      for (const [activationDtype, maps] of [
        ["f32", 24 * plane],
        ["f16", 12 * plane],
      ] as const) {
        const { calls } = planTraining(graph, { recompute: "none", optimizer, activationDtype });
        const bytes = (path: string, kernel: string) =>
          calls.find((call) => call.path.startsWith(path) && call.kernel === kernel)?.trafficBytes;
        assert.equal(bytes("features.conv0", "conv"), 3 * plane + maps + weights, activationDtype);
        assert.equal(bytes("features.conv0", "convGradWeight"), 27 * plane + weights, activationDtype);
      }
    },
  );

  for (const recompute of recomputePolicies) {
    test(`f16 halves the bytes of feature maps and of nothing else · recompute ${recompute}`, () => {
      const graph = trainingGraph(namedSpec("BC-100-12"), 8, 32);
      const [whole, half] = activationDtypes.map((activationDtype) =>
        planTraining(graph, { recompute, optimizer, activationDtype }),
      ) as [Plan, Plan];
      const isMaps = ({ name, role, shape }: PlanBuffer) =>
        role === "arena" && shape.length === 4 && name !== hostBuffers.images && !name.startsWith("d(");
      for (const buffer of whole.buffers.values()) {
        const stored = half.buffers.get(buffer.name);
        assert.deepEqual(stored?.dtype, isMaps(buffer) ? "f16" : buffer.dtype, buffer.name);
        assert.equal(stored?.bytes, isMaps(buffer) ? buffer.bytes / 2 : buffer.bytes, buffer.name);
      }
      assert.equal(whole.f16ArenaBytes, 0);
      assert.equal(half.persistentBytes, whole.persistentBytes);
      requireDisjoint(half);
      // What only feature maps took is halved as a whole: the same buffers, laid out in the same order.
      const maps = [...whole.buffers.values()].filter(isMaps);
      assert.equal(half.f16ArenaBytes, layOut(maps.map((buffer) => ({ ...buffer, bytes: buffer.bytes / 2 }))).bytes);
      assert.equal(2 * half.f16ArenaBytes, layOut(maps).bytes);
      assert.ok(half.peakBytes < whole.peakBytes, `${half.peakBytes} < ${whole.peakBytes}`);
    });
  }

  test("f16 in print: every buffer's own bytes, and how much of the arena is f16", () => {
    const graph = buildGraph(namedSpec("BC-40-12"), { batch: 4, height: 32, width: 32, mode: "inference" });
    const plan = planInference(graph, { activationDtype: "f16" });
    const text = printPlan(plan);
    assert.match(text, / features\.denseblock1:features6 \[4×96×32×32\] f16 786\.43 kB at /);
    assert.match(text, / images \[4×3×32×32\] 49\.15 kB at /);
    assert.match(text, new RegExp(`arena \\S+ MB \\(f16 \\S+ MB\\) \\+ persistent .* = peakBytes ${plan.peakBytes}`));
  });

  test("prints every call with its shapes and every buffer with its lifetime", () => {
    const plan = trainingPlan(namedSpec("BC-40-12"), 4, 32, "bottleneck");
    const text = printPlan(plan);
    for (const call of plan.calls) assert.ok(text.includes(`${call.kernel} `) && text.includes(call.path));
    for (const { name } of plan.buffers.values()) assert.ok(text.includes(` ${name} [`), name);
    assert.match(text, /conv .*denselayer1\.conv1 \(again\)/);
    assert.match(text, new RegExp(`peakBytes ${plan.peakBytes}`));
    assert.equal(plan.peakBytes, plan.arenaBytes + plan.persistentBytes);
  });

  test("layOut keeps apart what lives together and reuses what does not", () => {
    const { offsets, bytes } = layOut([
      { name: "a", bytes: 100, birth: 0, death: 2 },
      { name: "b", bytes: 100, birth: 2, death: 3 },
      { name: "c", bytes: 100, birth: 3, death: 4 },
    ]);
    assert.equal(offsets.get("a"), offsets.get("c"));
    assert.notEqual(offsets.get("a"), offsets.get("b"));
    assert.equal(bytes, 256);
  });
});
