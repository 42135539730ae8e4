// A training run as the library has it: events, folder, report.
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, mock, test } from "node:test";
import { loadCheckpoint } from "../../src/checkpoint/store.node.ts";
import { UsageError } from "../../src/errors.ts";
import { openHeldOut } from "../../src/run/heldOut.node.ts";
import { type RunEvent, type RunOptions, runTraining } from "../../src/run/run.node.ts";
import { savedConfig } from "../../src/run/start.node.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import { EvaluationTally } from "../../src/train/evaluation.ts";
import { resolveConfig } from "../../src/train/resolveConfig.ts";
import { makeImages, tinyConfig } from "../cli/images.ts";

let root = "";
let config: TrainConfig;
let calm: RunEvent[];
/** Of the calm run. */
let validations = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-runs-"));
  await makeImages(join(root, "images"), 8);
  config = resolveConfig({ file: { ...tinyConfig(join(root, "images"), 2), device: "reference" } }).config;
  const result = mock.method(EvaluationTally.prototype, "result");
  calm = await collect({ config, folder: join(root, "calm") });
  validations = result.mock.callCount();
  result.mock.restore();
});
after(() => rm(root, { recursive: true }));

async function collect(options: RunOptions, stop?: (event: RunEvent) => boolean): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of runTraining(options)) {
    events.push(event);
    if (stop?.(event)) break;
  }
  return events;
}
const types = (events: readonly RunEvent[]): string[] => events.map(({ type }) => type);
const losses = (events: readonly RunEvent[]): number[] =>
  events.flatMap((event) => (event.type === "step" ? [event.loss] : event.type === "epoch" ? [event.valLoss] : []));

test("runTraining · opened, the training's events, finished; the last is the last validation, not a second one", () => {
  const epoch = ["step", "step", "step", "epoch", "checkpoint"];
  assert.deepEqual(types(calm), ["opened", "start", ...epoch, ...epoch, "end", "finished"]);
  const last = calm.at(-1);
  assert.ok(last?.type === "finished");
  assert.equal(validations, 2);
  assert.equal(last.evaluation.loss, last.final.valLoss);
  assert.equal(last.evaluation.top1Error, last.final.valTop1Error);
  assert.deepEqual(last.constant, { name: "blue", error: 100 * (1 - 2 / 6) });
});

test("runTraining · interrupted by its signal and resumed, it has the losses of one that was not, and one record", async () => {
  const folder = join(root, "resumed");
  const stop = new AbortController();
  const first: RunEvent[] = [];
  for await (const event of runTraining({ config, folder, signal: stop.signal })) {
    first.push(event);
    if (event.type === "step" && event.step === 4) stop.abort();
  }
  assert.equal(first.at(-1)?.type, "interrupted");
  assert.match(await readFile(join(folder, "report.html"), "utf8"), /interrupted and can be resumed/);
  const second = await collect({ config: await savedConfig(folder), resume: folder });
  assert.deepEqual(losses([...first, ...second]), losses(calm));
  const lines = (await readFile(join(folder, "metrics.jsonl"), "utf8")).trimEnd().split("\n");
  assert.deepEqual(losses(lines.map((line) => JSON.parse(line))), losses(calm));
});

test("runTraining · a signal that comes before the first event rejects with its reason and makes no folder", async () => {
  const folder = join(root, "never");
  const signal = AbortSignal.abort(new Error("not now"));
  await assert.rejects(collect({ config, folder, signal }), /not now/);
  await assert.rejects(stat(folder));
});

test("runTraining · whoever stops iterating leaves a report that says interrupted, no lock, and what was saved", async () => {
  const folder = join(root, "left");
  await collect({ config, folder }, ({ type }) => type === "checkpoint");
  assert.match(await readFile(join(folder, "report.html"), "utf8"), /interrupted and can be resumed/);
  assert.ok(!(await readdir(folder)).includes("run.lock"));
  assert.ok((await loadCheckpoint(folder)).training);
});

test("runTraining · resume elsewhere leaves the folder that it comes from as it was", async () => {
  const before = await readFile(join(root, "left", "metrics.jsonl"), "utf8");
  const folder = join(root, "branch");
  const events = await collect({ config, resume: join(root, "left"), folder });
  assert.equal(events.at(-1)?.type, "finished");
  assert.equal(await readFile(join(root, "left", "metrics.jsonl"), "utf8"), before);
  const lines = (await readFile(join(folder, "metrics.jsonl"), "utf8")).trimEnd().split("\n");
  assert.deepEqual(losses(lines.map((line) => JSON.parse(line))), losses(calm));
});

test("runTraining · resume and initFrom together are refused", async () => {
  const calmFolder = join(root, "calm");
  await assert.rejects(collect({ config, resume: calmFolder, initFrom: calmFolder }), UsageError);
});

test("runTraining · sources and command stand in environment.json; those of a resumed run stay", async () => {
  const folder = join(root, "sources");
  const stop = (event: RunEvent): boolean => event.type === "checkpoint";
  await collect({ config, folder, sources: { lr: "flag", epochs: "preset" }, command: "start it" }, stop);
  await collect({ config, resume: folder, sources: { threads: "flag" }, command: "resume it" });
  const { sources, command } = JSON.parse(await readFile(join(folder, "environment.json"), "utf8"));
  assert.deepEqual([sources.lr, sources.epochs, sources.threads, command], ["flag", "preset", "flag", "start it"]);
});

test("a resumed run whose images changed says so, and eval then knows that nobody knows what was held out", async () => {
  const data = join(root, "changing");
  await makeImages(data, 8);
  const changing = { ...config, data: { ...config.data, dir: data } };
  const folder = join(root, "changed");
  await collect({ config: changing, folder }, ({ type }) => type === "checkpoint");
  await makeImages(data, 8, 300);
  const lines: string[] = [];
  await collect({ config: changing, resume: folder, report: (line) => lines.push(line) });
  assert.match(lines.join("\n"), /names, sizes or labels of the images are not those that the run began with/);
  const loaded = { ...(await loadCheckpoint(folder)), namesClasses: true };
  await assert.rejects(openHeldOut(loaded, folder, {}), /names or sizes of its images are not those .* --split all$/);
  const all = await openHeldOut(loaded, folder, { split: "all" });
  assert.deepEqual([all.which, all.dataset.val.length], ["all", 24]);
});

test("a run that was saved without a digest · as many images are taken for its own, and that is said", async () => {
  const folder = join(root, "calm");
  const file = join(folder, "environment.json");
  const { dataDigest, ...rest } = JSON.parse(await readFile(file, "utf8"));
  assert.match(dataDigest, /^[0-9a-f]{64}$/);
  await writeFile(file, JSON.stringify(rest));
  const other = join(root, "other");
  await makeImages(other, 8, 900);
  const lines: string[] = [];
  const loaded = { ...(await loadCheckpoint(folder)), namesClasses: true };
  const found = await openHeldOut(loaded, folder, { dataDir: other, report: (line) => lines.push(line) });
  assert.deepEqual([found.which, found.dataset.val.length], ["validation", 6]);
  assert.match(lines.join("\n"), /as many images as the run had, so they are taken for the run's own/);
});
