// data: what a folder's scan takes, what it passes over, what it says of the rest, and what it refuses.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, test } from "node:test";
import type { Dataset } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/open.node.ts";
import { InputError } from "../../src/errors.ts";
import { pngOf } from "./bytes.ts";

let root = "";
let base = "";
let folders = 0;
before(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "densenet-scan-")));
  base = join(root, "base");
  for (const name of ["red", "green", "blue"]) await images(join(base, name), 4);
});
after(async () => {
  await rm(root, { recursive: true });
});

async function images(dir: string, count: number): Promise<void> {
  await mkdir(dir, { recursive: true });
  for (let i = 0; i < count; i++) await writeFile(join(dir, `${i}.png`), pngOf(4, 4));
}

/** A new folder with the classes of the base. */
async function copy(...names: readonly string[]): Promise<string> {
  const dir = join(root, `case${folders++}`);
  await mkdir(dir);
  for (const name of names) await cp(join(base, name), join(dir, name), { recursive: true });
  return dir;
}

async function put(path: string, content: string | Uint8Array = "junk"): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

interface Opened {
  readonly dataset: Dataset;
  /** Class → its files below `dir`, of both splits. */
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly report: string;
}
async function open(dir: string): Promise<Opened> {
  const lines: string[] = [];
  const dataset = await openDataset({ dir, report: (line) => lines.push(line) });
  const files: Record<string, string[]> = Object.fromEntries(dataset.classes.map((name) => [name, []]));
  for (const split of [dataset.train.describe(), dataset.val.describe()]) {
    assert.ok(split.kind === "files");
    for (const [i, file] of split.files.entries()) files[dataset.classes[split.labels[i]]]?.push(relative(dir, file));
  }
  for (const own of Object.values(files)) own.sort();
  return { dataset, files, report: lines.join("\n") };
}
const counts = ({ files }: Opened): Record<string, number> =>
  Object.fromEntries(Object.entries(files).map(([name, own]) => [name, own.length]));

const refuses = (dir: string, ...parts: readonly string[]): Promise<void> =>
  assert.rejects(openDataset({ dir }), (error) => {
    assert.ok(error instanceof InputError, String(error));
    for (const part of parts) assert.ok(error.message.includes(part), `${error.message}\nlacks ${part}`);
    return true;
  });

test("links · a class that is a link, all of them links, linked files, a linked folder in a class · followed", async () => {
  const mixed = await copy("red", "green");
  await symlink(join(base, "blue"), join(mixed, "blue"));
  assert.deepEqual(counts(await open(mixed)), { blue: 4, green: 4, red: 4 });

  const all = await copy();
  for (const name of ["red", "green"]) await symlink(join(base, name), join(all, name));
  assert.deepEqual(counts(await open(all)), { green: 4, red: 4 });

  const files = await copy("red");
  await mkdir(join(files, "green"));
  for (const i of [0, 1, 2]) await symlink(join(base, "green", `${i}.png`), join(files, "green", `${i}.png`));
  assert.deepEqual(counts(await open(files)), { green: 3, red: 4 });

  const inside = await copy("red", "green");
  await symlink(join(base, "red"), join(inside, "red", "more"));
  assert.deepEqual(counts(await open(inside)), { green: 4, red: 8 });

  const splits = await copy();
  await symlink(base, join(splits, "train"));
  await symlink(base, join(splits, "val"));
  const { dataset } = await open(splits);
  assert.deepEqual([dataset.train.length, dataset.val.length], [12, 12]);
});

test("links · one folder linked twice in a class is read once, and that is said", async () => {
  const dir = await copy("red", "green");
  await symlink(join(base, "blue"), join(dir, "red", "more"));
  await symlink(join(base, "blue"), join(dir, "red", "again"));
  const opened = await open(dir);
  assert.deepEqual(counts(opened), { green: 4, red: 8 });
  assert.match(opened.report, /left out 1 repeated link;/);
});

test("links · loops are refused by name: to the class, to the data, to a folder above it, to themselves", {
  timeout: 20_000,
}, async () => {
  for (const target of [".", "..", "../..", "/"]) {
    const dir = await copy("red", "green");
    await symlink(target, join(dir, "red", "loop"));
    await refuses(dir, `${join(dir, "red", "loop")}: is a link to `, "which it lies in");
  }
  const deep = await copy("red", "green");
  await mkdir(join(deep, "red", "a", "b"), { recursive: true });
  await symlink("../..", join(deep, "red", "a", "b", "loop"));
  await refuses(deep, `${join(deep, "red", "a", "b", "loop")}: is a link to ${join(deep, "red")}, which it lies in`);
  const top = await copy("red", "green");
  await symlink(".", join(top, "blue"));
  await refuses(top, `${join(top, "blue")}: is a link to ${top}, which it lies in`);
  const itself = await copy("red", "green");
  await symlink("blue", join(itself, "blue"));
  await refuses(itself, `${join(itself, "blue")}: is a link that leads nowhere`);
  const mutual = await copy("red", "green");
  await symlink("../b/x", join(mutual, "red", "x"));
  await mkdir(join(mutual, "b"));
  await symlink("../red/x", join(mutual, "b", "x"));
  await images(join(mutual, "b"), 2);
  assert.match((await open(mutual)).report, /left out 2 broken links/);
});

