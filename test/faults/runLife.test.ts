// What happens to a run from outside: killed, stopped at odd moments, started twice, its folder moved away or its files damaged. Nothing that was saved
// is lost, what is lost is said, and whoever goes on finds the way.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { densenet, events, type Outcome, start } from "../cli/command.ts";
import { makeImages, tinyConfig } from "../cli/images.ts";

let folder = "";
let data = "";
/** Two epochs of three updates, with a checkpoint after each update. */
let whole = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-life-"));
  data = join(folder, "images");
  whole = join(folder, "whole");
  await makeImages(data, 8);
  const { code, stderr } = await train("whole", 2, "--checkpoint-every", "1");
  assert.equal(code, 0, stderr);
});
after(() => rm(folder, { recursive: true }));

async function config(epochs: number): Promise<string> {
  const path = join(folder, `${epochs}.json`);
  await writeFile(path, JSON.stringify(tinyConfig(data, epochs)));
  return path;
}
async function trainArgs(name: string, epochs: number, ...args: string[]): Promise<string[]> {
  return ["train", "--config", await config(epochs), "--output", join(folder, name), "--json", ...args];
}
const train = async (name: string, epochs: number, ...args: string[]): Promise<Outcome> =>
  densenet(await trainArgs(name, epochs, ...args));
const resume = (name: string, ...args: string[]): Promise<Outcome> =>
  densenet(["train", "--resume", join(folder, name), "--json", ...args]);
