import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { loadCheckpoint, saveCheckpoint } from "../../src/checkpoint/store.node.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { parseRunState } from "../../src/train/runState.ts";
import { densenet, entry, events, start } from "./command.ts";
import { CLASSES, makeImages, tinyConfig } from "./images.ts";

let folder = "";
let data = "";
let run = "";
let firstRun: Awaited<ReturnType<typeof densenet>>;

async function config(epochs: number): Promise<string> {
  const path = join(folder, `config-${epochs}.json`);
  await writeFile(path, JSON.stringify(tinyConfig(data, epochs)));
  return path;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-run-"));
  data = join(folder, "images");
  run = join(folder, "run");
  await makeImages(data, 16);
  firstRun = await densenet(["train", "--config", await config(2), "--output", run, "--json"]);
});
after(() => rm(folder, { recursive: true }));

test("train --json · one event a line on stdout, talk on stderr, in the order of a run", () => {
  assert.equal(firstRun.code, 0, firstRun.stderr);
  const types = events(firstRun.stdout).map((event) => event.type);
  // 36 of 48 images to train on in batches of 8: five updates an epoch.
  const epoch = [...Array<string>(5).fill("step"), "epoch", "checkpoint"];
  assert.deepEqual(types, ["start", ...epoch, ...epoch, "end"]);
  assert.match(firstRun.stderr, /^epoch 1\/2 {2}train loss \d/m);
});

