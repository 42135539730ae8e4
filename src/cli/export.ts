// cli: `densenet export` — a network for something else to run, checked at once.
import type { Command, Option } from "commander";
import { formatBytes, formatInteger, formatPercent } from "../analyze/format.ts";
import { loadBatches } from "../data/loader.node.ts";
import { InputError } from "../errors.ts";
import type { CalibrationData } from "../export/checkInt8.node.ts";
import { type ExportFormatName, exportFormatNames, exportFormats } from "../export/export.ts";
import { type OnnxDtype, onnxDtypeNames, weightDtypes } from "../export/onnx/write.ts";
import { provenanceOf } from "../export/provenance.node.ts";
import { temperatureNote, withTemperature } from "../export/temperature.ts";
import { exportNetwork, type WrittenExport } from "../export/write.node.ts";
import { type LoadedNetwork, loadClassifier } from "../formats/network.node.ts";
import { openHeldOut } from "../run/heldOut.node.ts";
import { openBackend } from "./backend.ts";
import { bestOption, examples, jsonOption, settingOption, wholeFlag } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface ExportVerbOptions {
  readonly format?: ExportFormatName;
  readonly output: string;
  readonly dtype: OnnxDtype;
  readonly calibrationData?: string;
  readonly calibrationImages: number;
  readonly calibrated?: boolean;
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

export const dtypeOption = (program: Command, choices: readonly string[] = weightDtypes): Option =>
  program
    .createOption("--dtype <type>", "of the weights, and in ONNX of what is computed with them")
    .choices(choices)
    .default("f32");

/** Ranges change little beyond a hundred images. */
const CALIBRATION_IMAGES = 128;

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
        "the outputs differ by more than rounding, or int8 gets over 2 % more of the calibration images wrong.",
    )
    .argument(
      "<checkpoint>",
      "a run folder, a checkpoint folder, a packaged model's name (densenet models), or weights: .safetensors, .pth, " +
        ".onnx, .keras, .h5, a timm folder, hf:OWNER/NAME of the Hugging Face hub",
    )
    .addOption(formatOption(program))
    .requiredOption("-o, --output <path>", "the file, or a new or empty folder")
    .addOption(dtypeOption(program, onnxDtypeNames))
    .option(
      "--calibration-data <dir>",
      "int8: labelled images that say what ranges feature maps have, a folder or embedded (default: what the run was " +
        "trained on; of a packaged model embedded)",
    )
    .option(
      "--calibration-images <n>",
      "int8: how many of them, evenly spread",
      wholeFlag("--calibration-images", 1),
      CALIBRATION_IMAGES,
    )
    .option("--calibrated", "divide the classifier by the temperature of the network's calibration")
    .option("--preprocessing", "onnx: the graph takes uint8 pixels [batch, height, width, channels] of the input size")
    .option("--probabilities", "onnx: the graph ends with the softmax or the sigmoids, not with logits")
    .addOption(bestOption())
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      FORMATS +
        examples(
          "densenet export runs/first -o first.onnx",
          "densenet export runs/first --dtype int8 -o first.int8.onnx",
          "densenet export runs/first -o first.html            # opens in any browser, with no server",
          "densenet export densenet121-a639ec97.pth --format timm -o densenet121",
        ),
    )
    .action(exportVerb);
}

async function exportVerb(checkpoint: string, options: ExportVerbOptions): Promise<void> {
  const { format, output, dtype, preprocessing = false, probabilities = false, best, threads = null, json } = options;
  const loaded = await loadClassifier(checkpoint, best ? "best" : "last", say);
  for (const line of loaded.notes) say(line);
  const trained = options.calibrated ? withTemperature(loaded.trained) : loaded.trained;
  const calibrationData = dtype === "int8" ? await openCalibrationData(loaded, checkpoint, options) : undefined;
  await using backend = await openBackend({ device: "wasm", activationDtype: "f32", threads });
  const written = await exportNetwork(trained, output, backend, {
    ...(format === undefined ? {} : { format }),
    ...(calibrationData === undefined ? {} : { calibrationData }),
    dtype,
    pixels: preprocessing,
    probabilities,
    provenance: await provenanceOf(loaded, checkpoint),
  });
  const note = temperatureNote(trained, written.format, { probabilities });
  if (note !== undefined) say(note);
  if (json) printJson(written);
  else for (const line of linesOf(written)) printLine(line);
}

/** The images that the network was trained on, or those that are asked for: of a folder its training split or all. */
async function openCalibrationData(
  loaded: LoadedNetwork,
  checkpoint: string,
  { calibrationData: dataDir, calibrationImages: images }: ExportVerbOptions,
): Promise<CalibrationData> {
  const open = (split: "train" | "all") => openHeldOut(loaded, checkpoint, { dataDir, split, report: say });
  const { dataset, split } = await open("train").catch((error: unknown) => {
    if (!(error instanceof InputError) || error.details.split !== "train") throw error;
    return open("all");
  });
  return { dataset, split, loadBatches, images };
}

/** What was written, and how it was checked. */
export function linesOf({ files, check }: WrittenExport): string[] {
  return [...files.map(({ path, bytes }) => `${path}  ${formatBytes(bytes)}`), ...checkLines(check)];
}

function checkLines(check: WrittenExport["check"]): string[] {
  if (!("top1Accuracy" in check)) {
    const batches = check.batches.map((shape) => shape.join("×")).join(" and ");
    return [
      `checked by ${check.by} on ${batches}: largest difference ${check.difference.toExponential(1)} of the largest ` +
        `output (limit ${check.limit})`,
    ];
  }
  const { by, dataset, calibratedOn, images, top1Accuracy, sameTop1, difference } = check;
  const counted = images === calibratedOn ? "these" : `${formatInteger(images)} of these`;
  return [
    `calibrated on ${formatInteger(calibratedOn)} images of ${dataset}; checked by ${by} on ${counted}: accuracy ` +
      `${formatPercent(top1Accuracy.f32)} in f32, ${formatPercent(top1Accuracy.int8)} in int8; the same best class for ` +
      `${formatPercent(sameTop1)}, largest difference ${difference.toExponential(1)} of the largest output`,
  ];
}
