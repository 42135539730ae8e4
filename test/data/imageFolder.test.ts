// data: folders of images, made here from embedded ones, and everything that can be wrong with them.
import assert from "node:assert/strict";
import fs, { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp, { type Sharp } from "sharp";
import type { Batch, Dataset } from "../../src/data/dataset.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { openImageFolder } from "../../src/data/imageFolder.node.ts";
import { openLabelledFolder } from "../../src/data/labelledFolder.node.ts";
import { type LoadOptions, loadBatches } from "../../src/data/loader.node.ts";
import { openDataset } from "../../src/data/open.node.ts";
import { InputError, ResourceError, UsageError } from "../../src/errors.ts";

const embedded = await readEmbedded();
let root = "";
let flat = "";
let split = "";

async function planar(index: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(3072);
  await embedded.train.pixels(index, bytes);
  return bytes;
}

async function image(index: number): Promise<Sharp> {
  const bytes = await planar(index);
  const interleaved = Uint8Array.from(bytes, (_, i) => bytes[(i % 3) * 1024 + Math.floor(i / 3)]);
  return sharp(interleaved, { raw: { width: 32, height: 32, channels: 3 } });
}

/**
 * `count` images of each of three classes, as PNG, lossless WebP and PNG again; numbers are positions in the embedded
 * split.
 */
async function classFolders(dir: string, count: number, skip: number): Promise<void> {
  for (const label of [3, 5, 9]) {
    const folder = join(dir, embedded.classes[label]);
    await mkdir(folder, { recursive: true });
    const members = [...embedded.train.labels.keys()].filter((index) => embedded.train.labels[index] === label);
    for (const index of members.slice(skip, skip + count)) {
      const file = join(folder, String(index).padStart(5, "0"));
      if (index % 2 === 0) await (await image(index)).png().toFile(`${file}.png`);
      else await (await image(index)).webp({ lossless: true }).toFile(`${file}.WEBP`);
    }
  }
}

before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-folder-"));
  flat = join(root, "flat");
  split = join(root, "split");
  await classFolders(flat, 10, 0);
  await classFolders(join(split, "train"), 6, 0);
  await classFolders(join(split, "val"), 3, 6);
  await writeFile(join(flat, "cat", ".DS_Store"), "hidden");
  await writeFile(join(flat, "cat", "notes.txt"), "not an image");
});
after(async () => {
  await rm(root, { recursive: true });
});

async function collect(dataset: Dataset, which: "train" | "val", options: Partial<LoadOptions> = {}): Promise<Batch[]> {
  const batches: Batch[] = [];
  const base: LoadOptions = { batchSize: 8, seed: 1, epoch: 0, shuffle: true, augment: "none" };
  for await (const batch of loadBatches(dataset, which, { ...base, ...options })) batches.push(batch);
  return batches;
}

const refuses = (
  promise: Promise<unknown>,
  kind: typeof InputError | typeof UsageError | typeof ResourceError,
  ...parts: string[]
): Promise<void> =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, String(error));
    for (const part of parts) assert.ok(error.message.includes(part), `${error.message}\nlacks ${part}`);
    return true;
  });

test("train and val folders · classes sorted, every image exactly its source's pixels", async () => {
  const dataset = await openDataset({ dir: split });
  assert.deepEqual(dataset.classes, ["cat", "dog", "truck"]);
  assert.deepEqual([dataset.name, dataset.train.length, dataset.val.length, dataset.height], ["split", 18, 9, 32]);
  assert.deepEqual([...dataset.val.labels], [0, 0, 0, 1, 1, 1, 2, 2, 2]);
  const description = dataset.train.describe();
  assert.ok(description.kind === "files");
  const bytes = new Uint8Array(3072);
  for (const [index, file] of description.files.entries()) {
    await dataset.train.pixels(index, bytes);
    assert.deepEqual(bytes, await planar(Number(/(\d+)\.\w+$/.exec(file)?.[1])), file);
  }
  assert.ok(
    dataset.mean.every((value) => value > 0.2 && value < 0.8) &&
      dataset.std.every((value) => value > 0.1 && value < 0.5),
  );
});

