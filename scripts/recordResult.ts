// Adds a finished run to results/: its settings, machine, metrics and first losses, without a path of this machine.
//   node scripts/recordResult.ts RUN NAME
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { featureReuse } from "../src/analyze/featureReuse.ts";
import { resultsFolder } from "../src/analyze/paper/results.node.ts";
import {
  FIRST_LOSSES,
  parseResult,
  REUSE_FILE,
  type ResultFile,
  type ResultStart,
  type ResultTexts,
} from "../src/analyze/paper/results.ts";
import { loadCheckpoint } from "../src/checkpoint/store.node.ts";
import { anatomyOf } from "../src/networks/registry.ts";
import type { StartEvent, StepEvent, TrainEvent } from "../src/train/events.ts";
import { computedOn } from "./checkResults.ts";

const [run, name] = process.argv.slice(2);
if (run === undefined || name === undefined) throw new Error("usage: node scripts/recordResult.ts RUN NAME");
const read = (file: string): string => readFileSync(join(run, file), "utf8");
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const config = JSON.parse(read("config.json"));
const dir: string = config.data.dir ?? "embedded";
const environment = JSON.parse(read("environment.json"));
const events = read("metrics.jsonl")
  .trim()
  .split("\n")
  .map((line): TrainEvent => JSON.parse(line));
const begun = events.find((event): event is StartEvent => event.type === "start" && event.resumedAtStep === 0);
if (begun === undefined) throw new Error(`${run}/metrics.jsonl: has no start, expected the record of a whole run`);
const losses = events.filter((event): event is StepEvent => event.type === "step").map(({ loss }) => loss);
const { trained } = await loadCheckpoint(run, "last");
const start: ResultStart = {
  dataset: trained.dataset,
  classes: begun.classes.length,
  trainCount: begun.trainCount,
  testCount: begun.valCount,
  stepsPerEpoch: begun.stepsPerEpoch,
  peakBytes: begun.peakBytes,
  firstLosses: losses.slice(0, FIRST_LOSSES),
  computedOn: computedOn(environment, begun.backend),
};

const files: Record<ResultFile, string> = {
  "config.json": json({ ...config, data: { ...config.data, dir: basename(dir) } }),
  // The data set's path may stand in the command, whole; any other path is relative.
  "environment.json": json({ ...environment, command: environment.command.replaceAll(dir, basename(dir)) }),
  "metrics.csv": read("metrics.csv"),
  "start.json": json(start),
};
/** Of networks whose layers read those of all before them, figure 5. */
const reuse = anatomyOf(trained.model.spec).readers.length > 0 ? featureReuse(trained.model) : undefined;
const rounded = (_: string, value: unknown): unknown =>
  typeof value === "number" ? Number(value.toPrecision(6)) : value;
const texts: ResultTexts =
  reuse === undefined ? files : { ...files, [REUSE_FILE]: `${JSON.stringify(reuse, rounded)}\n` };
const { title, final, epochs } = parseResult(name, texts);
mkdirSync(join(resultsFolder, name), { recursive: true });
for (const [file, text] of Object.entries(texts)) writeFileSync(join(resultsFolder, name, file), text);
process.stdout.write(
  `results/${name}: ${title} on ${start.dataset}, ${epochs.length} epochs, ${final.valTop1Error.toFixed(2)} % error ` +
    `on ${start.testCount} images\nthen: node scripts/writePaper.ts\n`,
);
