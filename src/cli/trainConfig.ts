// cli: the flags of `densenet train` and the configuration they resolve to.
import { resolve } from "node:path";
import type { Command } from "commander";
import type { FolderFacts } from "../data/dataset.ts";
import { surveyFolder } from "../data/open.node.ts";
import { UsageError } from "../errors.ts";
import { savedConfig, settingsFrom } from "../run/start.node.ts";
import { type Choice, chooseSettings, chosenConfig } from "../train/choose.ts";
import { settingSchemas } from "../train/config.ts";
import { presetNames } from "../train/presets.ts";
import { type PartialTrainConfig, type ResolvedConfig, resolveConfig } from "../train/resolveConfig.ts";
import { settingGroups, settings } from "../train/settings.ts";
import { readConfigFile } from "./configFile.ts";
import { flagValues, settingOptions } from "./flags.ts";

/** As commander names them: those of the settings, and what the settings start from. */
export interface TrainFlags {
  readonly preset?: string;
  readonly config?: string;
  readonly resume?: string;
  readonly initFrom?: string;
  readonly minutes?: number;
  readonly [setting: string]: unknown;
}

/**
 * Options that are added to the command later stand under the last heading, Run. `startingPoints`: whether a run's
 * settings may be those of a preset, a file or another run; default true.
 */
export function addTrainFlags(command: Command, { startingPoints = true } = {}): Command {
  for (const group of settingGroups) {
    command.optionsGroup(`${group}:`);
    if (group === "Run" && startingPoints) addStartingPoints(command);
    for (const option of settingOptions(group)) command.addOption(option);
  }
  return command
    .addHelpOption(command.createOption("-h, --help", "show this help"))
    .addHelpText("after", `\n${wrapped(WITHOUT_FLAG)}`);
}

function addStartingPoints(command: Command): void {
  command
    .option("--preset <name>", `settings to start from: ${presetNames.join(", ")}`)
    .option("--config <file>", "settings from a JSON file, such as the config.json of a run")
    .option(
      "--resume <run>",
      "continue the run in this folder; on the same device and threads bit for bit as if it had not stopped",
    )
    .option(
      "--init-from <path>",
      "start from the weights of a run, a checkpoint, a packaged model (densenet models), or another tool's file " +
        "(.safetensors, .pth, .onnx, .keras, .h5, a timm folder, hf:OWNER/NAME)",
    );
}

/** The folder of images as the argument or as --data-dir. */
export function withFolder<F extends TrainFlags>(options: F, folder: string | undefined): F {
  if (folder === undefined) return options;
  if (options.dataDir !== undefined) {
    throw new UsageError(`got the folder ${folder} and --data-dir, expected one of them`, { folder });
  }
  return { ...options, dataDir: folder };
}

const WITHOUT_FLAG =
  "Settings without a flag, for a config file: " +
  `${[...settingSchemas.keys()].filter((path) => settings.get(path)?.flag === undefined).join(", ")}.`;

/** In lines of at most 80 characters. */
const wrapped = (text: string): string => text.replace(/(.{1,80})(?: |$)/g, "$1\n").trimEnd();

/** The settings of a run, and what of them was chosen for its folder of images. */
export interface ResolvedTraining extends ResolvedConfig {
  /** Of a folder of somebody's own images for which settings are chosen. */
  readonly facts?: FolderFacts;
  readonly choices: readonly Choice[];
  /** The same settings with what was measured since; nothing is read again. */
  resolveWith(measured: Measured): ResolvedTraining;
}

/** What was measured before a run. */
export interface Measured {
  readonly epochs?: Choice | undefined;
  readonly rate?: Choice | undefined;
}

/**
 * Settings from the flags, the config file (or the run to resume), the preset and the defaults. Data is the embedded
 * set where none is named. For a folder of images, settings that nobody says are chosen, unless there is a preset, a
 * file or weights to start from.
 */
export async function resolveTrainConfig(flags: TrainFlags): Promise<ResolvedTraining> {
  const { preset, config: file, resume, initFrom } = flags;
  requireAlone(flags);
  const weights = initFrom === undefined ? undefined : await settingsFrom(initFrom);
  const given = flagValues(flags);
  const input = {
    flags: given,
    ...(preset === undefined ? {} : { preset }),
    ...(file === undefined ? {} : { file: await readConfigFile(file), fileName: file }),
    ...(resume === undefined ? {} : { file: await savedConfig(resume), fileName: resume }),
    ...weightsLayer(flags, weights),
  };
  const { dir, maxPixels } = resolveConfig(input).config.data;
  // The paper's recipes are about data sets that do not come with the package: they need a folder, the rest has a
  // default.
  const named = dir ?? (preset?.startsWith("paper-") ? null : "embedded");
  const found = named === null || named === "embedded" ? named : resolve(named);
  const isOpen = [preset, file, resume, initFrom].every((start) => start === undefined);
  const facts = isOpen && found !== null && dir !== null ? await surveyFolder(found, maxPixels) : undefined;
  const said = new Map([...given].map(([path, { value }]) => [path, value]));

  const resolveWith = (measured: Measured): ResolvedTraining => {
    const { epochs } = measured;
    const inTime = epochs === undefined ? [] : [["epochs", { value: epochs.value, flag: "--minutes" }] as const];
    const choices = facts === undefined ? [] : chooseSettings(facts, said, measured);
    const resolved = resolveConfig({ ...input, flags: new Map([...given, ...inTime]), chosen: chosenConfig(choices) });
    const config = { ...resolved.config, data: { ...resolved.config.data, dir: found } };
    return { ...resolved, config, choices, ...(facts === undefined ? {} : { facts }), resolveWith };
  };
  return resolveWith({});
}

/** @throws UsageError for flags that say the same thing twice, or what a resumed run keeps */
function requireAlone({ preset, config, resume, initFrom, minutes, epochs }: TrainFlags): void {
  for (const [flag, value] of [
    ["--preset", preset],
    ["--config", config],
    ["--init-from", initFrom],
    ["--minutes", minutes],
  ] as const) {
    if (resume !== undefined && value !== undefined) {
      throw new UsageError(`${flag}: cannot be given with --resume, which keeps the settings of the run`, { flag });
    }
  }
  if (minutes !== undefined && epochs !== undefined) {
    throw new UsageError("--minutes: cannot be given with --epochs, which it chooses", { flag: "--minutes" });
  }
}

/** The settings of the run that the weights are from; with a preset or a config file, only what network they are of. */
function weightsLayer({ preset, config, initFrom }: TrainFlags, weights: PartialTrainConfig | undefined) {
  if (weights === undefined || initFrom === undefined) return {};
  if (preset === undefined && config === undefined) return { file: weights, fileName: initFrom };
  return weights.model === undefined ? {} : { settings: { model: weights.model } };
}

/** Source of what a resumed run keeps. */
export const RESUMED = "resumed run";

/** Setting, as dotted path → where it came from, in words. */
export function sourceNames({ sources }: ResolvedConfig, flags: TrainFlags): Record<string, string> {
  const unresumed = flags.config === undefined ? "run of the weights" : "config file";
  const fromFile = flags.resume === undefined ? unresumed : RESUMED;
  return Object.fromEntries(
    Object.entries(sources).map(([path, source]) => [path, source === "file" ? fromFile : source]),
  );
}
