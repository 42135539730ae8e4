#!/usr/bin/env node
// cli: the end of the line. Parses the command line, runs a verb, and turns what happened into an exit code.
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { addAnalyze } from "./analyze.ts";
import { addConvert } from "./convert.ts";
import { addData } from "./data.ts";
import { addDemo } from "./demo.ts";
import { addDoctor } from "./doctor.ts";
import { addEval } from "./eval.ts";
import { addExport } from "./export.ts";
import { EXIT_CODES } from "./flags.ts";
import { addInspect } from "./inspect.ts";
import { addModels } from "./models.ts";
import { flushOutput, print, reportFailure, talk, watchOutput } from "./output.ts";
import { addPaper } from "./paper.ts";
import { addPredict } from "./predict.ts";
import { addRuns } from "./runs.ts";
import { addTrain } from "./train.ts";

const packageJson: { readonly version: string } = createRequire(import.meta.url)("../../package.json");

function createProgram(): Command {
  const program = new Command("densenet")
    .description("Trains, evaluates, runs, inspects and exports densely connected convolutional networks.")
    .version(packageJson.version)
    .showSuggestionAfterError()
    .exitOverride()
    // Usage errors are reported once, by reportFailure.
    .configureOutput({ writeOut: print, writeErr: talk, outputError: () => {} });
  const verbs = [addTrain, addEval, addPredict, addExport, addConvert, addInspect, addAnalyze, addModels, addRuns];
  for (const add of [...verbs, addData, addPaper, addDoctor, addDemo]) add(program);
  return program.addHelpText(
    "after",
    "\nEvery verb has its own help: densenet train --help\nData goes to stdout, progress to stderr; --json makes " +
      `the data JSON.\n\n${EXIT_CODES}`,
  );
}

/** commander's own words as one sentence. Help and version that were asked for are no error. */
function usageError(error: CommanderError): UsageError | undefined {
  if (error.exitCode === 0) return undefined;
  if (error.code === "commander.help") return new UsageError("no verb given, expected one of those above");
  const [first = "", suggestion] = error.message.replace(/^error: /, "").split("\n");
  const meant = /Did you mean (?:one of )?(.*?)\?/.exec(suggestion ?? "")?.[1];
  return new UsageError(meant === undefined ? first : `${first}; did you mean ${meant}?`, { meant });
}

async function run(): Promise<number> {
  const json = process.argv.includes("--json");
  try {
    await createProgram().parseAsync();
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(error, json);
    const failure = usageError(error);
    return failure === undefined ? 0 : reportFailure(failure, json);
  }
}

watchOutput();
// The end comes when everything is written, whatever is still open.
process.exit(await flushOutput(await run()));
