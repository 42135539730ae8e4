// cli: `densenet runs list` and `densenet runs compare` — what the folders of runs say of them.
import { resolve } from "node:path";
import type { Command } from "commander";
import {
  bestOf,
  comparisonPage,
  differences,
  finalOf,
  MOST_COMPARED,
  type RunSummary,
  runsTable,
} from "../analyze/compareRuns.ts";
import { table } from "../analyze/format.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { InputError, UsageError } from "../errors.ts";
import { findRuns, readRunSummary } from "../run/summary.node.ts";
import { commandLine } from "./commandLine.ts";
import { examples, jsonOption } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";
import { requireWritable } from "./outputFile.ts";

const PAGE = "comparison.html";

export function addRuns(program: Command): void {
  const runs = program
    .command("runs")
    .summary("list and compare training runs")
    .description("Lists the runs in a folder, or compares some: results, differing settings, overlaid curves.")
    .addHelpText(
      "after",
      examples("densenet runs list", "densenet runs list --json", "densenet runs compare runs/first runs/second"),
    );
  runs
    .command("list")
    .summary("a line for each run")
    .description("Lists runs: network, epochs, validation error, time, state and the notes of --notes.")
    .argument("[folder...]", "folders of runs, or runs", ["runs"])
    .addOption(jsonOption())
    .addHelpText("after", examples("densenet runs list", "densenet runs list experiments --json"))
    .action(list);
  runs
    .command("compare")
    .summary("results, differing settings and overlaid curves")
    .description(`Compares from 2 to ${MOST_COMPARED} runs in a table and on a page of their curves.`)
    .argument("<run...>", "folders of runs, or folders that hold some")
    .option("-o, --output <file>", "the page", PAGE)
    .addOption(jsonOption("one JSON document on stdout in place of the table, errors too"))
    .addHelpText(
      "after",
      examples("densenet runs compare runs/first runs/second", "densenet runs compare runs --output all.html"),
    )
    .action(compare);
}

async function list(folders: string[], { json }: { readonly json?: boolean }): Promise<void> {
  const runs = await summaries(folders);
  if (json) printJson(runs.map(jsonOf));
  else if (runs.length === 0) say(`${folders.join(", ")}: no runs there`);
  else printLine(runsTable(runs));
}

async function compare(
  folders: string[],
  { output, json }: { readonly output: string; readonly json?: boolean },
): Promise<void> {
  await requireWritable(output);
  const runs = await summaries(folders);
  if (runs.length < 2 || runs.length > MOST_COMPARED) {
    throw new UsageError(`runs compare: got ${runs.length}, expected from 2 to ${MOST_COMPARED} runs`, {
      count: runs.length,
    });
  }
  const differing = differences(runs);
  await writeFileAtomic(output, comparisonPage(runs, commandLine()));
  if (json) {
    const settings = Object.fromEntries(differing.map(([key, ...values]) => [key, values]));
    printJson({ runs: runs.map(jsonOf), differences: settings, page: output });
    return;
  }
  printLine(runsTable(runs));
  if (differing.length > 0) {
    printLine("");
    printLine(table([["setting", ...runs.map(({ folder }) => folder)], ...differing]));
  }
  printLine("");
  printLine(`page  ${output}`);
}

/** Of every run in the folders, each once. One whose settings cannot be read is named, unless it was asked for itself. */
async function summaries(folders: readonly string[]): Promise<RunSummary[]> {
  const runs: RunSummary[] = [];
  const seen = new Set<string>();
  for (const folder of folders) {
    for (const path of await findRuns(folder)) {
      if (seen.has(resolve(path))) continue;
      seen.add(resolve(path));
      try {
        runs.push(await readRunSummary(path));
      } catch (error) {
        if (!(error instanceof InputError) || path === folder) throw error;
        say(`left out: ${error.message}`);
      }
    }
  }
  return runs;
}

function jsonOf(run: RunSummary): unknown {
  const { settings, ...others } = run;
  const values = Object.fromEntries(settings.map(({ key, value }) => [key, value]));
  return { ...others, final: finalOf(run) ?? null, best: bestOf(run) ?? null, settings: values };
}
