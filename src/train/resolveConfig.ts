// train: one complete TrainConfig out of flags or the caller's settings, a file, a preset and the defaults, in this
// order of precedence, and who said what.
import { isRecord } from "../checkpoint/record.ts";
import { DenseNetError, UsageError } from "../errors.ts";
import { nearestName } from "../nearestName.ts";
import { canonicalName, type NetworkSpec, namedSpec, smallestInput } from "../networks/registry.ts";
import { show } from "../show.ts";
import { settingSchemas, type TrainConfig, trainConfigSchema } from "./config.ts";
import { requireFit } from "./footprint.ts";
import { usualRates } from "./optimizer.ts";
import { isPresetName, presetConfig, presetNames } from "./presets.ts";
import { choices, expectation, type SettingRow, settings } from "./settings.ts";

/** A TrainConfig of which any setting may be missing. */
export type PartialTrainConfig = {
  readonly [K in keyof TrainConfig]?: K extends "model" | "data" ? Partial<TrainConfig[K]> : Readonly<TrainConfig[K]>;
};

/** From the weakest to the strongest. */
const sources = ["default", "chosen", "preset", "file", "caller", "flag"] as const;
/** Where the value of a setting came from. */
export type ConfigSource = (typeof sources)[number];

/** A value from the command line. */
export interface FlagValue {
  readonly value: unknown;
  /** As it was typed: `--workers`. */
  readonly flag: string;
}

/** Where settings come from; each layer outweighs those after it: flags, settings, file, preset, chosen. */
export interface ConfigInput {
  /** What the caller asks for; outweighs file, preset and defaults. */
  readonly settings?: PartialTrainConfig;
  /** The same from a command line, by the setting's dotted path. */
  readonly flags?: ReadonlyMap<string, FlagValue>;
  /** Parsed JSON of a config file, not yet trusted. */
  readonly file?: unknown;
  /** For messages. */
  readonly fileName?: string;
  readonly preset?: string;
  /** What was chosen for the data, see chooseSettings; outweighs the defaults alone. */
  readonly chosen?: PartialTrainConfig;
}

/** Every setting, and where each came from. */
export interface ResolvedConfig {
  readonly config: TrainConfig;
  /** By dotted path, e.g. `data.augment`. */
  readonly sources: Readonly<Record<string, ConfigSource>>;
  /**
   * What the person typed to give a setting, by dotted path: `--sched`, `schedule in conf.json`, from the library
   * `schedule`.
   */
  readonly names: Readonly<Record<string, string>>;
}

interface Given {
  readonly value: unknown;
  readonly source: ConfigSource;
  /** What the person typed. */
  readonly name: string;
}

/** By dotted path, the strongest of each. */
type GivenSettings = ReadonlyMap<string, Given>;

const GROUPS: readonly string[] = ["model", "data"];

/**
 * The complete configuration. A layer that names a model variant drops what weaker layers changed about theirs; one
 * that names an optimizer, their rate and decay, which are for another.
 * @throws UsageError naming the setting as it was typed, the value and what was expected; for an unknown name also the
 * nearest one.
 */
