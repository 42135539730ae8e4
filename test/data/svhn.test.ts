// data: SVHN from .mat files that scipy and Octave wrote, and every way in which such files can be wrong.
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBatches } from "../../src/data/epoch.ts";
import { openMat } from "../../src/data/matFile.node.ts";
import { type OpenOptions, openDataset } from "../../src/data/open.node.ts";
import { InputError, UsageError } from "../../src/errors.ts";
import { mutated, randomNumbers } from "../formats/mutate.ts";
import { testSeed } from "../seeded.ts";
import {
  compressed,
  element,
  matFile,
  matrix,
  svhnFile,
  svhnLabels,
  svhnPixel,
  svhnPixels,
  words,
} from "./matBytes.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-svhn-"));
after(() => rm(root, { recursive: true }));
const fixtures = fileURLToPath(new URL("svhn", import.meta.url));
let folders = 0;

/** A folder of SVHN's files, each given by its content or by the fixture it is. */
async function folder(files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  const dir = join(root, String(folders++));
  await mkdir(dir);
  for (const [name, content] of Object.entries(files)) {
    const path = join(dir, `${name}_32x32.mat`);
    if (typeof content === "string") await copyFile(join(fixtures, `${content}.mat`), path);
    else await writeFile(path, content);
  }
  return dir;
}

const open = async (files: Readonly<Record<string, Uint8Array | string>>, options: OpenOptions = {}) =>
  openDataset({ dir: await folder(files), ...options });

async function refused(content: Uint8Array, ...expected: (string | RegExp)[]): Promise<void> {
  const dir = await folder({ train: content, test: "scipy-v7" });
  await assert.rejects(openDataset({ dir }), (error) => {
    assert.ok(error instanceof InputError, String(error));
    for (const part of [join(dir, "train_32x32.mat"), ...expected]) {
      assert.ok(typeof part === "string" ? error.message.includes(part) : part.test(error.message), error.message);
    }
    return true;
  });
}

const images = (count: number, changes: object = {}): Uint8Array =>
  matrix({ name: "X", dims: [32, 32, 3, count], content: svhnPixels(count), ...changes });
const labels = (count: number, changes: object = {}): Uint8Array =>
  matrix({ name: "y", dims: [count, 1], content: svhnLabels(count), ...changes });

for (const name of (await readdir(fixtures)).filter((file) => !file.startsWith("version"))) {
  const fixture = name.slice(0, -4);
  test(`SVHN · ${fixture} · every pixel and label where it belongs`, async () => {
    const { train, val, classes } = await open({ train: fixture, test: fixture });
    assert.deepEqual(classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert.equal(val.length, train.length);
    assert.ok(train.length === (fixture.endsWith("v6") ? 3 : fixture.endsWith("one") ? 1 : 23));
    const image = new Uint8Array(3072);
    for (let i = 0; i < train.length; i++) {
      await train.pixels(i, image);
      const wanted = Uint8Array.from(image, (_, at) => svhnPixel(i, at >> 10, (at >> 5) & 31, at & 31));
      assert.deepEqual(image, wanted, `image ${i}`);
      assert.equal(train.labels[i], (1 + (i % 10)) % 10);
    }
  });
}

test("SVHN · extra follows train, test is the val split; pixels become byte/255", async () => {
  const said: string[] = [];
  const files = { train: svhnFile(30), test: svhnFile(4), extra: svhnFile(20) };
  const dataset = await open(files, { report: (line) => said.push(line) });
  assert.deepEqual([dataset.name, dataset.train.length, dataset.val.length], ["SVHN", 50, 4]);
  assert.equal(dataset.valIsTest, true);
  assert.match(said.join("\n"), /train_32x32\.mat: has 30 images, as published it has 73257/);
  const image = new Uint8Array(3072);
  await dataset.train.pixels(33, image);
  assert.equal(image[5 * 32 + 7], svhnPixel(3, 0, 5, 7));
  const how = { batchSize: 50, seed: 1, epoch: 0, shuffle: false, augment: "none" } as const;
  for await (const batch of makeBatches(dataset, "train", how)) {
    assert.equal(batch.images[33 * 3072 + 5 * 32 + 7], Math.fround(svhnPixel(3, 0, 5, 7) / 255));
    assert.equal(batch.images.length, 50 * 3072);
  }
});

test("SVHN · images across the pieces in which a file is read", async () => {
  const content = svhnPixels(700);
  const plain = matFile([images(700), labels(700)]);
  const { train, val } = await open({ train: svhnFile(700), test: plain });
  const image = new Uint8Array(3072);
  for (const split of [train, val]) {
    for (let i = 0; i < 700; i++) {
      await split.pixels(i, image);
      const same = image.every(
        (byte, at) => byte === content[3072 * i + (at & ~1023) + (at & 31) * 32 + ((at >> 5) & 31)],
      );
      assert.ok(same, `image ${i}`);
    }
  }
});

test("SVHN · without extra it says so, without test it is refused", async () => {
  const said: string[] = [];
  const { name } = await open({ train: "scipy-v7", test: "scipy-v7" }, { report: (line) => said.push(line) });
  assert.equal(name, "SVHN without extra");
  assert.match(said.join("\n"), /trains without extra_32x32\.mat, which is not there/);
  await assert.rejects(open({ train: "scipy-v7", extra: "scipy-v7" }), (error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /test_32x32\.mat is missing; expected train_32x32\.mat/);
    return true;
  });
  await assert.rejects(open({ train: "scipy-v7", test: "scipy-v7" }, { kind: "cifar10" }), InputError);
  assert.equal((await open({ test: "scipy-v7" }, { testOnly: true })).val.length, 23);
});

