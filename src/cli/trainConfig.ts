// cli: the flags of `densenet train` and the configuration they resolve to.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { InputError, UsageError } from "../errors.ts";
import { recomputePolicies } from "../plan/lower.ts";
import type { TrainConfig } from "../train/config.ts";
import { presetNames } from "../train/presets.ts";
import {
  type ConfigSource,
  type PartialTrainConfig,
  type ResolvedConfig,
  resolveConfig,
} from "../train/resolveConfig.ts";
import { savedConfig } from "../train/trainer.node.ts";
import {
  dataDirOption,
  deviceOption,
  EMBEDDED,
  listFlag,
  numberFlag,
  storageOption,
  threadsOption,
  wholeFlag,
} from "./flags.ts";

/** As commander names them. */
export interface TrainFlags {
  readonly model?: string;
  readonly dataDir?: string;
  readonly valSplit?: number;
  readonly augment?: TrainConfig["data"]["augment"];
  readonly inputSize?: number;
  readonly epochs?: number;
  readonly batchSize?: number;
  readonly gradAccumSteps?: number;
  readonly lr?: number;
  readonly sched?: TrainConfig["schedule"];
  readonly milestones?: number[];
  readonly warmupEpochs?: number;
  readonly momentum?: number;
  readonly weightDecay?: number;
  readonly drop?: number;
  readonly seed?: number;
  readonly recompute?: TrainConfig["recompute"];
  readonly device?: TrainConfig["device"];
  readonly storage?: TrainConfig["storage"];
  readonly threads?: number;
  readonly workers?: number;
  readonly checkpointEvery?: number;
  readonly preset?: string;
  readonly config?: string;
  readonly resume?: string;
}

export function addTrainFlags(command: Command): Command {
  return command
    .option("--preset <name>", `settings to start from: ${presetNames.join(", ")}`)
    .option("--config <file>", "JSON file of settings, such as a run's config.json")
    .option(
      "--resume <run>",
      "go on with the run in this folder, on the same device and threads bit for bit as if it had not stopped",
    )
    .option("--model <name>", "network, e.g. BC-40-12, BC-100-12, 121")
    .addOption(dataDirOption(EMBEDDED))
    .option(
      "--val-split <n>",
      "training pictures held out for validation, a number or a fraction (default, or 0: none, the data has a val or test part; 0.1 of a folder that has none)",
      numberFlag("--val-split"),
    )
    .addOption(
      command.createOption("--augment <how>", "standard: shifts and mirrors").choices(["none", "standard", "imagenet"]),
    )
    .option("--input-size <pixels>", "side that pictures of a folder are cropped to", wholeFlag("--input-size", 1))
    .option("--epochs <n>", "passes over the training pictures", numberFlag("--epochs"))
    .option("-b, --batch-size <n>", "pictures per weight update", numberFlag("--batch-size"))
    .option(
      "--grad-accum-steps <n>",
      "parts a batch goes through the net in, to save memory",
      numberFlag("--grad-accum-steps"),
    )
    .option("--lr <rate>", "learning rate", numberFlag("--lr"))
    .addOption(
      command.createOption("--sched <name>", "learning rate schedule").choices(["multistep", "cosine", "constant"]),
    )
    .option("--milestones <list>", "multistep: fractions of the epochs, e.g. 0.5,0.75", listFlag("--milestones"))
    .option("--warmup-epochs <n>", "epochs over which the rate rises", numberFlag("--warmup-epochs"))
    .option("--momentum <m>", "of SGD", numberFlag("--momentum"))
    .option("--weight-decay <w>", "on every parameter", numberFlag("--weight-decay"))
    .option("--drop <p>", "dropout after each convolution but the first", numberFlag("--drop"))
    .option("--seed <n>", "decides initial weights, order, augmentation and dropout", numberFlag("--seed"))
    .addOption(command.createOption("--recompute <policy>", "memory for time, same results").choices(recomputePolicies))
    .addOption(deviceOption())
    .addOption(storageOption())
    .addOption(threadsOption())
    .addOption(
      command.createOption("-j, --workers <n>", "same as --threads").argParser(wholeFlag("--workers", 1)).hideHelp(),
    )
    .option(
      "--checkpoint-every <steps>",
      "save also within epochs, every so many updates",
      numberFlag("--checkpoint-every"),
    );
}

