// cli: `densenet export` — a network for something else to run, checked at once.
import type { Command, Option } from "commander";
import { formatBytes } from "../analyze/format.ts";
import { type ExportFormatName, exportFormatNames, exportFormats } from "../export/export.ts";
import { type WeightDtype, weightDtypes } from "../export/onnx/write.ts";
import { exportNetwork, type WrittenExport } from "../export/write.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { openBackend } from "./backend.ts";
import { examples, jsonOption, settingOption } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface ExportVerbOptions {
  readonly format?: ExportFormatName;
  readonly output: string;
  readonly dtype: WeightDtype;
  readonly preprocessing?: boolean;
  readonly probabilities?: boolean;
  readonly best?: boolean;
  readonly threads?: number;
  readonly json?: boolean;
}

export const formatOption = (program: Command): Option =>
  program
    .createOption("-f, --format <name>", "what to write (default: what the output's ending says)")
    .choices(exportFormatNames);

export const dtypeOption = (program: Command): Option =>
  program
    .createOption("--dtype <type>", "of the weights, and in ONNX of what is computed with them")
    .choices(weightDtypes)
    .default("f32");

/** Under the help of verbs that write. */
export const FORMATS = `\nFormats:\n${exportFormatNames
  .map((name) => `  ${name.padEnd(16)} ${exportFormats[name].what}`)
  .join("\n")}\n`;

export function addExport(program: Command): void {
  program
    .command("export")
    .summary("write a network for another runtime")
    .description(
      "Writes a network so that something else can run it, runs what was written and compares: with " +
        "onnxruntime-node where it is installed in the working folder or beside this package, else by reading it " +
        "again. An output without the format's ending is a folder, which gets a model card too. Ends with 7 where " +
        "the outputs differ by more than rounding.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".onnx, .keras, .h5, a timm folder, hf:OWNER/NAME of the Hugging Face hub",
    )
    .addOption(formatOption(program))
    .requiredOption("-o, --output <path>", "the file, or a new or empty folder")
    .addOption(dtypeOption(program))
    .option("--preprocessing", "onnx: the graph takes uint8 pixels [batch, height, width, channels] of the input size")
    .option("--probabilities", "onnx: the graph ends with the softmax or the sigmoids, not with logits")
    .option("--best", "of a run folder the checkpoint with the lowest validation error, not the last")
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      FORMATS +
        examples(
          "densenet export runs/first -o first.onnx",
          "densenet export runs/first -o first.html            # opens in any browser, with no server",
          "densenet export densenet121-a639ec97.pth --format timm -o densenet121",
        ),
    )
    .action(exportVerb);
}

async function exportVerb(checkpoint: string, options: ExportVerbOptions): Promise<void> {
  const { format, output, dtype, preprocessing = false, probabilities = false, best, threads = null, json } = options;
  const { trained, notes } = await loadClassifier(checkpoint, best ? "best" : "last", say);
  for (const line of notes) say(line);
  await using backend = await openBackend({ device: "wasm", activationDtype: "f32", threads });
  const written = await exportNetwork(trained, output, backend, {
    ...(format === undefined ? {} : { format }),
    dtype,
    pixels: preprocessing,
    probabilities,
  });
  if (json) printJson(written);
  else for (const line of linesOf(written)) printLine(line);
}

/** What was written, and how it was checked. */
export function linesOf({ files, check }: WrittenExport): string[] {
  const batches = check.batches.map((shape) => shape.join("×")).join(" and ");
  return [
    ...files.map(({ path, bytes }) => `${path}  ${formatBytes(bytes)}`),
    `checked by ${check.by} on ${batches}: largest difference ${check.difference.toExponential(1)} of the largest ` +
      `output (limit ${check.limit})`,
  ];
}
