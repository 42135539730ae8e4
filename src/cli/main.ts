#!/usr/bin/env node
// cli: the end of the line. Parses the command line, runs a verb, and turns what happened into an exit code.
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { EXIT_CODES } from "./flags.ts";
import { flushOutput, print, reportFailure, talk, watchOutput } from "./output.ts";

const packageJson: { readonly version: string } = createRequire(import.meta.url)("../../package.json");

/** In the help's order. A start loads the verb that is asked for alone. */
const verbs: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  train: async () => (await import("./train.ts")).addTrain,
  "lr-find": async () => (await import("./lrFind.ts")).addLrFind,
  eval: async () => (await import("./eval.ts")).addEval,
  predict: async () => (await import("./predict.ts")).addPredict,
  explain: async () => (await import("./explain.ts")).addExplain,
  embed: async () => (await import("./embed.ts")).addEmbed,
  export: async () => (await import("./export.ts")).addExport,
  convert: async () => (await import("./convert.ts")).addConvert,
  inspect: async () => (await import("./inspect.ts")).addInspect,
  analyze: async () => (await import("./analyze.ts")).addAnalyze,
  models: async () => (await import("./models.ts")).addModels,
  runs: async () => (await import("./runs.ts")).addRuns,
  data: async () => (await import("./data.ts")).addData,
  paper: async () => (await import("./paper.ts")).addPaper,
  doctor: async () => (await import("./doctor.ts")).addDoctor,
  demo: async () => (await import("./demo.ts")).addDemo,
};

async function createProgram(asked = ""): Promise<Command> {
  const program = new Command("densenet")
    .description("Trains, evaluates, runs, inspects and exports densely connected convolutional networks.")
    .version(packageJson.version)
    .showSuggestionAfterError()
    .exitOverride()
    // Usage errors are reported once, by reportFailure.
    .configureOutput({ writeOut: print, writeErr: talk, outputError: () => {} });
  const needed = Object.hasOwn(verbs, asked) ? [verbs[asked]] : Object.values(verbs);
  for (const add of await Promise.all(needed.map((load) => load()))) add(program);
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
    const program = await createProgram(process.argv[2]);
    await program.parseAsync();
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