export function resolveConfig(input: ConfigInput): ResolvedConfig {
  const fileName = input.fileName ?? "the config file";
  const layers: readonly GivenSettings[] = [
    new Map(
      [...settings].flatMap(([path, { default: value }]): [string, Given][] =>
        value === undefined ? [] : [[path, { value, source: "default", name: path }]],
      ),
    ),
    flatten(input.chosen ?? {}, "chosen", (key) => key),
    input.preset === undefined ? new Map() : flatten(presetNamed(input.preset), "preset", (key) => key),
    input.file === undefined ? new Map() : flatten(input.file, "file", (key) => `${key} in ${fileName}`, fileName),
    flatten(input.settings ?? {}, "caller", (key) => key),
    new Map([...(input.flags ?? [])].map(([path, { value, flag }]) => [path, { value, source: "flag", name: flag }])),
  ];
  const given = new Map<string, Given>();
  for (const layer of layers) {
    if (layer.has("model.variant")) {
      for (const path of [...given.keys()]) if (path.startsWith("model.")) given.delete(path);
    }
    const optimizer = layer.get("optimizer")?.value;
    if (optimizer === "sgd" || optimizer === "adamw") {
      for (const [path, value] of Object.entries(usualRates[optimizer])) {
        given.set(path, { value, source: "default", name: path });
      }
    }
    for (const [path, setting] of layer) given.set(path, setting);
  }

  return {
    config: checkedConfig(given),
    sources: Object.fromEntries([...given].map(([path, { source }]) => [path, source])),
    names: namesOf(given),
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
  return checkedConfig(flatten(config, "caller", (key) => key));
}

function checkedConfig(given: GivenSettings): TrainConfig {
  const isRequired = ({ default: value, addedLater }: SettingRow) => value !== undefined && !addedLater;
  const missing = [...settings].find(([path, row]) => !given.has(path) && isRequired(row))?.[0];
  if (missing !== undefined) settingValue(missing, undefined, missing);
  const values = [...given].map(([path, { value, name }]): [string, unknown] => [
    path,
    settingValue(path, value, name),
  ]);
  const checked = trainConfigSchema.parse(nest(values));
  requireConsistent(checked, given);
  try {
    const config = { ...checked, model: { ...checked.model, variant: knownVariant(checked.model.variant) } };
    requireNetwork(config);
    return config;
  } catch (error) {
    throw inTypedWords(error, namesOf(given));
  }
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

function presetNamed(name: string): PartialTrainConfig {
  if (isPresetName(name)) return presetConfig(name);
  const nearest = nearestName(name, presetNames);
  throw new UsageError(
    `no preset is named ${show(name)}; ${nearest ? `did you mean ${nearest}? ` : ""}expected one of ` +
      `${presetNames.join(", ")}`,
    { name, nearest, expected: presetNames },
  );
}

function knownVariant(variant: string): string {
  try {
    return canonicalName(variant);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const details = { ...error.details, field: "model.variant", value: variant };
    throw new UsageError(`model.variant: ${error.message}`, details, { cause: error });
  }
}

/**
 * Refuses a network that no machine can train, or that `device` cannot, before the data is opened. A recipe may be for
 * another machine than this one, so resolveConfig names no device.
 * @throws UsageError where the fields of the network do not go together or are not its family's
 * @throws UsageError, ResourceError as requireFit does, for the smallest images that they can be
 */
export function requireNetwork(config: TrainConfig, device?: string): void {
  const { variant, ...fields } = config.model;
  const spec = namedSpec(variant, fields);
  const side = config.data.imageSize ?? smallestInput(spec);
  // A size that is too small is refused with the images in view.
  if (side >= smallestInput(spec)) requireFit(config, spec, { height: side, width: side }, device);
}

/** Settings that are fine alone and not together. */
const conflicts: readonly {
  readonly between: readonly [string, string];
  readonly arises: (config: TrainConfig) => boolean;
  readonly says: (config: TrainConfig) => string;
}[] = [
  {
    between: ["accumulationSteps", "batchSize"],
    arises: ({ batchSize, accumulationSteps }) => batchSize % accumulationSteps !== 0,
    says: ({ batchSize, accumulationSteps }) =>
      `a batch of ${batchSize} images cannot be split into ${accumulationSteps} equal micro-batches, expected a ` +
      "divisor of the batch size",
  },
  {
    between: ["warmupEpochs", "epochs"],
    arises: ({ warmupEpochs, epochs }) => warmupEpochs >= epochs,
    says: ({ warmupEpochs, epochs }) =>
      `a warm-up of ${warmupEpochs} epochs in a run of ${epochs}, expected one that is shorter than the run`,
  },
  {
    between: ["activationDtype", "device"],
    arises: ({ activationDtype, device }) => activationDtype === "f16" && device !== "webgpu" && device !== "auto",
    says: ({ device }) => `feature maps in f16 with the device ${device}, which has f32 only; expected webgpu or auto`,
  },
];

/** The message is about the setting whose source weighs more: it was chosen last. */
function requireConsistent(config: TrainConfig, given: GivenSettings): void {
  const conflict = conflicts.find(({ arises }) => arises(config));
  if (conflict === undefined) return;
  const weightOf = (path: string): number => sources.indexOf(given.get(path)?.source ?? "default");
  const [first, second] = conflict.between;
  const field = weightOf(second) > weightOf(first) ? second : first;
  throw new UsageError(`${nameOf(field, given)}: ${conflict.says(config)}`, { field, value: given.get(field)?.value });
}

function nameOf(path: string, given: GivenSettings): string {
  return given.get(path)?.name ?? path;
}

function namesOf(given: GivenSettings): ResolvedConfig["names"] {
  return Object.fromEntries([...given].map(([path, { name }]) => [path, name]));
}

/**
 * An error about a setting, by the library's name for it, made one about what the person typed. Others stay as they
 * are.
 */
export function inTypedWords(error: unknown, names: ResolvedConfig["names"]): unknown {
  if (!(error instanceof DenseNetError)) return error;
  const field = String(error.details.field);
  const path = [field, `data.${field}`, `model.${field}`, `${field}.variant`].find(
    (known) => names[known] !== undefined,
  );
  if (path !== undefined && error.message.startsWith(`${field}:`)) {
    error.message = `${names[path]}${error.message.slice(field.length)}`;
  }
  return error;
}

/**
 * The settings of a layer by dotted path; those given as undefined count as not given.
 * @throws UsageError for a key that names no setting, or names one a second time
 */
function flatten(
  layer: unknown,
  source: ConfigSource,
  name: (key: string) => string,
  where = "settings",
): ReadonlyMap<string, Given> {
  if (!isRecord(layer)) {
    throw new UsageError(`${where}: got ${show(layer)}, expected an object of settings`, { where });
  }
  const found = new Map<string, Given>();
  const take = (key: string, value: unknown): void => {
    const path = pathOf(key);
    if (path === undefined) throw unknownSetting(key, name(/^[\w.-]{1,60}$/.test(key) ? key : show(key)));
    const other = found.get(path);
    if (other !== undefined) {
      throw new UsageError(`${name(key)}: is the same setting as ${other.name}, expected one of them`, { field: path });
    }
    found.set(path, { value, source, name: name(key) });
  };
  for (const [key, value] of Object.entries(layer)) {
    if (value === undefined) continue;
    if (!GROUPS.includes(key)) take(key, value);
    else if (isRecord(value)) {
      for (const [inner, setting] of Object.entries(value)) if (setting !== undefined) take(`${key}.${inner}`, setting);
    } else {
      throw new UsageError(`${name(key)}: got ${show(value)}, expected an object of settings`, { field: key, value });
    }
  }
  return found;
}

/** The dotted path that a key stands for: itself, or what the setting was called once. */
function pathOf(key: string): string | undefined {
  if (settingSchemas.has(key)) return key;
  const group = key.slice(0, key.indexOf(".") + 1);
  return [...settings].find(
    ([path, { formerly }]) => formerly !== undefined && `${group}${formerly}` === key && path.startsWith(group),
  )?.[0];
}

/**
 * The value that the setting at `path` takes when a person gives `given`: itself or what it is a spelling of.
 * @throws UsageError where that is none for this setting, about `name`: what the person typed
 */
export function settingValue(path: string, given: unknown, name: string): unknown {
  const schema = settingSchemas.get(path);
  if (schema === undefined) throw unknownSetting(path, name);
  const spellings = new Map(Object.entries(settings.get(path)?.spellings ?? {}));
  const value = typeof given === "string" ? (spellings.get(given) ?? given) : given;
  if (schema.safeParse(value).success) return value;
  const expected = expectation(schema);
  const nearest = typeof value === "string" ? nearestName(value.slice(0, LONGEST_WORD), choices(schema)) : undefined;
  const advice = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  throw new UsageError(`${name}: got ${show(value)}, expected ${expected}${advice}`, { field: path, value, expected });
}

/** What is longer is no misspelling of a short word; comparing it would only cost time. */
const LONGEST_WORD = 60;

function unknownSetting(key: string, name: string): UsageError {
  const spellings = new Map(
    [...settingSchemas.keys()].flatMap((path): [string, string][] => {
      const flag = settings.get(path)?.flag?.name.slice(2);
      const spelled = [path, path.slice(path.indexOf(".") + 1), ...(flag === undefined ? [] : [flag, camelCase(flag)])];
      return spelled.map((spelling) => [spelling, path]);
    }),
  );
  const near = nearestName(key.slice(0, LONGEST_WORD), spellings.keys());
  const nearest = near === undefined ? undefined : spellings.get(near);
  const group = key.slice(0, key.indexOf(".") + 1);
  const known = [...settingSchemas.keys()].filter((path) => path.startsWith(group));
  const names = group === "" ? new Set(known.map((path) => path.split(".")[0])) : known;
  const advice = nearest === undefined ? `expected one of ${[...names].join(", ")}` : `did you mean ${nearest}?`;
  return new UsageError(`${name}: there is no such setting; ${advice}`, { field: key.slice(0, LONGEST_WORD), nearest });
}

const camelCase = (words: string): string => words.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** An object in which the settings of a group are an object of their own. */
function nest(values: readonly (readonly [path: string, value: unknown])[]): Record<string, unknown> {
  const nested: Record<string, unknown> = {};
  for (const [path, value] of values) {
    const [key = path, group] = path.split(".").reverse();
    if (group === undefined) nested[key] = value;
    else nested[group] = { ...(nested[group] as object | undefined), [key]: value };
  }
  return nested;
}