/** Settings from the flags, the config file (or the run to resume), the preset and the defaults. Data is the embedded set where none is named. */
export async function resolveTrainConfig(flags: TrainFlags): Promise<ResolvedConfig> {
  const { preset, config: file, resume } = flags;
  if (resume !== undefined) {
    for (const [flag, value] of [
      ["--preset", preset],
      ["--config", file],
    ] as const) {
      if (value !== undefined) {
        throw new UsageError(`${flag}: cannot be given with --resume, which keeps the settings of the run`, { flag });
      }
    }
  }
  const resolved = resolveConfig({
    flags: settingsOf(flags),
    ...(preset === undefined ? {} : { preset }),
    ...(file === undefined ? {} : { file: await readConfigFile(file), fileName: file }),
    ...(resume === undefined ? {} : { file: await savedConfig(resume), fileName: resume }),
  });
  const { dir } = resolved.config.data;
  // The paper's recipes are about data sets that do not come with the package: they need a folder, the rest has a default.
  const given = dir ?? (preset?.startsWith("paper-") ? null : "embedded");
  const found = given === null || given === "embedded" ? given : resolve(given);
  return { ...resolved, config: { ...resolved.config, data: { ...resolved.config.data, dir: found } } };
}

/** Source of what a resumed run keeps. */
export const RESUMED = "resumed run";

/** What a source is called to people. */
function sourceName(source: ConfigSource, flags: TrainFlags): string {
  if (source !== "file") return source;
  return flags.resume === undefined ? "config file" : RESUMED;
}

/** Every setting as dotted key, value as JSON, and source, in the order of the config. */
export function settingRows(
  { config, sources }: ResolvedConfig,
  flags: TrainFlags,
): { key: string; value: string; source: string }[] {
  const { model, data, ...rest } = config;
  const grouped: [string, unknown][] = [
    ...Object.entries(model).map(([key, value]): [string, unknown] => [`model.${key}`, value]),
    ...Object.entries(data).map(([key, value]): [string, unknown] => [`data.${key}`, value]),
    ...Object.entries(rest),
  ];
  return grouped.map(([key, value]) => ({
    key,
    value: typeof value === "string" ? value : JSON.stringify(value),
    source: sourceName(sources[key] ?? "default", flags),
  }));
}

function settingsOf(flags: TrainFlags): PartialTrainConfig {
  const settings = {
    model: { variant: flags.model },
    data: { dir: flags.dataDir, valSplit: flags.valSplit, augment: flags.augment, imageSize: flags.inputSize },
    epochs: flags.epochs,
    batchSize: flags.batchSize,
    accumulationSteps: flags.gradAccumSteps,
    lr: flags.lr,
    schedule: flags.sched,
    milestones: flags.milestones,
    warmupEpochs: flags.warmupEpochs,
    momentum: flags.momentum,
    weightDecay: flags.weightDecay,
    dropRate: flags.drop,
    seed: flags.seed,
    recompute: flags.recompute,
    device: flags.device,
    storage: flags.storage,
    threads: flags.threads ?? flags.workers,
    checkpointEverySteps: flags.checkpointEvery,
  };
  // Through JSON, which leaves out what was not given.
  return JSON.parse(JSON.stringify(settings)) as PartialTrainConfig;
}

async function readConfigFile(path: string): Promise<unknown> {
  let text: string;
  try {
    // The decoder leaves out a byte order mark, which editors on Windows write and JSON does not know.
    text = new TextDecoder().decode(await readFile(path));
  } catch (cause) {
    throw new InputError(`${path}: cannot be read, expected a JSON file of settings`, { file: path }, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new InputError(`${path}: is not JSON (${why}), expected an object of settings`, { file: path }, { cause });
  }
}
