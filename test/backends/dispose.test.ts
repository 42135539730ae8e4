// The end of backends and executables: at once, as often as one likes, and nothing that was asked of them waits for
// ever.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Backend, Executable } from "../../src/backends/backend.ts";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { createWebgpuBackend, WebgpuBackend } from "../../src/backends/webgpu/webgpu.ts";
import { DisposedError, UsageError } from "../../src/errors.ts";
import { createNetwork } from "../../src/model/create.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { planInference } from "../../src/plan/planners.ts";
import { dawnMissing, gpuOrReason, nullDevice } from "./webgpu/gpu.ts";

const spec = namedSpec("BC-40-12", { blockConfig: [2, 2], growthRate: 8 });
const plan = planInference(buildGraph(spec, { batch: 4, height: 16, width: 16, mode: "inference" }));
const images = new Float32Array(4 * 3 * 16 * 16);
const { state } = createNetwork(spec);

async function compiled(backend: Backend): Promise<Executable> {
  const executable = await backend.compile({ logits: plan });
  for (const [path, { data }] of state) await executable.write(path, data);
  await executable.write("images", images, "logits");
  return executable;
}

/** What a promise comes to; "pending" if nothing in ten seconds. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  const settled = promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof DisposedError ? error.message : `not a DisposedError: ${error}`),
  );
  return Promise.race([settled, setTimeout(10_000, "pending", { ref: false })]);
}

const backendIsGone = "this backend was disposed of, so it does nothing any more: create another one";
const executableIsGone = "this executable was disposed of, so it does nothing any more: create another one";

const gpu = await gpuOrReason();
const backends: readonly [name: string, missing: string | false, open: () => Promise<Backend>][] = [
  ["reference", false, async () => createReferenceBackend({ precision: "f32" })],
  ["wasm, one thread", false, () => createWasmBackend({ threads: 1 })],
  ["wasm, two threads", false, () => createWasmBackend({ threads: 2 })],
  ["wasm without shared memory", false, () => createWasmBackend({ sharedMemory: false })],
  [
    "webgpu that computes nothing",
    dawnMissing() ?? false,
    async () => {
      const device = await nullDevice();
      const target = { tiled: false, bindingBytes: 2 ** 27, windows: 7 } as const;
      return new WebgpuBackend(device, target, {
        name: "webgpu",
        threads: 1,
        activationDtype: "f32",
        features: {},
        notes: [],
      });
    },
  ],
  ["webgpu", typeof gpu === "string" ? gpu : false, () => createWebgpuBackend({ tiled: false })],
];

for (const [name, missing, open] of backends) {
  describe(`dispose · ${name}`, { skip: missing, timeout: 60_000 }, () => {
    test("calls after the end of an executable reject; its backend goes on", async () => {
      await using backend = await open();
      const executable = await compiled(backend);
      await executable.run("logits");
      await executable.dispose();
      await executable.dispose();
      assert.equal(await outcome(executable.run("logits")), executableIsGone);
      assert.equal(await outcome(executable.read(["logits"], "logits")), executableIsGone);
      assert.equal(await outcome(executable.write("images", images, "logits")), executableIsGone);
      await using another = await compiled(backend);
      await another.run("logits");
    });

    test("calls after the end of a backend reject, also on its executables", async () => {
      const backend = await open();
      const executable = await compiled(backend);
      await backend.dispose();
      await backend.dispose();
      assert.equal(await outcome(backend.compile({ logits: plan })), backendIsGone);
      assert.equal(await outcome(executable.run("logits")), executableIsGone);
      assert.equal(await outcome(executable.read(["logits"], "logits")), executableIsGone);
      assert.equal(await outcome(executable.dispose()), "resolved");
    });

    for (const ended of ["executable", "backend"] as const) {
      test(`calls that are pending at the end of the ${ended} settle: what is not done yet rejects`, async () => {
        await using backend = await open();
        const executable = await compiled(backend);
        const pending = [
          ...Array.from({ length: 6 }, () => executable.run("logits")),
          executable.read(["logits"], "logits"),
        ].map(outcome);
        const disposing = (ended === "backend" ? backend : executable).dispose();
        assert.equal(await outcome(disposing), "resolved");
        const found = await Promise.all(pending);
        for (const one of found) assert.ok(one === executableIsGone || one === "resolved", one);
        // The reference has done its work when a call returns.
        assert.equal(found.includes(executableIsGone), name !== "reference");
        assert.equal(await outcome(executable.run("logits")), executableIsGone);
      });
    }

    test("a compilation that is pending at the end of the backend rejects or is done; nothing is left behind", async () => {
      const backend = await open();
      const compiling = backend.compile({ logits: plan });
      const found = outcome(compiling);
      assert.equal(await outcome(backend.dispose()), "resolved");
      if ((await found) === "resolved") assert.equal(await outcome((await compiling).run("logits")), executableIsGone);
      else assert.equal(await found, backendIsGone);
    });

    test("await using ends both, the executable first", async () => {
      let left: Executable;
      {
        await using backend = await open();
        await using executable = await compiled(backend);
        left = executable;
        await executable.run("logits");
      }
      assert.equal(await outcome(left.run("logits")), executableIsGone);
    });
  });
}

test("dispose · a DisposedError is a mistake of the calling program", () => {
  assert.ok(new DisposedError("") instanceof UsageError);
});
