import assert from "node:assert/strict";
import { test } from "node:test";
import { densenet } from "./command.ts";

test("inspect --json · DenseNet-BC-100-12 has the paper's parameters, multiply-adds and connections", async () => {
  const { code, stdout, stderr } = await densenet(["inspect", "bc-100-12", "--json"]);
  assert.equal(code, 0);
  assert.equal(stderr, "");
  const found = JSON.parse(stdout);
  assert.equal(found.name, "DenseNet-BC-100-12");
  assert.equal(found.params, 769_162); // 0.8M in table 2
  assert.equal(Math.round(found.macs / 1e5), 2879); // 287.9 M
  assert.equal(found.connections, 3 * ((16 * 17) / 2));
  assert.equal(found.depth, 100);
  const convolutions = found.layers.filter((layer: { kind: string }) => layer.kind === "convolution");
  assert.equal(convolutions.length, 99);
  assert.ok(found.activationBytesPlanned > 0 && found.activationBytesPlanned < found.activationBytesNaive);
});

test("inspect · recompute needs less memory, a smaller batch less, and inference least", async () => {
  const bytes = async (...args: string[]): Promise<number> =>
    JSON.parse((await densenet(["inspect", "BC-40-12", "--json", ...args])).stdout).activationBytesPlanned;
  const [plain, recompute, small, inference] = await Promise.all([
    bytes(),
    bytes("--recompute", "bottleneck"),
    bytes("--batch-size", "8"),
    bytes("--inference"),
  ]);
  assert.ok(recompute < plain, `${recompute} < ${plain}`);
  assert.ok(small < plain / 4, `${small} < ${plain} / 4`);
  assert.ok(inference < recompute, `${inference} < ${recompute}`);
});

test("inspect 121 --num-classes 14 · as text", async () => {
  const { stdout } = await densenet(["inspect", "121", "--num-classes", "14", "--batch-size", "1", "--layers"]);
  // 7,978,856 with 1000 classes; each class has 1024 weights and a bias.
  assert.match(stdout, new RegExp(`parameters +${(7_978_856 - 986 * 1025).toLocaleString("en-US")}\n`));
  assert.match(stdout, /connections +535 = 21 \+ 78 \+ 300 \+ 136\n/);
  assert.match(stdout, /features\.denseblock4\.denselayer16\.conv2 +convolution +128 → 32 +7×7/);
});

test("inspect --plan prints kernel calls and buffers; with --json the plan is data", async () => {
  const { stdout } = await densenet(["inspect", "BC-40-12", "--batch-size", "2", "--plan"]);
  assert.match(stdout, /^\d+ kernel calls/);
  assert.match(stdout, /convGradWeight/);
  assert.match(stdout, /peakBytes \d+\n$/);
  const asJson = await densenet(["inspect", "BC-40-12", "--batch-size", "2", "--plan", "--json"]);
  const { plan, peakBytes } = JSON.parse(asJson.stdout);
  assert.equal(plan.peakBytes, peakBytes);
  assert.match(stdout, new RegExp(`^${plan.calls.length} kernel calls`));
});

for (const path of ["runs/nothing", "nothing.onnx", "nothing.keras", "nothing.weights.h5", "nothing.ckpt"]) {
  test(`inspect ${path}, which is not there, is bad input, not a model's name`, async () => {
    const { code, stderr } = await densenet(["inspect", path]);
    assert.equal(code, 3);
    assert.ok(stderr.startsWith(`densenet: ${path}: there is no such checkpoint`), stderr);
  });
}

test("doctor --json · node, backend, self-check and image decoding", async () => {
  // Without a GPU, whatever this machine has.
  const env = { VK_DRIVER_FILES: "no-such-driver.json" };
  const { code, stdout } = await densenet(["doctor", "--threads", "2", "--json"], { env });
  const found = JSON.parse(stdout);
  assert.match(found.webgpu.missing, /^WebGPU .*(?:no adapter|needs the package)/);
  assert.equal(code, 0);
  assert.equal(found.ok, true);
  assert.equal(found.backend.threads, 2);
  assert.equal(found.environment.node, process.versions.node);
  assert.deepEqual(
    found.checks.map((check: { name: string; ok: boolean }) => [check.name, check.ok]),
    [
      ["node", true],
      ["wasm backend", true],
      ["self-check", true],
      ["image decoding", true],
    ],
  );
});
