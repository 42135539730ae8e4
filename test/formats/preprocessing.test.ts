// How images become a network's input: what is chosen instead of what a file says, and the warning where it cannot be
// right.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { decodeImage } from "../../src/data/image.node.ts";
import { openLabelledFolder } from "../../src/data/labelledFolder.node.ts";
import { UsageError } from "../../src/errors.ts";
import { choosePreprocessing, type PreprocessingChoice, preprocessingText } from "../../src/formats/preprocessing.ts";
import { inputMismatch } from "../../src/infer/inputCheck.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { createNetwork } from "../../src/model/create.ts";
import { defineSpec } from "../../src/networks/registry.ts";
import { densenet } from "../cli/command.ts";
import { makeImages } from "../cli/images.ts";
import { randomNumbers } from "./mutate.ts";

const [height, width] = [24, 20];
const trainedOn = (inChannels: number): TrainedModel => ({
  model: createNetwork(
    defineSpec({ growthRate: 2, blockConfig: [1, 1], numInitFeatures: 4, numClasses: 3, inChannels }),
    { seed: 1 },
  ),
  preprocessing: {
    ...{ height, width },
    mean: [0.5, 0.4, 0.3].slice(0, inChannels),
    std: [0.2, 0.25, 0.3].slice(0, inChannels),
  },
  classes: ["a", "b", "c"],
  dataset: "none",
});

const choices: readonly (readonly [what: string, choice: PreprocessingChoice, text: string])[] = [
  ["nothing", {}, "mean 0.5, 0.4, 0.3, deviation 0.2, 0.25, 0.3, 24×20"],
  ["one mean for all", { mean: [0.1] }, "mean 0.1, 0.1, 0.1, deviation 0.2, 0.25, 0.3, 24×20"],
  ["a size", { height: 32, width: 40 }, "mean 0.5, 0.4, 0.3, deviation 0.2, 0.25, 0.3, 32×40"],
  [
    "a crop and a scaling",
    { cropRatio: 0.875, interpolation: "bilinear" },
    "mean 0.5, 0.4, 0.3, deviation 0.2, 0.25, 0.3, 24×20, the centre's 0.875, bilinear",
  ],
  [
    "BGR with Caffe2's numbers, in that order",
    { channelOrder: "bgr", mean: [103.94 / 255, 116.78 / 255, 123.68 / 255], std: [58.82 / 255] },
    "mean 0.485, 0.458, 0.4076, deviation 0.2307, 0.2307, 0.2307, 24×20",
  ],
];
for (const [what, choice, text] of choices) {
  test(`${what} · ${text}`, () => {
    const notes: string[] = [];
    const chosen = choosePreprocessing(trainedOn(3), choice, (line) => notes.push(line));
    assert.equal(preprocessingText(chosen.preprocessing), text);
    assert.equal(notes.length, Object.keys(choice).length === 0 ? 0 : 1);
    assert.ok(notes.every((line) => line.startsWith(`input, as asked: ${text}`)));
  });
}

for (const [what, inChannels, choice, says] of [
  ["two means for three channels", 3, { mean: [0.5, 0.5] }, /^--mean: got 2 values, expected 1 or 3/],
  ["three deviations for one channel", 1, { std: [1, 1, 1] }, /^--std: got 3 values, expected 1 or 1/],
  ["BGR of one channel", 1, { channelOrder: "bgr" }, /^--channel-order: got bgr for a network of 1 input channels/],
] as const) {
  test(`${what} · a sentence`, () => {
    assert.throws(
      () => choosePreprocessing(trainedOn(inChannels), choice),
      (error: unknown) => error instanceof UsageError && says.test(error.message),
    );
  });
}

