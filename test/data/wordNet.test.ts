// data: folders that are called by WordNet ids are classes with ImageNet's names, in training, in measuring and in what the
// command says; folders that are none of the network's classes are refused.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { decodeImage } from "../../src/data/image.node.ts";
import { imagenetLabels } from "../../src/data/imagenetLabels.ts";
import { openLabelledFolder } from "../../src/data/labelledFolder.node.ts";
import { openDataset } from "../../src/data/open.node.ts";
import { classNames, wordNetNames } from "../../src/data/wordNet.node.ts";
import { InputError } from "../../src/errors.ts";
import { densenet } from "../cli/command.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-wordnet-"));
after(() => rm(root, { recursive: true }));

async function folder(name: string, classes: readonly string[], splits: readonly string[] = ["train", "val"]) {
  const dir = join(root, name);
  for (const split of splits) {
    for (const [label, of] of classes.entries()) {
      const path = join(dir, split, of);
      await mkdir(path, { recursive: true });
      for (let i = 0; i < 2; i++) {
        const background = { r: 60 * label, g: 100 + i, b: 20 };
        await sharp({ create: { width: 20, height: 12, channels: 3, background } })
          .png()
          .toFile(join(path, `${i}.png`));
      }
    }
  }
  return dir;
}

const sized = { channels: 3, height: 8, width: 8 } as const;

test("WordNet · 1,000 ids in ascending order, each with a name of its own", async () => {
  const names = await wordNetNames();
  const ids = [...names.keys()];
  assert.equal(ids.length, 1000);
  assert.ok(ids.every((id, i) => /^n\d{8}$/.test(id) && (i === 0 || id > (ids[i - 1] ?? ""))));
  assert.equal(new Set(names.values()).size, 1000);
  // From WordNet 3.0 itself: nouns by their offset.
  for (const [id, name] of [
    ["n01440764", "tench"],
    ["n02012849", "crane bird"],
    ["n02123045", "tabby"],
    ["n02129165", "lion"],
    ["n03126707", "crane"],
    ["n03710637", "maillot"],
    ["n07753592", "banana"],
    ["n15075141", "toilet tissue"],
  ] as const) {
    assert.equal(names.get(id), name, id);
  }
});

test("folders called by WordNet ids · classes have names, in the order of the ids; unknown ids stay and are said", async () => {
  const dir = await folder("ids", ["n02123045", "n01440764", "n99999999"]);
  const said: string[] = [];
  const dataset = await openDataset({ dir, imageSize: 8, report: (line) => said.push(line) });
  assert.deepEqual(dataset.classes, ["tench", "tabby", "n99999999"]);
  assert.match(
    said.join("\n"),
    /1 of 3 class folders are called by WordNet ids that are none of ImageNet's .* n99999999/,
  );
  assert.deepEqual(await classNames(["cat", "n0144076", "n014407640"]), ["cat", "n0144076", "n014407640"]);
  await assert.rejects(classNames(["n01440764", "tench"]), (error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /the folders n01440764 and tench are both the class "tench", expected one of them/);
    return true;
  });
});

test("folders called by WordNet ids · are the classes of a network with ImageNet's names, or with the ids", async () => {
  const dir = await folder("measured", ["n01443537", "n15075141"], ["val"]);
  const named = await openLabelledFolder(dir, { ...sized, classes: imagenetLabels });
  assert.deepEqual([...named.images.labels], [1, 1, 999, 999]);
  const byId = await openLabelledFolder(dir, { ...sized, classes: ["n15075141", "n01443537"] });
  assert.deepEqual([...byId.images.labels], [1, 1, 0, 0]);
  assert.deepEqual((await openLabelledFolder(dir, sized)).classes, ["goldfish", "toilet tissue"]);
  for (const [folders, expected] of [
    [["n01440764", "cat"], /cat: the network has no class "cat", expected folders called "tench", "goldfish"/],
    [["n99999999"], /the network has no class "n99999999", and ImageNet none of this WordNet id, expected/],
  ] as const) {
    const other = await folder(folders.join("-"), folders, ["val"]);
    await assert.rejects(openLabelledFolder(other, { ...sized, classes: imagenetLabels }), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, expected);
      return true;
    });
  }
  const missing = openLabelledFolder(dir, { ...sized, classes: ["cat", "dog"] });
  await assert.rejects(missing, /no class "goldfish" or "n01443537", expected folders called "cat", "dog"/);
});

test("a labelled folder · images are fitted as the network says", async () => {
  const dir = await folder("fitted", ["a", "b"], ["val"]);
  const file = join(root, "fitted", "val", "a", "0.png");
  const noise = Uint8Array.from({ length: 3 * 40 * 30 }, (_, i) => (i * 7919) % 256);
  await sharp(noise, { raw: { width: 40, height: 30, channels: 3 } })
    .png()
    .toFile(file);
  for (const how of [{}, { cropRatio: 0.5 }, { interpolation: "bilinear" }] as const) {
    const { images } = await openLabelledFolder(dir, { ...sized, ...how });
    const found = new Uint8Array(3 * 64);
    await images.pixels(0, found);
    assert.deepEqual(found, await decodeImage(file, { ...sized, ...how }));
  }
  assert.notDeepEqual(await decodeImage(file, sized), await decodeImage(file, { ...sized, cropRatio: 0.5 }));
});

test("val images in no folders of classes, as ImageNet's are published · not used, and that is said", async () => {
  const dir = await folder("flat", ["n01440764", "n02123045"], ["train"]);
  await mkdir(join(dir, "val"));
  await sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } })
    .png()
    .toFile(join(dir, "val", "1.png"));
  const said: string[] = [];
  const dataset = await openDataset({ dir, imageSize: 8, report: (line) => said.push(line) });
  assert.equal(dataset.val.length, 2);
  assert.match(said.join("\n"), /flat\/val: its images are in no folders of classes, so they are not used/);
});

test("the command · trains on folders of WordNet ids with the ImageNet recipe, names classes, refuses others", async () => {
  const dir = await folder("command", ["n01440764", "n02123045"]);
  const out = join(root, "run");
  const recipe = ["--model", "BC-40-12", "--augment", "imagenet", "--input-size", "12", "--epochs", "1", "-j", "1"];
  const trained = await densenet(["train", ...recipe, "--data-dir", dir, "--batch-size", "2", "-o", out]);
  assert.equal(trained.code, 0, trained.stderr);
  const predicted = await densenet(["predict", out, join(dir, "val", "n01440764", "0.png"), "--json"]);
  assert.match(predicted.stdout, /"tench"/);
  const measured = await densenet(["eval", out, "--ten-crop"]);
  assert.equal(measured.code, 0, measured.stderr);
  assert.match(measured.stdout, /tabby/);
  const other = await folder("other", ["n01440764", "n01443537"], ["val"]);
  const refused = await densenet(["eval", out, "--data-dir", other]);
  assert.equal(refused.code, 3, refused.stderr);
  assert.match(
    refused.stderr,
    /n01443537: the network has no class "goldfish" or "n01443537", expected folders called "tench"/,
  );
  const uneven = await folder("uneven", ["n01440764", "n02123045"], ["train"]);
  await folder("uneven", ["n01440764"], ["val"]);
  const never = join(root, "never");
  const mismatch = await densenet(["train", ...recipe, "--data-dir", uneven, "-o", never]);
  assert.deepEqual([mismatch.code, existsSync(never)], [3, false]);
  assert.match(mismatch.stderr, /val: has no folder for the class "n02123045" of the training images/);
});
