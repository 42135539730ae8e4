// cli: a folder of images and nothing else: what is chosen, said, repeated and outweighed.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { densenet } from "./command.ts";
import { makeImages } from "./images.ts";

let root = "";
let photos = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-chosen-"));
  photos = join(root, "my photos");
  await makeImages(photos, 12);
});
after(() => rm(root, { recursive: true }));

test("train FOLDER --minutes · says each choice as a flag with its reason, and the command that repeats it", async () => {
  const run = join(root, "run");
  const { code, stdout, stderr } = await densenet(["train", photos, "--minutes", "0.1", "-j", "1", "--output", run]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /chosen for 36 training images in 3 classes/);
  assert.match(stderr, /^ {2}--input-size 32 +the smallest usual size/m);
  assert.match(stderr, /^ {2}--batch-size 8 +5 updates in an epoch of 36 images/m);
  assert.match(stderr, /^ {2}--lr 0\.\d+ +\S.*range test/m);
  assert.match(stderr, /^ {2}--epochs \d+ +.* images a second/m);
  assert.match(stdout, /validation error/);
  const config = JSON.parse(await readFile(join(run, "config.json"), "utf8"));
  const again = /the same again: (.*)/.exec(stderr)?.[1] ?? "";
  assert.ok(again.startsWith(`densenet train '${photos}' -j 1 --input-size 32`), again);
  const words = [...again.matchAll(/'([^']*)'|(\S+)/g)].map(([, inQuotes, bare]) => inQuotes ?? bare ?? "").slice(1);
  const repeated = await densenet([...words, "--print-config", "--json"]);
  assert.deepEqual(JSON.parse(repeated.stdout).config, config);
});

test("--print-config · what was chosen, what was said, and what stays", async () => {
  const args = ["train", photos, "--model", "BC-28-12", "--epochs", "7", "--lr", "0.05", "--print-config", "--json"];
  const { config, sources } = JSON.parse((await densenet(args)).stdout);
  assert.deepEqual(config.model, { variant: "BC-28-12" });
  assert.deepEqual([config.epochs, sources.epochs], [7, "flag"]);
  assert.deepEqual([config.data.imageSize, sources["data.imageSize"]], [32, "chosen"]);
  assert.deepEqual([config.schedule, sources.schedule], ["cosine", "chosen"]);
  assert.deepEqual([config.momentum, sources.momentum], [0.9, "default"]);
});

test("a preset and the paper's data sets · nothing is chosen", async () => {
  for (const args of [["--preset", "quick", "--data-dir", photos], []]) {
    const { stdout } = await densenet(["train", ...args, "--print-config", "--json"]);
    assert.ok(!Object.values(JSON.parse(stdout).sources).includes("chosen"), args.join(" "));
  }
});

test("lr-find · a curve, a suggestion, a page", async () => {
  const page = join(root, "rates.html");
  const args = ["lr-find", photos, "--model", "BC-22-12", "-j", "1", "--updates", "40", "--output", page];
  const { code, stdout, stderr } = await densenet(args);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^ +1\.\de-4 +loss +\d\.\d{3} +█/m);
  assert.match(stdout, /^suggestion +--lr \d/m);
  assert.match(await readFile(page, "utf8"), /<svg[\s\S]*learning rate/);
  const json = await densenet([...args.slice(0, -2), "--json"]);
  const { suggestion, points } = JSON.parse(json.stdout);
  assert.ok(suggestion > 1e-4 && suggestion < 10, `${suggestion}`);
  assert.ok(points.length <= 40 && points.every(({ loss }: { loss: number | null }) => loss === null || loss > 0));
});

for (const [args, says] of [
  [["train", "photos", "--data-dir", "photos"], /got the folder photos and --data-dir, expected one of them/],
  [["train", "photos", "--minutes", "0"], /--minutes: got 0, expected a number above 0/],
  [["train", "photos", "--minutes", "5", "--epochs", "3"], /--minutes: cannot be given with --epochs/],
  [["train", "--resume", "runs/x", "--minutes", "5"], /--minutes: cannot be given with --resume/],
  [["lr-find", "embedded", "--updates", "3"], /--updates: got "3", expected a whole number of at least 10/],
  [["lr-find", "embedded", "--from", "1", "--to", "0.1"], /rates from 1 to 0\.1, expected a rise/],
] as const) {
  test(`${args.join(" ")} · exit 2`, async () => {
    const { code, stderr } = await densenet(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, says);
  });
}
