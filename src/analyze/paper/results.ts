// analyze/paper: a measured run as results/ keeps it: small files of a run's folder, no checkpoint and no path of the
// machine that it ran on.
//
//   config.json       the settings
//   environment.json  machine, runtime, command, date
//   metrics.csv       a line per epoch; the last one has the test error at the end of training
//   start.json        what the run found at its start (data, parameters, memory) and its first losses
//   featureReuse.json what figure 5 shows of the final weights; only of networks that it can be made of
import * as z from "zod";
import { InputError } from "../../errors.ts";
import { type NetworkSpec, networkTitle, parameterCount, variantName } from "../../networks/registry.ts";
import type { TrainConfig } from "../../train/config.ts";
import type { EpochMetrics } from "../../train/events.ts";
import { configuredSpec, resolveConfig } from "../../train/resolveConfig.ts";
import type { FeatureReuse } from "../featureReuse.ts";
import type { Table2Column } from "./tables.ts";

export const RESULT_FILES = ["config.json", "environment.json", "metrics.csv", "start.json"] as const;
export type ResultFile = (typeof RESULT_FILES)[number];
export const REUSE_FILE = "featureReuse.json";

/** The texts of a result's files. */
export type ResultTexts = Readonly<Record<ResultFile, string>> & { readonly [REUSE_FILE]?: string };

/** Losses of the first updates that a result keeps, so that anyone can see whether the run begins the same again. */
export const FIRST_LOSSES = 20;

const environmentSchema = z.object({
  startedAt: z.iso.datetime(),
  node: z.string(),
  platform: z.string(),
  cpu: z.string(),
  cores: z.int(),
  memoryBytes: z.int(),
  backend: z.object({
    name: z.string(),
    threads: z.int(),
    features: z.record(z.string(), z.boolean()).default({}),
    device: z.string().optional(),
  }),
  command: z.string(),
});

const startSchema = z.strictObject({
  /** As the data set calls itself. */
  dataset: z.string(),
  classes: z.int(),
  trainCount: z.int(),
  testCount: z.int(),
  stepsPerEpoch: z.int(),
  /** Bytes of device memory that the compiled plans needed at once. */
  peakBytes: z.int(),
  /** Of the first updates, and what they were computed on. */
  firstLosses: z.array(z.number()),
  computedOn: z.strictObject({
    cpu: z.string(),
    node: z.string(),
    backend: z.string(),
    threads: z.int(),
    features: z.array(z.string()),
  }),
});

export type ComputedOn = ResultStart["computedOn"];
export type ResultStart = z.infer<typeof startSchema>;

/** A finished run. */
export type Result = {
  /** Of its folder in results/. */
  readonly name: string;
  readonly config: TrainConfig;
  readonly spec: NetworkSpec;
  /** Of the network, such as "DenseNet-BC-40-12". */
  readonly title: string;
  readonly variant?: string;
  readonly params: number;
  readonly environment: z.infer<typeof environmentSchema>;
  readonly start: ResultStart;
  readonly epochs: readonly EpochMetrics[];
  /** After the last epoch, the number that the paper reports. */
  readonly final: EpochMetrics;
  readonly seconds: number;
  /** The column of Table 2 that it belongs to; missing for other data, or where not the whole test set was measured. */
  readonly column?: Table2Column;
  readonly reuse?: FeatureReuse;
};

/** @throws InputError naming the file of `name` that is not what a result has */
export function parseResult(name: string, files: ResultTexts): Result {
  const config = checked(name, "config.json", () => resolveConfig({ file: JSON.parse(files["config.json"]) }).config);
  const environment = checked(name, "environment.json", () =>
    environmentSchema.parse(JSON.parse(files["environment.json"])),
  );
  const start = checked(name, "start.json", () => startSchema.parse(JSON.parse(files["start.json"])));
  const epochs = checked(name, "metrics.csv", () => parseMetrics(files["metrics.csv"]));
  const final = epochs.at(-1);
  if (final === undefined || epochs.length !== config.epochs) {
    throw new InputError(`results/${name}/metrics.csv: has ${epochs.length} epochs, expected ${config.epochs}`);
  }
  const spec = configuredSpec(config, { classes: start.classes, channels: 3 });
  const variant = variantName(spec);
  const column = columnOf(start, config);
  const reuseText = files[REUSE_FILE];
  const reuse =
    reuseText === undefined ? undefined : checked(name, REUSE_FILE, (): FeatureReuse => JSON.parse(reuseText));
  return {
    name,
    config,
    spec,
    title: networkTitle(spec, config.model.variant),
    ...(variant === undefined ? {} : { variant }),
    params: parameterCount(spec),
    environment,
    start,
    epochs,
    final,
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
    ...(column === undefined ? {} : { column }),
    ...(reuse === undefined ? {} : { reuse }),
  };
}

function checked<T>(name: string, file: ResultFile | typeof REUSE_FILE, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new InputError(`results/${name}/${file}: is not what a recorded run has: ${why}`, { name, file }, { cause });
  }
}

/** The table that a run's folder keeps: a line of names, then a line per epoch. */
function parseMetrics(text: string): EpochMetrics[] {
  const [header = "", ...lines] = text.trim().split("\n");
  const names = header.split(",");
  return lines.map((line) => {
    const values = line.split(",").map(Number);
    if (values.length !== names.length || values.some(Number.isNaN)) throw new RangeError(`"${line}" is no epoch`);
    return Object.fromEntries(names.map((key, index) => [key, values[index]])) as unknown as EpochMetrics;
  });
}

/** Whole data sets by classes and images, as the paper uses them: all training images, all test images. */
const paperData: readonly {
  readonly column: "C10" | "C100" | "SVHN";
  readonly classes: number;
  readonly trainCounts: readonly number[];
  readonly testCount: number;
}[] = [
  { column: "C10", classes: 10, trainCounts: [50_000], testCount: 10_000 },
  { column: "C100", classes: 100, trainCounts: [50_000], testCount: 10_000 },
  // With the extra images, and 6,000 held out of them or not.
  { column: "SVHN", classes: 10, trainCounts: [604_388, 598_388], testCount: 26_032 },
];

function columnOf(start: ResultStart, { data }: TrainConfig): Table2Column | undefined {
  const found = paperData.find(
    ({ classes, trainCounts, testCount }) =>
      start.classes === classes && start.testCount === testCount && trainCounts.includes(start.trainCount),
  );
  if (found === undefined || (data.augment !== "none" && data.augment !== "standard")) return undefined;
  if (found.column === "SVHN") return data.augment === "none" ? "SVHN" : undefined;
  return data.augment === "standard" ? `${found.column}+` : found.column;
}
