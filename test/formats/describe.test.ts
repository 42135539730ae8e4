// What is said of a file beside its logits: preprocessing, labels, notes; and archives that other programs have packed
// anew.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { unzipSync, zipSync } from "fflate";
import { decodeModel, encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { describeWeights } from "../../src/formats/describe.ts";
import { loadClassifier, loadNetwork } from "../../src/formats/network.node.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { readWeights } from "../../src/formats/read.ts";
import type { FileTensor } from "../../src/formats/weightFile.ts";
import { unpackFixtures } from "./oracle.ts";

const { folder } = unpackFixtures();
const root = mkdtempSync(join(tmpdir(), "formats-describe-"));
after(() => rmSync(root, { recursive: true, force: true }));

const described = async (file: string) => describeWeights(await openWeights(join(folder, file)), file);

test("a timm folder · its config.json is the preprocessing and the labels, and nothing is assumed", async () => {
  const { trained, notes, namesClasses } = await described("timm");
  assert.deepEqual(trained.preprocessing, {
    height: 40,
    width: 48,
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.25, 0.3],
    cropRatio: 0.9,
    interpolation: "bicubic",
  });
  assert.deepEqual(trained.classes, ["ant", "bee", "cat"]);
  assert.ok(namesClasses);
  assert.ok(!notes.some((line) => line.includes("assumed")));
});

test("torchvision's layers without labels · ImageNet's preprocessing, said to be assumed; classes by number", async () => {
  const { trained, notes, namesClasses } = await described("zip.pth");
  assert.deepEqual(trained.preprocessing, {
    height: 224,
    width: 224,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    cropRatio: 0.875,
    interpolation: "bilinear",
  });
  assert.deepEqual(trained.classes, ["class 0", "class 1", "class 2", "class 3", "class 4"]);
  assert.ok(!namesClasses);
  assert.match(
    notes.join("\n"),
    /55 tensors matched, 0 missing, 0 unexpected\n.*assumed, as the file does not say: torchvision's: ImageNet's/s,
  );
});

test("torchxrayvision's · one channel of −1024…1024 at 224, 18 findings, a sigmoid each", async () => {
  const { trained } = await described("xrayvision.pt");
  assert.deepEqual(trained.preprocessing, {
    ...{ height: 224, width: 224, mean: [0.5], std: [1 / 2048] },
    ...{ cropRatio: 1, interpolation: "bilinear" },
  });
  assert.equal(trained.classes[17], "Enlarged Cardiomediastinum");
  assert.equal(trained.outputs, "sigmoid");
});

test("CheXNet's · 14 findings, a sigmoid each", async () => {
  const { trained } = await described("chexnet.pth.tar");
  assert.equal(trained.classes.length, 14);
  assert.equal(trained.classes[13], "Hernia");
  assert.equal(trained.outputs, "sigmoid");
});

test("two networks in wrappers · the preferred one is read, the other named; other tensors are counted", async () => {
  const { notes } = await described("convolved-head.pth");
  assert.match(notes.join("\n"), /2 unexpected \((temperature, criterion\.weight|criterion\.weight, temperature)\)/);
  assert.ok(notes.includes("weights under model"));
  assert.ok(notes.includes("left aside: model_ema"));
});

for (const [file, said] of [
  ["in-front.pth", /new maps stand in front/],
  ["pytorch-cifar.pth", /new maps stand in front/],
  ["biased.pth", /biases of 8 convolutions/],
  ["module.pt", /ε of 9 batch norms taken into their variances/],
  ["pytorch-cifar100.pth", /no ReLU there/],
] as const) {
  test(`${file} · what was changed is said`, async () => {
    assert.match((await described(file)).notes.join("\n"), said);
  });
}

for (const file of ["pytorch-classification.pth", "densenet-pytorch.pth", "zip.pth"]) {
  test(`${file} · nothing was changed and nothing of the kind is said`, async () => {
    assert.doesNotMatch((await described(file)).notes.join("\n"), /in front|biases|ReLU|ε/);
  });
}

test("preprocessing, labels and sigmoids travel in our own model file", async () => {
  for (const file of ["timm", "xrayvision.pt"]) {
    const { trained } = await described(file);
    const back = decodeModel(encodeModel(trained), "model.safetensors");
    assert.deepEqual(back, trained);
  }
});

