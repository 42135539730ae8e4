// data: the binary versions of CIFAR, from a folder and from the archive, and every way in which they can be wrong. The
// files have the official sizes; all records but a few are zero.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs, { mkdir, mkdtemp, open, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { openDataset } from "../../src/data/open.node.ts";
import { readTarGz } from "../../src/data/tarFiles.node.ts";
import { InputError, UsageError } from "../../src/errors.ts";
import { octal, tar, tarHeader } from "./bytes.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-cifar-"));
});
after(async () => {
  await rm(root, { recursive: true });
});

const RECORD10 = 3073;
const names10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const files10 = [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`).concat("test_batch.bin");
let folders = 0;

async function zeros(file: string, bytes: number): Promise<void> {
  await writeFile(file, "");
  await truncate(file, bytes);
}

async function patch(file: string, at: number, bytes: readonly number[]): Promise<void> {
  const handle = await open(file, "r+");
  await handle.write(Uint8Array.from(bytes), 0, bytes.length, at);
  await handle.close();
}

async function cifar10(inner = ""): Promise<string> {
  const dir = join(root, `c10-${folders++}`);
  const place = join(dir, inner);
  await mkdir(place, { recursive: true });
  for (const file of files10) await zeros(join(place, file), 10_000 * RECORD10);
  await writeFile(join(place, "batches.meta.txt"), `${names10.join("\n")}\n\n`);
  // Record 7 of the third file: label 6, red row 1 2 3, last blue byte 255.
  await patch(join(place, "data_batch_3.bin"), 7 * RECORD10, [6, 1, 2, 3]);
  await patch(join(place, "data_batch_3.bin"), 8 * RECORD10 - 1, [255]);
  await patch(join(place, "test_batch.bin"), 9_999 * RECORD10, [9, 77]);
  return dir;
}

async function cifar100(): Promise<string> {
  const dir = join(root, `c100-${folders++}`);
  await mkdir(dir);
  await zeros(join(dir, "train.bin"), 50_000 * 3074);
  await zeros(join(dir, "test.bin"), 10_000 * 3074);
  await writeFile(
    join(dir, "fine_label_names.txt"),
    `${Array.from({ length: 100 }, (_, i) => `class ${i}`).join("\n")}\n`,
  );
  await writeFile(
    join(dir, "coarse_label_names.txt"),
    `${Array.from({ length: 20 }, (_, i) => `superclass ${i}`).join("\n")}\n`,
  );
  await patch(join(dir, "train.bin"), 49_999 * 3074, [19, 99, 5]);
  return dir;
}

const rejects = (
  promise: Promise<unknown>,
  kind: typeof InputError | typeof UsageError,
  ...parts: (string | RegExp)[]
): Promise<void> =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, String(error));
    for (const part of parts) {
      assert.ok(
        typeof part === "string" ? error.message.includes(part) : part.test(error.message),
        `${error.message}\nlacks ${part}`,
      );
    }
    return true;
  });

for (const inner of ["", "cifar-10-batches-bin"]) {
  test(
    `CIFAR-10 · from ${inner === "" ? "the folder of its files" : "the folder above"} · records land where they ` +
      "belong",
    async () => {
      const dataset = await openDataset({ dir: await cifar10(inner) });
      assert.deepEqual([dataset.name, dataset.train.length, dataset.val.length], ["CIFAR-10", 50_000, 10_000]);
      assert.deepEqual(dataset.classes, names10);
      const pixels = new Uint8Array(3072);
      await dataset.train.pixels(20_007, pixels);
      assert.deepEqual([dataset.train.labels[20_007], ...pixels.subarray(0, 4), pixels[3071]], [6, 1, 2, 3, 0, 255]);
      assert.equal(
        dataset.train.labels.reduce((sum, label) => sum + label, 0),
        6,
      );
      await dataset.val.pixels(9_999, pixels);
      assert.deepEqual([dataset.val.labels[9_999], pixels[0]], [9, 77]);
      assert.throws(() => dataset.val.pixels(10_000, pixels), RangeError);
    },
  );
}

test("CIFAR-100 · the second byte is the label, the first the superclass", async () => {
  const dir = await cifar100();
  const dataset = await openDataset({ dir });
  const pixels = new Uint8Array(3072);
  await dataset.train.pixels(49_999, pixels);
  assert.deepEqual(
    [dataset.name, dataset.train.labels[49_999], pixels[0], dataset.classes[99]],
    ["CIFAR-100", 99, 5, "class 99"],
  );
  await patch(join(dir, "test.bin"), 3 * 3074 + 1, [100]);
  await rejects(openDataset({ dir }), InputError, "test.bin: record 3 ", "has the label 100, expected 0 to 99");
  await patch(join(dir, "test.bin"), 3 * 3074, [20, 0]);
  await rejects(openDataset({ dir }), InputError, "test.bin: record 3 ", "superclass label 20, expected 0 to 19");
  await rejects(openDataset({ dir, kind: "cifar10" }), InputError, "holds cifar100, expected cifar10");
});

test("CIFAR-100 · labels: coarse · the superclasses and their names; no other data set has them", async () => {
  const dir = await cifar100();
  const { name, classes, train } = await openDataset({ dir, labels: "coarse" });
  assert.deepEqual(
    [name, classes.length, classes[19], train.labels[49_999]],
    ["CIFAR-100 superclasses", 20, "superclass 19", 19],
  );
  const ten = await cifar10();
  await rejects(openDataset({ dir: ten, labels: "coarse" }), UsageError, `labels: got coarse, `, `CIFAR-10 in ${ten}`);
  await rejects(openDataset({ labels: "coarse" }), UsageError, "labels: got coarse, which only CIFAR-100 has");
  await patch(join(dir, "test.bin"), 3 * 3074, [20, 0]);
  await rejects(openDataset({ dir, labels: "coarse" }), InputError, "superclass label 20, expected 0 to 19");
  await unlink(join(dir, "coarse_label_names.txt"));
  await rejects(openDataset({ dir, labels: "coarse" }), InputError, dir, "coarse_label_names.txt is missing");
});

test("CIFAR-10 · a truncated file, a label out of range, a missing file, wrong class names · each named", async () => {
  const dir = await cifar10();
  const label = join(dir, "data_batch_2.bin");
  await patch(label, 17 * RECORD10, [10]);
  await rejects(openDataset({ dir }), InputError, label, "record 17 ", "has the label 10, expected 0 to 9");
  // Cut at a record's end: only the size tells.
  await truncate(label, 9_999 * RECORD10);
  await rejects(openDataset({ dir }), InputError, label, "has 30726927 bytes, expected 30730000");
  await truncate(label, 0);
  await rejects(openDataset({ dir }), InputError, label, "has 0 bytes, expected 30730000");
  await unlink(label);
  await rejects(
    openDataset({ dir }),
    InputError,
    dir,
    "data_batch_2.bin is missing; expected the binary version of CIFAR-10",
  );
  await writeFile(join(dir, "batches.meta.txt"), "airplane\ncat\n");
  await rejects(openDataset({ dir }), InputError, "batches.meta.txt: holds 2 class names, expected 10");
});

test("CIFAR-10 · a file or an archive that cannot be read · InputError naming it", async (context) => {
  const dir = await cifar10();
  const batch = join(dir, "data_batch_2.bin");
  await unlink(batch);
  await mkdir(batch);
  await rejects(openDataset({ dir }), InputError, `${batch}: is a folder`);
  // Planted: permission bits do not bind root, whom tests may run as.
  const archive = join(root, "denied.tar.gz");
  await writeFile(archive, "");
  context.mock.method(fs, "open", () => Promise.reject(Object.assign(new Error("denied"), { code: "EACCES" })));
  syncBuiltinESMExports();
  try {
    await rejects(openDataset({ dir: archive }), InputError, `${archive}: may not be read (EACCES)`);
  } finally {
    context.mock.restoreAll();
    syncBuiltinESMExports();
  }
});

test("CIFAR-10 · from the .tar.gz the same; cut off or changed it is refused", async () => {
  const contents = new Map<string, Uint8Array>();
  for (const file of files10) contents.set(`cifar-10-batches-bin/${file}`, new Uint8Array(10_000 * RECORD10));
  contents.get("cifar-10-batches-bin/data_batch_5.bin")?.set([4, 8, 9], 9_999 * RECORD10);
  contents.set("cifar-10-batches-bin/batches.meta.txt", Buffer.from(names10.join("\n")));
  const packed = gzipSync(tar(contents), { level: 1 });
  const file = join(root, "cifar-10-binary.tar.gz");
  await writeFile(file, packed);
  const dataset = await openDataset({ dir: file });
  const pixels = new Uint8Array(3072);
  await dataset.train.pixels(49_999, pixels);
  assert.deepEqual([dataset.train.labels[49_999], pixels[0], pixels[1]], [4, 8, 9]);

  const cut = join(root, "cut.tar.gz");
  await writeFile(cut, packed.subarray(0, packed.length >> 1));
  await rejects(openDataset({ dir: cut }), InputError, cut, "does not unpack");
  const foreign = join(root, "foreign.tar.gz");
  await writeFile(foreign, gzipSync(tar(new Map([["readme.txt", Buffer.from("hello")]]))));
  await rejects(openDataset({ dir: foreign }), InputError, foreign, "holds no data set of a known kind");
  const noTar = join(root, "noTar.tar.gz");
  await writeFile(noTar, gzipSync(Buffer.alloc(2048, "x")));
  await rejects(openDataset({ dir: noTar }), InputError, noTar, "does not unpack");
});

const LIMITS = { maxBytes: 10_000, maxEntries: 10 };
const readAll = (archive: Uint8Array): Promise<Map<string, Uint8Array>> =>
  readTarGz(gzipSync(archive), "some.tar.gz", () => true, LIMITS);
const small = tar(
  new Map([
    ["a/one.txt", Buffer.from("first")],
    ["two.bin", new Uint8Array(600).fill(7)],
  ]),
);

test("tar · every truncation of a small archive is refused, the whole one is read", async () => {
  const files = await readAll(small);
  assert.deepEqual([...files.keys()], ["a/one.txt", "two.bin"]);
  assert.equal(new TextDecoder().decode(files.get("a/one.txt")), "first");
  assert.deepEqual([...(files.get("two.bin") ?? [])], new Array<number>(600).fill(7));
  const wanted = await readTarGz(gzipSync(small), "some.tar.gz", (path) => path.endsWith(".bin"), LIMITS);
  assert.deepEqual([...wanted.keys()], ["two.bin"]);
  // From one closing block on it is whole.
  for (let length = 0; length < small.length - 512; length += 7) {
    await rejects(readAll(small.subarray(0, length)), InputError, "some.tar.gz: ");
  }
});

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from({ length: 12 }, (_, i) => values[i] ?? 0);
const nonsense: readonly (readonly [string, Uint8Array, RegExp?])[] = [
  ["a negative size", tarHeader("a", "-0000000512\0")],
  ["a negative size in base 256", tarHeader("a", bytes(255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254, 0))],
  ["a size in base 256 beyond all archives", tarHeader("a", bytes(128, 1, 255, 255, 255, 255, 255, 255))],
  ["a size of letters", tarHeader("a", "abcdefghijk\0")],
  ["a size of digits that are not octal", tarHeader("a", "00000000999\0")],
  ["NaN as size", tarHeader("a", "NaN\0\0\0\0\0\0\0\0\0")],
  ["a size of 8 GB", tarHeader("a", "77777777777\0"), /a claims 8589934591 bytes, expected at most 10000/],
  ["a size larger than what follows", tarHeader("a", octal(5000))],
  ["a long name of negative length", tarHeader("a", "-0000000001\0", "L")],
  ["a long name of 8 GB", tarHeader("a", "77777777777\0", "L")],
  ["a pax header of negative length", tarHeader("a", "-0000000001\0", "x")],
];
for (const [name, header, message = /^some\.tar\.gz: /] of nonsense) {
  test(`tar · ${name} · refused at once`, { timeout: 10_000 }, async () => {
    await rejects(readAll(Buffer.concat([header, small])), InputError, message);
    await rejects(readAll(Buffer.concat([small.subarray(0, 1024), header, small])), InputError, message);
  });
}

test("tar · pax sizes that are no sizes, nested headers, links and devices · read or refused, never for ever", {
  timeout: 10_000,
}, async () => {
  for (const size of ["-1", "NaN", "1e99", "99999999999999999999", "0x10", ""]) {
    const record = Buffer.from(`${String(9 + size.length).padStart(2, "0")} size=${size}\n`);
    const pax = Buffer.concat([tarHeader("p", octal(record.length), "x"), record, new Uint8Array(512 - record.length)]);
    await readAll(Buffer.concat([pax, small])).catch((error) => assert.ok(error instanceof InputError, String(error)));
  }
  const links = ["1", "2", "3", "4", "5", "6", "7"].map((type) => tarHeader(`of type ${type}`, octal(0), type));
  assert.deepEqual([...(await readAll(Buffer.concat([...links, small]))).keys()].slice(-2), ["a/one.txt", "two.bin"]);
});

test("tar · more entries, more bytes than the limits, and gzip bombs · refused after the limit, in little memory", {
  timeout: 30_000,
}, async () => {
  const many = Buffer.concat([
    ...Array.from({ length: 11 }, (_, n) => tarHeader(`${n}`, octal(0))),
    new Uint8Array(1024),
  ]);
  await rejects(readAll(many), InputError, "some.tar.gz: has more than 10 entries");
  await rejects(
    readAll(Buffer.concat([tarHeader("a", octal(9000)), new Uint8Array(20_000)])),
    InputError,
    "unpacks to more than 10000 bytes",
  );
  const bomb = join(root, "bomb.tar.gz");
  await writeFile(bomb, gzipSync(Buffer.alloc(1 << 30), { level: 1 }));
  const before = process.memoryUsage().rss;
  await rejects(openDataset({ dir: bomb }), InputError, `${bomb}: `);
  assert.ok(process.memoryUsage().rss - before < 300e6);
});

test("tar · archives that GNU tar writes in each of its formats are read", async () => {
  const folder = join(root, "formats");
  await mkdir(folder);
  await writeFile(join(folder, "one.txt"), "first");
  for (const format of ["v7", "gnu", "ustar", "pax"]) {
    const archive = execFileSync("tar", [`--format=${format}`, "-cz", "-C", root, "formats"]);
    const files = await readTarGz(archive, "some.tar.gz", () => true, { maxBytes: 1e6, maxEntries: 10 });
    assert.equal(new TextDecoder().decode(files.get("formats/one.txt")), "first", format);
  }
});

test("holding out · the last 5000, or a seeded fraction of every class; pixels follow their labels", async () => {
  const dir = await cifar10();
  const held = await openDataset({ dir, valSplit: 5_000 });
  assert.deepEqual([held.train.length, held.val.length], [45_000, 5_000]);
  const pixels = new Uint8Array(3072);
  await held.train.pixels(20_007, pixels);
  assert.deepEqual([held.train.labels[20_007], pixels[0], pixels[1]], [6, 1, 2]);
  await rejects(openDataset({ dir, valSplit: 50_000 }), UsageError, "valSplit: got 50000, ");
  await rejects(openDataset({ dir, valSplit: -1 }), UsageError, "valSplit: got -1, ");
  await rejects(openDataset({ dir, valSplit: 1.5 }), UsageError, "valSplit: got 1.5, ");
  await rejects(openDataset({ dir, imageSize: 64 }), UsageError, "imageSize: got 64, expected 32");
});

test("holding out a fraction of the embedded images · stratified, seeded, disjoint", async () => {
  const whole = await openDataset();
  const one = await openDataset({ dir: "embedded", valSplit: 0.1, seed: 5 });
  const other = await openDataset({ valSplit: 0.1, seed: 6 });
  assert.deepEqual([one.train.length, one.val.length], [5_400, 600]);
  const counts = new Array<number>(10).fill(0);
  for (const label of one.val.labels) counts[label]++;
  assert.deepEqual(counts, new Array<number>(10).fill(60));
  const rowsOf = (dataset: typeof one, split: "train" | "val"): readonly number[] => {
    const description = dataset[split].describe();
    return description.kind === "bytes" ? [...(description.rows ?? [])] : [];
  };
  assert.notDeepEqual(rowsOf(one, "val"), rowsOf(other, "val"));
  assert.deepEqual(rowsOf(one, "val"), rowsOf(await openDataset({ valSplit: 0.1, seed: 5 }), "val"));
  const both = [...rowsOf(one, "train"), ...rowsOf(one, "val")].sort((a, b) => a - b);
  assert.deepEqual(
    both,
    Array.from({ length: 6_000 }, (_, i) => i),
  );
  const a = new Uint8Array(3072);
  const b = new Uint8Array(3072);
  for (const [position, row] of rowsOf(one, "val").entries()) {
    assert.equal(one.val.labels[position], whole.train.labels[row]);
    await one.val.pixels(position, a);
    await whole.train.pixels(row, b);
    assert.deepEqual(a, b);
  }
});

test("foreign places · one sentence on what was expected", async () => {
  const empty = join(root, "empty");
  await mkdir(empty);
  await rejects(
    openDataset({ dir: empty }),
    InputError,
    empty,
    "holds no data set of a known kind; expected the binary version of CIFAR-10",
  );
  await rejects(openDataset({ dir: join(root, "nowhere") }), InputError, "nowhere: does not exist; expected ");
  const text = join(root, "text.txt");
  await writeFile(text, "hello");
  await rejects(openDataset({ dir: text }), InputError, text, "holds no data set of a known kind");
  await rejects(openDataset({ kind: "cifar10" }), UsageError, "cifar10 needs a folder");
  await rejects(openDataset({ dir: empty, kind: "cifar10" }), InputError, "expected cifar10");
});
