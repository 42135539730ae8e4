// train: the settings of a training run, a row for each: validator, default, flag and help. The schema and the defaults
// (config.ts), precedence and messages (resolveConfig.ts), the flags of the command and the rows of --print-config are
// derived from these rows; nothing says them again.
import * as z from "zod";
import { backendNames, maxThreads } from "../backends/names.ts";
import { labelKinds } from "../data/dataset.ts";
import { DEFAULT_MAX_PIXELS } from "../data/imageFormats.ts";
import { activationDtypes } from "../plan/plan.ts";
import { recomputePolicies } from "../plan/recompute.ts";
import { modelFieldSchemas } from "./modelSettings.ts";

/** Headings of the command's help, in its order. */
export const settingGroups = ["Data", "Network", "Optimisation", "Device", "Run"] as const;
export type SettingGroup = (typeof settingGroups)[number];

export interface SettingFlag {
  /** `--batch-size` */
  readonly name: string;
  /** Of the value, for help: `n`. A flag without one sets true. */
  readonly value?: string;
  /** `-b` */
  readonly short?: string;
  /** Other flags that set the same; not in the help. */
  readonly aliases?: readonly string[];
}

export interface Setting<S extends z.ZodType = z.ZodType> {
  readonly schema: S;
  readonly default: z.output<S>;
  /** What the default comes to, where the value alone does not say. */
  readonly defaultMeans?: string;
  /** Without one the setting is for config files and the library. */
  readonly flag?: SettingFlag;
  /** Values that people write for others. */
  readonly spellings?: Readonly<Record<string, z.output<S>>>;
  readonly group: SettingGroup;
  /** One phrase; range and default are appended to it. */
  readonly help: string;
  /** A resumed run may change it: what is computed stays the same. */
  readonly mayChange?: true;
  /** Runs were saved before the setting existed; they have its default. */
  readonly addedLater?: true;
  /** Its key in runs that were saved before it was renamed. */
  readonly formerly?: string;
}

/** A setting; without a default it changes the named network, which decides where it is not given. */
export type SettingRow = Omit<Setting, "default"> & Partial<Pick<Setting, "default">>;

type Settings = Readonly<Record<string, Setting>>;

/** Infers S, so that the default is checked against the schema's type. */
const setting = <S extends z.ZodType>(row: Setting<S>): Setting<S> => row;

/** The network by name. What else `model` may hold are changes to that network, which its family knows. */
export const variantSetting = setting({
  schema: z.string().min(1),
  default: "BC-40-12",
  flag: { name: "--model", value: "name" },
  group: "Network",
  help: "the network, such as BC-40-12, BC-100-12 or 121; 'densenet inspect NAME' describes one",
});

/** What changes the named network by a flag; its other fields are for config files and the library. */
const modelSettings = {
  stem: {
    schema: modelFieldSchemas.stem,
    defaultMeans: "the named network's",
    flag: { name: "--stem", value: "kind" },
    group: "Network",
    help:
      "what a DenseNet or plain network begins with. cifar: one 3×3 convolution; imagenet: a 7×7 convolution and a " +
      "pooling, which leave a quarter of each side",
  },
  stochasticDepth: {
    schema: modelFieldSchemas.stochasticDepth,
    defaultMeans: "1, every branch always counts",
    flag: { name: "--stochastic-depth", value: "p" },
    group: "Network",
    help:
      "of a residual network: survival probability of the last unit's branch in a training step; from the first unit on " +
      "it falls linearly from 1",
  },
} satisfies Readonly<Record<string, SettingRow>>;

