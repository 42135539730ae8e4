// cli: `densenet demo` — everything once, on the images that come with the package: train, measure, classify, report.
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { formatPercent, table } from "../analyze/format.ts";
import { loadPredictor, predictFiles } from "../infer/files.node.ts";
import { createConfiguredBackend } from "../run/device.node.ts";
import type { FinishedEvent } from "../run/run.node.ts";
import type { TrainConfig } from "../train/config.ts";
import { examples, jsonOption, settingOption, wholeFlag } from "./flags.ts";
import { closingLines, followRun } from "./follow.ts";
import { printJson, printLine } from "./output.ts";
import { runOptions } from "./train.ts";
import { resolveTrainConfig } from "./trainConfig.ts";

interface DemoOptions {
  readonly output?: string;
  readonly epochs?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly json?: boolean;
}

interface SampleResult {
  readonly file: string;
  readonly label: string;
  readonly index: number;
  readonly score: number;
  /** What the file's name says that it shows. */
  readonly shows: string;
}

const samples = fileURLToPath(new URL("../../assets/samples", import.meta.url));

export function addDemo(program: Command): void {
  program
    .command("demo")
    .summary("train, measure and classify on the images that come with the package")
    .description(
      "Trains the preset quick on 6,000 CIFAR-10 images, measures it on 1,000 others, classifies a few more and " +
        "writes the report.",
    )
    .option("-o, --output <dir>", "run folder (default: runs/<model>-<time>)")
    .option("--epochs <n>", "passes over the training images", wholeFlag("--epochs", 1))
    .option("--seed <n>", "decides initial weights, order and augmentation", wholeFlag("--seed", 0))
    .addOption(settingOption("threads"))
    .addOption(jsonOption("one JSON event a line on stdout, last the results"))
    .addHelpText("after", examples("densenet demo", "densenet demo --epochs 3 --output runs/short"))
    .action(demo);
}

async function demo(options: DemoOptions): Promise<void> {
  const { output, json, ...settings } = options;
  const flags = { ...settings, preset: "quick" };
  const resolved = await resolveTrainConfig(flags);
  const run = runOptions(resolved, output === undefined ? flags : { ...flags, output });
  const { code, finished } = await followRun(run, json ? printJson : undefined);
  if (finished !== undefined) {
    const results = await classifySamples(finished.folder, resolved.config);
    if (json) printJson({ type: "demo", run: finished.folder, report: finished.report, samples: results });
    else for (const line of describe(finished, results)) printLine(line);
  }
  process.exitCode = code;
}

async function classifySamples(run: string, config: TrainConfig): Promise<SampleResult[]> {
  const files = (await readdir(samples)).filter((name) => name.endsWith(".png")).sort();
  const backend = await createConfiguredBackend(config);
  try {
    const predictor = await loadPredictor(run, backend);
    const paths = files.map((name) => join(samples, name));
    const predictions = await predictFiles(predictor, paths, { topK: 1 });
    return files.flatMap((file, position) => {
      const first = predictions[position]?.[0];
      return first === undefined ? [] : [{ file, ...first, shows: basename(file, ".png").replace(/-\d+$/, "") }];
    });
  } finally {
    await backend.dispose();
  }
}

function describe(finished: FinishedEvent, results: readonly SampleResult[]): string[] {
  const right = results.filter((result) => result.label === result.shows).length;
  const { classes, trainCount, final, constant } = finished;
  return [
    `What it says of ${results.length} images that it had not seen, ${right} of them right:`,
    table(
      results.map(({ file, label, score, shows }) => [
        "",
        file,
        label,
        formatPercent(100 * score, 0),
        label === shows ? "" : "wrong",
      ]),
      [3],
    ),
    "",
    ...closingLines(finished),
    "",
    `Of images that it had not seen it gets ${formatPercent(100 - final.valTop1Error, 0)} right; always naming one ` +
      `of its ${classes.length} classes gets ${formatPercent(100 - constant.error, 0)}.`,
    `That is a short run on ${trainCount} images: the paper trains 300 epochs on 50,000 and comes to 95 % with a ` +
      "larger network.",
  ];
}
