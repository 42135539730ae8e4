// cli: `densenet lr-find` — a learning-rate range test of a run, as a curve and a suggestion.
import type { Command } from "commander";
import { analysisStyle } from "../analyze/report/analysisPage.ts";
import { html } from "../analyze/report/html.ts";
import { page } from "../analyze/report/page.ts";
import { plot } from "../analyze/report/plot.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { DivergedError } from "../errors.ts";
import { type Tuning, tuneRun } from "../run/tune.node.ts";
import { inTypedWords } from "../train/resolveConfig.ts";
import { commandLine } from "./commandLine.ts";
import { examples, jsonOption, numberFlag, wholeFlag } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";
import { requireWritable } from "./outputFile.ts";
import { listenForStop } from "./signals.ts";
import { addTrainFlags, resolveTrainConfig, type TrainFlags, withFolder } from "./trainConfig.ts";

interface LrFindOptions extends TrainFlags {
  readonly from?: number;
  readonly to?: number;
  readonly updates?: number;
  readonly output?: string;
  readonly json?: boolean;
}

export function addLrFind(program: Command): void {
  addTrainFlags(program.command("lr-find"), { startingPoints: false })
    .argument("[folder]", "the images, as --data-dir")
    .summary("find the learning rate of a run by a range test")
    .description(
      "Trains a copy of the network at learning rates that rise from update to update until the loss grows, and " +
        "suggests the highest at which it still fell. Takes the flags of train; keeps nothing of what it trains.",
    )
    .option("--from <rate>", "rate of the first update (default: 0.0001)", numberFlag("--from"))
    .option("--to <rate>", "rate of the last update (default: 10)", numberFlag("--to"))
    .option("--updates <n>", "updates between them (default: 100)", wholeFlag("--updates", 10))
    .option("-o, --output <file>", "the curve as a page")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples(
        "densenet lr-find photos",
        "densenet lr-find --data-dir cifar-10-binary.tar.gz --model BC-40-12 --output rates.html",
        "densenet lr-find photos --from 0.001 --to 1 --json",
      ),
    )
    .action(lrFind);
}

async function lrFind(folder: string | undefined, given: LrFindOptions): Promise<void> {
  const options = withFolder(given, folder);
  const { from, to, updates, output, json } = options;
  if (output !== undefined) await requireWritable(output);
  const resolved = await resolveTrainConfig(options);
  const stop = new AbortController();
  const listener = listenForStop(() => {
    stop.abort();
    return undefined;
  });
  let tuning: Tuning;
  try {
    tuning = await tuneRun(resolved.config, { from, to, updates, signal: stop.signal, report: say });
  } catch (error) {
    throw inTypedWords(error, resolved.names);
  } finally {
    listener.release();
  }
  const { points, rate } = tuning;
  if (output !== undefined) await writeFileAtomic(output, ratePage(tuning));
  if (json) printJson({ suggestion: rate ?? null, points, ...(output === undefined ? {} : { page: output }) });
  else {
    for (const line of curveLines(tuning)) printLine(line);
    printLine("");
    if (rate !== undefined) printLine(`suggestion  --lr ${rate}`);
    if (output !== undefined) printLine(`page        ${output}`);
  }
  if (rate === undefined) {
    throw new DivergedError("at none of these rates the loss fell, expected a lower --from or a higher --to", {
      updates: points.length,
    });
  }
}

const BARS = 40;
const LINES = 20;

/** Every few updates a line with the smoothed loss as a bar, between the lowest and the first. */
function curveLines({ points }: Tuning): readonly string[] {
  const finite = points.map(({ smoothed }) => smoothed).filter(Number.isFinite);
  const low = Math.min(...finite);
  const high = Math.max(...finite.slice(0, 1), low + 1e-9) * 1.05;
  const every = Math.max(1, Math.ceil(points.length / LINES));
  return points
    .filter((_, index) => index % every === every - 1 || index === points.length - 1)
    .map(({ learningRate, smoothed }) => {
      const share = Math.min(1, Math.max(0, (smoothed - low) / (high - low)));
      return `${learningRate.toExponential(1).padStart(8)}  loss ${smoothed.toFixed(3).padStart(8)}  ${"█".repeat(Math.round(share * BARS))}`;
    });
}

function ratePage({ points, rate }: Tuning): string {
  const drawn = points.filter(({ smoothed }) => Number.isFinite(smoothed));
  const series = (name: string, tone: 0 | 2, of: (point: (typeof points)[number]) => number) =>
    ({
      name,
      tone,
      marks: "line",
      points: drawn.map((point) => ({ x: point.learningRate, y: of(point) })),
    }) as const;
  const found = rate === undefined ? "the loss fell at no rate" : `the highest rate at which it still fell is ${rate}`;
  return page(
    "Learning-rate range test",
    analysisStyle,
    html`<header><h1>Learning-rate range test</h1>
<p>The learning rate rises from update to update; ${found}. The smoothed loss averages over about nine updates and comes as many late, which the suggestion allows for (Smith, “Cyclical Learning Rates for Training Neural Networks”, 2017).</p></header>
${plot({
  title: "Loss against learning rate",
  description: found,
  series: [series("loss", 2, ({ loss }) => loss), series("smoothed", 0, ({ smoothed }) => smoothed)],
  x: { label: "learning rate", scale: "log", format: (value) => value.toPrecision(2) },
  y: { label: "loss, nats", scale: "linear", format: (value) => value.toFixed(2) },
  wide: true,
})}
<footer><p><code>${commandLine()}</code></p></footer>`,
  );
}
