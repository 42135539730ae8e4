// cli: `densenet eval` — how well a checkpoint does on labelled pictures.
import type { Command } from "commander";
import { formatInteger, formatPercent, table, wilsonInterval } from "../analyze/format.ts";
import { mostConfused } from "../analyze/report/confusion.ts";
import { loadBatches } from "../data/loader.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { evaluate } from "../infer/evaluate.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openHeldOut } from "../run/heldOut.node.ts";
import { parseRunState } from "../train/runState.ts";
import { openBackend } from "./backend.ts";
import { chosenDevice, EMBEDDED, examples, jsonOption, numberFlag, settingOption, wholeFlag } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface EvalOptions extends Partial<DeviceChoice> {
  readonly dataDir?: string;
  readonly split: "train" | "val";
  readonly valSplit?: number;
  readonly seed?: number;
  readonly best?: boolean;
  readonly batchSize: number;
  readonly json?: boolean;
}

export function addEval(program: Command): void {
  program
    .command("eval")
    .summary("measure a checkpoint on labelled pictures")
    .description("Measures a checkpoint: top-1 and top-5 error in percent, mean cross-entropy in nats.")
    .argument("<checkpoint>", "a run folder, a checkpoint folder, or weights: .safetensors, .pth, .pt, a timm folder")
    .addOption(settingOption("data.dir", `the run's; of a model without a run ${EMBEDDED}`))
    .addOption(program.createOption("--split <name>", "which pictures").choices(["val", "train"]).default("val"))
    .option(
      "--val-split <n>",
      "held-out part, as in training (default: the run's, for its own pictures)",
      numberFlag("--val-split"),
    )
    .option(
      "--seed <n>",
      "that chose the held-out part (default: the run's, for its own pictures)",
      wholeFlag("--seed", 0),
    )
    .option("--best", "of a run folder the checkpoint with the lowest validation error, not the last")
    .option("-b, --batch-size <n>", "pictures at once", wholeFlag("--batch-size", 1), 64)
    .addOption(settingOption("device"))
    .addOption(settingOption("activationDtype"))
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples("densenet eval runs/first", "densenet eval runs/first --best --data-dir cifar-10-batches-bin --json"),
    )
    .action(evaluateCheckpoint);
}

async function evaluateCheckpoint(checkpoint: string, options: EvalOptions): Promise<void> {
  const loaded = await loadClassifier(checkpoint, options.best ? "best" : "last");
  const { training, notes } = loaded;
  for (const line of notes) say(line);
  const run = training && parseRunState(training.run, checkpoint);
  const { dataset, note } = await openHeldOut(options, loaded.trained.preprocessing.height, run);
  // Weights whose file names no classes are measured by index.
  const { length } = loaded.trained.classes;
  const byIndex = !loaded.namesClasses && length === dataset.classes.length;
  const trained = byIndex ? { ...loaded.trained, classes: dataset.classes } : loaded.trained;
  if (byIndex) say(`the file names no classes: output i is taken for class i of ${dataset.name}`);
  if (note !== undefined) say(note);
  const backend = await openBackend(chosenDevice(options));
  try {
    const { split, batchSize } = options;
    const { top1Error, top5Error, loss, count, confusion } = await evaluate({
      trained,
      dataset,
      split,
      backend,
      loadBatches,
      batchSize,
    });
    if (options.json) {
      printJson({ top1Error, top5Error, loss, count });
      return;
    }
    const [low, high] = wilsonInterval(top1Error / 100, count);
    const facts = [
      ["pictures", `${formatInteger(count)} (${split} split of ${dataset.name})`],
      [
        "top-1 error",
        `${formatPercent(top1Error, 2)} (95 % interval ${(100 * low).toFixed(2)}–${formatPercent(100 * high, 2)})`,
      ],
      ["top-5 error", formatPercent(top5Error, 2)],
      ["loss", loss.toFixed(4)],
    ];
    printLine(table(facts));
    for (const pair of mostConfused(confusion, 3)) {
      printLine(
        `${formatInteger(pair.count)} × ${trained.classes[pair.label]} taken for ${trained.classes[pair.prediction]}`,
      );
    }
  } finally {
    await backend.dispose();
  }
}
