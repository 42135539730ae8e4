// A run that starts from another tool's weights, through the command.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { densenet } from "../cli/command.ts";
import { makeImages, tinyConfig } from "../cli/images.ts";
import { unpackFixtures } from "./oracle.ts";

const { folder } = unpackFixtures();
const root = mkdtempSync(join(tmpdir(), "formats-init-"));
after(() => rmSync(root, { recursive: true, force: true }));

test("train --init-from a PyTorch file · its layers, a new classifier for other classes, said; then its run", async () => {
  const images = join(root, "images");
  mkdirSync(images);
  await makeImages(images, 12);
  const { model: _, ...settings } = tinyConfig(images, 1);
  writeFileSync(join(root, "settings.json"), JSON.stringify(settings));
  const weights = join(folder, "pytorch-cifar.pth");
  const first = await densenet(["train", "--config", "settings.json", "--init-from", weights, "-o", "first"], {
    cwd: root,
  });
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /62 tensors matched, 0 missing, 0 unexpected/);
  assert.match(first.stderr, /pytorch-cifar\.pth: a new classifier for 3 classes, in place of its own for 10/);
  assert.match(first.stderr, /normalised as these weights expect: mean 0\.49\d*, 0\.48\d*, 0\.44\d*/);
  const state = await loadCheckpoint(join(root, "first"));
  const { mean, std } = state.trained.preprocessing;
  const again = await densenet(["train", "--init-from", "first", "-o", "second", "--lr", "0.01"], { cwd: root });
  assert.equal(again.code, 0, again.stderr);
  assert.doesNotMatch(again.stderr, /new classifier/);
  const after = (await loadCheckpoint(join(root, "second"))).trained.preprocessing;
  assert.deepEqual([after.mean, after.std], [mean, std], "passed on from run to run");
});

test("train --init-from beside --resume, or of another network · a sentence", async () => {
  const both = await densenet(["train", "--init-from", "a", "--resume", "b"], { cwd: root });
  assert.equal(both.code, 2);
  assert.match(both.stderr, /--init-from: cannot be given with --resume/);
  const other = await densenet(["train", "--init-from", join(folder, "zip.pth"), "--model", "BC-40-12", "-o", "x"], {
    cwd: root,
  });
  assert.equal(other.code, 2);
  assert.match(
    other.stderr,
    /holds another network \(1311 parameters\) than the settings ask for .*; leave out --model/,
  );
});
