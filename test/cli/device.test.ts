// The command on machines that lack something, and on a GPU that is lost: exit codes 1, 5 and 6, and what is said.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findAdapter } from "../../src/backends/webgpu/gpu.ts";
import { lacksHalves } from "../../src/backends/webgpu/halves.ts";
import { findMatrices } from "../../src/backends/webgpu/matrix.ts";
import { DeviceError } from "../../src/errors.ts";
import { openRunDevice } from "../../src/run/device.node.ts";
import type { StartEvent, TrainEvent } from "../../src/train/events.ts";
import { gpuOrReason } from "../backends/webgpu/gpu.ts";
import { densenet, events } from "./command.ts";
import { makeImages, tinyConfig } from "./images.ts";

const gpu = await gpuOrReason();
let folder = "";
let data = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-device-"));
  data = join(folder, "images");
  await makeImages(data, 8);
  await writeFile(join(folder, "config.json"), JSON.stringify(tinyConfig(data, 4)));
});
after(() => rm(folder, { recursive: true }));

/** Runs `script` in the command's process before the command. */
const prepared = (script: string): Record<string, string> => ({
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(script)}`,
});
const train = (output: string, ...args: string[]): string[] => [
  ...["train", "--config", join(folder, "config.json"), "--output", join(folder, output), "--json"],
  ...args,
];
/** Names no driver. */
const noDriver = { VK_DRIVER_FILES: join(tmpdir(), "no-such-driver.json") };
const noPackage = prepared(`import { registerHooks } from "node:module";
registerHooks({ resolve(name, context, next) {
  if (name === "webgpu") throw Object.assign(new Error("Cannot find package 'webgpu'"), { code: "ERR_MODULE_NOT_FOUND" });
  return next(name, context);
} });`);

for (const [name, env, says] of [
  ["no driver", noDriver, /^densenet: WebGPU .*(?:no adapter|needs the package)/m],
  ["no package webgpu", noPackage, /^densenet: WebGPU in Node needs the package webgpu, .*npm install webgpu$/m],
] as const) {
  test(`--device webgpu · ${name} · exit 6 and a sentence`, async () => {
    const { code, stdout, stderr } = await densenet(train(`webgpu ${name}`, "--device", "webgpu"), { env });
    assert.equal(code, 6);
    assert.match(stderr, says);
    assert.equal(JSON.parse(stdout).error.kind, "DeviceError");
  });

  test(`--device auto · ${name} · goes on with wasm and says why`, async () => {
    const { code, stdout, stderr } = await densenet(train(`auto ${name}`, "--device", "auto"), { env });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^device: wasm\. WebGPU was passed over: WebGPU .*\.$/m);
    const [start] = events(stdout) as { backend: { name: string; notes: string[] } }[];
    assert.equal(start?.backend.name, "wasm");
    assert.match(start?.backend.notes[0] ?? "", /passed over/);
  });

  test(`--device auto --activation-dtype f16 · ${name} · exit 6 instead of f32 on wasm`, async () => {
    const args = train(`f16 ${name}`, "--device", "auto", "--activation-dtype", "f16");
    const { code, stderr } = await densenet(args, { env });
    assert.equal(code, 6, stderr);
    assert.match(stderr, /^densenet: activationDtype f16 needs WebGPU, so wasm cannot take its place: WebGPU /m);
  });
}

test("--device cpu is wasm", async () => {
  const { stdout } = await densenet(["train", "--device", "cpu", "--print-config", "--json"]);
  assert.equal(JSON.parse(stdout).config.device, "wasm");
});

test("train · the memory that it needs is said before the first step", async () => {
  const { stderr } = await densenet(train("memory"));
  assert.match(
    stderr,
    /^memory: \d.* \(weights, .* features .*\); wasm allows 4\.00 GiB in one piece, this machine has /m,
  );
});

test("train · a batch that no wasm memory holds · exit 5 and what to change", async () => {
  const args = ["train", "--model", "BC-100-12", "--batch-size", "2000", "--output", join(folder, "large"), "--json"];
  const { code, stdout, stderr } = await densenet(args);
  assert.equal(code, 5, stderr);
  assert.match(
    stderr,
    /^densenet: --batch-size: BC-100-12 on 2000 images of 32×32 at once needs at least \d+\.\d GiB of memory, expected at most 4\.0 GiB/m,
  );
  assert.equal(JSON.parse(stdout).error.kind, "ResourceError");
});

test("train · more than this machine has · exit 5 before the first step", async () => {
  const env = prepared(`import os from "node:os"; import { syncBuiltinESMExports } from "node:module";
os.totalmem = () => 100_000; syncBuiltinESMExports();`);
  const { code, stdout, stderr } = await densenet(train("full"), { env });
  assert.equal(code, 5, stderr);
  assert.match(stderr, /^densenet: the run needs \d+ KiB on wasm, and this machine has 97\.7 KiB: lower --batch-size/m);
  assert.equal(events(stdout).length, 1);
});

test("an error that nobody threw on purpose is a bug · exit 1, its stack on stderr", async () => {
  const env = prepared(`import os from "node:os"; import { syncBuiltinESMExports } from "node:module";
os.totalmem = () => { throw new TypeError("planted"); }; syncBuiltinESMExports();`);
  const { code, stdout, stderr } = await densenet(["doctor", "--json"], { env });
  assert.equal(code, 1);
  assert.match(stderr, /this is a bug in densenet: planted\n.*TypeError: planted\n +at /s);
  assert.deepEqual(JSON.parse(stdout), { error: { kind: "Bug", message: "planted", details: {} } });
});

/**
 * The device is destroyed when update 4 is reported, in the second epoch; `then` is what requestAdapter gives afterwards.
 */
const losing = (then: string): Record<string, string> =>
  prepared(`import { globals } from "${import.meta.resolve("webgpu")}";
const { GPU, GPUAdapter } = globals;
let device, lost = false;
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (wanted) { return (device = await requestDevice.call(this, wanted)); };
const { requestAdapter } = GPU.prototype;
GPU.prototype.requestAdapter = function (how) { return lost ? ${then} : requestAdapter.call(this, how); };
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (text, ...rest) => {
  if (!lost && String(text).includes('"type":"step","step":4,')) { lost = true; device.destroy(); }
  return write(text, ...rest);
};`);

describe("--activation-dtype f16", { skip: typeof gpu === "string" ? gpu : false }, () => {
  const halves = typeof gpu === "string" ? undefined : findAdapter(gpu).then(lacksHalves);
  const f16 = ["--device", "webgpu", "--activation-dtype", "f16"];

  test("train, eval and predict, not on the CPU; or a sentence where the adapter has no f16", async () => {
    const lacks = await halves;
    const { code, stdout, stderr } = await densenet(train("f16", "--epochs", "2", ...f16));
    if (lacks !== undefined) {
      assert.equal(code, 6, stderr);
      assert.ok(
        stderr.includes(`feature maps cannot be stored in f16, ask for activationDtype "f32": ${lacks}`),
        stderr,
      );
      return;
    }
    assert.equal(code, 0, stderr);
    const emitted = events(stdout) as unknown as TrainEvent[];
    const [start, end] = [emitted[0], emitted.at(-1)];
    assert.ok(start?.type === "start" && end?.type === "end");
    assert.equal(start.config.activationDtype, "f16");
    assert.equal(start.backend.activationDtype, "f16");
    const whole = events((await densenet(train("f32", "--epochs", "2", "--device", "webgpu"))).stdout)[0] as unknown;
    const { memory, peakBytes } = whole as StartEvent;
    // In a net this small, gradients, which stay f32, take most of it.
    assert.ok(start.memory.features < 0.9 * memory.features);
    assert.equal(start.memory.weights + start.memory.features + start.memory.working, start.peakBytes);
    assert.ok(start.memory.working >= 0 && start.peakBytes < peakBytes);

    const run = join(folder, "f16");
    const evaluated = await densenet(["eval", run, "--data-dir", data, ...f16, "--json"]);
    assert.equal(evaluated.code, 0, evaluated.stderr);
    const found = JSON.parse(evaluated.stdout);
    assert.equal(found.top1Error, end.final.valTop1Error);
    // Features are rounded to the same f16, but for sums in another order.
    assert.ok(Math.abs(found.loss - end.final.valLoss) < 1e-3);
    const inF32 = JSON.parse((await densenet(["eval", run, "--data-dir", data, "--json"])).stdout);
    assert.notEqual(inF32.loss, found.loss);
    assert.ok(Math.abs(inF32.loss - found.loss) < 1e-2);

    const image = join(data, "red", "0.png");
    const predicted = await densenet(["predict", run, image, ...f16, "--json"]);
    assert.equal(predicted.code, 0, predicted.stderr);
    for (const onCpu of [
      ["predict", run, image, "--activation-dtype", "f16"],
      ["eval", run, "--data-dir", data, "--activation-dtype", "f16", "--device", "cpu"],
    ]) {
      const refused = await densenet(onCpu);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /activationDtype: f16 is for the devices webgpu and auto, got it with wasm/);
    }
  });

  test("a run in f16 goes on on wasm when f32 is said, and not without", async (t) => {
    if ((await halves) !== undefined) return t.skip("the adapter has no f16");
    const args = train("both", "--checkpoint-every", "1", ...f16);
    const { code } = await densenet(args, { env: losing("Promise.resolve(null)") });
    assert.equal(code, 6);
    const resume = ["train", "--resume", join(folder, "both"), "--device", "wasm", "--json"];
    const refused = await densenet(resume);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /^densenet: --device: feature maps in f16 with the device wasm, which has f32 only/m);
    const resumed = await densenet([...resume, "--activation-dtype", "f32"]);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.equal(events(resumed.stdout).at(-1)?.type, "end");
  });
});

describe("a GPU that is lost in mid-run", { skip: typeof gpu === "string" ? gpu : false }, () => {
  const losses = (found: readonly Record<string, unknown>[]): unknown[] =>
    found.filter(({ type }) => type === "step" || type === "epoch").map(({ loss, valLoss }) => loss ?? valLoss);

  test("comes back: the run goes on, says so, and ends with the losses of one undisturbed", async () => {
    const calm = await densenet(train("calm", "--device", "webgpu"));
    const env = losing("requestAdapter.call(this, how)");
    const { code, stdout, stderr } = await densenet(train("back", "--device", "webgpu"), { env });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^the GPU was lost .*; the run goes on with .* after \d+ updates/m);
    const emitted = events(stdout);
    assert.equal(emitted.filter(({ type }) => type === "recovered").length, 1);
    assert.equal(await readFile(join(folder, "back", "metrics.jsonl"), "utf8"), stdout);
    assert.match(await readFile(join(folder, "back", "report.html"), "utf8"), /the GPU was lost/);
    assert.deepEqual(losses(emitted), losses(events(calm.stdout)));
  });

  test("is gone, --device webgpu: exit 6; what was saved goes on on the CPU", async () => {
    const args = train("gone", "--device", "webgpu", "--checkpoint-every", "1");
    const { code, stderr } = await densenet(args, {
      env: losing("Promise.resolve(null)"),
    });
    assert.equal(code, 6, stderr);
    assert.match(stderr, /^densenet: WebGPU found no adapter.* the run gives up$/m);
    const resumed = await densenet(["train", "--resume", join(folder, "gone"), "--device", "cpu", "--json"]);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.equal(events(resumed.stdout).at(-1)?.type, "end");
  });

  test("is gone, --device auto: wasm goes on and the report says so", async () => {
    // An adapter that the CPU plays is none for auto, unless it bears another name.
    const script = losing("Promise.resolve(null)").NODE_OPTIONS?.split("data:text/javascript,")[1] ?? "";
    const named = `${decodeURIComponent(script)}
const { requestAdapter: request } = GPU.prototype;
GPU.prototype.requestAdapter = async function (how) {
  const adapter = await request.call(this, how);
  return adapter && Object.defineProperty(adapter, "info", { value: { description: "A GPU", vendor: "" } });
};`;
    const { code, stdout, stderr } = await densenet(train("auto gone", "--device", "auto"), { env: prepared(named) });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^the GPU was lost .*; the run goes on with wasm after \d+ updates/m);
    const emitted = events(stdout) as { type: string; backend: { name: string } }[];
    assert.equal(emitted.find(({ type }) => type === "start")?.backend.name, "webgpu");
    assert.equal(emitted.find(({ type }) => type === "recovered")?.backend.name, "wasm");
    assert.match(await readFile(join(folder, "auto gone", "report.html"), "utf8"), /goes on with wasm/);
  });

  test("is gone, auto with f16: no wasm in its place, even when it is lost a third time in a row", async (t) => {
    if (typeof gpu === "string" || lacksHalves(await findAdapter(gpu)) !== undefined) {
      return t.skip("the adapter has no f16");
    }
    const { requestAdapter } = GPU.prototype;
    const request = t.mock.method(GPU.prototype, "requestAdapter", async function (this: GPU) {
      const adapter = await requestAdapter.call(this);
      return adapter && Object.defineProperty(adapter, "info", { value: { description: "A GPU", vendor: "" } });
    });
    const device = await openRunDevice({ device: "auto", activationDtype: "f16", threads: null });
    request.mock.mockImplementation(async () => null);
    await assert.rejects(
      device.reopen(3),
      (error) => error instanceof DeviceError && /^activationDtype f16 needs WebGPU/.test(error.message),
    );
  });

  test("doctor · its name, limits and features, and a training step compared with the reference", async () => {
    const { code, stdout, stderr } = await densenet(["doctor", "--json"]);
    assert.equal(code, 0, stderr);
    const { webgpu, checks } = JSON.parse(stdout);
    const adapter = typeof gpu === "string" ? null : await gpu.requestAdapter({ powerPreference: "high-performance" });
    assert.ok(adapter);
    assert.ok(webgpu.name.includes(adapter.info.description || adapter.info.device), webgpu.name);
    const asked = ["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize"] as const;
    assert.deepEqual(webgpu.limits, Object.fromEntries(asked.map((limit) => [limit, adapter.limits[limit]])));
    const has = ["subgroups", "shader-f16", "timestamp-query"].map((name) => [name, adapter.features.has(name)]);
    assert.deepEqual(webgpu.features, Object.fromEntries(has));
    const { ok, missing } = webgpu.f16Storage;
    assert.deepEqual(webgpu.subgroupMatrices, (ok && findMatrices(adapter)) || null);
    assert.equal(ok, webgpu.features["shader-f16"]);
    assert.equal(missing, ok ? undefined : `${webgpu.name} has no feature shader-f16`);
    assert.match((await densenet(["doctor"])).stdout, ok ? /feature maps in f32 or f16/ : /feature maps in f32 only: /);
    const check = checks.find(({ name }: { name: string }) => name === "webgpu self-check");
    assert.match(check.detail, /differ from the reference by at most \d\.\de-\d/);
  });
});
