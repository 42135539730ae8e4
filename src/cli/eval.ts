// cli: `densenet eval` — how well a checkpoint does on labelled pictures.
import { resolve } from "node:path";
import type { Command } from "commander";
import { formatInteger, formatPercent, wilsonInterval } from "../analyze/format.ts";
import { mostConfused } from "../analyze/report/confusion.ts";
import { loadCheckpoint } from "../checkpoint/store.node.ts";
import type { Dataset } from "../data/dataset.ts";
import { loadBatches } from "../data/loader.node.ts";
import { openDataset } from "../data/open.node.ts";
import { DenseNetError, InputError, UsageError } from "../errors.ts";
import { evaluate } from "../infer/evaluate.ts";
import type { TrainConfig } from "../train/config.ts";
import { parseRunState, type RunState } from "../train/runState.ts";
import { openBackend } from "./device.ts";
import {
  dataDirOption,
  deviceOption,
  EMBEDDED,
  examples,
  jsonOption,
  numberFlag,
  storageOption,
  threadsOption,
  wholeFlag,
} from "./flags.ts";
import { printJson, printLine, say, table } from "./output.ts";

interface EvalOptions {
  readonly dataDir?: string;
  readonly split: "train" | "val";
  readonly valSplit?: number;
  readonly seed?: number;
  readonly best?: boolean;
  readonly batchSize: number;
  readonly device: TrainConfig["device"];
  readonly storage: TrainConfig["storage"];
  readonly threads?: number;
  readonly json?: boolean;
}

export function addEval(program: Command): void {
  program
    .command("eval")
    .summary("measure a checkpoint on labelled pictures")
    .description("Measures a checkpoint: top-1 and top-5 error in percent, mean cross-entropy in nats.")
    .argument("<checkpoint>", "a run folder, a checkpoint folder or a .safetensors file")
    .addOption(dataDirOption(`the run's; of a model without a run ${EMBEDDED}`))
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
    .addOption(deviceOption().default("wasm"))
    .addOption(storageOption().default("f32"))
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples("densenet eval runs/first", "densenet eval runs/first --best --data-dir cifar-10-batches-bin --json"),
    )
    .action(evaluateCheckpoint);
}

async function evaluateCheckpoint(checkpoint: string, options: EvalOptions): Promise<void> {
  const { trained, training } = await loadCheckpoint(checkpoint, options.best ? "best" : "last");
  const run = training && parseRunState(training.run, checkpoint);
  const dataset = await openPictures(options, trained.preprocessing.height, run);
  const backend = await openBackend({ ...options, threads: options.threads ?? null });
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

/**
 * The pictures to measure on: of --data-dir, else the run's, else the embedded ones. What a run held out of its training pictures must be the
 * same part again, or it would hold pictures that were trained on. Pictures in another place than the run's are its own, moved, if that leaves
 * as many to train on; if not, they are others and have a val split of their own. What the user says of the split holds in any case.
 */
async function openPictures(options: EvalOptions, imageSize: number, run: RunState | undefined): Promise<Dataset> {
  const { dataDir, valSplit, seed } = options;
  if (run === undefined) return await openDataset({ dir: dataDir, imageSize, valSplit, seed });
  const { data, seed: runSeed } = run.config;
  const asInRun = (dir: string): Promise<Dataset> =>
    openDataset({ dir, imageSize, valSplit: valSplit ?? data.valSplit, seed: seed ?? runSeed });
  const isSaid = valSplit !== undefined || seed !== undefined;

  if (dataDir === undefined || resolve(dataDir) === data.dir) {
    if (data.dir === null) {
      throw new UsageError("--data-dir: not given, and the run does not say in what folder its pictures are", {
        flag: "--data-dir",
      });
    }
    const own = await asInRun(data.dir).catch((error: unknown) => {
      if (!(error instanceof InputError)) throw error;
      const message = `the run's pictures cannot be opened, say with --data-dir where they are: ${error.message}`;
      throw new InputError(message, error.details, { cause: error });
    });
    if (isSaid || own.train.length === run.trainCount) return own;
    throw new InputError(
      `${data.dir}: leaves ${own.train.length} pictures to train on, the run had ${run.trainCount}, so what it held out cannot be told any more; expected the pictures as they were, or --val-split for a part that the run may have seen`,
      { dir: data.dir, count: own.train.length, expected: run.trainCount },
    );
  }

  if (isSaid) return await asInRun(dataDir);
  const moved = await asInRun(dataDir).catch((error: unknown) => {
    // The run's split need not fit other pictures. What else is wrong with them shows below.
    if (!(error instanceof DenseNetError)) throw error;
    return undefined;
  });
  if (moved?.train.length === run.trainCount) return moved;
  const others = await openDataset({ dir: dataDir, imageSize });
  say(`${dataDir}: not the pictures of the run, so their own split is used; --val-split and --seed choose another`);
  return others;
}
