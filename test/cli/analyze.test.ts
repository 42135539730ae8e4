import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import { createNetwork } from "../../src/model/create.ts";
import { defineSpec } from "../../src/networks/registry.ts";
import { densenet } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-analyze-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const output = join(folder, "analysis");
const classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

test("analyze · a checkpoint: numbers on stdout, a page and the same numbers in the folder", async () => {
  const spec = defineSpec({ growthRate: 3, blockConfig: [2, 2, 2], numInitFeatures: 5, numClasses: 10 });
  const model = createNetwork(spec);
  const preprocessing = { height: 32, width: 32, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
  const trained = { model, preprocessing, classes, dataset: "nothing" };
  const saved = join(folder, "run");
  await saveCheckpoint(saved, { trained }, { step: 1, best: true, keep: 1 });
  const only = ["feature-reuse", "gradient-flow", "deep-supervision", "layer-importance", "stochastic-connections"];
  const given = ["--images", "40", "--against", "plain-BC-40-12", "--output", output];
  const words = ["analyze", "--steps", "2", saved, "--only", ...only, ...given, "--json"];
  const { code, stdout, stderr } = await densenet(words);
  assert.equal(code, 0, stderr);
  const numbers = JSON.parse(stdout);
  assert.deepEqual(Object.keys(numbers), ["networks", ...only]);
  assert.deepEqual(JSON.parse(readFileSync(join(output, "analysis.json"), "utf8")), numbers);
  assert.equal(numbers["gradient-flow"].length, 2);
  assert.deepEqual(
    numbers["gradient-flow"][0].fromStart.moments.map(({ step }: { step: number }) => step),
    [0, 1, 2],
  );
  assert.equal(numbers["layer-importance"][0].importance.layers.length, 6);
  const page = readFileSync(join(output, "analysis.html"), "utf8");
  for (const name of only) assert.ok(page.includes(`<h2 id="${name}">`), name);
  assert.ok(page.includes(`densenet ${words.join(" ")}`), "the command, whole");
  assert.ok(!/<script|https?:\/\/(?!www\.w3)/.test(page.replace(/arXiv [\d.v]+/g, "")));
});

test("analyze · a file where the folder shall be · refused before the work", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "kept");
  const { code, stderr } = await densenet(["analyze", "40-12", "--only", "compactness", "--output", file]);
  assert.equal(code, 2, stderr);
  assert.match(stderr, /file: is a file, expected a folder/);
  assert.equal(readFileSync(file, "utf8"), "kept");
});

test("analyze · networks by any spelling, by depth and width too", async () => {
  const names = ["analyze", "resnet_68", "--against", "DenseNet-BC (L=22, k=12)", "--only", "stochastic-connections"];
  const { code, stdout, stderr } = await densenet([...names, "--output", output, "--json"]);
  assert.equal(code, 0, stderr);
  const found = JSON.parse(stdout).networks.map(({ name }: { name: string }) => name);
  assert.deepEqual(found, ["ResNet-68", "DenseNet-BC-22-12"]);
});

const refusals: readonly (readonly [string, readonly string[], number, RegExp])[] = [
  ["an untrained network's weights", ["BC-40-12", "--only", "feature-reuse"], 2, /BC-40-12 has no trained weights/],
  ["layers dropped of a name", ["40-12", "--only", "layer-importance"], 2, /has no trained weights/],
  ["no such run", ["runs/nowhere"], 3, /there is no such checkpoint/],
  ["a depth that no ResNet has", ["resnet-69", "--only", "memory"], 2, /expected one such as 68 or 74/],
  ["an unknown analysis", ["40-12", "--only", "astrology"], 2, /Allowed choices/],
];
for (const [what, args, exit, message] of refusals) {
  test(`analyze · ${what} · one sentence, exit code ${exit}`, async () => {
    const { code, stdout, stderr } = await densenet(["analyze", ...args, "--output", output]);
    assert.equal(code, exit, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
  });
}
