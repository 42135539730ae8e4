// cli: the flags of `densenet train` and the configuration they resolve to.
import { resolve } from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { savedConfig, settingsFrom } from "../run/start.node.ts";
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
  readonly [setting: string]: unknown;
}

/** Options that are added to the command later stand under the last heading, Run. */
export function addTrainFlags(command: Command): Command {
  for (const group of settingGroups) {
    command.optionsGroup(`${group}:`);
    if (group === "Run") addStartingPoints(command);
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

const WITHOUT_FLAG =
  "Settings without a flag, for a config file: " +
  `${[...settingSchemas.keys()].filter((path) => settings.get(path)?.flag === undefined).join(", ")}.`;

/** In lines of at most 80 characters. */
const wrapped = (text: string): string => text.replace(/(.{1,80})(?: |$)/g, "$1\n").trimEnd();

/**
 * Settings from the flags, the config file (or the run to resume), the preset and the defaults. Data is the embedded
 * set where none is named.
 */
export async function resolveTrainConfig(flags: TrainFlags): Promise<ResolvedConfig> {
  const { preset, config: file, resume, initFrom } = flags;
  if (resume !== undefined) {
    for (const [flag, value] of [
      ["--preset", preset],
      ["--config", file],
      ["--init-from", initFrom],
    ] as const) {
      if (value !== undefined) {
        throw new UsageError(`${flag}: cannot be given with --resume, which keeps the settings of the run`, { flag });
      }
    }
  }
  const weights = initFrom === undefined ? undefined : await settingsFrom(initFrom);
  const resolved = resolveConfig({
    flags: flagValues(flags),
    ...(preset === undefined ? {} : { preset }),
    ...(file === undefined ? {} : { file: await readConfigFile(file), fileName: file }),
    ...(resume === undefined ? {} : { file: await savedConfig(resume), fileName: resume }),
    ...weightsLayer(flags, weights),
  });
  const { dir } = resolved.config.data;
  // The paper's recipes are about data sets that do not come with the package: they need a folder, the rest has a
  // default.
  const given = dir ?? (preset?.startsWith("paper-") ? null : "embedded");
  const found = given === null || given === "embedded" ? given : resolve(given);
  return { ...resolved, config: { ...resolved.config, data: { ...resolved.config.data, dir: found } } };
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