test("train · the run folder holds config, environment, metrics, checkpoints and report", async () => {
  assert.deepEqual((await readdir(run)).sort(), [
    "checkpoints",
    "config.json",
    "environment.json",
    "metrics.csv",
    "metrics.jsonl",
    "report.html",
  ]);
  const events = await readFile(join(run, "metrics.jsonl"), "utf8");
  assert.equal(events, firstRun.stdout);
  const csv = (await readFile(join(run, "metrics.csv"), "utf8")).trim().split("\n");
  assert.equal(csv.length, 3);
  assert.match(csv[0] ?? "", /^epoch,trainLoss,trainTop1Error,/);
  const environment = JSON.parse(await readFile(join(run, "environment.json"), "utf8"));
  assert.equal(environment.node, process.versions.node);
  assert.equal(environment.backend.name, "wasm");
  const report = await readFile(join(run, "report.html"), "utf8");
  assert.match(report, /Training finished/);
  for (const name of CLASSES) assert.ok(report.includes(name));
  assert.match(report, /data:image\/png;base64,/);
  assert.match(report, /class="evidence" src="data:image\/jpeg;base64,/);
});

test("train --config <run>/config.json repeats the run bit for bit", async () => {
  const again = join(folder, "again");
  const { code, stdout } = await densenet(["train", "--config", join(run, "config.json"), "--output", again, "--json"]);
  assert.equal(code, 0);
  const losses = (text: string): unknown[] => events(text).map((event) => [event.type, event.loss ?? event.valLoss]);
  assert.deepEqual(losses(stdout), losses(firstRun.stdout));
});

test("train · a folder that holds something is not written to", async () => {
  const before = await readFile(join(run, "metrics.jsonl"), "utf8");
  const { code, stderr } = await densenet(["train", "--config", await config(2), "--output", run]);
  assert.equal(code, 2);
  assert.match(stderr, /is not empty, expected a new folder .* --resume/);
  assert.equal(await readFile(join(run, "metrics.jsonl"), "utf8"), before);
});

test("train · data that is not there leaves no folder behind", async () => {
  const output = join(folder, "never");
  const { code, stderr } = await densenet(["train", "--data-dir", join(folder, "nowhere"), "--output", output]);
  assert.equal(code, 3);
  assert.match(stderr, /nowhere: does not exist/);
  await assert.rejects(stat(output));
});

test("train · a loss that is no longer finite · exit 4, report says so, JSON has the error", async () => {
  const output = join(folder, "diverged");
  const args = ["train", "--config", await config(2), "--lr", "1e30", "--output", output, "--json"];
  const { code, stdout, stderr } = await densenet(args);
  assert.equal(code, 4);
  const last = events(stdout).at(-1) as { error: { kind: string; message: string } };
  assert.equal(last.error.kind, "DivergedError");
  assert.match(stderr, /the loss is .* in update \d+ .* learning rate/);
  assert.match(await readFile(join(output, "report.html"), "utf8"), /no longer a finite number/);
});

test("eval --json · the errors, loss and count of the last epoch", async () => {
  const { code, stdout } = await densenet(["eval", run, "--data-dir", data, "--threads", "1", "--json"]);
  assert.equal(code, 0);
  const found = JSON.parse(stdout);
  assert.deepEqual(Object.keys(found), [
    ...["top1Error", "top5Error", "loss", "count"],
    ...["images", "constant", "meanClassError", "mean", "uncalibrated", "classes"],
  ]);
  const end = events(firstRun.stdout).at(-1) as { final: { valTop1Error: number; valLoss: number } };
  assert.equal(found.count, 12);
  assert.equal(found.top1Error, end.final.valTop1Error);
  // Batches of another size are summed in another order.
  assert.ok(Math.abs(found.loss - end.final.valLoss) < 1e-5);
});

test("eval · without --data-dir the run's own images, those that it held out; the same where they were moved to", async () => {
  const { code, stdout, stderr } = await densenet(["eval", run, "--threads", "1", "--json"]);
  assert.equal(code, 0, stderr);
  const end = events(firstRun.stdout).at(-1) as { final: { valTop1Error: number; valLoss: number } };
  const found = JSON.parse(stdout);
  assert.deepEqual([found.count, found.top1Error], [12, end.final.valTop1Error]);
  assert.ok(Math.abs(found.loss - end.final.valLoss) < 1e-5);
  const moved = join(folder, "moved");
  await cp(data, moved, { recursive: true });
  const there = await densenet(["eval", run, "--data-dir", moved, "--threads", "1", "--json"]);
  assert.deepEqual(found.images, { of: "images", which: "validation" });
  assert.deepEqual(JSON.parse(there.stdout), { ...found, images: { of: "moved", which: "validation" } });
  assert.equal(there.stderr, "");
});

test(
  "eval --data-dir · other images are measured by their own val split; --val-split holds out of their training " +
    "images",
  async () => {
    const others = join(folder, "withVal");
    await makeImages(join(others, "train"), 20);
    await makeImages(join(others, "val"), 4);
    const own = await densenet(["eval", run, "--data-dir", others, "--json"]);
    assert.equal(JSON.parse(own.stdout).count, 12);
    assert.match(own.stderr, /withVal: not the images of the run, so none are held out of them/);
    const held = await densenet(["eval", run, "--data-dir", others, "--val-split", "0.5", "--json"]);
    assert.deepEqual([JSON.parse(held.stdout).count, held.stderr], [30, ""]);
    assert.deepEqual(JSON.parse(own.stdout).images, { of: "withVal", which: "val" });
    // Where the run's split cannot even be made: a class of one image.
    const few = join(folder, "few");
    await makeImages(join(few, "train"), 1);
    await makeImages(join(few, "val"), 5);
    assert.equal(JSON.parse((await densenet(["eval", run, "--data-dir", few, "--json"])).stdout).count, 15);
  },
);

test("eval --data-dir · a folder of classes, though as many as the run's, or fewer classes: all of it", async () => {
  const same = join(folder, "sameCount");
  await makeImages(same, 16, 500);
  const whole = await densenet(["eval", run, "--data-dir", same, "--json"]);
  const found = JSON.parse(whole.stdout);
  assert.deepEqual([found.count, found.images], [48, { of: "sameCount", which: "all" }]);
  assert.match(whole.stderr, /sameCount: not the images of the run/);
  await rm(join(same, "green"), { recursive: true });
  const two = JSON.parse((await densenet(["eval", run, "--data-dir", same, "--json"])).stdout);
  assert.equal(two.count, 32);
  assert.deepEqual(
    two.classes.map(({ name, count }: { name: string; count: number }) => [name, count]),
    [
      ["blue", 16],
      ["green", 0],
      ["red", 16],
    ],
  );
  assert.deepEqual(two.constant, { name: "blue", error: 50 });
  const text = await densenet(["eval", run, "--data-dir", same]);
  assert.match(text.stdout, /^images +32: all of .*sameCount$/m);
});

test("eval · a folder with nothing but test/, --split names a split that is there or not", async () => {
  const parent = join(folder, "testOnly");
  await makeImages(join(parent, "test"), 5);
  for (const args of [[], ["--split", "test"], ["--split", "all"]]) {
    const { stdout, stderr } = await densenet(["eval", run, "--data-dir", parent, ...args, "--json"]);
    assert.equal(JSON.parse(stdout).count, 15, stderr);
  }
  const missing = await densenet(["eval", run, "--data-dir", parent, "--split", "val"]);
  assert.equal(missing.code, 3);
  assert.match(missing.stderr, /testOnly: has no folder "val" with folders of classes/);
});

test("eval · the run's images are more now, or gone · exit 3, both named, and what to say", async () => {
  const own = join(folder, "own");
  const output = join(folder, "ownRun");
  await makeImages(own, 8);
  const settings = join(folder, "own.json");
  await writeFile(settings, JSON.stringify(tinyConfig(own, 1)));
  await densenet(["train", "--config", settings, "--output", output]);
  await makeImages(own, 10);
  for (const place of [[], ["--data-dir", own]]) {
    const more = await densenet(["eval", output, ...place]);
    assert.equal(more.code, 3);
    assert.match(more.stderr, /own: leaves 21 images to train on, the run had 18, .* --val-split/);
  }
  const said = await densenet(["eval", output, "--val-split", "0.2", "--json"]);
  assert.equal(JSON.parse(said.stdout).count, 6);
  await rm(own, { recursive: true });
  const gone = await densenet(["eval", output]);
  assert.equal(gone.code, 3);
  assert.match(gone.stderr, /^densenet: the run's images .* --data-dir .*own: does not exist/);
});

test("eval · a model without a run · the embedded images, or what --data-dir names", async () => {
  const { checkpoint } = JSON.parse(await readFile(join(run, "checkpoints", "last.json"), "utf8"));
  const bare = join(folder, "bare.safetensors");
  await cp(join(run, "checkpoints", checkpoint, "model.safetensors"), bare);
  const embedded = await densenet(["eval", bare]);
  assert.equal(embedded.code, 2);
  assert.match(embedded.stderr, /^densenet: imageSize: got 12, expected 32, .* CIFAR-10 subset/);
  const named = await densenet(["eval", bare, "--data-dir", data, "--val-split", "0.25", "--json"]);
  assert.equal(JSON.parse(named.stdout).count, 12);
});

test("eval · a run that does not say where its images are · exit 2 without --data-dir, measured with it", async () => {
  const output = join(folder, "library");
  await cp(run, output, { recursive: true });
  const last = await loadCheckpoint(output);
  assert.ok(last.training !== undefined);
  const state = parseRunState(last.training.run, output);
  const unnamed = { ...state, config: { ...state.config, data: { ...state.config.data, dir: null } } };
  await saveCheckpoint(
    output,
    { ...last, training: { ...last.training, run: unnamed } },
    { step: 99, best: false, keep: 1 },
  );
  const { code, stderr } = await densenet(["eval", output]);
  assert.equal(code, 2);
  assert.match(stderr, /^densenet: --data-dir: not given, and the run does not say in what folder its images are/);
  assert.equal(JSON.parse((await densenet(["eval", output, "--data-dir", data, "--json"])).stdout).count, 12);
});

test("eval --data-dir · embedded images of another size · exit 2; a folder that is no class of the network · exit 3", async () => {
  const embedded = await densenet(["eval", run, "--data-dir", "embedded"]);
  assert.equal(embedded.code, 2);
  assert.match(embedded.stderr, /^densenet: imageSize: got 12, expected 32, .* CIFAR-10 subset/m);
  const others = join(folder, "others");
  await cp(data, others, { recursive: true });
  await rename(join(others, "blue"), join(others, "azure"));
  const { code, stderr } = await densenet(["eval", run, "--data-dir", others]);
  assert.equal(code, 3);
  assert.match(
    stderr,
    /^densenet: .*azure: the network has no class "azure", expected folders called "blue", "green", "red"/m,
  );
});

test("predict --json · file, label, index, score of each file in order", async () => {
  const files = CLASSES.map((name) => join(data, name, "0.png"));
  const { code, stdout } = await densenet(["predict", run, ...files, "--top-k", "3", "--json"]);
  assert.equal(code, 0);
  const found = JSON.parse(stdout);
  assert.deepEqual(
    found.map((result: { file: string }) => result.file),
    files,
  );
  for (const { label, index, score, top } of found) {
    assert.equal(CLASSES[index], label);
    assert.ok(score > 1 / 3 && score <= 1);
    assert.equal(top.length, 3);
    const total = top.reduce((sum: number, { score }: { score: number }) => sum + score, 0);
    assert.ok(Math.abs(total - 1) < 1e-9);
    assert.deepEqual(top[0], { label, index, score });
  }
});

test("predict · as text: a line for each file", async () => {
  const files = CLASSES.map((name) => join(data, name, "0.png"));
  const { stdout } = await densenet(["predict", run, ...files]);
  const lines = stdout.trim().split("\n");
  assert.equal(lines.length, 3);
  for (const line of lines) assert.match(line, /\.png +(blue|green|red) +\d+\.\d %$/);
});

test("predict · good files get their answer, bad ones are named · exit 3, --json has both in order", async () => {
  const broken = join(folder, "broken.png");
  const good = join(data, "red", "0.png");
  await cp(good, broken);
  await truncate(broken, 60);
  const missing = join(folder, "missing.png");
  const { code, stdout, stderr } = await densenet(["predict", run, broken, good, missing, good]);
  assert.equal(code, 3);
  assert.match(stdout, /^(\S+red\/0\.png +red +\d+\.\d %\n){2}$/);
  assert.match(
    stderr,
    /^densenet: .*broken\.png: .*\ndensenet: .*missing\.png: does not exist, .*\n2 of 4 could not be/,
  );
  const json = await densenet(["predict", run, broken, good, missing, "--json"]);
  assert.equal(json.code, 3);
  const [first, second, third] = JSON.parse(json.stdout);
  assert.deepEqual([first.file, first.error.kind, first.label], [broken, "InputError", undefined]);
  assert.deepEqual([second.file, second.label, second.error], [good, "red", undefined]);
  assert.match(third.error.message, /missing\.png: does not exist/);
  const only = await densenet(["predict", run, missing]);
  assert.deepEqual([only.code, only.stdout], [3, ""]);
});

test("predict · a folder stands for the images below it, a pattern for what it matches; what is neither is named", async () => {
  const mixed = join(folder, "mixed");
  await cp(join(data, "red", "0.png"), join(mixed, "b.png"));
  await cp(join(data, "blue", "0.png"), join(mixed, "deep", "a.png"));
  await writeFile(join(mixed, "notes.txt"), "no image");
  await mkdir(join(mixed, "empty"));
  const names = (stdout: string): string[] =>
    JSON.parse(stdout).map(({ file }: { file: string }) => file.slice(folder.length + 1));
  const whole = await densenet(["predict", run, mixed, join(mixed, "b.png"), "--json"]);
  assert.equal(whole.code, 0, whole.stderr);
  assert.deepEqual(names(whole.stdout), ["mixed/b.png", "mixed/deep/a.png", "mixed/b.png"]);
  assert.match(whole.stderr, /mixed: left out 1 \.txt/);
  const pattern = await densenet(["predict", run, join(mixed, "**/*.png"), "--json"]);
  assert.deepEqual(names(pattern.stdout), ["mixed/b.png", "mixed/deep/a.png"]);
  const nothing = await densenet(["predict", run, join(mixed, "empty"), join(mixed, "*.jpg")]);
  assert.equal(nothing.code, 3);
  assert.match(nothing.stderr, /empty: holds no image, .*\n.*\*\.jpg: matches no image file/);
});

test("predict --output · a table of the answers and of what is bad, commas and quotes kept", async () => {
  const odd = join(folder, 'a "b",c.png');
  await cp(join(data, "red", "0.png"), odd);
  const output = join(folder, "answers.csv");
  const missing = join(folder, "missing.png");
  const { code, stdout } = await densenet(["predict", run, odd, missing, "--top-k", "2", "--output", output]);
  assert.deepEqual([code, stdout], [3, ""]);
  const [header, first, second] = (await readFile(output, "utf8")).split("\n");
  assert.equal(header, "file,label,score,label2,score2,error");
  assert.match(first ?? "", /a ""b"",c\.png",red,0\.\d+,(blue|green),0\.\d+,$/);
  assert.match(second ?? "", /missing\.png,,,,,".*missing\.png: does not exist/);
  for (const [file, says] of [
    [join(folder, "nowhere", "a.csv"), /--output: the folder .*nowhere does not exist/],
    [data, /--output: .* is no regular file/],
    ["", /--output: got ""/],
  ] as const) {
    const refused = await densenet(["predict", run, odd, "--output", file]);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, says);
  }
});

test("class names and file names never reach the terminal as control characters", async () => {
  const hostile = join(folder, "hostile");
  const name = `red\u001b]0;owned\u0007\u009b31m\u202e`;
  await makeImages(hostile, 6);
  await rename(join(hostile, "red"), join(hostile, name));
  const settings = join(folder, "hostile.json");
  await writeFile(settings, JSON.stringify(tinyConfig(hostile, 1)));
  const output = join(folder, `hostile\u001brun`);
  const results = [
    await densenet(["train", "--config", settings, "--output", output]),
    await densenet(["eval", output]),
    await densenet(["predict", output, join(hostile, name)]),
    await densenet(["predict", output, join(hostile, `${name}.png`)]),
  ];
  const controls = /[^\P{Cc}\n]|\u202e/u;
  for (const { stdout, stderr } of results) assert.doesNotMatch(stdout + stderr, controls);
  assert.match(results[1]?.stdout ?? "", /red\\u001b\]0;owned\\u0007/);
});

test("settings for a checkpoint are called no checkpoint", async () => {
  const settings = await densenet(["predict", join(run, "config.json"), join(data, "red", "0.png")]);
  assert.equal(settings.code, 3);
  assert.match(settings.stderr, /config\.json: is a JSON text; expected weights: .*\n$/);
});

test("a checkpoint with a flipped bit · exit 7; cut short · exit 3; the name of a text file · exit 3", async () => {
  const damaged = join(folder, "damaged");
  await cp(run, damaged, { recursive: true });
  const { checkpoint } = JSON.parse(await readFile(join(damaged, "checkpoints", "last.json"), "utf8"));
  const file = join(damaged, "checkpoints", checkpoint, "model.safetensors");
  const bytes = await readFile(file);
  bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1;
  await writeFile(file, bytes);
  const flipped = await densenet(["eval", damaged, "--data-dir", data]);
  assert.equal(flipped.code, 7);
  assert.match(flipped.stderr, /model\.safetensors: its SHA-256 is/);
  await truncate(file, 1000);
  const cut = await densenet(["inspect", damaged, "--json"]);
  assert.equal(cut.code, 3);
  assert.equal(JSON.parse(cut.stdout).error.kind, "InputError");
  const text = await densenet(["predict", join(run, "metrics.csv"), join(data, "red", "0.png")]);
  assert.equal(text.code, 3);
});

test("inspect <run> · the network of the checkpoint", async () => {
  const { code, stdout } = await densenet(["inspect", run, "--json"]);
  assert.equal(code, 0);
  const { spec, height, connections } = JSON.parse(stdout);
  assert.deepEqual([spec.numClasses, spec.growthRate, height, connections], [3, 4, 12, 1 + 3]);
});

test("train --resume · a finished run says so, and with other settings that --init-from starts a new one", async () => {
  const again = await densenet(["train", "--resume", run, "--json"]);
  assert.equal(again.code, 0);
  assert.deepEqual(
    events(again.stdout).map(({ type }) => type),
    ["start", "end"],
  );
  assert.match(again.stderr, /has done its 2 epochs already; .* densenet train --init-from .*run$/m);
  const longer = await densenet(["train", "--resume", run, "--epochs", "4"]);
  assert.equal(longer.code, 2);
  assert.match(longer.stderr, /epochs: got 4, .* began with 2; .*--init-from/);
});

test("train --init-from · a new run of the same network and settings from the weights, with other epochs and rate", async () => {
  const output = join(folder, "longer");
  const args = ["train", "--init-from", run, "--epochs", "3", "--lr", "0.01", "--output", output, "--json"];
  const { code, stdout, stderr } = await densenet(args);
  assert.equal(code, 0, stderr);
  const [start, first] = events(stdout) as { config: TrainConfig; loss: number; resumedAtStep: number }[];
  assert.deepEqual([start?.config.epochs, start?.config.lr, start?.resumedAtStep], [3, 0.01, 0]);
  assert.deepEqual(start?.config.model, JSON.parse(await readFile(join(run, "config.json"), "utf8")).model);
  // Weights that were trained for two epochs, not first ones.
  const firstOfAll = events(firstRun.stdout)[1] as { loss: number };
  assert.ok((first?.loss ?? 9) < 0.6 * firstOfAll.loss, `${first?.loss} after ${firstOfAll.loss}`);
  const other = await densenet(["train", "--init-from", run, "--model", "BC-100-12", "--output", join(folder, "not")]);
  assert.equal(other.code, 2);
  assert.match(other.stderr, /run: holds another network \(\d+ parameters\) than .*DenseNet-BC-100-12/);
  await assert.rejects(stat(join(folder, "not")));
  const both = await densenet(["train", "--init-from", run, "--resume", run]);
  assert.deepEqual([both.code, both.stdout], [2, ""]);
});

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${signal} · finishes the step, saves, exit ${code}; --resume goes on with the next step`, async () => {
    const output = join(folder, signal);
    const { child, done } = start(["train", "--config", await config(500), "--output", output, "--json"]);
    let seen = "";
    child.stdout?.on("data", (text: string) => {
      // In the second epoch, or after it where the reader comes late. Twice, as npm and a terminal send it: the echo is
      // not a second wish.
      if (!seen.includes('"step":7') && (seen + text).includes('"step":7')) {
        child.kill(signal);
        child.kill(signal);
      }
      seen += text;
    });
    const stopped = await done;
    assert.equal(stopped.code, code, stopped.stderr);
    const last = events(stopped.stdout).at(-1) as { type: string; step: number };
    assert.equal(last.type, "interrupted");
    assert.match(await readFile(join(output, "report.html"), "utf8"), /interrupted and can be resumed/);

    const resumed = start(["train", "--resume", output, "--json"]);
    let heard = "";
    resumed.child.stdout?.on("data", (text: string) => {
      // Once: a signal that comes later than an echo ends a run where it stands.
      if (!heard.includes('"type":"step"') && (heard + text).includes('"type":"step"')) resumed.child.kill(signal);
      heard += text;
    });
    const [first, ...rest] = events((await resumed.done).stdout) as {
      type: string;
      resumedAtStep?: number;
      step?: number;
    }[];
    assert.deepEqual([first?.type, first?.resumedAtStep], ["start", last.step]);
    // A run that was stopped after the last update of an epoch has its validation to do first.
    const next = rest.find(({ type }) => type === "step");
    assert.equal(next?.step, last.step + 1);
    const record = events(await readFile(join(output, "metrics.jsonl"), "utf8"));
    const steps = record.filter((event) => event.type === "step").map((event) => event.step);
    assert.deepEqual(
      steps,
      Array.from(steps, (_, index) => index + 1),
      "every step is in the record once",
    );
  });
}

test("a reader that goes away · the run saves and ends with 0 and no stack", async () => {
  const output = join(folder, "pipe");
  const { child, done } = start(["train", "--config", await config(500), "--output", output, "--json"]);
  child.stdout?.once("data", () => child.stdout?.destroy());
  const { code, stderr } = await done;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /nobody reads the output any more/);
  assert.ok((await readdir(join(output, "checkpoints"))).includes("last.json"));
});

test("inspect --plan in a pipe that closes early ends quietly", async () => {
  const { child, done } = start(["inspect", "BC-100-12", "--plan"]);
  child.stdout?.once("data", () => child.stdout?.destroy());
  const { code, stderr } = await done;
  assert.equal(code, 0);
  assert.equal(stderr, "");
});

test("on a terminal one line rewrites itself; NO_COLOR takes the colour and leaves the bar", async (context) => {
  const probe = await promisify(execFile)("script", ["--version"]).catch(() => undefined);
  if (probe === undefined) return context.skip("script(1) is not installed");
  const esc = String.fromCharCode(27);
  const onTerminal = async (name: string, env: Record<string, string>): Promise<string> => {
    const command =
      `stty cols 80; '${process.execPath}' '${entry}' train --config '${await config(2)}' --output ` +
      `'${join(folder, name)}'`;
    // Nothing inherited: CI, FORCE_COLOR and their like also decide about colour.
    const options = { env: { PATH: process.env.PATH, TERM: "xterm-256color", ...env } };
    return (await promisify(execFile)("script", ["-qec", command, "/dev/null"], options)).stdout;
  };
  const coloured = await onTerminal("terminal", {});
  assert.ok(coloured.includes(`\r${esc}[K`), "the line is rewritten");
  assert.match(coloured, /epoch 1\/2 .*[━╌]{6,}/);
  assert.ok(coloured.includes(`${esc}[34m`), "and has colour");
  const plain = await onTerminal("plain", { NO_COLOR: "1" });
  assert.ok(plain.includes(`\r${esc}[K`));
  assert.ok(!plain.includes(`${esc}[3`), "no colour");
});
