// train: one complete TrainConfig out of flags, a file, a preset and the defaults, in this order of precedence, and who said what.
import type * as z from "zod";
import { requireStorage } from "../backends/create.ts";
import { isRecord } from "../checkpoint/record.ts";
import { UsageError } from "../errors.ts";
import { nearestName } from "../nearestName.ts";
import { canonicalName, type NetworkSpec, namedSpec } from "../networks/registry.ts";
import { show } from "../show.ts";
import { defaultTrainConfig, type TrainConfig, trainConfigSchema } from "./config.ts";
import { isPresetName, presetConfig, presetNames } from "./presets.ts";

/** A TrainConfig of which any setting may be missing. */
export type PartialTrainConfig = {
  readonly [K in keyof TrainConfig]?: K extends "model" | "data" ? Partial<TrainConfig[K]> : Readonly<TrainConfig[K]>;
};

export type ConfigSource = "flag" | "file" | "preset" | "default";

export interface ConfigInput {
  readonly flags?: PartialTrainConfig;
  /** Parsed JSON of a config file, not yet trusted. */
  readonly file?: unknown;
  /** For messages. */
  readonly fileName?: string;
  readonly preset?: string;
}

export interface ResolvedConfig {
  readonly config: TrainConfig;
  /** By dotted path, e.g. `data.augment`. */
  readonly sources: Readonly<Record<string, ConfigSource>>;
}

interface Setting {
  readonly value: unknown;
  readonly source: ConfigSource;
}

const GROUPS: readonly string[] = ["model", "data"];

/**
 * The complete configuration. A layer that names a model variant drops what weaker layers changed about theirs.
 * @throws UsageError naming the setting, where it was given and what was expected; for an unknown one also the nearest name.
 */
export function resolveConfig(input: ConfigInput): ResolvedConfig {
  const { flags = {}, file = {}, preset } = input;
  const fileName = input.fileName ?? "the config file";
  if (!isRecord(file)) {
    throw new UsageError(`${fileName}: expected an object of settings, got ${JSON.stringify(file)}`, {
      file: fileName,
    });
  }
  const layers: readonly (readonly [ConfigSource, Readonly<Record<string, unknown>>])[] = [
    ["default", defaultTrainConfig],
    ["preset", preset === undefined ? {} : presetNamed(preset)],
    ["file", file],
    ["flag", flags],
  ];
  const settings = new Map<string, Setting>();
  for (const [source, layer] of layers) {
    if (isRecord(layer.model) && layer.model.variant !== undefined) {
      for (const path of [...settings.keys()]) if (path.startsWith("model.")) settings.delete(path);
    }
    for (const [path, value] of flatten(layer)) settings.set(path, { value, source });
  }

  return {
    config: checkedConfig(nest(settings), settings, fileName),
    sources: Object.fromEntries([...settings].map(([path, { source }]) => [path, source])),
  };
}

/**
 * A complete configuration that did not come from `resolveConfig`, checked as if it had.
 * @throws UsageError naming the setting and what was expected
 */
export function requireTrainConfig(config: TrainConfig): TrainConfig {
  if (!isRecord(config)) {
    throw new UsageError(`config: got ${show(config)}, expected the settings of a run, as resolveConfig gives them`, {
      field: "config",
    });
  }
  const settings = [...flatten(config)].map(([path, value]): [string, Setting] => [path, { value, source: "flag" }]);
  return checkedConfig(config, new Map(settings), "");
}

function checkedConfig(nested: unknown, settings: ReadonlyMap<string, Setting>, fileName: string): TrainConfig {
  const parsed = trainConfigSchema.safeParse(nested);
  if (!parsed.success) throw invalidSetting(parsed.error.issues[0] as z.core.$ZodIssue, settings, fileName);
  const config = { ...parsed.data, model: { ...parsed.data.model, variant: canonicalName(parsed.data.model.variant) } };
  requireNetwork(config.model);
  requireConsistent(config);
  return config;
}

/** The network a configuration means for data with these classes and channels. */
export function configuredSpec(config: TrainConfig, data: { classes: number; channels: number }): NetworkSpec {
  const { variant, ...overrides } = config.model;
  return namedSpec(variant, {
    ...overrides,
    dropRate: config.dropRate,
    numClasses: data.classes,
    inChannels: data.channels,
  });
}

/** Fields may be fine alone and not together, or not be those of the network's family. */
function requireNetwork({ variant, ...fields }: TrainConfig["model"]): void {
  try {
    namedSpec(variant, fields);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const field = `model.${String(error.details.field)}`;
    throw new UsageError(`model.${error.message}`, { ...error.details, field }, { cause: error });
  }
}