test("SVHN · a number of held-out images · two thirds from train, a third from extra, as many of every class", async () => {
  const files = { train: svhnFile(100), test: svhnFile(10), extra: svhnFile(200) };
  const { train, val } = await open(files, { valSplit: 60, seed: 4 });
  assert.deepEqual([train.length, val.length], [240, 60]);
  const described = val.describe();
  assert.ok(described.kind === "bytes" && described.rows !== undefined);
  const counts = new Map<string, number>();
  for (const [position, row] of described.rows.entries()) {
    const label = val.labels[position] ?? -1;
    assert.equal(label, (1 + ((row < 100 ? row : row - 100) % 10)) % 10);
    const key = `${row < 100 ? "train" : "extra"} ${label}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (let label = 0; label < 10; label++) {
    assert.deepEqual([counts.get(`train ${label}`), counts.get(`extra ${label}`)], [4, 2], `class ${label}`);
  }
  const rowsOf = async (seed: number): Promise<unknown> => {
    const again = (await open(files, { valSplit: 60, seed })).val.describe();
    return again.kind === "bytes" ? again.rows : undefined;
  };
  assert.deepEqual(await rowsOf(4), described.rows);
  assert.notDeepEqual(await rowsOf(5), described.rows);
  // 31 from train and 16 from extra, which do not divide by ten.
  assert.equal((await open(files, { valSplit: 47 })).val.length, 47);
  assert.equal((await open({ train: files.train, test: files.test }, { valSplit: 30 })).val.length, 30);
  assert.equal((await open(files, { valSplit: 0.1 })).val.length, 30);
  await assert.rejects(
    open(files, { valSplit: 200 }),
    /class "0" has 10 of the training images 0 to 99, expected more/,
  );
  await assert.rejects(open(files, { valSplit: 300 }), UsageError);
});

test("mat · numbers of every stored type, both byte orders, padded or in the tag", async () => {
  const types: readonly (readonly [type: number, bytes: number, write: (view: DataView, little: boolean) => void])[] = [
    [1, 1, (view) => view.setInt8(0, 7)],
    [2, 1, (view) => view.setUint8(0, 7)],
    [3, 2, (view, little) => view.setInt16(0, 7, little)],
    [4, 2, (view, little) => view.setUint16(0, 7, little)],
    [5, 4, (view, little) => view.setInt32(0, 7, little)],
    [6, 4, (view, little) => view.setUint32(0, 7, little)],
    [7, 4, (view, little) => view.setFloat32(0, 7, little)],
    [9, 8, (view, little) => view.setFloat64(0, 7, little)],
    [12, 8, (view, little) => view.setBigInt64(0, 7n, little)],
    [13, 8, (view, little) => view.setBigUint64(0, 7n, little)],
  ];
  const file = join(root, "types.mat");
  for (const little of [true, false]) {
    for (const [type, bytes, write] of types) {
      const view = new DataView(new ArrayBuffer(bytes));
      write(view, little);
      const content = new Uint8Array(view.buffer);
      const y = matrix({ name: "y", dims: [1, 1], code: 6, type, content, little });
      for (const whole of [y, compressed(y, little)]) {
        await writeFile(file, matFile([whole], { little }));
        const [found] = await openMat(file);
        assert.deepEqual(
          [found?.name, found?.className, found?.dims, [...((await found?.values()) ?? [])]],
          ["y", "double", [1, 1], [7]],
          `type ${type}`,
        );
      }
    }
    // Up to four bytes stand in the tag itself: two bytes of type 4 (uint16).
    const small = matrix({ name: "", dims: [1, 1], code: 11, type: 0, content: new Uint8Array(0), little });
    const tagged = Buffer.concat([small.subarray(0, -8), words([0x0002_0004], little)]);
    const value = new Uint8Array(4);
    new DataView(value.buffer).setUint16(0, 7, little);
    await writeFile(file, matFile([element(14, Buffer.concat([tagged.subarray(8), value]), little)], { little }));
    const [found] = await openMat(file);
    assert.deepEqual([found?.className, [...((await found?.values()) ?? [])]], ["uint16", [7]]);
  }
});

test("SVHN · another version, another file · one sentence", async () => {
  const version4 = await readFile(join(fixtures, "version-4.mat"));
  await refused(version4, "does not begin as a MATLAB 5 .mat file (save -v6 or -v7) does");
  await refused(
    matFile([], { version: 0x0200, text: "MATLAB 7.3 MAT-file" }),
    "is a MATLAB 7.3 file (HDF5), expected a MATLAB 5 .mat file (save -v6 or -v7)",
  );
  await refused(matFile([], { version: 0x0300 }), "has the version 768, expected 256");
  await refused(new Uint8Array(0), "does not begin as a MATLAB 5 .mat file");
  await refused(Buffer.from("PK\x03\x04 something else altogether".repeat(10)), "does not begin as");
});

test("SVHN · arrays of another class, size or name, labels that are none · one sentence", async () => {
  const y = labels(5);
  const double = { code: 6, type: 9, content: new Uint8Array(8 * 5 * 3072) };
  for (const [what, content, ...expected] of [
    ["X double", matFile([images(5, double), y]), "X is double [32, 32, 3, 5], expected uint8 [32, 32, 3, N]"],
    ["X int8", matFile([images(5, { code: 8, type: 1 }), y]), "X is int8 [32, 32, 3, 5]"],
    ["X complex", matFile([images(5, { flags: 8 }), y]), "X is complex uint8 [32, 32, 3, 5]"],
    ["X a cell", matFile([images(5, { code: 1 }), y]), "X is cell [32, 32, 3, 5]"],
    ["X in another order", matFile([images(5, { dims: [5, 3, 32, 32] }), y]), "X is uint8 [5, 3, 32, 32]"],
    ["no X", matFile([y]), "has no variable X, only y"],
    ["no y", matFile([images(5)]), "has no variable y, only X"],
    ["nothing", matFile([]), "has no variable X"],
    ["fewer labels", matFile([images(5), labels(4)]), "y has 4 labels, expected one for each of the 5 images of X"],
    ["labels 0 to 9", svhnFile(5, Uint8Array.of(1, 2, 0, 4, 5)), "label 2 (counted from 0) is 0, expected 1 to 10"],
    ["label 11", svhnFile(5, Uint8Array.of(1, 2, 3, 11, 10)), "label 3 (counted from 0) is 11", "digit 0"],
    [
      "label NaN",
      matFile([
        images(1),
        labels(1, { code: 6, type: 9, content: new Uint8Array(new Float64Array([Number.NaN]).buffer) }),
      ]),
      "label 0 (counted from 0) is NaN",
    ],
    ["y a text", matFile([images(5), labels(5, { code: 4 })]), "y is char [5, 1], expected a column of numbers"],
    ["y a table", matFile([images(4), labels(4, { dims: [2, 2] })]), "y is uint8 [2, 2], expected a column"],
    ["complex labels", matFile([images(5), labels(5, { flags: 8 })]), "y holds complex numbers, expected real numbers"],
  ] as const) {
    await test(what, () => refused(content, ...expected));
  }
});

test("SVHN · files that are cut off or contradict themselves · refused in a moment and in little memory", async () => {
  const whole = svhnFile(5);
  const hostile = (dims: readonly number[], bytes: number, pack = compressed): Uint8Array =>
    matFile([pack(matrix({ name: "X", dims, content: svhnPixels(1), bytes })), compressed(labels(1))]);
  const plain = (content: Uint8Array): Uint8Array => content;
  const before = process.memoryUsage().rss;
  for (const [what, content, expected] of [
    ["cut in the header", whole.subarray(0, 100), "ends in its header"],
    ["cut in a tag", whole.subarray(0, 132), "is cut off"],
    ["cut in X", whole.subarray(0, 4000), "is cut off"],
    ["cut in y", whole.subarray(0, whole.length - 3), "is cut off"],
    ["cut in an uncompressed X", matFile([images(5)]).subarray(0, 9000), "is cut off"],
    ["X claims 600,000 images", hostile([32, 32, 3, 600_000], 600_000 * 3072), "more than the file can hold"],
    ["the same, not compressed", hostile([32, 32, 3, 600_000], 600_000 * 3072, plain), "more than the file can hold"],
    ["dimensions beyond any number", hostile([2 ** 31 - 1, 2 ** 31 - 1, 3, 9], 3072), "has 3072 bytes of type 2"],
    ["negative dimensions", hostile([-32, -32, 3, 1], 3072), "has 3072 bytes of type 2"],
    ["fewer bytes than dimensions", hostile([32, 32, 3, 2], 3072), "X of 32×32×3×2 has 3072 bytes of type 2"],
    ["a tag of no type", matFile([element(77, new Uint8Array(8))]), "has an element of type 77 at byte 128"],
    ["an empty element", matFile([words([15, 0])]), "is cut off"],
    ["no zlib stream", matFile([element(15, new Uint8Array(64).fill(3))]), "does not unpack (incorrect header check)"],
    ["a stream of no matrix", matFile([compressed(element(9, new Uint8Array(8)))]), "holds no matrix"],
    [
      "an endless name",
      matFile([compressed(matrix({ name: "x".repeat(1000), dims: [1, 1], content: Uint8Array.of(1) }))]),
      "the name of a matrix claim 1000 bytes",
    ],
    [
      "a bomb behind X",
      matFile([compressed(Buffer.concat([images(1), new Uint8Array(2 ** 28)])), labels(1)]),
      "goes on behind",
    ],
    ["many variables", matFile(Array.from({ length: 101 }, () => labels(1))), "holds more than 100 variables"],
  ] as const) {
    await test(what, () => refused(content, expected));
  }
  const flipped = Uint8Array.from(whole);
  // The last byte of X's stream is its checksum's.
  const end = 136 + new DataView(whole.buffer, whole.byteOffset).getUint32(132, true);
  flipped[end - 1] ^= 1;
  await test("a wrong checksum", () => refused(flipped, "does not unpack (incorrect data check)"));
  assert.ok(process.memoryUsage().rss - before < 400e6);
});

test("SVHN · 300 damaged files · an InputError or images, never anything else", { timeout: 120_000 }, async () => {
  const random = randomNumbers(testSeed);
  const originals = [svhnFile(3), matFile([images(2), labels(2)]), await readFile(join(fixtures, "octave-others.mat"))];
  const dir = await folder({ test: "scipy-one" });
  let refusals = 0;
  for (let round = 0; round < 300; round++) {
    const original = originals[round % originals.length] ?? new Uint8Array();
    await writeFile(join(dir, "train_32x32.mat"), mutated(original, random));
    try {
      const { train } = await openDataset({ dir });
      assert.ok(train.labels.every((label) => label < 10));
    } catch (error) {
      assert.ok(error instanceof InputError, String(error));
      refusals++;
    }
  }
  assert.ok(refusals > 150, `${refusals} refused`);
});
