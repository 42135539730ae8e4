// cli: `densenet eval` — how well a checkpoint does on labelled images.
import { type Command, Option } from "commander";
import { type LabelledLogits, type Reliability, reliability } from "../analyze/calibration.ts";
import { classErrors, constantGuess, meanClassError, worstFirst } from "../analyze/classErrors.ts";
import { type ClassScore, classScores, meanScores } from "../analyze/classScores.ts";
import { formatInteger, formatPercent, table, wilsonInterval } from "../analyze/format.ts";
import { mostConfused } from "../analyze/report/confusion.ts";
import type { Calibration } from "../checkpoint/calibration.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import type { LabelKind } from "../data/dataset.ts";
import { loadBatches } from "../data/loader.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { choosePreprocessing } from "../formats/preprocessing.ts";
import { evaluate } from "../infer/evaluate.ts";
import { labelledLogits } from "../run/calibrateRun.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { type MeasuredSplit, openHeldOut } from "../run/heldOut.node.ts";
import type { Evaluation } from "../train/evaluation.ts";
import { openBackend } from "./backend.ts";
import {
  bestOption,
  chosenDevice,
  EMBEDDED,
  examples,
  jsonOption,
  numberFlag,
  settingOption,
  wholeFlag,
} from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";
import { csv, requireWritable } from "./outputFile.ts";
import { type PreprocessingFlags, preprocessingChoice, preprocessingOptions } from "./preprocessingFlags.ts";

interface EvalOptions extends Partial<DeviceChoice>, PreprocessingFlags {
  readonly dataDir?: string;
  readonly split?: MeasuredSplit;
  readonly labels?: LabelKind;
  readonly valSplit?: number;
  readonly seed?: number;
  readonly maxPixels?: number;
  readonly skipBad?: boolean;
  readonly best?: boolean;
  readonly tenCrop?: boolean;
  readonly batchSize: number;
  readonly output?: string;
  readonly json?: boolean;
}

const HEADINGS = ["class", "error", "precision", "recall", "F1", "images"];
/** Classes that the text lists; --json and --output have all. */
const SHOWN = 20;

export function addEval(program: Command): void {
  const command = program
    .command("eval")
    .summary("measure a checkpoint on labelled images")
    .description(
      "Measures a checkpoint: top-1 and top-5 error in percent, mean cross-entropy in nats, the error of each " +
        "class with its precision, recall and F1, and how far the probabilities can be trusted. On the images that " +
        "its run held out; on other images on all of them, or on their val or test split.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".onnx, .keras, .h5, a timm folder, hf:OWNER/NAME of the Hugging Face hub",
    )
    .addOption(settingOption("data.dir", `the run's; of a model without a run ${EMBEDDED}`))
    .addOption(
      program
        .createOption(
          "--split <name>",
          "which images (default: of the run's own those it held out; of others val or test, or all)",
        )
        .choices(["val", "train", "test", "all"]),
    )
    .option(
      "--val-split <n>",
      "measure what would be held out of the training images, a number or a fraction (default: the run's, for its " +
        "own images)",
      numberFlag("--val-split"),
    )
    .option(
      "--seed <n>",
      "that chose the held-out images (default: the run's, for its own images)",
      wholeFlag("--seed", 0),
    )
    .addOption(settingOption("data.labels", "the run's"))
    .addOption(settingOption("data.maxPixels"))
    .addOption(new Option("--skip-bad", "leave out images that do not decode, in place of refusing the folder"))
    .addOption(bestOption())
    .option("--ten-crop", "mean scores of ten crops of each image: centre, corners, and these mirrored; of a folder")
    .option("-b, --batch-size <n>", "images at once, with --ten-crop crops", wholeFlag("--batch-size", 1), 64)
    .option(
      "-o, --output <file>",
      "write precision, recall and F1 of every class to this file, as comma-separated values",
    )
    .addOption(settingOption("device"))
    .addOption(settingOption("activationDtype"))
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples(
        "densenet eval runs/first",
        "densenet eval runs/first --data-dir test-photos      # test-photos/cat/*.jpg, test-photos/dog/*.jpg",
        "densenet eval runs/first --output classes.csv",
        "densenet eval runs/first --best --data-dir cifar-10-batches-bin --json",
      ),
    )
    .action(evaluateCheckpoint);
  for (const option of preprocessingOptions()) command.addOption(option);
}

