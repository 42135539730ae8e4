// backends/reference: running plans. Plans here are written by hand, because the subject is the memory: poison,
// lifetimes, sharing.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createReferenceBackend } from "../../../src/backends/reference/backend.ts";
import type { KernelCall, Plan, PlanBuffer } from "../../../src/plan/plan.ts";
import { layOut, view } from "./buffers.ts";

function planOf(buffers: Map<string, PlanBuffer>, calls: readonly Pick<KernelCall, "kernel" | "args">[]): Plan {
  const rest = { path: "test", computes: [], recompute: false, macs: 0, trafficBytes: 0 };
  return {
    buffers,
    calls: calls.map((call) => ({ ...call, ...rest }) as KernelCall),
    addressed: [],
    arenaBytes: 0,
    f16ArenaBytes: 0,
    persistentBytes: 0,
    peakBytes: 0,
  };
}

const size = { batch: 1, height: 1, width: 2, outHeight: 1, outWidth: 2, kernel: 1, stride: 1, padding: 0 };

/** to = weight·from, one channel of two pixels. */
function scaleCall(from: string, to: string): Pick<KernelCall, "kernel" | "args"> {
  return { kernel: "conv", args: { x: view(from, 1), weight: "weight", y: view(to, 1), size } };
}

const maps = [1, 1, 1, 2];
const weight = { shape: [1, 1, 1, 1], role: "parameter" } as const;
const data = (...values: number[]) => Float32Array.from(values);

async function compileOne(plan: Plan, precision: "f32" | "f64" = "f32") {
  const executable = await createReferenceBackend({ precision }).compile({ only: plan });
  await executable.write("weight", data(3));
  return executable;
}

describe("reference backend", () => {
  test("runs calls in order on what was written", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: -1, death: 0 },
      mid: { shape: maps, birth: 0, death: 1 },
      out: { shape: maps, birth: 1, death: 2 },
    });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "mid"), scaleCall("mid", "out")]));
    await executable.write("in", data(1, -2), "only");
    await executable.run("only");
    assert.deepEqual(await executable.read(["out"], "only"), [data(9, -18)]);
    assert.deepEqual(await executable.read(["weight"]), [data(3)]);
  });

  test("a buffer that is read before anything wrote it is NaN", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: 0, death: 0 },
      out: { shape: maps, birth: 0, death: 1 },
    });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "out")]));
    await executable.write("in", data(1, 2), "only");
    await executable.run("only");
    assert.deepEqual(await executable.read(["out"], "only"), [data(Number.NaN, Number.NaN)]);
  });

  test("so is a buffer that is read before its birth", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: 1, death: 1 },
      out: { shape: maps, birth: 0, death: 1 },
    });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "out")]));
    await executable.run("only");
    assert.deepEqual(await executable.read(["out"], "only"), [data(Number.NaN, Number.NaN)]);
  });

  test("what an earlier tenant of the address left is not a later buffer's value", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: -1, death: 0 },
      mid: { shape: maps, birth: 0, death: 0 },
      out: { shape: maps, birth: 1, death: 2 },
    });
    const mid = buffers.get("mid");
    assert.ok(mid);
    buffers.set("late", { ...mid, name: "late", birth: 1, death: 1 });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "mid"), scaleCall("late", "out")]));
    await executable.write("in", data(1, 2), "only");
    await executable.run("only");
    assert.deepEqual(await executable.read(["out"], "only"), [data(Number.NaN, Number.NaN)]);
  });

  test("buffers at the same address with overlapping lives destroy each other, as on a device", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: -1, death: 1 },
      out: { shape: maps, birth: 1, death: 2 },
    });
    const input = buffers.get("in");
    assert.ok(input);
    buffers.set("mid", { ...input, name: "mid", birth: 0, death: 0 });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "mid"), scaleCall("in", "out")]));
    await executable.write("in", data(1, 2), "only");
    await executable.run("only");
    assert.notDeepEqual(await executable.read(["out"], "only"), [data(3, 6)]);
  });

  test("an input survives the poison also where a later buffer takes its place", async () => {
    const buffers = layOut({
      weight,
      in: { shape: maps, birth: -1, death: 0 },
      mid: { shape: maps, birth: 0, death: 1 },
    });
    const input = buffers.get("in");
    assert.ok(input);
    buffers.set("out", { ...input, name: "out", birth: 1, death: 2 });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "mid"), scaleCall("mid", "out")]));
    await executable.write("in", data(1, 2), "only");
    await executable.run("only");
    assert.deepEqual(await executable.read(["out"], "only"), [data(9, 18)]);
  });

  test("plans share persistent buffers by name and lie over one another in the arena", async () => {
    const buffers = layOut({ weight, in: { shape: maps, death: 0 }, out: { shape: maps, birth: 0, death: 1 } });
    const plan = planOf(buffers, [scaleCall("in", "out")]);
    const executable = await createReferenceBackend({ precision: "f32" }).compile({ a: plan, b: plan });
    await executable.write("weight", data(5));
    for (const name of ["a", "b"]) {
      await executable.write("in", data(1, 2), name);
      await executable.run(name);
      assert.deepEqual(await executable.read(["out"], name), [data(5, 10)]);
    }
    // 16 bytes before each buffer: a parameter of 4 bytes; two arena buffers of 8.
    assert.equal(executable.peakBytes, 20 + 48);
  });

  test("plans that place a shared buffer differently are refused", async () => {
    const one = planOf(layOut({ weight }), []);
    const other = planOf(layOut({ first: weight, weight }), []);
    const backend = createReferenceBackend({ precision: "f32" });
    await assert.rejects(
      backend.compile({ one, other }),
      (error) => error instanceof RangeError && /plan other: weight is 4 bytes at parameter 36/.test(error.message),
    );
  });

  test("f64 keeps its digits in memory, read rounds them", async () => {
    const buffers = layOut({ weight, in: { shape: maps, death: 0 }, out: { shape: maps, birth: 0, death: 1 } });
    const executable = await compileOne(planOf(buffers, [scaleCall("in", "out")]), "f64");
    await executable.write("weight", data(1 / 3));
    await executable.write("in", data(1 / 3, 1), "only");
    await executable.run("only");
    const exact = Math.fround(1 / 3) ** 2;
    assert.equal(executable.memory("only").tensor("out").data[0], exact);
    const [[sum]] = await executable.read(["out"], "only");
    assert.equal(sum, Math.fround(exact));
  });

  test("labels are integers, wrong lengths, kinds and names are refused", async () => {
    const buffers = layOut({ weight, labels: { shape: [3], dtype: "i32" } });
    const executable = await compileOne(planOf(buffers, []));
    await executable.write("labels", Int32Array.of(7, 8, 9), "only");
    await executable.run("only");
    assert.deepEqual(await executable.read(["labels"], "only"), [Int32Array.of(7, 8, 9)]);
    await assert.rejects(executable.write("weight", data(1, 2)), RangeError);
    await assert.rejects(executable.write("labels", data(1, 2, 3), "only"), TypeError);
    await assert.rejects(executable.write("nothing", data(1)), /no f32 buffer named nothing/);
    await assert.rejects(executable.run("other"), /no plan named other/);
  });
});
