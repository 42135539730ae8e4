// cli: the settings of a run as flags, what several verbs share, and how texts become values.
import { Option } from "commander";
import { UsageError } from "../errors.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { defaultTrainConfig } from "../train/config.ts";
import { type FlagValue, settingValue } from "../train/resolveConfig.ts";
import {
  expectation,
  type SettingFlag,
  type SettingGroup,
  type SettingRow,
  settings,
  textValue,
} from "../train/settings.ts";

/** Parser of a flag's number; ranges are the business of who uses it. */
export function numberFlag(flag: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isFinite(value)) {
      throw new UsageError(`${flag}: got "${text}", expected a number`, { flag, value: text });
    }
    return value;
  };
}

/** Parser of a flag's whole number of at least `least`. */
export function wholeFlag(flag: string, least: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isInteger(value) || value < least) {
      throw new UsageError(`${flag}: got "${text}", expected a whole number of at least ${least}`, {
        flag,
        value: text,
      });
    }
    return value;
  };
}

/**
 * The flag of the setting at `path`. `otherwise`: what holds without it, where a verb has another default than a
 * training run.
 */
export function settingOption(path: string, otherwise?: string): Option {
  const setting = settings.get(path);
  if (setting?.flag === undefined) throw new RangeError(`the setting ${path} has no flag`);
  return optionOf(path, setting, setting.flag, description(setting, otherwise));
}

/** The flags of the settings of a group. Other names of a flag are not in the help. */
export function settingOptions(group: SettingGroup): readonly Option[] {
  return [...settings].flatMap(([path, setting]) => {
    const { flag } = setting;
    if (flag === undefined || setting.group !== group) return [];
    const { short: _, aliases = [], ...shape } = flag;
    return [settingOption(path), ...aliases.map((name) => optionOf(path, setting, { ...shape, name }, "").hideHelp())];
  });
}

function optionOf(
  path: string,
  { schema }: SettingRow,
  { name, short, value }: SettingFlag,
  description: string,
): Option {
  const flags = `${short === undefined ? "" : `${short}, `}${name}${value === undefined ? "" : ` <${value}>`}`;
  const option = new Option(flags, description);
  if (value === undefined) return option;
  return option.argParser((text: string) => settingValue(path, textValue(text, schema), name));
}

/** Help, range and default: `images per weight update (whole number from 1 to 1048576; default: 64)`. */
function description(
  { schema, help, default: value, defaultMeans }: SettingRow,
  otherwise = defaultMeans ?? String(value),
): string {
  const expected = expectation(schema);
  const range = expected.startsWith("a text") ? "" : `${expected.replace(/^a /, "")}; `;
  return `${help} (${range}default: ${otherwise})`;
}

/** Which checkpoint of a run folder. */
export const bestOption = (): Option =>
  new Option("--best", "of a run folder the checkpoint with the lowest validation error, not the last");

/** What verbs take that show image files to a network, beside how images are prepared. */
export function imageFileOptions(): readonly Option[] {
  const [maxPixels, ...device] = ["data.maxPixels", "device", "activationDtype", "threads"].map((path) =>
    settingOption(path),
  );
  return [maxPixels, bestOption(), ...device];
}

/** A setting's value from the flags that commander read. */
export function flagValues(options: Readonly<Record<string, unknown>>): ReadonlyMap<string, FlagValue> {
  return new Map(
    [...settings].flatMap(([path, { flag }]): [string, FlagValue][] => {
      const names = flag === undefined ? [] : [flag.name, ...(flag.aliases ?? [])];
      const given = names.find((name) => options[attributeName(name)] !== undefined);
      return given === undefined ? [] : [[path, { value: options[attributeName(given)], flag: given }]];
    }),
  );
}

const attributeName = (flag: string): string => new Option(flag).attributeName();

/** What the device flags ask for; one that was not given has its setting's default. */
export function chosenDevice(options: Partial<DeviceChoice>): DeviceChoice {
  const { device, activationDtype, threads } = defaultTrainConfig;
  return {
    device: options.device ?? device,
    activationDtype: options.activationDtype ?? activationDtype,
    threads: options.threads ?? threads,
  };
}

/** What the default of --data-dir is. */
export const EMBEDDED = settings.get("data.dir")?.defaultMeans ?? "";

export const jsonOption = (what = "one JSON document on stdout, errors too"): Option => new Option("--json", what);
export const EXIT_CODES = `Exit codes:
  0 ok   1 bug   2 usage   3 bad input   4 diverged   5 out of memory or disk
  6 device   7 verification failed   129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM`;

/** The text under a verb's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n\n${EXIT_CODES}`;
}
