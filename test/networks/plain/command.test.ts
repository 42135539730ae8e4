// networks/plain: the command trains a chain, goes on with it, measures it, asks it and shows it, as it does any
// network.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { densenet, events } from "../../cli/command.ts";
import { CLASSES, makeImages, tinyConfig } from "../../cli/images.ts";
import { lastEpoch, requireUsable, stopAfterFirstUpdate } from "../trained.ts";

const EPOCHS = 8;
let folder = "";
let data = "";
let config = "";
let whole: Awaited<ReturnType<typeof densenet>>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "densenet-plain-"));
  data = join(folder, "images");
  config = join(folder, "config.json");
  await makeImages(data, 16);
  const model = { variant: "plain-40-12", blockConfig: [1, 2], widths: [6, 8] };
  await writeFile(config, JSON.stringify({ ...tinyConfig(data, EPOCHS), model }));
  whole = await densenet(["train", "--config", config, "--output", join(folder, "whole"), "--json"]);
});
after(() => rm(folder, { recursive: true }));

test("train · a chain learns three classes; its spec and the report say what it is", async () => {
  assert.equal(whole.code, 0, whole.stderr);
  const [first] = events(whole.stdout) as { type: string; spec?: { family?: string; widths?: number[] } }[];
  assert.deepEqual([first?.type, first?.spec?.family, first?.spec?.widths], ["start", "plain", [6, 8]]);
  const { valLoss } = lastEpoch(whole.stdout);
  assert.ok(Number(valLoss) < Math.log(CLASSES.length), `validation loss ${valLoss}`);
  const report = await readFile(join(folder, "whole", "report.html"), "utf8");
  assert.match(report, /<h1>A plain network like plain-40-12 on /);
  assert.match(report, /A plain chain of convolutions without skip connections with <b>/);
  assert.match(report, /Blocks of 1, 2 layers; every layer reads the one before it, 3 connections in all\./);
  assert.match(report, /<th scope="row">block2<\/th>/);
});

test("--resume · a chain that was stopped ends with the numbers of one that was not", async () => {
  const output = join(folder, "stopped");
  const stopped = await stopAfterFirstUpdate(["train", "--config", config, "--output", output, "--json"]);
  assert.equal(stopped.code, 143);
  const resumed = await densenet(["train", "--resume", output, "--json"]);
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.deepEqual(lastEpoch(resumed.stdout), lastEpoch(whole.stdout));
});

test("train --recompute bottleneck, 2 threads · a chain's losses stay what they are up to rounding", async () => {
  const output = join(folder, "recomputed");
  const args = [
    "train",
    "--config",
    config,
    "--recompute",
    "bottleneck",
    "--threads",
    "2",
    "--output",
    output,
    "--json",
  ];
  const { code, stdout, stderr } = await densenet(args);
  assert.equal(code, 0, stderr);
  const losses = (text: string): number[] =>
    events(text).flatMap(({ type, loss }) => (type === "step" ? [Number(loss)] : []));
  const [found, expected] = [losses(stdout), losses(whole.stdout)];
  assert.equal(found.length, expected.length);
  for (const [step, loss] of found.entries()) assert.ok(Math.abs(loss - expected[step]) < 1e-3, `update ${step + 1}`);
});

test("eval and predict · a chain's checkpoint gives the validation error of its last epoch and labels for files", async () => {
  await requireUsable(join(folder, "whole"), data, whole);
});

test("inspect · a chain by name and as a checkpoint", async () => {
  const named = await densenet(["inspect", "plain-bc-100-12"]);
  assert.match(
    named.stdout,
    /^Plain-BC-100-12\n {2}kind +plain, widths 16-19-20, blocks 16-16-16, bottlenecks of 4 times/,
  );
  assert.match(named.stdout, /depth +100 convolution and classifier layers\n {2}parameters +661,860\n/);
  assert.match(named.stdout, /connections +48 = 16 \+ 16 \+ 16\n/);
  const { code, stdout } = await densenet(["inspect", join(folder, "whole"), "--json"]);
  assert.equal(code, 0);
  const { spec, connections, description } = JSON.parse(stdout);
  assert.deepEqual([spec.family, spec.widths, connections], ["plain", [6, 8], 3]);
  assert.match(description, /chain/);
});

test("train --model plain-40-12 · a field of another family is refused before a folder is made", async () => {
  const other = join(folder, "other.json");
  await writeFile(other, JSON.stringify({ ...tinyConfig(data, 1), model: { variant: "plain-40-12", growthRate: 4 } }));
  const { code, stderr } = await densenet(["train", "--config", other, "--output", join(folder, "none")]);
  assert.equal(code, 2);
  assert.match(stderr, /growthRate.* a plain network has no such field; its fields are blockConfig, widths, /);
});
