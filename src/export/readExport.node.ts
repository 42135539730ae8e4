// export: what was exported, read again.
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { decodeModel, type TrainedModel } from "../checkpoint/checkpoint.ts";
import { loadNetwork } from "../formats/network.node.ts";
import { type ExportFormatName, exportFormats, PAGE } from "./export.ts";
import { safetensorsInPage } from "./html.ts";

/** The network of the export at `path`, a file or a folder. @throws InputError where it is damaged */
export async function readExport(path: string, format: ExportFormatName): Promise<TrainedModel> {
  if (format !== "html") return (await loadNetwork(path)).trained;
  const file = extname(path) === exportFormats.html.ending ? path : join(path, PAGE);
  return decodeModel(safetensorsInPage(await readFile(file, "utf8")), file);
}
