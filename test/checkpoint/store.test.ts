import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { loadCheckpoint, saveCheckpoint, writeFileAtomic } from "../../src/checkpoint/store.node.ts";
import { InputError, ResourceError, UsageError, VerificationError } from "../../src/errors.ts";
import { draws } from "../seeded.ts";
import { killSaves } from "./killSaves.ts";
import { markedCheckpoint } from "./marked.ts";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-store-"));
});
after(() => rm(root, { recursive: true, force: true }));

let runs = 0;
const freshRun = (): string => join(root, `run${runs++}`);

test("store · a checkpoint returns as it was saved, through the run, its folder and its model file", async () => {
  const run = freshRun();
  const folder = await saveCheckpoint(run, markedCheckpoint(7), { step: 7, best: false, keep: 2 });
  const expected = markedCheckpoint(7);
  assert.deepEqual(await loadCheckpoint(run), { ...expected, folder, verified: true });
  assert.deepEqual(await loadCheckpoint(folder), { ...expected, folder, verified: true });
  const bare = await loadCheckpoint(join(folder, "model.safetensors"));
  assert.deepEqual(bare.trained, expected.trained);
  assert.equal(bare.training, undefined);
});

test("store · a model file copied away from its folder still says all that running it takes", async () => {
  const path = join(root, "copied.safetensors");
  await writeFile(path, encodeModel(markedCheckpoint(5).trained));
  assert.deepEqual((await loadCheckpoint(path)).trained, markedCheckpoint(5).trained);
});

test("store · last is the newest, best the best; older ones are deleted, best is kept", async () => {
  const run = freshRun();
  for (let step = 1; step <= 6; step++) {
    await saveCheckpoint(run, markedCheckpoint(step), { step, best: step === 2, keep: 2 });
  }
  assert.deepEqual((await loadCheckpoint(run, "last")).trained, markedCheckpoint(6).trained);
  assert.deepEqual((await loadCheckpoint(run, "best")).trained, markedCheckpoint(2).trained);
  assert.deepEqual((await readdir(join(run, "checkpoints"))).sort(), [
    "best.json",
    "last.json",
    "step-00000002",
    "step-00000005",
    "step-00000006",
  ]);
});

test("store · a step saved twice does not touch the first save", async () => {
  const run = freshRun();
  const first = await saveCheckpoint(run, markedCheckpoint(4), { step: 4, best: false, keep: 2 });
  const second = await saveCheckpoint(run, markedCheckpoint(4), { step: 4, best: false, keep: 2 });
  assert.notEqual(first, second);
  assert.equal((await loadCheckpoint(run)).folder, second);
  assert.deepEqual((await loadCheckpoint(first)).trained, markedCheckpoint(4).trained);
});

test("store · a flipped bit anywhere in a file is noticed and the file named", async () => {
  const run = freshRun();
  const folder = await saveCheckpoint(run, markedCheckpoint(1), { step: 1, best: false, keep: 1 });
  for (const file of ["model.safetensors", "training.safetensors"]) {
    const path = join(folder, file);
    const good = await readFile(path);
    for (let i = 0; i < 40; i++) {
      const at = Math.floor((i * (good.length - 1)) / 39);
      const bad = Buffer.from(good);
      bad[at] = (bad[at] as number) ^ (1 << (i % 8));
      await writeFile(path, bad);
      await assert.rejects(
        loadCheckpoint(run),
        (error) => error instanceof VerificationError && error.message.startsWith(`${path}: `),
      );
    }
    await writeFile(path, good);
  }
  await loadCheckpoint(run);
});