test("Train and Test, VALID before test · the parts whatever the case of their names", async () => {
  const dir = join(root, "capitals");
  await cp(join(split, "train"), join(dir, "Train"), { recursive: true });
  await cp(join(split, "val"), join(dir, "Test"), { recursive: true });
  const dataset = await openDataset({ dir });
  assert.deepEqual(dataset.classes, ["cat", "dog", "truck"]);
  assert.deepEqual([dataset.train.length, dataset.val.length], [18, 9]);
  await cp(join(split, "train"), join(dir, "VALID"), { recursive: true });
  assert.equal((await openDataset({ dir })).val.length, 18);
});

test("a class called train or val; test images without labels · parts are only what holds folders of classes", async () => {
  const vehicles = join(root, "vehicles");
  for (const [own, name] of [
    ["cat", "car"],
    ["dog", "train"],
    ["truck", "val"],
  ]) {
    await cp(join(flat, own), join(vehicles, name), { recursive: true });
  }
  const dataset = await openDataset({ dir: vehicles });
  assert.deepEqual([dataset.classes, dataset.train.length], [["car", "train", "val"], 27]);

  const unlabelled = join(root, "unlabelled");
  await cp(join(split, "train"), join(unlabelled, "train"), { recursive: true });
  await cp(join(flat, "cat"), join(unlabelled, "test"), { recursive: true });
  const held = await openDataset({ dir: unlabelled });
  assert.deepEqual(held.classes, ["cat", "dog", "truck"]);
  assert.deepEqual([held.train.length, held.val.length], [15, 3]);
});

test("one folder of classes · stratified by the seed; the same seed the same images; other files are passed over", async () => {
  const one = await openDataset({ dir: flat, valSplit: 0.3, seed: 1 });
  assert.deepEqual([...one.val.labels], [0, 0, 0, 1, 1, 1, 2, 2, 2]);
  assert.equal(one.train.length, 21);
  const files = (dataset: Dataset, which: "train" | "val"): readonly string[] => {
    const description = dataset[which].describe();
    return description.kind === "files" ? description.files : [];
  };
  assert.equal(new Set([...files(one, "train"), ...files(one, "val")]).size, 30);
  assert.deepEqual(files(await openDataset({ dir: flat, valSplit: 0.3, seed: 1 }), "val"), files(one, "val"));
  assert.notDeepEqual(files(await openDataset({ dir: flat, valSplit: 0.3, seed: 2 }), "val"), files(one, "val"));
  // A number of images is that fraction of all: one folder of classes, or train in place of its val.
  assert.deepEqual(files(await openDataset({ dir: flat, valSplit: 9, seed: 1 }), "val"), files(one, "val"));
  const instead = await openDataset({ dir: split, valSplit: 6 });
  assert.deepEqual([instead.train.length, [...instead.val.labels]], [12, [0, 0, 1, 1, 2, 2]]);
  // A tenth by default, and at least one of each class.
  assert.deepEqual([...(await openDataset({ dir: flat })).val.labels], [0, 1, 2]);
});

test("batches of a folder · same bits twice, decoded anew or from the cache, resumed as uninterrupted", async () => {
  const options: Partial<LoadOptions> = { augment: "standard" };
  const dataset = await openDataset({ dir: split });
  const first = await collect(dataset, "train", options);
  const description = dataset.train.describe();
  assert.ok(description.kind === "files" && description.cache?.filled.every((flag) => flag === 1));
  assert.deepEqual(await collect(dataset, "train", options), first);
  const fresh = await openDataset({ dir: split });
  assert.deepEqual(await collect(fresh, "train", { ...options, startBatch: 1 }), first.slice(1));
});

test("ImageNet augmentation · random parts, other ones in another epoch, the same ones again with the same seed", async () => {
  const dataset = await openImageFolder(split, { imageSize: 72 });
  const once = await collect(dataset, "train", { augment: "imagenet" });
  assert.equal(once[0].images.length, 8 * 3 * 72 * 72);
  assert.deepEqual(await collect(dataset, "train", { augment: "imagenet" }), once);
  assert.notDeepEqual(await collect(dataset, "train", { augment: "imagenet", epoch: 1 }), once);
});