function presetNamed(name: string): PartialTrainConfig {
  if (isPresetName(name)) return presetConfig(name);
  const nearest = nearestName(name, presetNames);
  throw new UsageError(
    `no preset is named "${name}"; ${nearest ? `did you mean ${nearest}? ` : ""}expected one of ${presetNames.join(", ")}`,
    { name, nearest, expected: presetNames },
  );
}

/** Settings that are fine alone and not together. */
function requireConsistent(config: TrainConfig): void {
  requireStorage(config.device, config.storage);
  const { batchSize, accumulationSteps, warmupEpochs, epochs, milestones, data } = config;
  if (batchSize % accumulationSteps !== 0) {
    throw new UsageError(
      `accumulationSteps: a batch of ${batchSize} cannot be cut into ${accumulationSteps} equal parts, expected a divisor of batchSize`,
      { field: "accumulationSteps", value: accumulationSteps },
    );
  }
  if (warmupEpochs >= epochs) {
    throw new UsageError(`warmupEpochs: got ${warmupEpochs}, expected less than the ${epochs} epochs of the run`, {
      field: "warmupEpochs",
      value: warmupEpochs,
    });
  }
  if (milestones.some((milestone, i) => i > 0 && milestone <= milestones[i - 1])) {
    throw new UsageError(`milestones: got ${JSON.stringify(milestones)}, expected ascending fractions of the epochs`, {
      field: "milestones",
      value: milestones,
    });
  }
  if (data.valSplit >= 1 && !Number.isInteger(data.valSplit)) {
    throw new UsageError(
      `data.valSplit: got ${data.valSplit}, expected a fraction below 1 or a whole number of pictures`,
      {
        field: "data.valSplit",
        value: data.valSplit,
      },
    );
  }
}

function invalidSetting(issue: z.core.$ZodIssue, settings: ReadonlyMap<string, Setting>, fileName: string): UsageError {
  const group = issue.path.map(String);
  const unknownKey = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const path = [...group, ...(unknownKey === undefined ? [] : [unknownKey])].join(".");
  // A list is one setting; an issue about its third number belongs to the list.
  const setting = settings.get(path) ?? settings.get(group.slice(0, -1).join("."));
  const where = setting?.source === "file" ? `${fileName}: ` : "";
  if (unknownKey !== undefined) {
    const known = settingNames(group[0]);
    const nearest = nearestName(unknownKey, known);
    return new UsageError(
      `${where}${path}: there is no such setting; ${nearest ? `did you mean ${[...group, nearest].join(".")}?` : `expected one of ${known.join(", ")}`}`,
      { field: path, nearest },
    );
  }
  const expected = expectationOf(issue);
  return new UsageError(`${where}${path}: got ${show(setting?.value)}, expected ${expected}`, {
    field: path,
    value: setting?.value,
    expected,
  });
}

const kinds: Readonly<Record<string, string>> = {
  number: "a number",
  int: "a whole number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  object: "an object of settings",
};

/** What the schema asks for, in words. */
function expectationOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return kinds[issue.expected] ?? issue.expected;
    case "invalid_value":
      return `one of ${issue.values.join(", ")}`;
    case "too_small": {
      if (issue.origin === "array") return `a list of at least ${issue.minimum}`;
      if (issue.origin === "string") return "a text that is not empty";
      return `a number ${issue.inclusive ? "of at least" : "above"} ${issue.minimum}`;
    }
    case "too_big":
      return `a number ${issue.inclusive ? "of at most" : "below"} ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function settingNames(group: string | undefined): readonly string[] {
  if (group === "model") return Object.keys(trainConfigSchema.shape.model.shape);
  if (group === "data") return Object.keys(trainConfigSchema.shape.data.shape);
  return Object.keys(trainConfigSchema.shape);
}

/** Settings by dotted path; those given as undefined count as not given. */
function* flatten(layer: Readonly<Record<string, unknown>>): Generator<[string, unknown]> {
  for (const [key, value] of Object.entries(layer)) {
    if (value === undefined) continue;
    if (!GROUPS.includes(key) || !isRecord(value)) yield [key, value];
    else
      for (const [inner, setting] of Object.entries(value))
        if (setting !== undefined) yield [`${key}.${inner}`, setting];
  }
}

function nest(settings: ReadonlyMap<string, Setting>): Record<string, unknown> {
  const nested: Record<string, unknown> = {};
  for (const [path, { value }] of settings) {
    const [group, inner] = GROUPS.some((name) => path.startsWith(`${name}.`)) ? splitOnce(path) : [path];
    if (inner === undefined) nested[group] = value;
    // A group that was given as something else than an object stays so, for the schema to refuse.
    else if (isRecord(nested[group] ?? {}))
      nested[group] = { ...(nested[group] as object | undefined), [inner]: value };
  }
  return nested;
}

function splitOnce(path: string): [string, string] {
  const dot = path.indexOf(".");
  return [path.slice(0, dot), path.slice(dot + 1)];
}
