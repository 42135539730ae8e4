// export: a trained network as files on disk, checked at once.
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Backend } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import { UsageError } from "../errors.ts";
import { checkExport, type ExportCheck } from "./check.node.ts";
import { type CalibrationData, calibrationBatches, checkInt8, type Int8Check } from "./checkInt8.node.ts";
import {
  type ExportFormatName,
  type ExportOptions,
  exportFiles,
  exportFormatNames,
  exportFormats,
  requireInt8,
} from "./export.ts";
import { activationRanges } from "./onnx/ranges.ts";

/** What was written, and what its check found. */
export interface WrittenExport {
  readonly format: ExportFormatName;
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly check: ExportCheck | Int8Check;
}

/** What is written, and of dtype int8 with which images. */
export interface ExportNetworkOptions extends Omit<ExportOptions, "ranges"> {
  /** Default: what the ending of the output says. */
  readonly format?: ExportFormatName;
  /** Of dtype int8: images that say what ranges feature maps have, and that the outcome is measured on. */
  readonly calibrationData?: CalibrationData;
}

/**
 * Writes `trained` to `output` and runs what was written. A name with the format's ending is one file; any other is a
 * folder, new or empty, which gets a model card too. `backend` stays the caller's.
 * @throws UsageError where the format cannot hold the network, or `output` is a folder with files; for html also where
 * this package was not built
 * @throws ResourceError when the disk is full or may not be written
 * @throws VerificationError when what was written does not compute the same
 */
export async function exportNetwork(
  trained: TrainedModel,
  output: string,
  backend: Backend,
  { format = formatOf(output), calibrationData, dtype, ...rest }: ExportNetworkOptions = {},
): Promise<WrittenExport> {
  if (dtype === "int8") {
    requireInt8(format);
    if (calibrationData === undefined) {
      throw new UsageError("--dtype int8: needs images to calibrate with, expected --calibration-data");
    }
    const ranges = await activationRanges(trained, calibrationBatches(trained, calibrationData), backend);
    const options = { ...rest, dtype, ranges };
    const { main, files } = await writeExport(trained, output, format, options);
    return { format, files, check: await checkInt8(trained, format, main, options, backend, calibrationData) };
  }
  const options = { ...rest, ...(dtype === undefined ? {} : { dtype }) };
  const { main, files } = await writeExport(trained, output, format, options);
  return { format, files, check: await checkExport(trained, format, output, main, options, backend) };
}

/** As exportNetwork, not checked. `main`: the file that holds the weights. */
export async function writeExport(
  trained: TrainedModel,
  output: string,
  format: ExportFormatName,
  options: ExportOptions = {},
): Promise<{ readonly main: string; readonly files: WrittenExport["files"] }> {
  const pageScript = format === "html" ? await readPageScript() : undefined;
  const { main, files } = exportFiles(trained, format, {
    ...options,
    ...(pageScript === undefined ? {} : { pageScript }),
  });
  const isFile = isFileOf(output, format);
  if (!isFile) await requireEmpty(output);
  const written: { path: string; bytes: number }[] = [];
  for (const [name, content] of isFile ? [[main, files.get(main) ?? ""] as const] : files) {
    const path = isFile ? output : join(output, name);
    await mkdir(dirname(path), { recursive: true }).catch((cause: unknown) => {
      throw writeFailure(dirname(path), cause);
    });
    await writeFileAtomic(path, content);
    written.push({ path, bytes: (await stat(path)).size });
  }
  return { main: isFile ? output : join(output, main), files: written };
}

const isFileOf = (output: string, format: ExportFormatName): boolean =>
  extname(output) === exportFormats[format].ending;

function formatOf(output: string): ExportFormatName {
  const found = exportFormatNames.find((name) => isFileOf(output, name));
  if (found !== undefined) return found;
  throw new UsageError(
    `--format: none given and "${output}" does not say it, expected one of ${exportFormatNames.join(", ")}`,
    { output },
  );
}

async function requireEmpty(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw new UsageError(`${folder}: is no folder, expected a new or an empty one`, { folder }, { cause: error });
  });
  if (names.length === 0) return;
  throw new UsageError(`${folder}: has ${names.length} files, expected a new or an empty folder`, { folder });
}

/** Made by the build, beside this module or, from source, in dist/. */
async function readPageScript(): Promise<string> {
  for (const place of ["../browser/page.js", "../../dist/browser/page.js"]) {
    const script = await readFile(fileURLToPath(new URL(place, import.meta.url)), "utf8").catch(() => undefined);
    if (script !== undefined) return script;
  }
  throw new UsageError("html: dist/browser/page.js is not built; npm run build makes it");
}