test("bad images · all are named before anything is decoded, the first 20 and how many; one alone in one sentence", async () => {
  const dir = join(root, "undecodable");
  await cp(split, dir, { recursive: true });
  const bad = join(dir, "val", "dog", "00000.jpg");
  await writeFile(bad, "this is no JPEG");
  await refuses(openDataset({ dir }), InputError, `${bad}: is text, expected a PNG, JPEG`, "--skip-bad");
  await writeFile(join(dir, "train", "cat", "00000.png"), "");
  await refuses(
    openDataset({ dir }),
    InputError,
    `${dir}: 2 of 29 images cannot be read; `,
    `${join(dir, "train", "cat", "00000.png")}: is empty`,
    bad,
  );
  for (let i = 0; i < 30; i++) await writeFile(join(dir, "train", "dog", `empty${i}.gif`), "");
  await refuses(openDataset({ dir }), InputError, "32 of 59 images", "\n  and 12 more");
});

test("an image whose header is whole and whose pixels are cut off · InputError naming it, from the loader's thread", async () => {
  const dir = join(root, "cutOff");
  await cp(split, dir, { recursive: true });
  const cut = join(dir, "val", "cat", "00000.png");
  const whole = await (await image(0)).png().toBuffer();
  await writeFile(cut, whole.subarray(0, whole.length >> 1));
  await refuses(
    collect(await openDataset({ dir }), "val", { shuffle: false }),
    InputError,
    `${cut}: does not decode as a PNG image (`,
  );
});

test(
  "skipBad · bad headers and cut-off pixels are left out and named; in training the next of the class stands in, " +
    "in validation they do not count",
  async () => {
    const dir = join(root, "skipped");
    await cp(split, dir, { recursive: true });
    const whole = await openDataset({ dir });
    const description = whole.train.describe();
    assert.ok(description.kind === "files");
    const { files } = description;
    const png = await (await image(0)).png().toBuffer();
    await writeFile(files[5], png.subarray(0, png.length >> 1)); // The last cat.
    await writeFile(files[7], "<!doctype html><title>404</title>");
    await writeFile(join(dir, "val", "dog", "00000.png"), "");
    await refuses(openDataset({ dir }), InputError, "2 of 28 images cannot be read");
    const lines: string[] = [];
    const skipped = await openDataset({ dir, skipBad: true, report: (line) => lines.push(line) });
    assert.match(
      lines.join("\n"),
      /left out 3 of 28 images:\n {2}.*does not decode as a PNG.*\n.*is a web page.*\n.*is empty/,
    );
    assert.deepEqual([skipped.train.length, skipped.val.length], [18, 9]);
    assert.deepEqual(skipped.train.labels, whole.train.labels);
    assert.deepEqual(skipped.val.labels, whole.val.labels);
    const after = skipped.train.describe();
    assert.ok(after.kind === "files");
    assert.deepEqual(
      after.files,
      files.map((file, i) => (i === 5 ? files[0] : i === 7 ? files[8] : file)),
    );
    assert.equal(
      (await collect(skipped, "train")).reduce((sum, { count }) => sum + count, 0),
      18,
    );
    // What is held out is the same with and without the bad ones.
    const held = await openDataset({ dir, skipBad: true, valSplit: 0.3 });
    assert.deepEqual(held.train.labels, (await openDataset({ dir: split, valSplit: 0.3 })).train.labels);
  },
);

test(
  "a labelled folder · every image of the classes that are there; with skipBad those that do not decode are left " +
    "out and named",
  async () => {
    const dir = join(root, "labelled");
    await cp(flat, dir, { recursive: true });
    await rm(join(dir, "dog"), { recursive: true });
    const classes = ["cat", "dog", "truck"];
    const format = { channels: 3, height: 32, width: 32, classes } as const;
    assert.deepEqual(
      [...(await openLabelledFolder(dir, format)).images.labels],
      [...Array(10).fill(0), ...Array(10).fill(2)],
    );
    const png = await (await image(0)).png().toBuffer();
    const cut = join(dir, "cat", "cut.png");
    await writeFile(cut, png.subarray(0, png.length >> 1));
    await writeFile(join(dir, "truck", "empty.png"), "");
    await refuses(openLabelledFolder(dir, format), InputError, "empty.png: is empty");
    const lines: string[] = [];
    const report = (line: string) => lines.push(line);
    const { images } = await openLabelledFolder(dir, { ...format, skipBad: true, report });
    assert.equal(images.length, 20);
    assert.match(
      lines.join(),
      /left out 2 of 22 images:\n.*cut\.png: does not decode as a PNG.*\n.*empty\.png: is empty/,
    );
  },
);

