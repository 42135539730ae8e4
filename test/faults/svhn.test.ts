// The command on SVHN's files: the paper's recipe runs on them and is measured on its own held-out images and on the test
// images; files that are something else end with one sentence and exit code 3 before anything is written.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { densenet } from "../cli/command.ts";
import { compressed, matFile, matrix, svhnFile, svhnLabels, svhnPixels } from "../data/matBytes.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-svhn-command-"));
after(() => rm(root, { recursive: true }));
const config = join(root, "tiny.json");
const model = { variant: "BC-40-12", growthRate: 4, blockConfig: [1, 1] };
await writeFile(config, JSON.stringify({ model, epochs: 1, batchSize: 32, threads: 1 }));

async function folder(name: string, train: Uint8Array): Promise<string> {
  const dir = join(root, name);
  await mkdir(dir);
  await writeFile(join(dir, "train_32x32.mat"), train);
  await writeFile(join(dir, "test_32x32.mat"), svhnFile(20));
  await writeFile(join(dir, "extra_32x32.mat"), svhnFile(100));
  return dir;
}

test("train and eval · paper-svhn on a folder of .mat files", async () => {
  const dir = await folder("whole", svhnFile(100));
  const out = join(root, "run");
  const recipe = ["--preset", "paper-svhn", "--config", config, "--data-dir", dir];
  const refused = await densenet(["train", ...recipe, "-o", out]);
  assert.deepEqual([refused.code, existsSync(out)], [2, false], refused.stderr);
  assert.match(
    refused.stderr,
    /got 6000, expected a fraction below 1 or a whole number of images below the 200 of SVHN/,
  );
  const trained = await densenet(["train", ...recipe, "--val-split", "60", "-o", out]);
  assert.equal(trained.code, 0, trained.stderr);
  assert.match(trained.stderr, /140 images of 10 classes to train on, 60 to measure with/);
  for (const [split, count, words] of [
    [[], 60, /those of SVHN that the run was validated with/],
    [["--split", "test"], 20, /the test split of SVHN/],
  ] as const) {
    const measured = await densenet(["eval", out, "--best", ...split]);
    assert.equal(measured.code, 0, measured.stderr);
    assert.match(measured.stdout, words);
    assert.match(measured.stdout, new RegExp(`images +${count}:`));
  }
  // Test images in a folder of their own.
  const alone = join(root, "alone");
  await mkdir(alone);
  await writeFile(join(alone, "test_32x32.mat"), svhnFile(30));
  const measured = await densenet(["eval", out, "--data-dir", alone, "--split", "test"]);
  assert.equal(measured.code, 0, measured.stderr);
  assert.match(measured.stdout, /images +30: the test split of SVHN/);
});

const y = compressed(matrix({ name: "y", dims: [4, 1], content: svhnLabels(4) }));
const doubles = { name: "X", dims: [32, 32, 3, 4], code: 6, type: 9, content: new Uint8Array(8 * 4 * 3072) };
for (const [what, train, sentence] of [
  ["version 7.3", matFile([], { version: 0x0200 }), /is a MATLAB 7\.3 file \(HDF5\), expected a MATLAB 5 \.mat file/],
  ["cut off", svhnFile(20).subarray(0, 5000), /is cut off, expected a MATLAB 5 \.mat file .*, whole/],
  [
    "labels 0 to 9",
    svhnFile(4, Uint8Array.of(3, 0, 9, 1)),
    /label 1 \(counted from 0\) is 0, expected 1 to 10, of which/,
  ],
  ["X of doubles", matFile([compressed(matrix(doubles)), y]), /X is double \[32, 32, 3, 4\], expected uint8/],
  [
    "y missing",
    matFile([compressed(matrix({ name: "X", dims: [32, 32, 3, 4], content: svhnPixels(4) }))]),
    /has no variable y, only X/,
  ],
] as const) {
  test(`train · train_32x32.mat: ${what} · exit 3, one sentence, nothing written`, async () => {
    const dir = await folder(what.replaceAll(" ", "-"), train);
    const out = join(root, `${what}-run`);
    const { code, stdout, stderr } = await densenet(["train", "--config", config, "--data-dir", dir, "-o", out]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, sentence);
    assert.ok(stderr.includes(join(dir, "train_32x32.mat")), stderr);
    assert.deepEqual([stdout, existsSync(out)], ["", false]);
  });
}
