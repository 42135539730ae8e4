// cli: `densenet embed` — image files as vectors of features, and which of them are alike.
import { basename } from "node:path";
import type { Command } from "commander";
import sharp from "sharp";
import { embeddingMap, type MapImage, renderMap } from "../analyze/embeddingMap.node.ts";
import { formatInteger, table } from "../analyze/format.ts";
import { type Neighbour, nearestNeighbours } from "../analyze/neighbours.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { decodeUpright } from "../data/image.node.ts";
import { imageFiles } from "../data/imageFiles.node.ts";
import { InputError, UsageError } from "../errors.ts";
import { embedFiles, type FileEmbedding } from "../infer/embedFiles.node.ts";
import { createNodeReader } from "../infer/nodeReader.ts";
import { topPredictions } from "../infer/scores.ts";
import type { DeviceChoice } from "../run/device.node.ts";
import { openBackend } from "./backend.ts";
import { commandLine } from "./commandLine.ts";
import { EmbeddingWriter, namesBeside, requireEmbeddingFormat } from "./embeddingFile.ts";
import { exitCodeOf } from "./exitCodes.ts";
import { chosenDevice, examples, imageFileOptions, jsonOption, wholeFlag } from "./flags.ts";
import { type NetworkFlags, openFeatures } from "./network.ts";
import { printJson, printLine, say, talk, toned } from "./output.ts";
import { requireWritable } from "./outputFile.ts";
import { preprocessingOptions } from "./preprocessingFlags.ts";

interface EmbedOptions extends Partial<DeviceChoice>, NetworkFlags {
  readonly output?: string;
  readonly layer?: string;
  readonly neighbours?: number;
  readonly map?: string;
  readonly maxPixels?: number;
  readonly json?: boolean;
}

export function addEmbed(program: Command): void {
  const command = program
    .command("embed")
    .summary("turn images into vectors of features")
    .description(
      "Turns image files into vectors in which alike images lie near each other: the pooled features that the " +
        "classifier reads, or those of another node, averaged over positions. A file that cannot be read is named, " +
        "keeps no other from its vector, and makes the command end with 3.",
    )
    .argument("<checkpoint>", "a run folder, a packaged model's name or weights, as densenet predict takes them")
    .argument("<file...>", "image files, folders of them, or patterns such as 'photos/**/*.jpg'")
    .option(
      "-o, --output <file>",
      "write the vectors: .npy (NumPy, f32 [n, dims]; files and labels in a .json beside it), .csv (file, label, e0, " +
        "e1, …) or .safetensors (tensor embeddings; files and labels in its metadata). label: what the network says, empty where it has no classifier",
    )
    .option(
      "--layer <node>",
      "a module's path, such as features.denseblock2 (default: the features before the classifier)",
    )
    .option(
      "--neighbours <k>",
      "the k nearest other images of each, by the cosine of their vectors (all pairs are compared)",
      wholeFlag("--neighbours", 1),
    )
    .option(
      "--map <file>",
      `write a page with the images on a map in which alike ones lie together (UMAP); of more than ${formatInteger(MOST_MAPPED)} ` +
        "images evenly spread ones",
    )
    .addHelpText(
      "after",
      examples(
        "densenet embed runs/first photos --output features.npy",
        "densenet embed bc-40-12.cifar10 photos --neighbours 3",
        "densenet embed runs/first photos --map map.html",
        "densenet embed densenet121-a639ec97.pth photos --output features.csv",
      ),
    )
    .action(embedAll);
  const json = jsonOption(
    "one JSON document on stdout: dims and, of each file, label, neighbours or without --output its vector",
  );
  for (const option of [...imageFileOptions(), json, ...preprocessingOptions()]) command.addOption(option);
}

interface Found {
  readonly file: string;
  readonly label: string;
  /** Only where it is needed after it was written. */
  readonly vector?: Float32Array;
}

