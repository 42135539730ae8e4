// cli: `densenet convert` — weights from one file format to another.
import type { Command } from "commander";
import { formatInteger, table } from "../analyze/format.ts";
import { UsageError, VerificationError } from "../errors.ts";
import type { ExportFormatName } from "../export/export.ts";
import type { WeightDtype } from "../export/onnx/write.ts";
import { provenanceOf } from "../export/provenance.node.ts";
import { type RoundTrip, roundTrips } from "../export/roundTrip.node.ts";
import { temperatureNote } from "../export/temperature.ts";
import { exportNetwork, type WrittenExport } from "../export/write.node.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { openBackend } from "./backend.ts";
import { dtypeOption, FORMATS, formatOption, linesOf } from "./export.ts";
import { examples, jsonOption } from "./flags.ts";
import { printJson, printLine, say } from "./output.ts";

interface ConvertOptions {
  readonly format?: ExportFormatName;
  readonly dtype: WeightDtype;
  readonly check?: boolean;
  readonly json?: boolean;
}

export function addConvert(program: Command): void {
  program
    .command("convert")
    .summary("turn weights of one format into another")
    .description("Reads weights of any format that predict takes and writes them in another, checked as export does.")
    .argument(
      "<in>",
      "weights: .safetensors, .pth, .onnx, .keras, .h5, a timm folder, hf:OWNER/NAME; or a run or checkpoint folder",
    )
    .argument("[out]", "the file to write, or a new or empty folder; may be left out with --check")
    .addOption(formatOption(program))
    .addOption(dtypeOption(program))
    .option("--check", "take the network through every pair of formats, and end with 7 where a number changes")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      FORMATS +
        examples(
          "densenet convert densenet121-a639ec97.pth densenet121.safetensors",
          "densenet convert net.onnx net --format timm",
          "densenet convert runs/first --check",
        ),
    )
    .action(convert);
}

async function convert(input: string, output: string | undefined, options: ConvertOptions): Promise<void> {
  const { format, dtype, check, json } = options;
  if (output === undefined && !check) {
    throw new UsageError("convert: no output given, expected a file or folder to write, or --check");
  }
  const loaded = await loadClassifier(input, "last", say);
  const { trained, notes } = loaded;
  for (const line of notes) say(line);
  let written: WrittenExport | undefined;
  if (output !== undefined) {
    await using backend = await openBackend({ device: "wasm", activationDtype: "f32", threads: null });
    const provenance = await provenanceOf(loaded, input);
    const how = { ...(format === undefined ? {} : { format }), dtype, provenance };
    written = await exportNetwork(trained, output, backend, how);
    const note = temperatureNote(trained, written.format);
    if (note !== undefined) say(note);
  }
  const checked = check ? await roundTrips(trained) : undefined;
  if (json) printJson({ ...written, ...checked });
  else {
    for (const line of written === undefined ? [] : linesOf(written)) printLine(line);
    if (checked !== undefined) printLine(tripsTable(checked));
  }
  const broken = checked?.trips.filter(({ changed, described }) => changed > 0 || !described) ?? [];
  if (broken.length > 0) {
    const pairs = broken.map(({ from, to }) => `${from} → ${to}`);
    throw new VerificationError(`${input}: is another network after ${pairs.join(", ")}`, { broken });
  }
}

/** Rows are what was written first, columns what was made of that. */
function tripsTable({ trips, refused }: Awaited<ReturnType<typeof roundTrips>>): string {
  const names = [...new Set(trips.map(({ from }) => from))];
  const shown = ({ changed, described }: RoundTrip): string =>
    changed > 0 ? `${formatInteger(changed)} numbers differ` : described ? "same bits" : "same bits, other labels";
  const rows = names.map((from) => [from, ...trips.filter((trip) => trip.from === from).map(shown)]);
  return [table([["from, to", ...names], ...rows]), ...refused.map(({ why }) => why)].join("\n");
}