const path = (...names: string[]): string => join(folder, ...names);
const copy = (name: string): Promise<void> => cp(whole, path(name), { recursive: true });
/** Runs `script` in the command's process before the command. */
const prepared = (script: string): Record<string, string> => ({
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(script)}`,
});
const losses = (stdout: string): unknown[] =>
  events(stdout)
    .filter(({ type }) => type === "step" || type === "epoch")
    .map(({ step, loss, epoch, valLoss }) => [step ?? epoch, loss ?? valLoss]);

/** Starts a run that would take long, and does `then` when it has done some updates. */
async function during(name: string, then: (pid: number) => Promise<unknown>): Promise<Outcome & { pid: number }> {
  const { child, done } = start(await trainArgs(name, 500, "--checkpoint-every", "5"));
  const { pid = 0 } = child;
  await new Promise<void>((resolve) => {
    let seen = "";
    child.stdout?.on("data", (text: string) => {
      seen += text;
      if (seen.includes('"step":7,')) resolve();
    });
  });
  try {
    await then(pid);
  } finally {
    if (child.exitCode === null) child.kill("SIGTERM");
  }
  return { ...(await done), pid };
}

test("a second process in the folder of a run is refused with the pid of the first; readers are not hindered", async () => {
  const others: Outcome[] = [];
  const first = await during("twice", async () => {
    others.push(await resume("twice"), await densenet(["eval", path("twice"), "--json"]));
  });
  const [second, evaluated] = others;
  assert.equal(first.code, 143, first.stderr);
  assert.equal(second?.code, 5);
  assert.match(
    second?.stderr ?? "",
    new RegExp(`twice: process ${first.pid} on .* is writing to this run; expected one`),
  );
  assert.equal(evaluated?.code, 0, evaluated?.stderr);
  assert.ok(!(await readdir(path("twice"))).includes("run.lock"));
});

test("kill -9 leaves a lock that the next process takes over at once", async () => {
  const killed = await during("killed", async (pid) => process.kill(pid, "SIGKILL"));
  assert.equal(killed.code, null);
  assert.ok((await readdir(path("killed"))).includes("run.lock"));
  const { child, done } = start(["train", "--resume", path("killed"), "--json"]);
  child.stdout?.on("data", (text: string) => {
    if (text.includes('"type":"step"') && child.exitCode === null) child.kill("SIGTERM");
  });
  const next = await done;
  assert.equal(next.code, 143, next.stderr);
  assert.equal(events(next.stdout).at(-1)?.type, "interrupted");
});

const elsewhere = { host: "another-machine", space: "x", born: "1", id: "11111111-1111-1111-1111-111111111111" };
for (const [what, holder, ageSeconds, taken] of [
  ["of another machine, touched just now", JSON.stringify({ ...elsewhere, pid: 1 }), 0, false],
  ["of another machine, not touched for two minutes", JSON.stringify({ ...elsewhere, pid: 1 }), 120, true],
  ["that is empty, made just now", "", 0, false],
  ["that is garbage, two minutes old", "null", 120, true],
] as const) {
  test(`a lock ${what} is ${taken ? "taken over" : "respected"}`, async () => {
    const name = `lock ${what}`;
    await copy(name);
    const lock = path(name, "run.lock");
    await writeFile(lock, holder);
    const then = new Date(Date.now() - 1000 * ageSeconds);
    await utimes(lock, then, then);
    const { code, stderr } = await resume(name);
    assert.equal(code, taken ? 0 : 5, stderr);
    if (!taken)
      assert.match(stderr, /is writing to this run; .* If it is gone, try again in a minute or delete .*run\.lock/);
  });
}

test("a lock whose pid was given to another process since is taken over", {
  skip: process.platform !== "linux",
}, async () => {
  const sleeper = spawn("sleep", ["60"]);
  try {
    const held = await during("reused", async () => {
      const holder = JSON.parse(await readFile(path("reused", "run.lock"), "utf8"));
      await copy("reused later");
      await writeFile(path("reused later", "run.lock"), JSON.stringify({ ...holder, pid: sleeper.pid, born: "1" }));
    });
    assert.equal(held.code, 143);
    const { code, stderr } = await resume("reused later");
    assert.equal(code, 0, stderr);
  } finally {
    sleeper.kill();
  }
});

for (const [what, change] of [
  ["removed", (name: string) => rm(name, { recursive: true })],
  ["renamed", (name: string) => rename(name, `${name} elsewhere`)],
  ["replaced by another folder", (name: string) => rename(name, `${name} elsewhere`).then(() => mkdir(name))],
] as readonly (readonly [string, (name: string) => Promise<unknown>])[]) {
  test(`the folder of a run is ${what} in mid-run · exit 5 and a sentence, nothing is made in its place`, async () => {
    const name = `folder ${what}`;
    const { done } = start(await trainArgs(name, 40, "--checkpoint-every", "5"));
    while ((await stat(path(name, "checkpoints", "last.json")).catch(() => undefined)) === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await change(path(name));
    const { code, stderr } = await done;
    assert.equal(code, 5, stderr);
    assert.match(stderr, /the run's folder was removed, renamed or taken over/);
    assert.deepEqual(await readdir(path(name)).catch(() => []), []);
    if (what === "removed") return;
    const moved = await densenet(["eval", path(`${name} elsewhere`), "--json"]);
    assert.equal(moved.code, 0, moved.stderr);
  });
}

for (const [what, damage] of [
  ["a flipped bit in its weights", (last: string) => flip(join(last, "model.safetensors"))],
  ["a flipped bit in its training state", (last: string) => flip(join(last, "training.safetensors"))],
  ["weights cut short", (last: string) => truncate(join(last, "model.safetensors"), 100)],
  ["a missing file", (last: string) => rm(join(last, "training.safetensors"))],
  ["no manifest", (last: string) => rm(join(last, "manifest.json"))],
] as const) {
  test(`the last checkpoint has ${what} · --resume goes on from the one before, says so, and keeps the damaged one`, async () => {
    const name = `damage ${what}`;
    await copy(name);
    const checkpoints = path(name, "checkpoints");
    const { checkpoint } = JSON.parse(await readFile(join(checkpoints, "last.json"), "utf8"));
    await damage(join(checkpoints, checkpoint));
    const { code, stdout, stderr } = await resume(name);
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`${checkpoint}: damaged, so it is passed over: `));
    assert.match(
      stderr,
      /the run goes on from .*; what came after that is done again, and the damaged files are kept as/,
    );
    const [begun] = events(stdout);
    assert.ok(Number(begun?.resumedAtStep) < Number(checkpoint.slice(5)));
    assert.ok((await readdir(checkpoints)).includes(`damaged-${checkpoint}`));
    // Bit for bit what the undamaged run came to.
    const calm = losses(await readFile(join(whole, "metrics.jsonl"), "utf8"));
    assert.deepEqual(losses(await readFile(path(name, "metrics.jsonl"), "utf8")), calm);
  });
}

for (const [what, text] of [
  ["is cut short", '{"checkp'],
  ["is null", "null"],
  ["names none that is there", '{"checkpoint": "step-00000099"}'],
] as const) {
  test(`last.json ${what} · --resume takes the newest checkpoint`, async () => {
    const name = `pointer ${what}`;
    await copy(name);
    await writeFile(path(name, "checkpoints", "last.json"), text);
    const { code, stdout, stderr } = await resume(name);
    assert.equal(code, 0, stderr);
    assert.equal(
      events(stdout)[0]?.resumedAtStep,
      events(await readFile(join(whole, "metrics.jsonl"), "utf8")).at(-1)?.steps,
    );
  });
}

test("every checkpoint is damaged · exit 7, the newest named, nothing renamed", async () => {
  await copy("hopeless");
  const checkpoints = path("hopeless", "checkpoints");
  const names = (await readdir(checkpoints)).filter((name) => name.startsWith("step-"));
  for (const name of names) await flip(join(checkpoints, name, "model.safetensors"));
  const { code, stderr } = await resume("hopeless");
  assert.equal(code, 7, stderr);
  assert.match(stderr, /model\.safetensors: its SHA-256 is/);
  assert.deepEqual(
    (await readdir(checkpoints)).filter((name) => name.startsWith("damaged")),
    [],
  );
});

test("killed before its first checkpoint · --resume begins it again, and -o says so", async () => {
  const { child, done } = start(await trainArgs("early", 2));
  child.stdout?.on("data", (text: string) => {
    if (text.includes('"step":1,')) child.kill("SIGKILL");
  });
  await done;
  await rm(path("early", "checkpoints"), { recursive: true, force: true });
  const again = await train("early", 2);
  assert.equal(again.code, 2);
  assert.match(again.stderr, /early: is not empty, .* --resume /);
  const { code, stdout, stderr } = await resume("early");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^the run had saved no checkpoint yet, so it begins again$/m);
  assert.deepEqual(losses(stdout), losses(await readFile(join(whole, "metrics.jsonl"), "utf8")));
});

test("killed before its first checkpoint · a run from other weights begins with them again", async () => {
  const undisturbed = await train("from-whole", 2, "--init-from", whole);
  assert.equal(undisturbed.code, 0, undisturbed.stderr);
  const { child, done } = start(await trainArgs("from-early", 2, "--init-from", whole));
  child.stdout?.on("data", (text: string) => {
    if (text.includes('"step":1,')) child.kill("SIGKILL");
  });
  await done;
  await rm(path("from-early", "checkpoints"), { recursive: true, force: true });
  const { code, stdout, stderr } = await resume("from-early");
  assert.equal(code, 0, stderr);
  assert.deepEqual(losses(stdout), losses(undisturbed.stdout));
});

test("a folder that holds only what a killed process left before its first file is a new run's", async () => {
  await mkdir(path("residue"));
  await writeFile(path("residue", ".tmp-config.json"), "{");
  await writeFile(path("residue", "run.lock"), "");
  const then = new Date(Date.now() - 120_000);
  await utimes(path("residue", "run.lock"), then, then);
  const { code, stderr } = await train("residue", 1);
  assert.equal(code, 0, stderr);
});

test("metrics.csv and metrics.jsonl were lost or damaged · --resume writes the epochs that the checkpoint knows", async () => {
  await copy("records");
  const table = await readFile(path("records", "metrics.csv"), "utf8");
  await rm(path("records", "metrics.csv"));
  const garbage = 'null\n[]\n{"type":"step"}\n{"type":"epoch","epoch":"two"}\n7\n{"type":"start","resumedAtStep":0\n';
  await writeFile(path("records", "metrics.jsonl"), garbage);
  const { code, stderr } = await resume("records");
  assert.equal(code, 0, stderr);
  assert.equal(await readFile(path("records", "metrics.csv"), "utf8"), table);
  assert.match(await readFile(path("records", "report.html"), "utf8"), /Training finished/);
  assert.equal((await readFile(path("records", "metrics.jsonl"), "utf8")).includes("null\n"), false);
});

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  test(`${signal} while a run starts · exit ${code}, a true sentence, no folder`, async () => {
    const env = prepared(`const on = process.on.bind(process);
process.on = (name, listener) => { const out = on(name, listener); if (name === "${signal}") setImmediate(() => process.kill(process.pid, name)); return out; };`);
    const outcome = await densenet(await trainArgs(`start ${signal}`, 2), { env });
    assert.equal(outcome.code, code, outcome.stderr);
    assert.equal(outcome.stderr, `${signal}: nothing was trained yet, so nothing is saved\n`);
    await assert.rejects(stat(path(`start ${signal}`)));
  });

  test(`${signal} after the last epoch · exit ${code}, a true sentence, the report is finished`, async () => {
    const env = prepared(`const write = process.stdout.write.bind(process.stdout); let sent = false;
process.stdout.write = (text, ...rest) => {
  if (!sent && /"type":"checkpoint".*"step":6}/.test(text)) { sent = true; process.kill(process.pid, "${signal}"); }
  return write(text, ...rest);
};`);
    const outcome = await densenet(await trainArgs(`end ${signal}`, 2), { env });
    assert.equal(outcome.code, code, outcome.stderr);
    assert.match(outcome.stderr, new RegExp(`^${signal}: all epochs are done and saved; finishing the report$`, "m"));
    assert.equal(events(outcome.stdout).at(-1)?.type, "end");
    assert.match(await readFile(path(`end ${signal}`, "report.html"), "utf8"), /Training finished/);
  });
}

test("a run that fails says so in its report, and why", async () => {
  const env = prepared(`import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
