// cli: `densenet predict` — what image files show, says a checkpoint.
import { type Command, Option } from "commander";
import { formatInteger, formatPercent, table } from "../analyze/format.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { imageFiles } from "../data/imageFiles.node.ts";
import { InputError } from "../errors.ts";
import { classifyFiles, type FileAnswer, loadPredictor } from "../infer/files.node.ts";
import type { Prediction } from "../infer/scores.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openBackend } from "./backend.ts";
import { exitCodeOf } from "./exitCodes.ts";
import { chosenDevice, examples, imageFileOptions, jsonOption, wholeFlag } from "./flags.ts";
import { type LeastConfidence, leastConfidence, parseMinConfidence } from "./minConfidence.ts";
import { printJson, printLine, say, toned } from "./output.ts";
import { csv, requireWritable } from "./outputFile.ts";
import { type PreprocessingFlags, preprocessingChoice, preprocessingOptions } from "./preprocessingFlags.ts";

interface PredictOptions extends Partial<DeviceChoice>, PreprocessingFlags {
  readonly topK: number;
  readonly minConfidence?: LeastConfidence;
  readonly output?: string;
  readonly maxPixels?: number;
  readonly best?: boolean;
  readonly json?: boolean;
}

export function addPredict(program: Command): void {
  const command = program
    .command("predict")
    .summary("classify image files")
    .description(
      "Classifies image files with a checkpoint. Images of any size are scaled and cropped to the network's input. " +
        "A file that cannot be classified is named, keeps no other from its answer, and makes the command end with 3.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".onnx, .keras, .h5, a timm folder, hf:OWNER/NAME of the Hugging Face hub",
    )
    .argument("<file...>", "image files, folders of them, or patterns such as 'photos/**/*.jpg'")
    .option("--top-k <n>", "classes to name per file, best first", wholeFlag("--top-k", 1), 1)
    .addOption(
      new Option(
        "--min-confidence <p>",
        'say "don\'t know" below this probability. A number from 0 to 1; or precision:0.95, the probability from ' +
          "which so many answers were right on the run's validation images; or class, the operating point of the class " +
          "that is named",
      ).argParser(parseMinConfidence),
    )
    .option("-o, --output <file>", "write a table of the answers to this file, as comma-separated values")
    .addHelpText(
      "after",
      examples(
        "densenet predict runs/first cat.jpg dog.jpg",
        "densenet predict bc-40-12.cifar10 photo.png           # before anything was trained",
        "densenet predict runs/first photos --output answers.csv",
        "densenet predict runs/first photos --min-confidence precision:0.95",
        "densenet predict runs/first --top-k 3 --json photos/*.jpg",
      ),
    )
    .action(predict);
  const json = jsonOption(
    "a JSON list on stdout: file, label, index, score and the top k of each; file and error of the bad ones",
  );
  for (const option of [...imageFileOptions(), json, ...preprocessingOptions()]) command.addOption(option);
}

async function predict(checkpoint: string, names: string[], options: PredictOptions): Promise<void> {
  const { topK, output, maxPixels, json } = options;
  if (output !== undefined) await requireWritable(output);
  const backend = await openBackend(chosenDevice(options));
  const answers: FileAnswer[] = [];
  let isSure: IsSure | undefined;
  try {
    const predictor = await loadPredictor(checkpoint, backend, {
      pointer: options.best ? "best" : "last",
      preprocessing: preprocessingChoice(options),
      note: say,
    });
    isSure = options.minConfidence && leastConfidence(options.minConfidence, predictor.calibration, checkpoint);
    const found: (string | InputError)[] = [];
    for await (const file of imageFiles(names, say)) found.push(file);
    const files = found.filter((file) => typeof file === "string");
    const classified = classifyFiles(predictor, files, { topK, maxPixels });
    for (const file of found) {
      if (file instanceof InputError) answers.push({ file: String(file.details.file), error: file });
      else {
        const { value } = await classified.next();
        if (value !== undefined) answers.push(value);
      }
    }
  } finally {
    await backend.dispose();
  }
  const bad = answers.filter((answer) => "error" in answer);
  for (const { error } of bad) say(error.message, `${toned("red", "densenet:")} `);
  if (output !== undefined) {
    await writeFileAtomic(output, answersCsv(answers, topK, isSure));
    const classified = answers.length - bad.length;
    say(`${output}: ${formatInteger(classified)} ${classified === 1 ? "file" : "files"} classified`);
  }
  if (json) printJson(answers.map((answer) => jsonOf(answer, isSure)));
  else if (output === undefined && bad.length < answers.length) printLine(textOf(answers, isSure));
  const [first] = bad;
  if (first === undefined) return;
  if (answers.length > 1)
    say(`${formatInteger(bad.length)} of ${formatInteger(answers.length)} could not be classified`);
  process.exitCode = exitCodeOf(first.error);
}

type IsSure = (best: Prediction) => boolean;

function jsonOf(answer: FileAnswer, isSure: IsSure | undefined): unknown {
  const { file } = answer;
  if ("error" in answer) return { file, error: { kind: answer.error.name, message: answer.error.message } };
  const [best] = answer.top;
  return { file, ...best, ...(isSure && best && { sure: isSure(best) }), top: answer.top };
}

function textOf(answers: readonly FileAnswer[], isSure: IsSure | undefined): string {
  const rows = answers.flatMap((answer) => {
    if ("error" in answer) return [];
    const [best] = answer.top;
    const doubt = isSure && best && !isSure(best) ? "don't know, perhaps " : "";
    const cells = answer.top.flatMap(({ label, score }) => [label, formatPercent(100 * score)]);
    return [[answer.file, `${doubt}${cells[0]}`, ...cells.slice(1)]];
  });
  const scores = (rows[0] ?? []).map((_, column) => column).filter((column) => column > 0 && column % 2 === 0);
  return table(rows, scores);
}

/**
 * A line for each file; label and score of the best classes, whether that is sure enough, or what is wrong with the
 * file.
 */
function answersCsv(answers: readonly FileAnswer[], topK: number, isSure: IsSure | undefined): string {
  const columns = Array.from({ length: topK }, (_, rank) => (rank === 0 ? "" : String(rank + 1)));
  const header = [
    "file",
    ...columns.flatMap((rank) => [`label${rank}`, `score${rank}`]),
    ...(isSure ? ["sure"] : []),
    "error",
  ];
  const rows = answers.map((answer) => {
    if ("error" in answer)
      return [answer.file, ...columns.flatMap(() => ["", ""]), ...(isSure ? [""] : []), answer.error.message];
    const cells = columns.flatMap((_, rank) => {
      const found = answer.top[rank];
      return found === undefined ? ["", ""] : [found.label, String(found.score)];
    });
    const [best] = answer.top;
    return [answer.file, ...cells, ...(isSure && best ? [isSure(best) ? "yes" : "no"] : []), ""];
  });
  return csv([header, ...rows]);
}
