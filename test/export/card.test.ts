// What a model card says of where a network comes from, and that a calibration's temperature is not lost in silence.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import { modelCard } from "../../src/export/card.ts";
import { type ExportFormatName, type ExportOptions, exportFiles } from "../../src/export/export.ts";
import { provenanceOf } from "../../src/export/provenance.node.ts";
import { temperatureNote, withTemperature } from "../../src/export/temperature.ts";
import { loadNetwork } from "../../src/formats/network.node.ts";
import { softmax } from "../../src/infer/scores.ts";
import { defaultTrainConfig } from "../../src/train/config.ts";
import { densenet } from "../cli/command.ts";
import { logitsOf } from "../formats/oracle.ts";
import { smallNets, smallTrained } from "./trained.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-card-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const fields = smallNets["densenet, 3×3 stem"];
const calibration = { count: 10, temperature: 1.7, answers: [], classes: [null, null, null, null, null] };
const calibrated = smallTrained(fields, { calibration });
const options = { library: "onnx", usage: ["python", "import onnx"] } as const;

const run = {
  config: { ...defaultTrainConfig, epochs: 3, seed: 7, data: { ...defaultTrainConfig.data, valSplit: 0.1 } },
  step: 4,
  running: { count: 0, loss: 0, top1Wrong: 0, top5Wrong: 0 },
  history: [
    {
      ...{ epoch: 2, trainLoss: 1, trainTop1Error: 30, trainTop5Error: 3, valLoss: 1.25, valTop1Error: 31.5 },
      ...{ valTop5Error: 4, learningRate: 0.1, seconds: 1, imagesPerSecond: 9 },
    },
  ],
  trainCount: 90,
};
const trainingOf = (state: object) => ({ training: { momentum: new Map(), run: state }, own: true });

test("card of a run · its last evaluation, its recipe, no licence that nobody stated", async () => {
  const provenance = await provenanceOf(trainingOf(run), "runs/first");
  const card = modelCard(calibrated, { ...options, provenance });
  assert.match(card, /^\| recipe \| 2 of 3 epochs on 90 images, augmentation .*, schedule .*, seed 7 \|$/m);
  assert.match(
    card,
    /^\| measured \| 31\.50 % top-1 error on images held out \(--val-split 0\.1\), after epoch 2; .* 1\.2500 \|$/m,
  );
  assert.match(card, /^\| licence \| none is stated: whoever publishes the weights decides/m);
  const [, yaml] = card.split("---\n");
  assert.doesNotMatch(yaml, /license/);
  assert.match(
    yaml,
    /\n {4}dataset:\n {6}type: "made-up-for-tests-"\n {6}name: "made up {3}for {2}tests "\n {6}split: val/,
  );
  assert.match(yaml, /\n {4}- type: accuracy\n {6}name: "top-1 accuracy on .*"\n {6}value: 0\.685\n$/);
});

const unmeasured: readonly [string, object][] = [
  ["a run before its first evaluation", { ...run, history: [] }],
  ["a checkpoint in the middle of an epoch", { ...run, running: { ...run.running, count: 8 } }],
];
for (const [name, state] of unmeasured) {
  test(`card of ${name} · not measured`, async () => {
    const card = modelCard(calibrated, { ...options, provenance: await provenanceOf(trainingOf(state), "runs/first") });
    assert.match(card, /^\| measured \| not measured \|$/m);
    assert.doesNotMatch(card, /model-index/);
  });
}

test("card of another tool's weights · nothing is known, nothing is made up", async () => {
  assert.deepEqual(await provenanceOf({ own: false }, "densenet121.pth"), {});
  const card = modelCard(calibrated, options);
  for (const row of [/\| recipe \| not known \|/, /\| measured \| not measured \|/, /\| licence \| none is stated/]) {
    assert.match(card, row);
  }
});

test("card of a packaged model · error, recipe and licence of its own card, the licence in the YAML", async () => {
  const card = modelCard(calibrated, { ...options, provenance: await provenanceOf({ own: true }, "bc-40-12.cifar10") });
  assert.match(card, /\nlicense: mit\nmodel-index:\n/);
  assert.match(card, /^\| measured \| 9\.70 % top-1 error on 10,000 test images of CIFAR-10; .* \|$/m);
  assert.match(card, /^\| recipe \| 24 epochs on 50,000 images: {1,2}densenet train --model BC-40-12 .* \|$/m);
  assert.match(card, /^\| licence \| MIT, as the package\. /m);
});

const left: readonly [ExportFormatName, ExportOptions, boolean][] = [
  ["onnx", {}, true],
  ["onnx", { probabilities: true }, false],
  ["safetensors", {}, true],
  ["timm", {}, true],
  ["transformers.js", {}, true],
  ["html", {}, false],
];
for (const [format, given, isLeft] of left) {
  test(`temperature · ${format} ${JSON.stringify(given)} · ${isLeft ? "said to be left out" : "applied in the file"}`, () => {
    const note = temperatureNote(calibrated, format, given);
    assert.equal(note !== undefined, isLeft);
    if (!isLeft) return;
    assert.match(note ?? "", /^logits are as trained: divide them by the calibration's temperature, 1\.700, before/);
    assert.equal(temperatureNote(withTemperature(calibrated), format, given), undefined);
    assert.equal(temperatureNote(smallTrained(fields), format, given), undefined);
    if (format === "timm") return; // makes no network with this stem
    assert.match(
      String(exportFiles(calibrated, format, given).files.get("README.md")),
      /The logits are as trained: divide/,
    );
  });
}

test("temperature · divided into the classifier, a plain softmax is the calibrated one", async () => {
  await using backend = createReferenceBackend({ precision: "f32" });
  const shape = [2, 3, 24, 20] as const;
  const logits = await logitsOf(calibrated.model, shape, backend);
  const divided = withTemperature(calibrated);
  const found = await logitsOf(divided.model, shape, backend);
  for (const n of [0, 1]) {
    const row = (of: Float32Array) => of.subarray(5 * n, 5 * n + 5);
    const expected = softmax(row(logits), calibration.temperature);
    for (const [k, probability] of softmax(row(found)).entries()) assert.ok(Math.abs(probability - expected[k]) < 1e-6);
  }
  assert.equal(divided.calibration?.temperature, 1);
  assert.throws(() => withTemperature(smallTrained(fields)), { name: "UsageError", message: /has no calibration/ });
});

test("densenet export, convert · one sentence says that the temperature is left out, --calibrated divides by it", async () => {
  const checkpoint = join(folder, "run");
  await saveCheckpoint(checkpoint, { trained: calibrated }, { step: 1, best: true, keep: 1 });
  const weightOf = async (path: string) =>
    (await loadNetwork(path)).trained.model.state.get("classifier.weight")?.data[0] ?? 0;
  const [plain, divided] = [join(folder, "plain.safetensors"), join(folder, "divided.safetensors")];
  const [first, second, third] = await Promise.all([
    densenet(["export", checkpoint, "-o", plain]),
    densenet(["export", checkpoint, "--calibrated", "-o", divided]),
    densenet(["convert", checkpoint, join(folder, "converted.safetensors")]),
  ]);
  assert.deepEqual([first.code, second.code, third.code], [0, 0, 0], first.stderr + second.stderr + third.stderr);
  for (const { stderr } of [first, third]) assert.match(stderr, /divide them by the calibration's temperature, 1\.700/);
  assert.doesNotMatch(second.stderr, /temperature/);
  const weight = await weightOf(plain);
  assert.equal(await weightOf(divided), Math.fround(weight / 1.7));
});
