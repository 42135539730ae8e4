// networks/resnet: the command trains a residual net with stochastic depth, goes on with it bit for bit, measures it, asks
// it and shows it.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { densenet, events } from "../../cli/command.ts";
import { CLASSES, makeImages, tinyConfig } from "../../cli/images.ts";
import { lastEpoch, requireUsable, stopAfterFirstUpdate } from "../trained.ts";

const EPOCHS = 8;
let folder = "";
let data = "";
let config = "";
let whole: Awaited<ReturnType<typeof densenet>>;
const flags = ["--stochastic-depth", "0.6"];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-resnet-"));
  data = join(folder, "images");
  config = join(folder, "config.json");
  await makeImages(data, 16);
  const model = { variant: "resnet-20", blockConfig: [1, 2], widths: [6, 8], gatePer: "image" };
  await writeFile(config, JSON.stringify({ ...tinyConfig(data, EPOCHS), model }));
  whole = await densenet(["train", "--config", config, ...flags, "--output", join(folder, "whole"), "--json"]);
});
after(() => rm(folder, { recursive: true }));

/** The newest checkpoint's weights, bit for bit. */
async function weightsOf(run: string): Promise<string> {
  const newest = (await readdir(join(run, "checkpoints")))
    .filter((name) => name.startsWith("step-"))
    .toSorted()
    .at(-1);
  const bytes = await readFile(join(run, "checkpoints", newest ?? "", "model.safetensors"));
  const header = Number(bytes.readBigUInt64LE(0));
  return createHash("sha256")
    .update(bytes.subarray(8 + header))
    .digest("hex");
}

test("train --stochastic-depth 0.6 · a residual net learns three classes; its spec and the report say what it is", async () => {
  assert.equal(whole.code, 0, whole.stderr);
  const [first] = events(whole.stdout) as { type: string; spec?: Record<string, unknown> }[];
  const { family, widths, stochasticDepth, gatePer } = first?.spec ?? {};
  assert.deepEqual([family, widths, stochasticDepth, gatePer], ["resnet", [6, 8], 0.6, "image"]);
  const { valLoss } = lastEpoch(whole.stdout);
  assert.ok(Number(valLoss) < Math.log(CLASSES.length), `validation loss ${valLoss}`);
  const report = await readFile(join(folder, "whole", "report.html"), "utf8");
  assert.match(report, /<h1>A ResNet like resnet-20 on /);
  assert.match(report, /A residual network with <b>/);
  assert.match(report, /Blocks of 1, 2 layers; every unit adds to what the one before it made/);
});

test("--resume · stopped in the middle, it ends with the weights of one that was not, bit for bit", async () => {
  const output = join(folder, "stopped");
  const stopped = await stopAfterFirstUpdate(["train", "--config", config, ...flags, "--output", output, "--json"]);
  assert.equal(stopped.code, 143);
  const resumed = await densenet(["train", "--resume", output, "--json"]);
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.deepEqual(lastEpoch(resumed.stdout), lastEpoch(whole.stdout));
  assert.equal(await weightsOf(output), await weightsOf(join(folder, "whole")));
});

test("without stochastic depth the same run has other losses", async () => {
  const args = ["train", "--config", config, "--epochs", "1", "--warmup-epochs", "0", "--json"];
  const plain = await densenet([...args, "--output", join(folder, "plain")]);
  assert.equal(plain.code, 0, plain.stderr);
  const gated = await densenet([...args, ...flags, "--output", join(folder, "gated")]);
  assert.notEqual(lastEpoch(plain.stdout).trainLoss, lastEpoch(gated.stdout).trainLoss);
});

test("eval and predict · its checkpoint gives the validation error of its last epoch and labels for files", async () => {
  await requireUsable(join(folder, "whole"), data, whole);
});

test("inspect · by name and as a checkpoint", async () => {
  const named = await densenet(["inspect", "resnet110"]);
  assert.match(named.stdout, /^ResNet-110\n {2}kind +original units, .* widths 16-32-64, units 18-18-18\n/);
  assert.match(named.stdout, /depth +110 convolution and classifier layers\n {2}parameters +1,727,962\n/);
  const { code, stdout } = await densenet(["inspect", join(folder, "whole"), "--json"]);
  assert.equal(code, 0);
  const { spec, description } = JSON.parse(stdout);
  assert.deepEqual([spec.family, spec.stochasticDepth, description], ["resnet", 0.6, "residual network"]);
});

for (const [what, args, says] of [
  ["on a DenseNet", ["--model", "BC-40-12", ...flags], /--stochastic-depth.* a DenseNet has no such field/],
  ["of 0", ["--model", "resnet-20", "--stochastic-depth", "0"], /--stochastic-depth: got 0, expected a number above 0/],
] as const) {
  test(`train --stochastic-depth · ${what} it is refused before a folder is made`, async () => {
    const { code, stderr } = await densenet(["train", ...args, "--output", join(folder, "none")]);
    assert.equal(code, 2);
    assert.match(stderr, says);
  });
}
