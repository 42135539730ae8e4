// cli: `densenet explain` — where in image files the evidence for a class lies, says a checkpoint.
import { mkdir, stat } from "node:fs/promises";
import { dirname, extname, join, relative, resolve, sep } from "node:path";
import { type Command, Option } from "commander";
import sharp from "sharp";
import { formatInteger, formatPercent, table } from "../analyze/format.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import type { Box } from "../data/augment.ts";
import { centreBox, type Image } from "../data/fitImage.ts";
import { decodeImage, decodeUpright, readFileHeader } from "../data/image.node.ts";
import { imageFiles } from "../data/imageFiles.node.ts";
import { DEFAULT_MAX_PIXELS } from "../data/imageFormats.ts";
import { InputError, UsageError } from "../errors.ts";
import type { ExplainMethod } from "../infer/explainer.ts";
import { createExplainer, type Explainer, type Explanation, explainMethods } from "../infer/explainer.ts";
import { overlay, peakBox } from "../infer/overlay.ts";
import { nearestName } from "../nearestName.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openBackend } from "./backend.ts";
import { exitCodeOf } from "./exitCodes.ts";
import { chosenDevice, examples, imageFileOptions, jsonOption, wholeFlag } from "./flags.ts";
import { type NetworkFlags, openNetwork } from "./network.ts";
import { printJson, printLine, say, toned } from "./output.ts";
import { requireWritable } from "./outputFile.ts";
import { preprocessingOptions } from "./preprocessingFlags.ts";

interface ExplainOptions extends Partial<DeviceChoice>, NetworkFlags {
  readonly class?: string;
  readonly layer?: string;
  readonly method?: ExplainMethod;
  readonly patch?: number;
  readonly stride?: number;
  readonly output?: string;
  readonly maxPixels?: number;
  readonly json?: boolean;
}

export function addExplain(program: Command): void {
  const command = program
    .command("explain")
    .summary("show where in images the evidence lies")
    .description(
      "Maps where in image files the evidence for a class lies. The class activation map is exact for these networks: " +
        "its positions add up to the class's logit. Grad-CAM does it for any layer, occlusion by covering the image " +
        "patch by patch. A file that cannot be explained is named, keeps no other from its answer, and makes the " +
        "command end with 3.",
    )
    .argument("<checkpoint>", "a run folder, a packaged model's name or weights, as densenet predict takes them")
    .argument("<file...>", "image files, folders of them, or patterns such as 'photos/**/*.jpg'")
    .option("--class <name>", "the class to explain, by name or number (default: of each image the most probable)")
    .addOption(
      new Option(
        "--method <name>",
        "how the map is made (default: cam, with --layer grad-cam); occlusion takes a hundred predictions",
      ).choices(explainMethods),
    )
    .option(
      "--layer <node>",
      "of grad-cam: a module's path, such as features.denseblock3 or features.denseblock4.denselayer16 (default: what " +
        "the last pool reads)",
    )
    .option(
      "--patch <n>",
      "of occlusion: side of the patch in pixels of the network's input (default: a fifth of its shorter side)",
      wholeFlag("--patch", 1),
    )
    .option(
      "--stride <n>",
      "of occlusion: pixels from patch to patch (default: half of the patch)",
      wholeFlag("--stride", 1),
    )
    .option(
      "-o, --output <path>",
      "write the image in grey with the map in colour: a .png file for one image, else a folder; of the image's size, " +
        "small ones enlarged",
    )
    .addHelpText(
      "after",
      examples(
        "densenet explain runs/first cat.jpg --output cam.png",
        "densenet explain bc-40-12.cifar10 photos --output maps",
        "densenet explain runs/first cat.jpg --class dog       # what speaks for another answer",
        "densenet explain runs/first cat.jpg --layer features.denseblock2",
        "densenet explain runs/first cat.jpg --method occlusion --patch 8",
      ),
    )
    .action(explain);
  const json = jsonOption(
    "a JSON list on stdout: file, target, logit, top, map, box (what the network saw) and peak, in the image's pixels",
  );
  for (const option of [...imageFileOptions(), json, ...preprocessingOptions()]) command.addOption(option);
}

