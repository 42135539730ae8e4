// cli: `densenet predict` — what image files show, says a checkpoint.
import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { formatInteger, formatPercent, table } from "../analyze/format.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { imageFiles } from "../data/imageFiles.node.ts";
import { InputError, UsageError } from "../errors.ts";
import { classifyFiles, type FileAnswer, loadPredictor } from "../infer/files.node.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openBackend } from "./backend.ts";
import { exitCodeOf } from "./exitCodes.ts";
import { chosenDevice, examples, jsonOption, settingOption, wholeFlag } from "./flags.ts";
import { printJson, printLine, say, toned } from "./output.ts";

interface PredictOptions extends Partial<DeviceChoice> {
  readonly topK: number;
  readonly output?: string;
  readonly maxPixels?: number;
  readonly best?: boolean;
  readonly json?: boolean;
}

export function addPredict(program: Command): void {
  program
    .command("predict")
    .summary("classify image files")
    .description(
      "Classifies image files with a checkpoint. Images of any size are scaled and cropped to the network's input. " +
        "A file that cannot be classified is named, keeps no other from its answer, and makes the command end with 3.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".pt, a timm folder",
    )
    .argument("<file...>", "image files, folders of them, or patterns such as 'photos/**/*.jpg'")
    .option("--top-k <n>", "classes to name per file, best first", wholeFlag("--top-k", 1), 1)
    .option("-o, --output <file>", "write a table of the answers to this file, as comma-separated values")
    .addOption(settingOption("data.maxPixels"))
    .option("--best", "of a run folder the checkpoint with the lowest validation error, not the last")
    .addOption(settingOption("device"))
    .addOption(settingOption("activationDtype"))
    .addOption(settingOption("threads"))
    .addOption(
      jsonOption(
        "a JSON list on stdout: file, label, index, score and the top k of each; file and error of the bad ones",
      ),
    )
    .addHelpText(
      "after",
      examples(
        "densenet predict runs/first cat.jpg dog.jpg",
        "densenet predict bc-40-12.cifar10 photo.png           # before anything was trained",
        "densenet predict runs/first photos --output answers.csv",
        "densenet predict runs/first --top-k 3 --json photos/*.jpg",
      ),
    )
    .action(predict);
}

async function predict(checkpoint: string, names: string[], options: PredictOptions): Promise<void> {
  const { topK, output, maxPixels, json } = options;
  if (output !== undefined) await requireWritable(output);
  const backend = await openBackend(chosenDevice(options));
  const answers: FileAnswer[] = [];
  try {
    const predictor = await loadPredictor(checkpoint, backend, { pointer: options.best ? "best" : "last", note: say });
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
    await writeFileAtomic(output, csv(answers, topK));
    say(`${output}: ${formatInteger(answers.length - bad.length)} files classified`);
  }
  if (json) printJson(answers.map(jsonOf));
  else if (output === undefined && bad.length < answers.length) printLine(textOf(answers));
  const [first] = bad;
  if (first === undefined) return;
  if (answers.length > 1)
    say(`${formatInteger(bad.length)} of ${formatInteger(answers.length)} could not be classified`);
  process.exitCode = exitCodeOf(first.error);
}

/** Before the work, not after it. */
async function requireWritable(output: string): Promise<void> {
  try {
    if (output === "") throw new UsageError('--output: got "", expected the name of a file', { flag: "--output" });
    await access(dirname(output), constants.W_OK);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw writeFailure(dirname(output), error);
    const expected = "expected a file in a folder that is there";
    throw new UsageError(`--output: the folder ${dirname(output)} does not exist, ${expected}`, { flag: "--output" });
  }
  const found = await stat(output).catch(() => undefined);
  if (found === undefined || found.isFile()) return;
  throw new UsageError(`--output: ${output} is no regular file, expected the name of a file to write`, {
    flag: "--output",
  });
}

function jsonOf(answer: FileAnswer): unknown {
  const { file } = answer;
  if ("error" in answer) return { file, error: { kind: answer.error.name, message: answer.error.message } };
  return { file, ...answer.top[0], top: answer.top };
}

function textOf(answers: readonly FileAnswer[]): string {
  const rows = answers.flatMap((answer) => {
    if ("error" in answer) return [];
    return [[answer.file, ...answer.top.flatMap(({ label, score }) => [label, formatPercent(100 * score)])]];
  });
  const scores = (rows[0] ?? []).map((_, column) => column).filter((column) => column > 0 && column % 2 === 0);
  return table(rows, scores);
}

/**
 * RFC 4180, but for line ends. A line for each file; label and score of the best classes, or what is wrong with the
 * file.
 */
function csv(answers: readonly FileAnswer[], topK: number): string {
  const columns = Array.from({ length: topK }, (_, rank) => (rank === 0 ? "" : String(rank + 1)));
  const header = ["file", ...columns.flatMap((rank) => [`label${rank}`, `score${rank}`]), "error"];
  const rows = answers.map((answer) => {
    if ("error" in answer) return [answer.file, ...columns.flatMap(() => ["", ""]), answer.error.message];
    const cells = columns.flatMap((_, rank) => {
      const found = answer.top[rank];
      return found === undefined ? ["", ""] : [found.label, String(found.score)];
    });
    return [answer.file, ...cells, ""];
  });
  return [header, ...rows].map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