for (const level of [0, 9] as const) {
  test(`an archive packed anew at level ${level} reads the same`, () => {
    const bytes = readFileSync(join(folder, "zip.pth"));
    const again = zipSync(unzipSync(bytes), { level });
    const [before, after] = [bytes, again].map(
      (file) => describeWeights(readWeights(file, "zip.pth"), "zip.pth").trained.model,
    );
    assert.deepEqual(after, before);
  });
}

test("a flipped bit in a weight is seen by its CRC-32, unless the archive has none", () => {
  const bytes = Uint8Array.from(readFileSync(join(folder, "zip.pth")));
  const data = new DataView(bytes.buffer);
  const at = Buffer.from(bytes).indexOf("zip/data/0") + 100;
  bytes[at] ^= 1;
  assert.throws(
    () => describeWeights(readWeights(bytes, "zip.pth"), "zip.pth"),
    /zip\.pth: "zip\/data\/0" in the archive is damaged/,
  );
  // torch.serialization.set_crc32_options(False) leaves 0 there.
  for (let i = 0; i + 4 < bytes.length; i++)
    if (data.getUint32(i, true) === 0x02014b50) data.setUint32(i + 16, 0, true);
  describeWeights(readWeights(bytes, "zip.pth"), "zip.pth");
});

test("a feature extractor opens, but does not classify", async () => {
  const { tensors, ...file } = await openWeights(join(folder, "zip.pth"));
  const headless = new Map([...tensors].filter(([key]) => !key.startsWith("classifier")));
  const { hasHead, notes } = describeWeights({ ...file, tensors: headless }, "net.pth");
  assert.ok(!hasHead);
  assert.ok(notes.includes("no classifier in it: a new one is needed"));
});

test("a folder of our own is distinguished from others' · a run, a checkpoint, weights", async () => {
  const path = join(root, "weights");
  mkdirSync(path);
  writeFileSync(join(path, "net.pth"), readFileSync(join(folder, "zip.pth")));
  assert.equal((await loadNetwork(path)).trained.classes.length, 5);
  const { trained } = await described("zip.pth");
  writeFileSync(join(root, "own.safetensors"), encodeModel(trained));
  const own = await loadClassifier(join(root, "own.safetensors"));
  assert.deepEqual(own.notes, []);
  assert.deepEqual(own.trained, trained);
});

const scalar = (dtype: string, ...values: readonly number[]): FileTensor => ({
  dtype,
  shape: values.length === 1 ? [] : [values.length],
  read: () => Float32Array.from(values),
});
for (const [what, change] of [
  ["a tensor named epoch", (of) => of.set("epoch", scalar("I64", 164))],
  [
    "tensors of an optimizer and a score",
    (of) => of.set("best_acc1", scalar("F32", 71.2)).set("optimizer.lr", scalar("F64", 0.1)),
  ],
  ["counters as floats", (of) => counters(of, () => scalar("F32", 7))],
  ["counters of half a batch", (of) => counters(of, () => scalar("F32", 0.5))],
  ["counters that are lists", (of) => counters(of, () => scalar("I64", 7, 8))],
  ["counters that are negative", (of) => counters(of, () => scalar("I64", -7))],
  ["counters that are NaN", (of) => counters(of, () => scalar("F32", Number.NaN))],
  ["no counters", (of) => counters(of, () => undefined)],
] as readonly (readonly [string, (of: Map<string, FileTensor>) => unknown])[]) {
  test(`${what} · the same network`, async () => {
    const { tensors, ...file } = await openWeights(join(folder, "zip.pth"));
    const changed = new Map(tensors);
    change(changed);
    const expected = describeWeights({ ...file, tensors }, "net.pth").trained.model.state;
    assert.deepEqual(describeWeights({ ...file, tensors: changed }, "net.pth").trained.model.state, expected);
  });
}

function counters(of: Map<string, FileTensor>, make: () => FileTensor | undefined): void {
  const keys = [...of.keys()].filter((key) => key.endsWith("num_batches_tracked"));
  assert.ok(keys.length > 0);
  for (const key of keys) {
    const counter = make();
    if (counter === undefined) of.delete(key);
    else of.set(key, counter);
  }
}