test("BGR · an RGB image gives what its BGR copy gave before", async () => {
  const trained = trainedOn(3);
  const backend = createReferenceBackend({ precision: "f32" });
  const random = randomNumbers(3);
  const planes = Array.from({ length: 3 }, () => Uint8Array.from({ length: height * width }, () => 256 * random()));
  const rgb = Uint8Array.from(planes.flatMap((plane) => [...plane]));
  const bgr = Uint8Array.from(planes.toReversed().flatMap((plane) => [...plane]));
  const before = await createPredictor(trained, backend);
  const after = await createPredictor(
    choosePreprocessing(trained, { channelOrder: "bgr", mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] }),
    backend,
  );
  const [expected] = await before.predictPlanar([bgr]);
  const [found] = await after.predictPlanar([rgb]);
  const [other] = await before.predictPlanar([rgb]);
  for (const [i, { label, score }] of expected.entries()) {
    assert.equal(found[i].label, label);
    assert.ok(Math.abs(found[i].score - score) < 1e-6);
  }
  assert.ok(Math.abs(other[0].score - expected[0].score) > 1e-4, "the order of channels changes nothing here");
  await backend.dispose();
});

const images = Array.from({ length: 12 }, (_, i) => join("assets/samples", readdirSync("assets/samples").sort()[i]));
/** Predicts with a network whose first norm knows the statistics of these images at mean ½ and deviation ¼. */
for (const [what, choice, warns] of [
  ["as they should be", {}, false],
  ["pixels that were never divided by 255", { mean: [0], std: [1 / 255] }, /\d\d times as far/],
  ["pixels in 0…1", { mean: [0], std: [1] }, /1\/[3-5].* times as far/],
  ["X-rays' range", { mean: [0.5], std: [1 / 2048] }, /\d+ times as far/],
] as const) {
  test(`the packaged network, images ${what} · ${warns === false ? "no warning" : "a warning"}`, async () => {
    const { mean, std }: PreprocessingChoice = choice;
    const flags = [
      ...(mean === undefined ? [] : [`--mean=${mean.join()}`]),
      ...(std === undefined ? [] : [`--std=${std.join()}`]),
    ];
    const { code, stderr } = await densenet(["predict", "bc-40-12.cifar10", ...images, ...flags]);
    assert.equal(code, 0, stderr);
    if (warns === false) assert.doesNotMatch(stderr, /warning/);
    else
      assert.match(
        stderr,
        new RegExp(`warning: the first layer's values for the first 12 images are .*${warns.source}`),
      );
  });
}

test("a network as it was created knows no input, so nothing is compared", () => {
  const input = { images: new Float32Array(3 * height * width).fill(1000), count: 1, height, width };
  assert.equal(inputMismatch(trainedOn(3).model, input), undefined);
});

test("eval and the library scale and cut a folder's images as the checkpoint says", async () => {
  const root = mkdtempSync(join(tmpdir(), "preprocessing-"));
  await makeImages(root, 2);
  const format = { channels: 3, height: 16, width: 16, cropRatio: 0.5, interpolation: "bilinear" } as const;
  const { images: split } = await openLabelledFolder(root, format);
  const description = split.describe();
  assert.ok(description.kind === "files");
  const pixels = new Uint8Array(3 * 16 * 16);
  await split.pixels(0, pixels);
  const [file] = description.files;
  assert.deepEqual(pixels, await decodeImage(file, format, { maxPixels: 1e6 }));
  const { cropRatio: _, ...whole } = format;
  assert.notDeepEqual(pixels, await decodeImage(file, { ...whole, cropRatio: 1 }, { maxPixels: 1e6 }));
  rmSync(root, { recursive: true });
});

for (const [flag, says] of [
  ["--mean=0.5,x", /--mean: got "0\.5,x", expected numbers with commas/],
  ["--std=0", /--std: got "0", expected numbers above 0/],
  ["--crop-pct=1.5", /--crop-pct: got "1\.5", expected a number above 0 and at most 1/],
  ["--input-size=0", /--input-size: got "0", expected pixels from 1 to 4096/],
  ["--input-size=32x", /--input-size: got "32x", expected pixels/],
  ["--interpolation=nearest", /--interpolation.*bicubic, bilinear/],
] as const) {
  test(`predict ${flag} · a sentence, exit code 2`, async () => {
    const { code, stderr } = await densenet(["predict", "bc-40-12.cifar10", images[0], flag]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, says);
  });
}
