// The command on a folder with images that cannot be read: all named before the first update, left out with --skip-bad,
// and where only the pixels are damaged the run is saved and can go on without them.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { densenet } from "../cli/command.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-bad-"));
after(() => rm(root, { recursive: true }));
const config = join(root, "tiny.json");
await writeFile(
  config,
  JSON.stringify({
    model: { variant: "BC-40-12", growthRate: 4, blockConfig: [1, 1] },
    data: { imageSize: 12 },
    epochs: 2,
    batchSize: 8,
    threads: 1,
  }),
);

const png = await sharp({ create: { width: 12, height: 12, channels: 3, background: "red" } })
  .png({ compressionLevel: 0 })
  .toBuffer();

/** train and val with two classes of `perClass` images each. */
async function folder(name: string, perClass: number): Promise<string> {
  const dir = join(root, name);
  for (const split of ["train", "val"]) {
    for (const label of ["cat", "dog"]) {
      const path = join(dir, split, label);
      await mkdir(path, { recursive: true });
      for (let i = 0; i < perClass; i++) await writeFile(join(path, `${i}.png`), png);
    }
  }
  return dir;
}

test(
  "train · images that cannot be read · exit 3 with all of them before the first update; --skip-bad trains and " +
    "says so",
  async () => {
    const dir = await folder("headers", 8);
    await writeFile(join(dir, "train", "cat", "3.png"), "");
    await writeFile(join(dir, "train", "dog", "4.png"), "<html>404</html>");
    await writeFile(join(dir, "val", "dog", "5.png"), png.subarray(0, 20));
    const out = join(root, "headers-run");
    const refused = await densenet(["train", "--config", config, "--data-dir", dir, "-o", out]);
    assert.equal(refused.code, 3, refused.stderr);
    assert.match(refused.stderr, /^densenet: .*headers: 3 of 32 images cannot be read; .*--skip-bad\):\n/);
    for (const name of ["cat/3.png: is empty", "dog/4.png: is a web page", "dog/5.png: does not decode as a PNG"]) {
      assert.ok(refused.stderr.includes(join(...name.split("/"))), refused.stderr);
    }
    await assert.rejects(readdir(out), "a folder was made for a run that never began");
    const skipped = await densenet(["train", "--config", config, "--data-dir", dir, "-o", out, "--skip-bad"]);
    assert.equal(skipped.code, 0, skipped.stderr);
    assert.match(skipped.stderr, /headers: left out 3 of 32 images:\n/);
    assert.match(skipped.stderr, /headers: 16 images of 2 classes to train on, 15 to measure with/);
  },
);

test(
  "train · an image whose pixels are cut off is found in validation · exit 3, saved; goes on with --resume " +
    "--skip-bad, and from the repaired image too",
  async () => {
    const dir = await folder("pixels", 8);
    const bad = join(dir, "val", "dog", "5.png");
    await writeFile(bad, png.subarray(0, png.length - 60));
    const out = join(root, "pixels-run");
    const refused = await densenet(["train", "--config", config, "--data-dir", dir, "-o", out]);
    assert.equal(refused.code, 3, refused.stderr);
    assert.ok(refused.stderr.includes(`${bad}: does not decode as a PNG image`), refused.stderr);
    const resumed = await densenet(["train", "--resume", out, "--skip-bad", "-o", join(root, "pixels-skipped")]);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.match(resumed.stderr, /goes on after step 2 of 4/);
    assert.match(resumed.stderr, /16 images of 2 classes to train on, 15 to measure with/);
    await writeFile(bad, png);
    const repaired = await densenet(["train", "--resume", out]);
    assert.equal(repaired.code, 0, repaired.stderr);
    assert.match(repaired.stderr, /goes on after step 2 of 4/);

    // The same run and other images with one that is damaged: refused, or left out.
    const others = await folder("others", 3);
    await writeFile(join(others, "val", "cat", "1.png"), png.subarray(0, png.length - 60));
    const strict = await densenet(["eval", out, "--data-dir", others]);
    assert.equal(strict.code, 3, strict.stderr);
    const lenient = await densenet(["eval", out, "--data-dir", others, "--skip-bad", "--json"]);
    assert.equal(lenient.code, 0, lenient.stderr);
    assert.equal(JSON.parse(lenient.stdout).count, 5);
    const large = await densenet(["predict", out, join(others, "val", "dog", "1.png"), "--max-pixels", "143"]);
    assert.equal(large.code, 3);
    assert.match(large.stderr, /1\.png: has 12×12 = 144 pixels, expected at most 143/);
  },
);

test("train · a folder's largest image beyond --max-pixels · exit 3 with both numbers", async () => {
  const dir = await folder("large", 4);
  const arguments_ = ["train", "--config", config, "--data-dir", dir, "-o", join(root, "large-run")];
  const refused = await densenet([...arguments_, "--max-pixels", "143"]);
  assert.equal(refused.code, 3, refused.stderr);
  assert.match(refused.stderr, /16 of 16 images cannot be read; /);
  assert.match(refused.stderr, /has 12×12 = 144 pixels, expected at most 143 \(--max-pixels/);
});
