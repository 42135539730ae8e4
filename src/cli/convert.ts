// cli: `densenet convert` — weights from one file format to another.
import type { Command } from "commander";
import type { ExportFormatName } from "../export/export.ts";
import type { WeightDtype } from "../export/onnx/write.ts";
import { exportNetwork } from "../export/write.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { openBackend } from "./backend.ts";
import { dtypeOption, FORMATS, formatOption, linesOf } from "./export.ts";
import { examples, jsonOption } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface ConvertOptions {
  readonly format?: ExportFormatName;
  readonly dtype: WeightDtype;
  readonly json?: boolean;
}

export function addConvert(program: Command): void {
  program
    .command("convert")
    .summary("turn weights of one format into another")
    .description("Reads weights of any format that predict takes and writes them in another, checked as export does.")
    .argument("<in>", "weights: .safetensors, .pth, .pt, .onnx, a timm folder; or a run or checkpoint folder")
    .argument("<out>", "the file to write, or a new or empty folder")
    .addOption(formatOption(program))
    .addOption(dtypeOption(program))
    .addOption(jsonOption())
    .addHelpText(
      "after",
      FORMATS +
        examples(
          "densenet convert densenet121-a639ec97.pth densenet121.safetensors",
          "densenet convert net.onnx net --format timm",
        ),
    )
    .action(convert);
}

async function convert(input: string, output: string, { format, dtype, json }: ConvertOptions): Promise<void> {
  const { trained, notes } = await loadClassifier(input);
  for (const line of notes) say(line);
  await using backend = await openBackend({ device: "wasm", activationDtype: "f32", threads: null });
  const written = await exportNetwork(trained, output, backend, { ...(format === undefined ? {} : { format }), dtype });
  if (json) printJson(written);
  else for (const line of linesOf(written)) printLine(line);
}