test("empty class, one class, no class, missing and unknown class in val, one image to split · each one sentence", async () => {
  const empty = join(root, "emptyClass");
  await cp(flat, empty, { recursive: true });
  await mkdir(join(empty, "bird"));
  await refuses(
    openDataset({ dir: empty }),
    InputError,
    join(empty, "bird"),
    'class "bird" has no image, expected a PNG, JPEG',
  );

  const single = join(root, "single");
  await cp(join(flat, "cat"), join(single, "cat"), { recursive: true });
  await refuses(openDataset({ dir: single }), InputError, single, "has one class folder, cat, expected at least two");

  const none = join(root, "none");
  await mkdir(join(none, "train"), { recursive: true });
  await refuses(openDataset({ dir: none, kind: "folder" }), InputError, none, "has one class folder, train, expected");
  await rm(join(none, "train"), { recursive: true });
  await refuses(openDataset({ dir: none, kind: "folder" }), InputError, none, "has no class folder");

  const missing = join(root, "missing");
  await cp(split, missing, { recursive: true });
  await rm(join(missing, "val", "dog"), { recursive: true });
  await refuses(openDataset({ dir: missing }), InputError, join(missing, "val"), 'has no folder for the class "dog"');
  await mkdir(join(missing, "val", "dog"));
  await refuses(openDataset({ dir: missing }), InputError, join(missing, "val", "dog"), 'class "dog" has no image');
  await cp(join(flat, "cat"), join(missing, "val", "zebra"), { recursive: true });
  await refuses(openDataset({ dir: missing }), InputError, join(missing, "val", "zebra"), 'have no class "zebra"');

  const lone = join(root, "lone");
  await cp(join(flat, "cat"), join(lone, "cat"), { recursive: true });
  await mkdir(join(lone, "fox"));
  await (await image(1)).png().toFile(join(lone, "fox", "1.png"));
  await refuses(openDataset({ dir: lone }), InputError, 'class "fox" has 1 training image, expected at least 2');

  await refuses(openDataset({ dir: flat, imageSize: 0 }), UsageError, "imageSize: got 0");
  for (const valSplit of [30, 1.5, -1, Number.NaN]) {
    const whole = `valSplit: got ${valSplit}, expected a fraction below 1 or a whole number of images below the `;
    await refuses(openDataset({ dir: flat, valSplit }), UsageError, `${whole}30 of ${flat}`);
    await refuses(openDataset({ dir: split, valSplit }), UsageError, `${whole}18 of ${join(split, "train")}`);
  }
});

test(
  "a folder that may not be read, itself or below a class · InputError naming it; too many open files · " +
    "ResourceError",
  async (context) => {
    // Planted: permission bits do not bind root, whom tests may run as.
    const { readdir } = fs;
    const dir = join(root, "denied");
    await cp(flat, dir, { recursive: true });
    await mkdir(join(dir, "cat", "more"));
    for (const [failing, code, kind, message] of [
      [dir, "EACCES", InputError, "may not be read (EACCES)"],
      [join(dir, "cat", "more"), "EACCES", InputError, "may not be read (EACCES)"],
      [join(dir, "cat", "more"), "EIO", InputError, "the disk or the network failed (EIO)"],
      [join(dir, "cat", "more"), "EMFILE", ResourceError, "too many files open"],
    ] as const) {
      const mock = context.mock.method(fs, "readdir", (async (...args: Parameters<typeof readdir>) => {
        if (args[0] !== failing) return readdir(...args);
        throw Object.assign(new Error(`${code}: scandir '${failing}'`), { code, path: failing });
      }) as typeof readdir);
      syncBuiltinESMExports();
      try {
        await refuses(openDataset({ dir }), kind, `${failing}: `, message);
      } finally {
        mock.mock.restore();
        syncBuiltinESMExports();
      }
    }
  },
);