test("links · the images of one folder cannot belong to two classes", async () => {
  const twice = await copy("red");
  await symlink(join(twice, "red"), join(twice, "crimson"));
  await refuses(twice, `${join(twice, "red")}: is the folder`, 'the class "crimson" already, and not to "red"');
  const beside = await copy("red", "green");
  await symlink("../red", join(beside, "green", "more"));
  await refuses(beside, 'the class "green" already, and not to "red"');
});

test("links · a class that leads nowhere is refused, an image that leads nowhere is named with the bad ones", async () => {
  const dir = await copy("red", "green");
  await symlink(join(root, "unmounted"), join(dir, "blue"));
  await refuses(dir, `${join(dir, "blue")}: is a link that leads nowhere, expected a folder`);
  const image = await copy("red", "green");
  await symlink(join(root, "unmounted.png"), join(image, "red", "gone.png"));
  await refuses(image, `${join(image, "red", "gone.png")}: does not exist`);
});

test("junk · what systems and tools leave behind is passed over at every depth, without a word", async () => {
  const dir = await copy("red", "green");
  const png = pngOf(4, 4);
  for (const name of ["__MACOSX", "@eaDir", ".ipynb_checkpoints", ".git", "$RECYCLE.BIN"]) {
    await put(join(dir, name, "red", "1.png"), png);
    await put(join(dir, "red", name, "1.png"), png);
    await put(join(dir, "red", "deep", "deeper", name, "1.png"), png);
  }
  for (const name of [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.jpg"]) {
    await put(join(dir, name));
    await put(join(dir, "red", name));
    await put(join(dir, "red", "deep", name));
  }
  const opened = await open(dir);
  assert.deepEqual(counts(opened), { green: 4, red: 4 });
  assert.equal(opened.report, "");
});

test(
  "other files · how many were left out, by extension; every format that decodes is taken, whatever its " +
    "extension's case",
  async () => {
    const dir = await copy("red", "green");
    for (const extension of ["JPG", "jpeg", "jpe", "jfif", "webp", "gif", "tif", "TIFF", "avif"]) {
      await put(join(dir, "red", `x.${extension}`), pngOf(4, 4));
    }
    for (const name of ["a.bmp", "b.BMP", "c.heic", "notes.txt", "deep/d.bmp", "LICENSE"])
      await put(join(dir, "red", name));
    const opened = await open(dir);
    assert.deepEqual(counts(opened), { green: 4, red: 13 });
    assert.match(
      opened.report,
      /case\d+: left out 3 \.bmp, 1 \.heic, 1 \.txt, 1 without extension; expected a PNG, JPEG, WebP, GIF, TIFF or AVIF image$/,
    );
  },
);

test("other files · a class of nothing else is refused with what it has; images in no class are counted", async () => {
  const dir = await copy("red", "green");
  await mkdir(join(dir, "blue"));
  for (const name of ["a.bmp", "b.bmp"]) await put(join(dir, "blue", name));
  await refuses(dir, `${join(dir, "blue")}: class "blue" has no image (it has 2 .bmp), expected a PNG`);
  const flat = await copy("red");
  await images(flat, 3);
  await refuses(flat, `${flat}: has one class folder, red and 3 images in none, expected at least two`);
});

test(
  "names · a Mac's decomposed é is the composed one, in classes and between splits; their order is that of the " +
    "composed names",
  async () => {
    const [nfc, nfd] = ["Café".normalize("NFC"), "Café".normalize("NFD")];
    const dir = await copy();
    await images(join(dir, "train", nfc), 3);
    await images(join(dir, "train", "Äpfel".normalize("NFD")), 3);
    await images(join(dir, "val", nfd), 2);
    await images(join(dir, "val", "Äpfel".normalize("NFC")), 2);
    const { dataset } = await open(dir);
    assert.deepEqual(dataset.classes, [nfc, "Äpfel".normalize("NFC")]);
    assert.deepEqual([dataset.train.length, dataset.val.length], [6, 4]);

    const both = await copy("red");
    await images(join(both, nfc), 2);
    await images(join(both, nfd), 2);
    await refuses(both, "the names differ only in how Unicode writes them", `expected one folder for "${nfc}"`);
  },
);

test("special files · a pipe and a device with image names are named with the bad ones, and never opened", {
  timeout: 20_000,
}, async () => {
  const dir = await copy("red", "green");
  execFileSync("mkfifo", [join(dir, "red", "pipe.png")]);
  await symlink("/dev/zero", join(dir, "green", "zero.png"));
  await refuses(dir, "2 of 10 images cannot be read", "pipe.png: is a named pipe", "zero.png: is a device");
});

test("depth · folders nested beyond reason are refused", async () => {
  const dir = await copy("red", "green");
  await images(join(dir, "red", ...new Array<string>(32).fill("d")), 1);
  assert.deepEqual(counts(await open(dir)), { green: 4, red: 5 });
  await images(join(dir, "red", ...new Array<string>(33).fill("d")), 1);
  await refuses(dir, "lies more than 32 folders deep in its class");
});
