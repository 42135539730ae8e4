// cli: `densenet train` — trains a network and leaves a run folder.
import type { Command } from "commander";
import { table } from "../analyze/format.ts";
import { UsageError } from "../errors.ts";
import { settingRows } from "../run/report.node.ts";
import { inTypedWords, type ResolvedConfig, requireNetwork } from "../train/resolveConfig.ts";
import { choiceLines, measuredTraining } from "./chosen.ts";
import { examples, jsonOption, numberFlag } from "./flags.ts";
import { closingLines, followRun } from "./follow.ts";
import { printJson, printLine, say } from "./output.ts";
import { addTrainFlags, RESUMED, resolveTrainConfig, sourceNames, type TrainFlags, withFolder } from "./trainConfig.ts";

interface TrainOptions extends TrainFlags {
  readonly output?: string;
  readonly printConfig?: boolean;
  readonly json?: boolean;
}

/** What `train` asks of a run. @throws UsageError where nobody says which images it is about */
export function runOptions(resolved: ResolvedConfig, flags: TrainFlags & { readonly output?: string }) {
  if (resolved.config.data.dir === null) {
    throw new UsageError(
      `--data-dir: not given, expected the folder of the images that the preset ${flags.preset} is about`,
      { flag: "--data-dir" },
    );
  }
  // What a resumed run kept came from where it came from then; the run's folder knows.
  const given = Object.entries(sourceNames(resolved, flags)).filter(([, source]) => source !== RESUMED);
  const sources = Object.fromEntries(given);
  return { config: resolved.config, folder: flags.output, resume: flags.resume, initFrom: flags.initFrom, sources };
}

export function addTrain(program: Command): void {
  addTrainFlags(program.command("train"))
    .argument("[folder]", "the images, as --data-dir")
    .summary("train a network")
    .description(
      "Trains a network on a folder of images, on CIFAR-10, CIFAR-100 or SVHN, or on the images that come with " +
        "the package. A flag outweighs the config file, the file the preset, the preset the default. For a folder " +
        "of images, settings that nobody says are chosen to fit it, and printed with their reasons.",
    )
    .option(
      "--minutes <n>",
      "choose as many epochs as fit into so many minutes on this machine, at most 300",
      minutesFlag,
    )
    .option("-o, --output <dir>", "where to put the run, a new folder (default: runs/<model>-<time>)")
    .option("--print-config", "print every setting and where it comes from, and stop")
    .addOption(jsonOption("one JSON event a line on stdout, errors too"))
    .addHelpText(
      "after",
      `
The run folder gets config.json, environment.json, metrics.csv, metrics.jsonl, report.html and checkpoints.
Ctrl-C (SIGINT), SIGTERM and SIGHUP finish the step, save and end; --resume continues from there.
A run that has done its epochs is over: --init-from starts a new one from its weights.
${examples(
  "densenet train --preset quick",
  "densenet train --preset paper-cifar10-plus --data-dir cifar-10-binary.tar.gz",
  "densenet train photos --minutes 10",
  "densenet train photos --model BC-40-12 --val-split 0.2 --epochs 60 --sched cosine",
  "densenet train --config runs/first/config.json --seed 2 --output runs/second",
  "densenet train --resume runs/first",
  "densenet train --init-from densenet121-a639ec97.pth --data-dir photos --epochs 5",
  "densenet train --init-from runs/first --epochs 20 --lr 0.01 --output runs/longer",
  "densenet train --preset paper-cifar100 --print-config --json",
)}`,
    )
    .action(train);
}

function minutesFlag(text: string): number {
  const minutes = numberFlag("--minutes")(text);
  if (minutes > 0) return minutes;
  throw new UsageError(`--minutes: got ${text}, expected a number above 0`, { flag: "--minutes", value: text });
}

async function train(folder: string | undefined, given: TrainOptions): Promise<void> {
  const options = withFolder(given, folder);
  let resolved = await resolveTrainConfig(options);
  if (options.printConfig) {
    const rows = settingRows(resolved.config, sourceNames(resolved, options));
    if (options.json)
      printJson({ config: resolved.config, sources: Object.fromEntries(rows.map((row) => [row.key, row.source])) });
    else printLine(table(rows.map((row) => [row.key, row.value, row.source])));
    return;
  }
  const { json } = options;
  try {
    requireNetwork(resolved.config, resolved.config.device);
    resolved = await measuredTraining(resolved, options, say);
    for (const line of choiceLines(resolved, process.argv.slice(2))) say(line);
    const { code, finished } = await followRun(runOptions(resolved, options), json ? printJson : undefined);
    if (finished !== undefined && !json) for (const line of closingLines(finished)) printLine(line);
    process.exitCode = code;
  } catch (error) {
    throw inTypedWords(error, resolved.names);
  }
}