const { writeSync } = fs; fs.writeSync = (file, text) => {
  if (String(text).includes('"step":3,')) throw Object.assign(new Error("EIO: i/o error, write"), { code: "EIO" });
  return writeSync(file, text);
}; syncBuiltinESMExports();`);
  const { code, stderr } = await densenet(await trainArgs("fails", 2), { env });
  assert.equal(code, 5, stderr);
  const report = await readFile(path("fails", "report.html"), "utf8");
  assert.match(
    report,
    /class="state failed">Training failed: .*metrics\.jsonl: cannot be written, the disk or the network failed \(EIO\)/,
  );
});

for (const [what, name, expected, says] of [
  ["no name", "", 2, /the run's folder: got "", expected a path/],
  [
    "a name of 300 letters",
    "x".repeat(300),
    2,
    /xxx: has a name that is too long for the file system \(ENAMETOOLONG\)/,
  ],
  [
    "a folder below a file",
    join("images", "red", "0.png", "run"),
    2,
    /run: cannot be a folder, because something on its path is a file/,
  ],
  ["a file", join("images", "red", "0.png"), 2, /0\.png: is a file, expected a folder/],
] as const) {
  test(`--output with ${what} · exit ${expected} before anything is made or opened`, async () => {
    const output = name === "" ? "" : path(name);
    const { code, stdout, stderr } = await densenet(["train", "--config", await config(1), "--output", output]);
    assert.deepEqual([code, stdout], [expected, ""], stderr);
    assert.match(stderr, says);
    assert.equal(stderr.split("\n").length, 2);
  });
}

test("settings that do not fit the data leave no folder behind", async () => {
  const { code, stderr } = await train("unfit", 1, "--batch-size", "1000", "--grad-accum-steps", "500");
  assert.equal(code, 2, stderr);
  await assert.rejects(stat(path("unfit")));
});

async function flip(file: string): Promise<void> {
  const bytes = await readFile(file);
  const at = bytes.length - 5;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(file, bytes);
}