export const dataSettings = {
  dir: setting({
    schema: z.string().min(1).nullable(),
    default: null,
    defaultMeans: "the CIFAR-10 subset that comes with the package",
    flag: { name: "--data-dir", value: "dir" },
    group: "Data",
    help:
      "the images: CIFAR-10 or CIFAR-100 in the binary version, as folder or .tar.gz, a folder with SVHN's .mat files, " +
      "or a folder with one folder of images per class",
  }),
  labels: setting({
    schema: z.enum(labelKinds),
    default: "fine",
    flag: { name: "--labels", value: "kind" },
    group: "Data",
    help: "which labels of CIFAR-100. fine: its 100 classes; coarse: their 20 superclasses",
    addedLater: true,
  }),
  valSplit: setting({
    schema: z
      .number()
      .gte(0)
      .refine((value) => value < 1 || Number.isInteger(value))
      .describe("a fraction of at least 0 and below 1, or a whole number of images"),
    default: 0,
    defaultMeans: "0, which takes none where the data has a val or test split, and 0.1 of a folder without one",
    flag: { name: "--val-split", value: "n" },
    group: "Data",
    help: "how many training images to hold out for validation",
  }),
  augment: setting({
    schema: z.enum(["none", "standard", "imagenet"]),
    default: "none",
    flag: { name: "--augment", value: "how" },
    group: "Data",
    help:
      "random changes to training images. standard: shifts and mirrors (the paper's '+'); imagenet: crops of " +
      "random size, mirrors, brightness, contrast, saturation and light, of a folder of images",
  }),
  erase: setting({
    schema: z.number().gte(0).lte(1),
    default: 0,
    flag: { name: "--reprob", value: "p" },
    group: "Data",
    help: "random erasing: probability that a rectangle of a training image becomes the mean colour",
    addedLater: true,
  }),
  balance: setting({
    schema: z.boolean(),
    default: false,
    flag: { name: "--balance" },
    group: "Data",
    help: "show every class equally often in training, however many images it has",
    addedLater: true,
  }),
  imageSize: setting({
    schema: z.int().gte(1).lte(16_384).nullable(),
    default: null,
    defaultMeans: "the data set's own, 32 for CIFAR",
    flag: { name: "--input-size", value: "pixels" },
    group: "Data",
    help: "side of the square to which images of a folder are scaled and cropped",
  }),
  maxPixels: setting({
    schema: z.int().gte(1).lte(0x7fffffff),
    default: DEFAULT_MAX_PIXELS,
    flag: { name: "--max-pixels", value: "n" },
    group: "Data",
    help: "an image of a folder that has more pixels is refused",
    mayChange: true,
    addedLater: true,
  }),
  skipBad: setting({
    schema: z.boolean(),
    default: false,
    flag: { name: "--skip-bad" },
    group: "Data",
    help:
      "decode every image of a folder before the first update and leave out those that do not decode; in " +
      "training the next image of the class stands in for each",
    mayChange: true,
    addedLater: true,
  }),
} satisfies Settings;

