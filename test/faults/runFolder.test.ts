// Every system call that a run makes on its folder fails with every code that a disk, a network or a limit gives: what comes out is a sentence of the
// right kind, never a bug; what was saved stays whole, nothing half-written stays, and the report says what happened where it can.
import assert from "node:assert/strict";
import fs from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { ResourceError, UsageError } from "../../src/errors.ts";
import { runTraining } from "../../src/run/run.node.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { resolveConfig } from "../../src/train/resolveConfig.ts";
import { makeImages, tinyConfig } from "../cli/images.ts";

const CODES = [
  ...["EIO", "EMFILE", "ENFILE", "EFBIG", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EBUSY", "ESTALE", "ENOENT"],
  ...["ENAMETOOLONG", "ELOOP", "EISDIR", "ENOTDIR"],
];
/** A path that could never have worked is the mistake of who named it. */
const MISNAMED: readonly string[] = ["ENAMETOOLONG", "ELOOP", "EISDIR", "ENOTDIR"];

type Call = "mkdir" | "open" | "rename" | "write" | "sync" | "openSync" | "writeSync";

/** Where a run fails: the call, the path, and whether a checkpoint was saved before. */
const PLACES: readonly { readonly what: string; readonly call: Call; readonly path: RegExp; readonly saved?: true }[] =
  [
    { what: "making the folder", call: "mkdir", path: /run$/ },
    { what: "taking the lock", call: "open", path: /run\.lock$/ },
    { what: "creating config.json", call: "open", path: /config\.json$/ },
    { what: "writing environment.json", call: "write", path: /environment\.json$/ },
    { what: "renaming metrics.jsonl", call: "rename", path: /metrics\.jsonl$/ },
    { what: "opening metrics.jsonl", call: "openSync", path: /metrics\.jsonl$/ },
    { what: "adding an event", call: "writeSync", path: /./ },
    { what: "writing metrics.csv", call: "write", path: /metrics\.csv$/ },
    { what: "writing the report", call: "write", path: /report\.html$/ },
    { what: "making the folder of checkpoints", call: "mkdir", path: /checkpoints$/ },
    { what: "writing the weights", call: "write", path: /step-00000001.model\.safetensors$/ },
    { what: "syncing the second checkpoint", call: "sync", path: /step-00000002.training\.safetensors$/, saved: true },
    { what: "renaming the second checkpoint", call: "rename", path: /step-00000002$/, saved: true },
    { what: "pointing to the second checkpoint", call: "rename", path: /last\.json$/, saved: true },
  ];

let root = "";
let config: TrainConfig;
before(async () => {
  root = await promises.mkdtemp(join(tmpdir(), "densenet-faults-"));
  await makeImages(join(root, "images"), 8);
  // Three updates, a checkpoint after each.
  const settings = { ...tinyConfig(join(root, "images"), 1), checkpointEverySteps: 1, device: "reference" };
  config = resolveConfig({ file: settings }).config;
});
after(() => promises.rm(root, { recursive: true }));

const systemError = (code: string, call: string, path: string): Error =>
  Object.assign(new Error(`${code}: planted, ${call} '${path}'`), { code, syscall: call, path });

/** Makes `call` fail on `path`, the second checkpoint's pointer only once the first is there. @returns what takes it back */
function plant(call: Call, path: RegExp, code: string): () => void {
  const originals = { ...promises };
  const { openSync, writeSync } = fs;
  let pointers = 0;
  const hits = (name: unknown): boolean => {
    if (!path.test(String(name))) return false;
    return !String(name).endsWith("last.json") || ++pointers > 1;
  };
  const fail = (name: unknown): Promise<never> => Promise.reject(systemError(code, call, String(name)));
  const patched: Partial<Record<keyof typeof promises, unknown>> = {
    mkdir: (name: string, options: object) =>
      call === "mkdir" && hits(name) ? fail(name) : originals.mkdir(name, options),
    rename: (from: string, to: string) => (call === "rename" && hits(to) ? fail(to) : originals.rename(from, to)),
    open: async (name: string, flags: string) => {
      if (call === "open" && hits(name)) return fail(name);
      const handle = await originals.open(name, flags);
      if (call === "write" && hits(name)) handle.writeFile = () => fail(name);
      if (call === "sync" && hits(name)) handle.sync = () => fail(name);
      return handle;
    },
  };
  Object.assign(promises, patched);
  fs.openSync = ((name: string, flags: string) => {
    if (call === "openSync" && hits(name)) throw systemError(code, call, name);
    return openSync(name, flags);
  }) as typeof openSync;
  fs.writeSync = ((file: number, text: string) => {
    if (call === "writeSync") throw systemError(code, call, "");
    return writeSync(file, text);
  }) as typeof writeSync;
  syncBuiltinESMExports();
  return () => {
    Object.assign(promises, originals);
    Object.assign(fs, { openSync, writeSync });
    syncBuiltinESMExports();
  };
}

/** Trains in `folder`. @returns what it failed with */
async function train(folder: string): Promise<unknown> {
  try {
    for await (const _ of runTraining({ config, folder }));
    return undefined;
  } catch (error) {
    return error;
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  return promises.readdir(folder, { recursive: true }).catch(() => []);
}

let runs = 0;
for (const { what, call, path, saved } of PLACES) {
  test(`${what} fails · ${CODES.length} codes, each a sentence; nothing half-written stays${saved ? "; the first checkpoint is whole" : ""}`, async (context) => {
    const outcomes = new Map<string, number>();
    for (const code of CODES) {
      const folder = join(root, `${runs++}`, "run");
      const takeBack = plant(call, path, code);
      const error = await train(folder).finally(takeBack);
      const kind = MISNAMED.includes(code) ? UsageError : ResourceError;
      assert.ok(error instanceof kind, `${code}: ${error}`);
      assert.match(error.message, /run.*: (?!undefined)[a-z]/, code);
      assert.match(error.message, code === "ENOSPC" || code === "EDQUOT" ? /disk/ : new RegExp(`\\(${code}\\)`));
      const left = await filesBelow(folder);
      assert.deepEqual(
        left.filter((name) => name.includes(".tmp-") || name.endsWith(".lock")),
        [],
        code,
      );
      if (saved) assert.equal((await loadCheckpoint(folder)).trained.model.batchesTracked, 1, code);
      const report = await promises.readFile(join(folder, "report.html"), "utf8").catch(() => undefined);
      if (report !== undefined) assert.match(report, /Training failed: /);
      assert.ok(report !== undefined || !left.includes("metrics.jsonl") || call === "write", `${code}: no report`);
      outcomes.set(error.name, (outcomes.get(error.name) ?? 0) + 1);
    }
    context.diagnostic(`${what}: ${[...outcomes].map(([name, count]) => `${count} × ${name}`).join(", ")}`);
  });
}

test("ENOSPC · the sentence says how much was needed and how much is free", async () => {
  const takeBack = plant("write", /training\.safetensors$/, "ENOSPC");
  const error = await train(join(root, "full", "run")).finally(takeBack);
  assert.ok(error instanceof ResourceError);
  assert.match(error.message, /the disk is full, 0\.0\d\d MB were to be written and \d+\.\d MB are free$/);
});

test("without a fault the same run ends and leaves no lock; what a killed process left is removed at the next start", async () => {
  const folder = join(root, "whole", "run");
  await promises.mkdir(folder, { recursive: true });
  await promises.writeFile(join(folder, ".tmp-config.json"), "{");
  assert.equal(await train(folder), undefined);
  assert.deepEqual(
    (await filesBelow(folder)).filter((name) => name.includes(".tmp-") || name.endsWith(".lock")),
    [],
  );
});
