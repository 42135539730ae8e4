// cli: `densenet eval` — how well a checkpoint does on labelled images.
import { type Command, Option } from "commander";
import { classErrors, constantGuess, meanClassError, worstFirst } from "../analyze/classErrors.ts";
import { formatInteger, formatPercent, table, wilsonInterval } from "../analyze/format.ts";
import { mostConfused } from "../analyze/report/confusion.ts";
import type { LabelKind } from "../data/dataset.ts";
import { loadBatches } from "../data/loader.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { evaluate } from "../infer/evaluate.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { type MeasuredSplit, openHeldOut } from "../run/heldOut.node.ts";
import type { Evaluation } from "../train/evaluation.ts";
import { openBackend } from "./backend.ts";
import { chosenDevice, EMBEDDED, examples, jsonOption, numberFlag, settingOption, wholeFlag } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface EvalOptions extends Partial<DeviceChoice> {
  readonly dataDir?: string;
  readonly split?: MeasuredSplit;
  readonly labels?: LabelKind;
  readonly valSplit?: number;
  readonly seed?: number;
  readonly maxPixels?: number;
  readonly skipBad?: boolean;
  readonly best?: boolean;
  readonly batchSize: number;
  readonly json?: boolean;
}

/** Classes that the text lists; --json has all. */
const SHOWN = 20;

export function addEval(program: Command): void {
  program
    .command("eval")
    .summary("measure a checkpoint on labelled images")
    .description(
      "Measures a checkpoint: top-1 and top-5 error in percent, mean cross-entropy in nats, the error of each " +
        "class. On the images that its run held out; on other images on all of them, or on their val or test split.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".pt, a timm folder",
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
    .option("--best", "of a run folder the checkpoint with the lowest validation error, not the last")
    .option("-b, --batch-size <n>", "images at once", wholeFlag("--batch-size", 1), 64)
    .addOption(settingOption("device"))
    .addOption(settingOption("activationDtype"))
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples(
        "densenet eval runs/first",
        "densenet eval runs/first --data-dir test-photos      # test-photos/cat/*.jpg, test-photos/dog/*.jpg",
        "densenet eval runs/first --best --data-dir cifar-10-batches-bin --json",
      ),
    )
    .action(evaluateCheckpoint);
}

async function evaluateCheckpoint(checkpoint: string, options: EvalOptions): Promise<void> {
  const loaded = await loadClassifier(checkpoint, options.best ? "best" : "last");
  for (const line of loaded.notes) say(line);
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
    const { batchSize } = options;
    const evaluation = await evaluate({ trained, dataset, split, backend, loadBatches, batchSize });
    const { top1Error, top5Error, loss, count, confusion } = evaluation;
    const constant = constantGuess(dataset[split], trained.classes);
    if (!options.json) {
      printLine(describe(evaluation, trained.classes, words, constant));
      return;
    }
    const errors = classErrors(confusion);
    const classes = errors.map(({ label, ...of }) => ({ name: trained.classes[label], ...of }));
    const images = { of: dataset.name, which };
    printJson({ top1Error, top5Error, loss, count, images, constant, meanClassError: meanClassError(errors), classes });
  } finally {
    await backend.dispose();
  }
}

function describe(
  { top1Error, top5Error, loss, count, confusion }: Evaluation,
  names: readonly string[],
  words: string,
  constant: { readonly name: string; readonly error: number },
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
  ];
  const rows = worst
    .slice(0, SHOWN)
    .map(({ label, count: of, error }) => [names[label] ?? "", formatPercent(error, 1), formatInteger(of)]);
  const pairs = mostConfused(confusion, 3).map(
    (pair) => `${formatInteger(pair.count)} × ${names[pair.label]} taken for ${names[pair.prediction]}`,
  );
  const more = worst.length > SHOWN ? [`the ${SHOWN} worst of ${worst.length} classes; --json has all`] : [];
  return [table(facts), "", table([["class", "error", "images"], ...rows], [1, 2]), ...more, "", ...pairs]
    .join("\n")
    .trimEnd();
}