async function embedAll(checkpoint: string, names: string[], options: EmbedOptions): Promise<void> {
  const { output, layer, neighbours, map, maxPixels, json } = options;
  if (output === undefined && neighbours === undefined && map === undefined && !json) {
    throw new UsageError("embed: nothing to do, expected --output, --neighbours, --map or --json", {
      flag: "--output",
    });
  }
  if (map !== undefined) await requireWritable(map, "--map");
  if (output !== undefined) {
    requireEmbeddingFormat(output);
    await requireWritable(output);
  }
  const listed: (string | InputError)[] = [];
  for await (const file of imageFiles(names, say)) listed.push(file);
  const files = listed.filter((file) => typeof file === "string");
  const bad = listed.filter((file) => file instanceof InputError);
  const { trained, hasHead } = await openFeatures(checkpoint, options);
  const backend = await openBackend(chosenDevice(options));
  const found: Found[] = [];
  let dims = 0;
  try {
    const reader = await createNodeReader(trained, backend, {
      batchSize: files.length < BATCH ? 1 : BATCH,
      ...(layer === undefined ? {} : { nodes: [layer] }),
    });
    [dims = 0] = [...reader.shapes.values()][0] ?? [];
    const writer = output === undefined ? undefined : new EmbeddingWriter(output, dims);
    const keep = neighbours !== undefined || map !== undefined || output === undefined;
    const progress = counter(files.length);
    try {
      let rows: { file: string; label: string; vector: Float32Array }[] = [];
      for await (const one of embedFiles(reader, files, { maxPixels })) {
        progress.add();
        const problem = problemOf(one);
        if (problem !== undefined) {
          bad.push(problem);
          continue;
        }
        const { file, vector, logits } = one as Exclude<FileEmbedding, { error: InputError }>;
        const label = hasHead ? (topPredictions(logits, trained.classes, 1)[0]?.label ?? "") : "";
        found.push({ file, label, ...(keep ? { vector } : {}) });
        rows.push({ file, label, vector });
        if (rows.length < BATCH) continue;
        await writer?.write(rows);
        rows = [];
      }
      progress.clear();
      await writer?.write(rows);
      if (found.length > 0) await writer?.finish();
    } finally {
      await writer?.dispose();
    }
  } finally {
    await backend.dispose();
  }
  for (const error of bad) say(error.message, `${toned("red", "densenet:")} `);
  if (output !== undefined && found.length > 0) {
    const beside = output.toLowerCase().endsWith(".npy") ? `; files and labels: ${namesBeside(output)}` : "";
    say(`${output}: ${formatInteger(found.length)} vectors of ${formatInteger(dims)} features${beside}`);
  }
  if (map !== undefined) await writeMap(map, checkpoint, layer, found);
  const near =
    neighbours === undefined
      ? undefined
      : nearestNeighbours(
          found.flatMap(({ vector }) => vector ?? []),
          neighbours,
        );
  if (json) printJson({ dims, images: found.map((one, at) => jsonOf(one, near?.[at], found, output)) });
  else if (near !== undefined && near.length > 0) printLine(textOf(found, near));
  const [first] = bad;
  if (first === undefined) return;
  if (listed.length > 1) say(`${formatInteger(bad.length)} of ${formatInteger(listed.length)} could not be embedded`);
  process.exitCode = exitCodeOf(first);
}

/** Images on a map: more make the page large and its thumbnails too small. */
const MOST_MAPPED = 2000;
/** Side of a thumbnail in pixels. */
const THUMBNAIL = 48;

async function writeMap(
  path: string,
  checkpoint: string,
  layer: string | undefined,
  all: readonly Found[],
): Promise<void> {
  const step = Math.max(1, all.length / MOST_MAPPED);
  const shown = Array.from({ length: Math.floor(all.length / step) }, (_, at) => all[Math.floor(at * step)]);
  const points = embeddingMap(shown.flatMap(({ vector }) => vector ?? []));
  const images: MapImage[] = [];
  for (const [at, { file, label }] of shown.entries()) {
    const { width, height, data } = await decodeUpright(file);
    const channels = data.length / (width * height) === 4 ? 4 : 3;
    const small = sharp(data, { raw: { width, height, channels } }).resize(THUMBNAIL, THUMBNAIL, { fit: "cover" });
    const jpeg = await small.flatten({ background: "#fff" }).jpeg({ quality: 75 }).toBuffer();
    images.push({ file, label, ...points[at], dataUri: `data:image/jpeg;base64,${jpeg.toString("base64")}` });
  }
  const of = shown.length < all.length ? `${formatInteger(shown.length)} of ` : "";
  const text = renderMap({
    title: `Images as ${basename(checkpoint)} sees them`,
    description:
      `${of}${formatInteger(all.length)} images by ` +
      `${layer === undefined ? "the features before the classifier" : `what ${layer} makes of them`}, on a map by UMAP.`,
    images,
    command: commandLine(),
  });
  await writeFileAtomic(path, text);
  say(`${path}: a map of ${formatInteger(shown.length)} images`);
}

/** Images that go through the network together. */
const BATCH = 16;

function problemOf(one: FileEmbedding): InputError | undefined {
  if ("error" in one) return one.error;
  if (one.vector.every(Number.isFinite)) return undefined;
  return new InputError(
    `${one.file}: the network's features are not finite; its weights, mean or std cannot be right`,
    {
      file: one.file,
    },
  );
}

function textOf(found: readonly Found[], near: readonly (readonly Neighbour[])[]): string {
  const rows = found.map(({ file, label }, at) => [
    file,
    label,
    ...near[at].flatMap(({ index, similarity }) => [found[index].file, similarity.toFixed(3)]),
  ]);
  const similarities = rows[0].map((_, column) => column).filter((column) => column > 1 && column % 2 === 1);
  return table(rows, similarities);
}

function jsonOf(
  { file, label, vector }: Found,
  near: readonly Neighbour[] | undefined,
  found: readonly Found[],
  output: string | undefined,
): unknown {
  return {
    file,
    label,
    ...(output === undefined && vector !== undefined ? { vector: [...vector] } : {}),
    ...(near && { neighbours: near.map(({ index, similarity }) => ({ file: found[index].file, similarity })) }),
  };
}

/** On a terminal one line that counts; elsewhere nothing. */
function counter(total: number): { add(): void; clear(): void } {
  let done = 0;
  let shownAt = performance.now();
  return {
    add() {
      done++;
      if (!process.stderr.isTTY || performance.now() - shownAt < 100) return;
      shownAt = performance.now();
      talk(`\r\x1b[K${formatInteger(done)} of ${formatInteger(total)} images`);
    },
    clear() {
      if (process.stderr.isTTY) talk("\r\x1b[K");
    },
  };
}
