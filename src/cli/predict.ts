// cli: `densenet predict` — what picture files show, says a checkpoint.
import type { Command } from "commander";
import { formatPercent, table } from "../analyze/format.ts";
import { loadPredictor, predictFiles } from "../infer/files.node.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openBackend } from "./backend.ts";
import { chosenDevice, examples, jsonOption, settingOption, wholeFlag } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface PredictOptions extends Partial<DeviceChoice> {
  readonly topK: number;
  readonly best?: boolean;
  readonly json?: boolean;
}

export function addPredict(program: Command): void {
  program
    .command("predict")
    .summary("classify picture files")
    .description(
      "Classifies PNG, JPEG and WebP files with a checkpoint. Pictures of any size are scaled and cropped to the network's input.",
    )
    .argument("<checkpoint>", "a run folder, a checkpoint folder, or weights: .safetensors, .pth, .pt, a timm folder")
    .argument("<file...>", "picture files")
    .option("--top-k <n>", "classes to name per file, best first", wholeFlag("--top-k", 1), 1)
    .option("--best", "of a run folder the checkpoint with the lowest validation error, not the last")
    .addOption(settingOption("device"))
    .addOption(settingOption("activationDtype"))
    .addOption(settingOption("threads"))
    .addOption(jsonOption("a JSON list on stdout: file, label, index, score and the top k of each"))
    .addHelpText(
      "after",
      examples(
        "densenet predict runs/first cat.jpg dog.jpg",
        "densenet predict runs/first --top-k 3 --json photos/*.jpg",
      ),
    )
    .action(predict);
}

async function predict(checkpoint: string, files: string[], options: PredictOptions): Promise<void> {
  const backend = await openBackend(chosenDevice(options));
  try {
    const predictor = await loadPredictor(checkpoint, backend, {
      pointer: options.best ? "best" : "last",
      note: say,
    });
    const predictions = await predictFiles(predictor, files, { topK: options.topK });
    const results = files.flatMap((file, position) => {
      const top = predictions[position];
      const first = top?.[0];
      return top === undefined || first === undefined ? [] : [{ file, ...first, top }];
    });
    if (options.json) {
      printJson(results);
      return;
    }
    const rows = results.map(({ file, top }) => [
      file,
      ...top.flatMap(({ label, score }) => [label, formatPercent(100 * score)]),
    ]);
    printLine(
      table(
        rows,
        (rows[0] ?? []).map((_, column) => column).filter((column) => column > 0 && column % 2 === 0),
      ),
    );
  } finally {
    await backend.dispose();
  }
}