export const runSettings = {
  epochs: setting({
    schema: z.int().gte(1).lte(1_000_000),
    default: 300,
    flag: { name: "--epochs", value: "n" },
    group: "Optimisation",
    help: "passes over the training images",
  }),
  patience: setting({
    schema: z.int().gte(0).lte(1_000_000),
    default: 0,
    defaultMeans: "0, all epochs are done",
    flag: { name: "--patience", value: "epochs" },
    group: "Optimisation",
    help: "end the run where the validation error has had no new low for so many epochs",
    addedLater: true,
  }),
  batchSize: setting({
    schema: z.int().gte(1).lte(1_048_576),
    default: 64,
    flag: { name: "--batch-size", value: "n", short: "-b" },
    group: "Optimisation",
    help: "images per weight update",
  }),
  accumulationSteps: setting({
    schema: z.int().gte(1).lte(1_048_576),
    default: 1,
    flag: { name: "--grad-accum-steps", value: "n" },
    group: "Optimisation",
    help: "micro-batches into which each batch is split to save memory; batch norm sees one at a time",
  }),
  lr: setting({
    schema: z.number().gt(0),
    default: 0.1,
    defaultMeans: "0.1, with adamw 0.001",
    flag: { name: "--lr", value: "rate" },
    group: "Optimisation",
    help: "learning rate before the schedule lowers it",
  }),
  schedule: setting({
    schema: z.enum(["multistep", "cosine", "constant"]),
    default: "multistep",
    flag: { name: "--sched", value: "name" },
    group: "Optimisation",
    help: "how the learning rate falls over the run",
  }),
  milestones: setting({
    schema: z
      .array(z.number().gt(0).lt(1))
      .max(100)
      .refine((list) => list.every((milestone, i) => i === 0 || milestone > (list[i - 1] ?? 0)))
      .describe("a list of at most 100 ascending fractions above 0 and below 1"),
    default: [0.5, 0.75],
    flag: { name: "--milestones", value: "list" },
    group: "Optimisation",
    help:
      "for multistep: fractions of the run after which the rate is divided by 10 (multiplied by gamma), with " +
      "commas between",
  }),
  gamma: setting({
    schema: z.number().gt(0).lte(1),
    default: 0.1,
    group: "Optimisation",
    help: "multistep: what the learning rate is multiplied by at each milestone",
  }),
  warmupEpochs: setting({
    schema: z.number().gte(0),
    default: 0,
    flag: { name: "--warmup-epochs", value: "n" },
    group: "Optimisation",
    help: "epochs over which the rate first rises to --lr, such as 0.5",
  }),
  optimizer: setting({
    schema: z.enum(["sgd", "adamw"]),
    default: "sgd",
    flag: { name: "--opt", value: "name" },
    group: "Optimisation",
    help:
      "how gradients change weights. sgd: with momentum, as in the paper; adamw: with weight decay apart from the " +
      "gradient, at rates of a hundredth",
    addedLater: true,
  }),
  momentum: setting({
    schema: z.number().gte(0).lt(1),
    default: 0.9,
    flag: { name: "--momentum", value: "m" },
    group: "Optimisation",
    help: "momentum of SGD",
  }),
  betas: setting({
    schema: z
      .tuple([z.number().gte(0).lt(1), z.number().gte(0).lt(1)])
      .describe("two numbers of at least 0 and below 1"),
    default: [0.9, 0.999],
    group: "Optimisation",
    help: "adamw: how much of its first and its second moment an update keeps",
    addedLater: true,
  }),
  epsilon: setting({
    schema: z.number().gt(0),
    default: 1e-8,
    group: "Optimisation",
    help: "adamw: what is added to the root of the second moment",
    addedLater: true,
  }),
  nesterov: setting({
    schema: z.boolean(),
    default: true,
    group: "Optimisation",
    help: "Nesterov momentum",
  }),
  weightDecay: setting({
    schema: z.number().gte(0),
    default: 1e-4,
    defaultMeans: "0.0001, with adamw 0.01",
    flag: { name: "--weight-decay", value: "w" },
    group: "Optimisation",
    help:
      "of sgd an L2 penalty, of adamw a share of the rate by which weights shrink; all parameters, those of batch norm " +
      "and biases included",
  }),
  labelSmoothing: setting({
    schema: z.number().gte(0).lt(1),
    default: 0,
    flag: { name: "--smoothing", value: "s", aliases: ["--label-smoothing"] },
    group: "Optimisation",
    help: "share of a label's probability that the training loss spreads evenly over all classes",
    addedLater: true,
  }),
  initFan: setting({
    schema: z.enum(["out", "in"]),
    default: "out",
    group: "Network",
    help: "He initialisation by outputs (the authors' code) or by inputs (torchvision)",
  }),
  dropRate: setting({
    schema: z.number().gte(0).lt(1),
    default: 0,
    flag: { name: "--drop", value: "p" },
    group: "Network",
    help: "dropout probability after each convolution but the first",
  }),
  seed: setting({
    schema: z.int().gte(0).lte(0xffffffff),
    default: 0,
    flag: { name: "--seed", value: "n" },
    group: "Optimisation",
    help: "decides initial weights, the order and augmentation of images, dropout and what is held out",
  }),
  recompute: setting({
    schema: z.enum(recomputePolicies),
    default: "none",
    flag: { name: "--recompute", value: "policy" },
    group: "Device",
    help:
      "bottleneck: compute the 1×1 convolutions again in the backward pass; less memory, more time, the same " +
      "results",
    mayChange: true,
  }),
  device: setting({
    schema: z.enum(backendNames),
    default: "wasm",
    flag: { name: "--device", value: "name" },
    spellings: { cpu: "wasm" },
    group: "Device",
    help:
      "what to compute on. wasm (or cpu): the processor; webgpu: the GPU; auto: the GPU if there is one; " +
      "reference: plain loops, very slow",
    mayChange: true,
  }),
  activationDtype: setting({
    schema: z.enum(activationDtypes),
    default: "f32",
    flag: { name: "--activation-dtype", value: "type" },
    group: "Device",
    help: "how the GPU keeps feature maps. f16: in half the memory, rounded to 11 bits; needs --device webgpu or auto",
    mayChange: true,
    addedLater: true,
    formerly: "storage",
  }),
  threads: setting({
    schema: z.int().gte(1).lte(maxThreads).nullable(),
    default: null,
    defaultMeans: "one per processor",
    flag: { name: "--threads", value: "n", short: "-j", aliases: ["--workers"] },
    group: "Device",
    help: "threads to compute with on the processor",
    mayChange: true,
  }),
  checkpointEverySteps: setting({
    schema: z.int().gte(0).lte(1_000_000_000),
    default: 0,
    defaultMeans: "0, not by updates",
    flag: { name: "--checkpoint-every", value: "steps" },
    group: "Run",
    help: "save within epochs too, after so many weight updates",
    mayChange: true,
  }),
  checkpointMinutes: setting({
    schema: z.number().gte(0).lte(10_080),
    default: 10,
    flag: { name: "--checkpoint-minutes", value: "n" },
    group: "Run",
    help: "save within epochs too, after so many minutes; 0: not by time",
    mayChange: true,
    addedLater: true,
  }),
  keepCheckpoints: setting({
    schema: z.int().gte(1).lte(1_000_000),
    default: 2,
    group: "Run",
    help: "checkpoints kept beside the best one",
    mayChange: true,
  }),
  tensorBoard: setting({
    schema: z.boolean(),
    default: false,
    flag: { name: "--tensorboard" },
    group: "Run",
    help: "write scalars, images and histograms of the weights for TensorBoard into the run's folder",
    mayChange: true,
    addedLater: true,
  }),
  notes: setting({
    schema: z.string(),
    default: "",
    defaultMeans: "none",
    flag: { name: "--notes", value: "text" },
    group: "Run",
    help: "what the run is about, in your words; shown in its report and by 'densenet runs list'",
    mayChange: true,
    addedLater: true,
  }),
} satisfies Settings;

