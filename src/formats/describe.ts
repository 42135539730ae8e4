// formats: weights and what their file says about them → a network that can be run, with what had to be assumed said.
// Portable.
//
// A file of weights seldom says how images were prepared. What it says counts; otherwise preprocessing is inferred from
// the network: its origin, stem and outputs.
import type { Preprocessing, TrainedModel } from "../checkpoint/checkpoint.ts";
import { imagenetLabels } from "../data/imagenetLabels.ts";
import { cifar10Normalization, cifar100Normalization, imagenetNormalization } from "../data/normalization.ts";
import type { Interpolation } from "../data/resample.ts";
import { type NetworkSpec, usualInput } from "../networks/registry.ts";
import { showSome, showText } from "../show.ts";
import { type ImportedWeights, importWeights } from "./importWeights.ts";
import { preprocessingText } from "./preprocessing.ts";
import type { WeightFile } from "./weightFile.ts";

export interface OpenedWeights {
  readonly trained: TrainedModel;
  readonly hasHead: boolean;
  /** False where `trained.classes` are numbers only, because nothing names them. */
  readonly namesClasses: boolean;
  /** For the person who opened the file, one line each: what it is, what was matched, changed and assumed. */
  readonly notes: readonly string[];
}

/** CheXNet's 14 findings, in the order of its data set (ChestX-ray14). */
const CHEST_14: readonly string[] =
  "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia".split(
    " ",
  );

/** torchxrayvision's default_pathologies. */
const CHEST_18: readonly string[] =
  "Atelectasis|Consolidation|Infiltration|Pneumothorax|Edema|Emphysema|Fibrosis|Effusion|Pneumonia|Pleural_Thickening|Cardiomegaly|Nodule|Mass|Hernia|Lung Lesion|Fracture|Lung Opacity|Enlarged Cardiomediastinum".split(
    "|",
  );

/** What a family of published networks expects, where its file does not say it. */
interface Custom {
  readonly name: string;
  readonly applies: (spec: NetworkSpec, imported: ImportedWeights, file: WeightFile) => boolean;
  readonly side: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly cropRatio?: number;
  readonly interpolation?: Interpolation;
  readonly labels?: readonly string[];
  readonly sigmoid?: boolean;
}

/** The shorter side to 256 pixels, the centre's 224 (torchvision.transforms.presets.ImageClassification). */
const TORCHVISION_SCALING = { cropRatio: 224 / 256, interpolation: "bilinear" } as const;

/** The first that applies counts. */
const CUSTOMS: readonly Custom[] = [
  {
    name: "torchxrayvision: one channel in −1024…1024",
    applies: (spec, _, { origin = "" }) =>
      spec.inChannels === 1 && (origin.startsWith("torchxrayvision.") || spec.numClasses === CHEST_18.length),
    side: 224,
    // 2048 · (x − ½) for x in 0…1; the square in the centre, scaled
    mean: [0.5],
    std: [1 / 2048],
    cropRatio: 1,
    interpolation: "bilinear",
    labels: CHEST_18,
    sigmoid: true,
  },
  {
    name: "CheXNet: ImageNet's mean and deviation, a sigmoid for each finding",
    applies: (spec, { sigmoid }) => sigmoid && spec.numClasses === CHEST_14.length,
    side: 224,
    ...imagenetNormalization,
    ...TORCHVISION_SCALING,
    labels: CHEST_14,
    sigmoid: true,
  },
  {
    name: "Keras's \"torch\" mode: ImageNet's mean and deviation, the whole image",
    applies: (spec, _, { origin }) => origin === "Keras" && usualInput(spec) === 224 && spec.inChannels === 3,
    side: 224,
    ...imagenetNormalization,
    cropRatio: 1,
    interpolation: "bilinear",
    labels: imagenetLabels,
  },
  {
    name: "torchvision's: ImageNet's mean and deviation, the centre's 0.875, bilinear",
    applies: (spec) => usualInput(spec) === 224 && spec.inChannels === 3,
    side: 224,
    ...imagenetNormalization,
    ...TORCHVISION_SCALING,
    labels: imagenetLabels,
  },
  {
    name: "CIFAR-100's mean and deviation",
    applies: (spec) => usualInput(spec) === 32 && spec.inChannels === 3 && spec.numClasses === 100,
    side: 32,
    ...cifar100Normalization,
  },
  {
    name: "CIFAR-10's mean and deviation",
    applies: (spec) => usualInput(spec) === 32 && spec.inChannels === 3,
    side: 32,
    ...cifar10Normalization,
  },
];