test("store · a truncated, an empty and a deleted file are noticed and named", async () => {
  const folder = await saveCheckpoint(freshRun(), markedCheckpoint(1), { step: 1, best: false, keep: 1 });
  for (const file of ["model.safetensors", "training.safetensors", "manifest.json"]) {
    const path = join(folder, file);
    const good = await readFile(path);
    const named = (error: unknown) => error instanceof InputError && error.message.startsWith(`${path}: `);
    for (const length of [0, 1, 9, good.length >> 1, good.length - 2]) {
      await truncate(path, length);
      await assert.rejects(loadCheckpoint(folder), named, `${file} of ${length} bytes`);
      await writeFile(path, good);
    }
    await rm(path);
    await assert.rejects(loadCheckpoint(folder), file === "manifest.json" ? InputError : named);
    await writeFile(path, good);
  }
  await loadCheckpoint(folder);
});

test("store · what is no checkpoint is refused with the path and what was expected", async () => {
  const foreign = join(root, "foreign.txt");
  await writeFile(foreign, "these are not the weights you are looking for");
  const empty = await mkdtemp(join(root, "empty-"));
  for (const [path, says] of [
    [join(root, "nowhere"), /nowhere: there is no such checkpoint; expected/],
    ["", /^"": there is no such checkpoint; expected/],
    [empty, /holds no checkpoint/],
    [foreign, /foreign\.txt: not a safetensors file/],
  ] as const) {
    await assert.rejects(loadCheckpoint(path), (error) => error instanceof InputError && says.test(error.message));
  }
  const run = freshRun();
  const folder = await saveCheckpoint(run, markedCheckpoint(1), { step: 1, best: false, keep: 1 });
  await writeFile(join(run, "checkpoints", "last.json"), '{"checkpoint": "../../elsewhere"}');
  await assert.rejects(loadCheckpoint(run), /last\.json: expected \{"checkpoint": "step-…"\}/);
  assert.ok((await loadCheckpoint(folder)).training);
});

test("store · leftovers of a killed save are cleared away by the next", async () => {
  const run = freshRun();
  const folder = await saveCheckpoint(run, markedCheckpoint(1), { step: 1, best: false, keep: 2 });
  await cp(folder, join(run, "checkpoints", ".tmp-step-00000002"), { recursive: true });
  await saveCheckpoint(run, markedCheckpoint(2), { step: 2, best: false, keep: 2 });
  assert.deepEqual((await readdir(join(run, "checkpoints"))).sort(), ["last.json", "step-00000001", "step-00000002"]);
});

test("store · a place below a file can never be a folder: UsageError, and the file stays", async () => {
  const blocked = join(root, "file");
  await writeFile(blocked, "x");
  await assert.rejects(
    saveCheckpoint(join(blocked, "run"), markedCheckpoint(1), { step: 1, best: false, keep: 1 }),
    (error) => error instanceof UsageError && /something on its path is a file/.test(error.message),
  );
  assert.equal(await readFile(blocked, "utf8"), "x");
});

test("store · a full disk fails the save and keeps the earlier checkpoint", {
  skip: process.platform !== "linux",
}, async () => {
  const run = freshRun();
  await saveCheckpoint(run, markedCheckpoint(1), { step: 1, best: false, keep: 2 });
  // /dev/full stands in for a full disk: every write to it fails with ENOSPC.
  const target = join(run, "metrics.csv");
  await writeFile(target, "good");
  await symlink("/dev/full", join(run, ".tmp-metrics.csv"));
  await assert.rejects(
    writeFileAtomic(target, "new"),
    (error) => error instanceof ResourceError && /disk is full/.test(error.message),
  );
  assert.equal(await readFile(target, "utf8"), "good");
  assert.deepEqual((await loadCheckpoint(run)).trained, markedCheckpoint(1).trained);
});

test("store · kill -9 at 30 random moments: last and best always load whole, and no finished save is lost", async (t) => {
  const { kills, saves, unprinted } = await killSaves(freshRun(), 30, draws("kills of a save"));
  assert.equal(kills, 30);
  assert.ok(saves >= 30);
  t.diagnostic(
    `kill -9 while saving: ${kills} kills: ${saves} saves, ${unprinted} of them whole though not yet reported, 0 lost or damaged`,
  );
});