/** What was found of a file, or why nothing was. */
type FileExplanation = Explained | { readonly file: string; readonly error: InputError };

interface Explained extends Explanation {
  readonly file: string;
  /** What the network saw. */
  readonly box: Box;
  readonly peak: Box | undefined;
}

async function explain(checkpoint: string, names: string[], options: ExplainOptions): Promise<void> {
  const { maxPixels } = options;
  const found: (string | InputError)[] = [];
  for await (const file of imageFiles(names, say)) found.push(file);
  const files = found.filter((file) => typeof file === "string");
  const outputs = await outputsOf(files, options.output);
  const trained = await openNetwork(checkpoint, options);
  const target = options.class === undefined ? undefined : classNamed(trained.classes, options.class);
  const backend = await openBackend(chosenDevice(options));
  const explained: FileExplanation[] = [];
  try {
    const explainer = await createExplainer(trained, backend, explainerOptions(options));
    for (const file of found) {
      if (file instanceof InputError) {
        explained.push({ file: String(file.details.file), error: file });
        continue;
      }
      const result = await explainFile(explainer, file, { target, output: outputs?.get(file), maxPixels });
      explained.push(result);
    }
  } finally {
    await backend.dispose();
  }
  const good = explained.filter((one): one is Explained => !("error" in one));
  const bad = explained.filter((one) => "error" in one);
  for (const { error } of bad) say(error.message, `${toned("red", "densenet:")} `);
  if (options.output !== undefined && good.length > 0) {
    const [only, ...more] = good;
    const written = only && more.length === 0 ? outputs?.get(only.file) : undefined;
    say(written ?? `${options.output}: ${formatInteger(good.length)} maps`);
  }
  if (options.json) printJson(explained.map(jsonOf));
  else if (good.length > 0) printLine(textOf(good));
  const [first] = bad;
  if (first === undefined) return;
  if (explained.length > 1) {
    say(`${formatInteger(bad.length)} of ${formatInteger(explained.length)} could not be explained`);
  }
  process.exitCode = exitCodeOf(first.error);
}

function explainerOptions({ layer, method, patch, stride }: ExplainOptions): Parameters<typeof createExplainer>[2] {
  if ((patch !== undefined || stride !== undefined) && method !== "occlusion") {
    throw new UsageError("--patch, --stride: are for --method occlusion", { flag: "--patch" });
  }
  return {
    ...(layer === undefined ? {} : { layer }),
    ...(method === undefined ? {} : { method }),
    patch: { side: patch, stride },
  };
}

interface FileOptions {
  readonly target: number | undefined;
  readonly output: string | undefined;
  readonly maxPixels: number | undefined;
}

async function explainFile(
  explainer: Explainer,
  file: string,
  { target, output, maxPixels }: FileOptions,
): Promise<FileExplanation> {
  const { channels, ...size } = explainer.inputSize;
  if (channels !== 1 && channels !== 3) {
    throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
  }
  try {
    const explanation = await explainer.explain(
      await decodeImage(file, { channels, ...size }, { maxPixels }),
      target,
      file,
    );
    const header = await readFileHeader(file, maxPixels ?? DEFAULT_MAX_PIXELS);
    const box = centreBox(header.width, header.height, explainer.inputSize);
    if (output !== undefined) await writeOverlay(output, await decodeUpright(file, { maxPixels }), box, explanation);
    return { file, ...explanation, box, peak: peakBox(explanation.map, box) };
  } catch (error) {
    if (error instanceof InputError) return { file, error };
    throw error;
  }
}

/** Smaller images are enlarged by a whole factor, or nobody would see anything. */
const SMALLEST_SHOWN = 224;

async function writeOverlay(path: string, image: Image, box: Box, { map }: Explanation): Promise<void> {
  const factor = Math.max(1, Math.ceil(SMALLEST_SHOWN / Math.max(image.width, image.height)));
  const shown = enlarged(image, factor);
  const shownBox = {
    left: box.left * factor,
    top: box.top * factor,
    width: box.width * factor,
    height: box.height * factor,
  };
  const { width, height } = shown;
  const png = sharp(overlay(shown, shownBox, map), { raw: { width, height, channels: 3 } }).png();
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (error) {
    throw writeFailure(dirname(path), error);
  }
  await writeFileAtomic(path, await png.toBuffer());
}