/** Every row by the dotted path of its key, in the order of the configuration. */
export const settings: ReadonlyMap<string, SettingRow> = new Map<string, SettingRow>([
  ["model.variant", variantSetting],
  ...Object.entries(modelSettings).map(([key, row]): [string, SettingRow] => [`model.${key}`, row]),
  ...Object.entries(dataSettings).map(([key, row]): [string, Setting] => [`data.${key}`, row]),
  ...Object.entries(runSettings),
]);

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** The schema as data, without the null that stands for "not chosen". */
function described(schema: z.ZodType): JsonSchema {
  const json: JsonSchema = z.toJSONSchema(schema);
  const chosen = json.anyOf?.find(({ type }) => type !== "null");
  return chosen === undefined
    ? json
    : { ...chosen, ...(json.description === undefined ? {} : { description: json.description }) };
}

/** What a schema accepts, in the words that follow "expected": `a whole number from 1 to 64`. */
export function expectation(schema: z.ZodType): string {
  return words(described(schema));
}

/** The values that a schema chooses from, if it is about names. */
export function choices(schema: z.ZodType): readonly string[] {
  return (described(schema).enum ?? []).map(String);
}

/**
 * The value that the text of a flag means to a schema; a text that means none stays as it is, for the schema to refuse.
 */
export function textValue(text: string, schema: z.ZodType): unknown {
  return read(text, described(schema));
}

function read(text: string, schema: JsonSchema): unknown {
  switch (schema.type) {
    case "integer":
    case "number": {
      const value = text.trim() === "" ? Number.NaN : Number(text);
      return Number.isFinite(value) ? value : text;
    }
    case "array":
      return text.split(",").map((item) => read(item, schema.items as JsonSchema));
    default:
      return text;
  }
}

function words(schema: JsonSchema): string {
  if (schema.description !== undefined) return schema.description;
  if (schema.enum) return `one of ${schema.enum.join(", ")}`;
  switch (schema.type) {
    case "integer":
      return `a whole number${range(schema)}`;
    case "number":
      return `a number${range(schema)}`;
    case "boolean":
      return "true or false";
    case "string":
      return schema.minLength ? "a text that is not empty" : "a text";
    case "array": {
      const { minItems: least = 0, maxItems: most } = schema;
      const count = most === undefined ? ` of at least ${least}` : ` of ${least} to ${most}`;
      return `a list${count}, each ${words(schema.items as JsonSchema)}`;
    }
    default:
      return "an object of settings";
  }
}

/**
 * ` from 1 to 64`, ` above 0 and at most 1`. That a whole number is one that doubles hold exactly goes without saying.
 */
function range({ minimum, exclusiveMinimum: above, maximum, exclusiveMaximum: below }: JsonSchema): string {
  const least = minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const most = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (least !== undefined && most !== undefined) return ` from ${least} to ${most}`;
  const bounds = [
    ...(least === undefined ? [] : [`of at least ${least}`]),
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(most === undefined ? [] : [`at most ${most}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
  ];
  return bounds.length === 0 ? "" : ` ${bounds.join(" and ")}`;
}