/**
 * The network in `file`, ready to run.
 * @throws InputError when its tensors are no DenseNet or hold numbers that no network has
 */
export function describeWeights(file: WeightFile, source: string): OpenedWeights {
  const imported = importWeights(file, source);
  const { model, hasHead, matched, unexpected, changes } = imported;
  const { spec } = model;
  const custom = CUSTOMS.find(({ applies }) => applies(spec, imported, file));
  const preprocessing = preprocessingOf(spec, file, custom);
  const given = [file.classes, custom?.labels].find((labels) => labels?.length === spec.numClasses);
  const classes = given ?? Array.from({ length: spec.numClasses }, (_, i) => `class ${i}`);
  const sigmoid = imported.sigmoid || file.outputs === "sigmoid" || custom?.sigmoid === true;
  const says = file.preprocessing;
  const assumed = [
    ...(says?.mean === undefined ? [`${custom?.name ?? "pixels in 0…1 as they are"}`] : []),
    ...(says?.height === undefined ? [`images of ${preprocessing.height}×${preprocessing.width}`] : []),
    ...(file.classes === undefined && given !== undefined ? [`labels ${given.slice(0, 2).join(", ")} …`] : []),
  ];
  const notes = [
    `${file.format}${file.origin === undefined || file.format.includes(file.origin) ? "" : ` of ${showText(file.origin)}`}: ${matched} tensors matched, 0 missing, ${unexpected.length} unexpected${unexpected.length === 0 ? "" : ` (${showSome(unexpected.map((text) => showText(text)))})`}`,
    ...file.notes,
    ...changes,
    ...(hasHead ? [] : ["no classifier in it: a new one is needed"]),
    ...(file.classes !== undefined && file.classes.length !== spec.numClasses
      ? [`names ${file.classes.length} labels for ${spec.numClasses} outputs: left aside`]
      : []),
    `input: ${preprocessingText(preprocessing)}${sigmoid ? "; outputs: a sigmoid each" : ""}`,
    ...(assumed.length === 0 ? [] : [`assumed, as the file does not say: ${assumed.join("; ")}`]),
  ];
  return {
    trained: {
      model,
      preprocessing,
      classes,
      dataset: `unknown (${source.split(/[\\/]/).at(-1)})`,
      ...(sigmoid ? { outputs: "sigmoid" } : {}),
    },
    hasHead,
    namesClasses: given !== undefined,
    notes,
  };
}

function preprocessingOf(
  spec: NetworkSpec,
  { preprocessing: says }: WeightFile,
  custom: Custom | undefined,
): Preprocessing {
  const side = custom?.side ?? usualInput(spec);
  const channels = spec.inChannels;
  const { cropRatio = custom?.cropRatio, interpolation = custom?.interpolation } = says ?? {};
  const perChannel = (values: readonly number[] | undefined, otherwise: number): readonly number[] =>
    // One value for all channels is as usual as one for each.
    values?.length === channels
      ? values
      : values?.length === 1
        ? new Array<number>(channels).fill(values[0])
        : new Array<number>(channels).fill(otherwise);
  return {
    height: says?.height ?? side,
    width: says?.width ?? side,
    mean: perChannel(says?.mean ?? custom?.mean, 0),
    std: perChannel(says?.std ?? custom?.std, 1),
    ...(cropRatio === undefined ? {} : { cropRatio }),
    ...(interpolation === undefined ? {} : { interpolation }),
  };
}