/** Every pixel becomes a square. */
function enlarged({ width, height, data }: Image, factor: number): Image {
  if (factor === 1) return { width, height, data };
  const stride = data.length / (width * height);
  const [wide, high] = [width * factor, height * factor];
  const out = new Uint8Array(wide * high * stride);
  for (let at = 0; at < out.length; at++) {
    const pixel = Math.floor(at / stride);
    const [x, y] = [Math.floor((pixel % wide) / factor), Math.floor(Math.floor(pixel / wide) / factor)];
    out[at] = data[(y * width + x) * stride + (at % stride)];
  }
  return { width: wide, height: high, data: out };
}

/**
 * The .png of each file: `output` itself for one file, if it ends so; else below the folder `output` as the files lie
 * below the folder that holds them all.
 */
async function outputsOf(
  files: readonly string[],
  output: string | undefined,
): Promise<ReadonlyMap<string, string> | undefined> {
  if (output === undefined) return undefined;
  if (extname(output).toLowerCase() === ".png") {
    const [file, ...more] = new Set(files);
    if (more.length > 0) {
      throw new UsageError(
        `--output: got the file ${output} for ${formatInteger(files.length)} images, expected a folder`,
        { flag: "--output" },
      );
    }
    await requireWritable(output);
    return new Map(file === undefined ? [] : [[file, output]]);
  }
  const known = await stat(output).catch(() => undefined);
  if (output === "" || (known !== undefined && !known.isDirectory())) {
    throw new UsageError(`--output: ${output || '""'} is no folder, expected a folder, or a file that ends in .png`, {
      flag: "--output",
    });
  }
  const taken = new Set<string>();
  const shared = sharedFolder(files);
  return new Map(
    [...new Set(files)].map((file) => {
      const below = relative(shared, resolve(file));
      const short = `${below.slice(0, below.length - extname(below).length)}.png`;
      const name = taken.has(short) ? `${below}.png` : short;
      taken.add(name);
      return [file, join(output, name)];
    }),
  );
}

/** The deepest folder that all files lie below. */
function sharedFolder(files: readonly string[]): string {
  const folders = files.map((file) => dirname(resolve(file)).split(sep));
  const [first = []] = folders;
  const depth = first.findIndex((name, at) => folders.some((folder) => folder[at] !== name));
  return first.slice(0, depth === -1 ? first.length : depth).join(sep) || sep;
}

/** @throws UsageError for a class that the network does not have, with the nearest one that it has */
function classNamed(classes: readonly string[], text: string): number {
  const named = classes.indexOf(text);
  if (named !== -1) return named;
  if (/^\d+$/.test(text) && Number(text) < classes.length) return Number(text);
  const nearest = nearestName(text, classes);
  throw new UsageError(
    `--class: the network has no class "${text}", expected one of its ${formatInteger(classes.length)}: ` +
      `${classes.slice(0, 12).join(", ")}${classes.length > 12 ? ", …" : ""}` +
      `${nearest === undefined ? "" : `; did you mean ${nearest}?`}`,
    { flag: "--class", value: text },
  );
}

function textOf(explained: readonly Explained[]): string {
  const rows = explained.map(({ file, target, top, peak }) => [
    file,
    target.label,
    formatPercent(100 * target.score),
    peak === undefined ? "nothing speaks for it" : boxText(peak),
    top
      .filter(({ index }) => index !== target.index)
      .slice(0, 2)
      .map(({ label, score }) => `${label} ${formatPercent(100 * score)}`)
      .join(", "),
  ]);
  return table([["file", "class", "probability", "evidence at", "other classes"], ...rows], [2]);
}

/** `40×32 from 12,8`: width and height, left and top. */
const boxText = ({ left, top, width, height }: Box): string => `${width}×${height} at ${left},${top}`;

function jsonOf(one: FileExplanation): unknown {
  if ("error" in one) return { file: one.file, error: { kind: one.error.name, message: one.error.message } };
  const { map, peak, ...rest } = one;
  return { ...rest, peak: peak ?? null, map: { ...map, values: [...map.values] } };
}