async function evaluateCheckpoint(checkpoint: string, options: EvalOptions): Promise<void> {
  const found = await loadClassifier(checkpoint, options.best ? "best" : "last", say);
  for (const line of found.notes) say(line);
  const loaded = { ...found, trained: choosePreprocessing(found.trained, preprocessingChoice(options), say) };
  const { output } = options;
  if (output !== undefined) await requireWritable(output);
  const { dataDir, split: of, labels, valSplit, seed, maxPixels, skipBad } = options;
  const wanted = { dataDir, split: of, labels, valSplit, seed, maxPixels, skipBad, report: say };
  const { dataset, split, which, words } = await openHeldOut(loaded, checkpoint, wanted);
  // Weights whose file names no classes are measured by index.
  const { length } = loaded.trained.classes;
  const byIndex = !loaded.namesClasses && length === dataset.classes.length;
  const trained = byIndex ? { ...loaded.trained, classes: dataset.classes } : loaded.trained;
  if (byIndex) say(`the file names no classes: output i is taken for class i of ${dataset.name}`);
  const backend = await openBackend(chosenDevice(options));
  try {
    const { batchSize, tenCrop = false } = options;
    const evaluation = await evaluate({ trained, dataset, split, backend, loadBatches, batchSize, tenCrop, note: say });
    const { top1Error, top5Error, loss, count, confusion } = evaluation;
    const constant = constantGuess(dataset[split], trained.classes);
    const scores = classScores(confusion);
    const trust = measureTrust(trained, labelledLogits(evaluation, dataset[split].labels));
    if (output !== undefined) {
      await writeFileAtomic(output, classesCsv(scores, trained.classes));
      say(`${output}: precision, recall and F1 of ${formatInteger(scores.length)} classes`);
    }
    if (!options.json) {
      const seen = tenCrop ? `${words}, ten crops of each` : words;
      printLine(describe(evaluation, trained.classes, seen, constant, trust));
      return;
    }
    const errors = classErrors(confusion);
    const classes = errors.map(({ label, ...of }, index) => {
      const { predicted, precision, recall, f1 } = scores[index];
      return { name: trained.classes[label], ...of, predicted, precision, recall, f1 };
    });
    const images = { of: dataset.name, which, ...(tenCrop ? { crops: 10 } : {}) };
    printJson({
      ...{ top1Error, top5Error, loss, count, images, constant },
      ...{ meanClassError: meanClassError(errors), mean: meanScores(scores), ...trust, classes },
    });
  } finally {
    await backend.dispose();
  }
}

function describe(
  { top1Error, top5Error, loss, count, confusion }: Evaluation,
  names: readonly string[],
  words: string,
  constant: { readonly name: string; readonly error: number },
  trust: Trust,
): string {
  const errors = classErrors(confusion);
  const worst = worstFirst(errors);
  const [low, high] = wilsonInterval(top1Error / 100, count);
  const interval = `${(100 * low).toFixed(2)}–${formatPercent(100 * high, 2)}`;
  const facts = [
    ["images", `${formatInteger(count)}: ${words}`],
    ["top-1 error", `${formatPercent(top1Error, 2)} (95 % interval ${interval})`],
    [
      "",
      `always naming ${names.includes(constant.name) ? `"${constant.name}"` : "one class"} gives ` +
        `${formatPercent(constant.error, 2)}`,
    ],
    ["mean of classes", `${formatPercent(meanClassError(errors), 2)}, every class weighing the same`],
    ["top-5 error", formatPercent(top5Error, 2)],
    ["loss", loss.toFixed(4)],
    ...trustFacts(trust),
  ];
  const scores = classScores(confusion);
  const rows = worst.slice(0, SHOWN).map(({ label, count: of, error }) => {
    const { precision, recall, f1 } = scores[label];
    const shares = [precision, recall, f1].map((share) => formatPercent(100 * share));
    return [names[label] ?? "", formatPercent(error, 1), ...shares, formatInteger(of)];
  });
  const pairs = mostConfused(confusion, 3).map(
    (pair) => `${formatInteger(pair.count)} × ${names[pair.label]} taken for ${names[pair.prediction]}`,
  );
  const more =
    worst.length > SHOWN ? [`the ${SHOWN} worst of ${worst.length} classes; --json and --output have all`] : [];
  return [table(facts), "", table([HEADINGS, ...rows], [1, 2, 3, 4, 5]), ...more, "", ...pairs].join("\n").trimEnd();
}

/** How far the probabilities can be trusted; of a network with a sigmoid for each class nothing is said. */
interface Trust {
  readonly uncalibrated?: Reliability;
  /** With the temperature of the checkpoint, where it has one. */
  readonly calibrated?: Reliability;
  readonly calibration?: Calibration;
}

function measureTrust({ outputs, calibration }: TrainedModel, images: LabelledLogits): Trust {
  if (outputs === "sigmoid") return {};
  const uncalibrated = reliability(images);
  if (calibration === undefined) return { uncalibrated };
  return { uncalibrated, calibration, calibrated: reliability(images, calibration.temperature) };
}

function trustFacts({ uncalibrated, calibrated, calibration }: Trust): string[][] {
  if (uncalibrated === undefined) return [];
  const error = ({ calibrationError }: Reliability): string => formatPercent(100 * calibrationError, 2);
  const brier = ({ brier: score }: Reliability): string => score.toFixed(4);
  if (calibrated === undefined || calibration === undefined) {
    return [
      [
        "ECE",
        `${error(uncalibrated)} between probability and share of right answers; the checkpoint has no calibration`,
      ],
      ["Brier score", brier(uncalibrated)],
    ];
  }
  const how = `with the checkpoint's temperature ${calibration.temperature.toFixed(3)}`;
  return [
    [
      "ECE",
      `${error(calibrated)} between probability and share of right answers ${how}; ${error(uncalibrated)} without`,
    ],
    ["Brier score", `${brier(calibrated)}; ${brier(uncalibrated)} without`],
  ];
}

function classesCsv(scores: readonly ClassScore[], names: readonly string[]): string {
  const header = ["class", "precision", "recall", "f1", "images", "predicted"];
  const number = (value: number): string => (Number.isNaN(value) ? "" : String(value));
  const rows = scores.map(({ label, precision, recall, f1, count, predicted }) => [
    names[label] ?? "",
    ...[precision, recall, f1, count, predicted].map(number),
  ]);
  return csv([header, ...rows]);
}
