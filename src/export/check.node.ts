// export: what was written, run at once by the runtime that it is for and compared with our own backend. Where that
// runtime is not installed, a second reading of ours: the file is parsed again and what it says is computed.
import type { Backend } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { normalizationTable } from "../data/normalization.ts";
import { VerificationError } from "../errors.ts";
import { sigmoid, softmax } from "../infer/scores.ts";
import type { Model } from "../model/model.ts";
import { buildGraph, macs, smallestInput } from "../networks/registry.ts";
import { sizeOf } from "../ops/op.ts";
import { hostBuffers } from "../plan/names.ts";
import { planInference } from "../plan/planners.ts";
import type { ExportFormatName, ExportOptions } from "./export.ts";
import { onnxOutput, type WeightDtype } from "./onnx/write.ts";
import { onnxRunner } from "./onnxRuntime.node.ts";
import { readExport } from "./readExport.node.ts";
import { TRANSFORMERS_INPUT } from "./transformersJs.ts";

/** What running an export came to. */
export interface ExportCheck {
  /** Who computed what was written: a runtime with its version, or a reading of our own. */
  readonly by: string;
  /** Shapes of the batches, [N, C, H, W]. */
  readonly batches: readonly (readonly number[])[];
  /** Largest difference of an output to ours, over the largest output. */
  readonly difference: number;
  /** What the difference may be. */
  readonly limit: number;
}

/** Rounding to f16 keeps 11 bits of every weight and, in ONNX, of every feature map. */
const LIMITS = { f32: 1e-4, f16: 1e-2 } as const;

/** Multiply-adds of an image that plain loops take about a second for. */
export const PLAIN_LOOP_MACS = 2e8;

/**
 * Runs the export at `path` (`main` is its file of weights) on images of its size, and of another size where the format
 * leaves that open.
 * @throws VerificationError where an output differs by more than the limit
 */
export async function checkExport(
  trained: TrainedModel,
  format: ExportFormatName,
  path: string,
  main: string,
  options: ExportOptions & { readonly dtype?: WeightDtype },
  backend: Backend,
): Promise<ExportCheck> {
  const found =
    format === "onnx" || format === "transformers.js"
      ? await checkOnnx(trained, main, inputOf(format), options, backend)
      : await checkWeights(trained, await readExport(path, format), backend);
  const check = { ...found, limit: LIMITS[options.dtype ?? "f32"] };
  if (check.difference <= check.limit) return check;
  throw new VerificationError(
    `${path}: ${check.by} answers otherwise than this network: the largest difference is ` +
      `${check.difference.toExponential(1)} of the largest output, expected at most ${check.limit}`,
    { ...check, path },
  );
}

/** What the graph of a format calls its input. */
export const inputOf = (format: ExportFormatName): string =>
  format === "transformers.js" ? TRANSFORMERS_INPUT : "images";

type Found = Omit<ExportCheck, "limit">;

async function checkWeights(trained: TrainedModel, again: TrainedModel, backend: Backend): Promise<Found> {
  const { height, width } = trained.preprocessing;
  const batch = [2, trained.model.spec.inChannels, height, width];
  const images = testImages(trained, batch).floats;
  const [expected, found] = [
    await logitsOf(trained.model, batch, images, backend),
    await logitsOf(again.model, batch, images, backend),
  ];
  return { by: "densenet, which read it again,", batches: [batch], difference: relativeDifference(found, expected) };
}

async function checkOnnx(
  trained: TrainedModel,
  file: string,
  input: string,
  options: ExportOptions,
  backend: Backend,
): Promise<Found> {
  const { by, run, plainLoops } = await onnxRunner(file, input, onnxOutput(options));
  const batches = plainLoops ? [smallBatch(trained)] : runtimeBatches(trained);
  let difference = 0;
  for (const batch of batches) {
    const { floats, pixels } = testImages(trained, batch);
    const expected = outputsOf(trained, await logitsOf(trained.model, batch, floats, backend), options);
    const [n, channels, height, width] = batch;
    const found = options.pixels ? await run([n, height, width, channels], pixels) : await run(batch, floats);
    difference = Math.max(difference, relativeDifference(found, expected));
  }
  return { by, batches, difference };
}

/** Two images of the network's size, and one of odd sides. */
function runtimeBatches({ model, preprocessing }: TrainedModel): number[][] {
  const { inChannels } = model.spec;
  const { height, width } = preprocessing;
  const least = smallestInput(model.spec);
  const odd = (side: number, share: number): number => Math.max(least, Math.round(side * share)) | 1;
  return [
    [2, inChannels, height, width],
    [1, inChannels, odd(height, 1.2), odd(width, 0.7)],
  ];
}

function smallBatch({ model, preprocessing }: TrainedModel): number[] {
  const { spec } = model;
  const least = smallestInput(spec);
  let { height, width } = preprocessing;
  while (macs(spec, { height, width }) > PLAIN_LOOP_MACS && Math.min(height, width) > least) {
    height = Math.max(least, Math.floor(height * 0.8));
    width = Math.max(least, Math.floor(width * 0.75));
  }
  return [2, spec.inChannels, height, width];
}

/** Bytes [N, H, W, C] and what they are after mean and deviation, [N, C, H, W]. */
function testImages(
  { preprocessing }: TrainedModel,
  batch: readonly number[],
): { readonly floats: Float32Array<ArrayBuffer>; readonly pixels: Uint8Array } {
  const [, channels, height, width] = batch;
  const plane = height * width;
  const table = normalizationTable(preprocessing);
  const floats = new Float32Array(sizeOf(batch));
  const pixels = Uint8Array.from(floats, (_, i) => (i * 7919) % 256);
  for (const i of floats.keys()) {
    const channel = Math.floor(i / plane) % channels;
    const image = Math.floor(i / (plane * channels));
    floats[i] = table[channel * 256 + pixels[(image * plane + (i % plane)) * channels + channel]];
  }
  return { floats, pixels };
}

async function logitsOf(
  model: Model,
  [batch, , height, width]: readonly number[],
  images: Float32Array<ArrayBuffer>,
  backend: Backend,
): Promise<Float32Array> {
  const { activationDtype } = backend.info;
  const plan = planInference(buildGraph(model.spec, { batch, height, width, mode: "inference" }), { activationDtype });
  const executable = await backend.compile({ check: plan });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    await executable.write(hostBuffers.images, images, "check");
    await executable.run("check");
    const [logits] = await executable.read([hostBuffers.logits], "check");
    return Float32Array.from(logits);
  } finally {
    await executable.dispose();
  }
}

/** What the graph ends with, of logits. */
export function outputsOf(
  trained: TrainedModel,
  logits: Float32Array,
  { probabilities }: ExportOptions,
): ArrayLike<number> {
  if (!probabilities) return logits;
  const temperature = trained.calibration?.temperature ?? 1;
  const of = (row: Float32Array) => (trained.outputs === "sigmoid" ? sigmoid(row) : softmax(row, temperature));
  const { length } = trained.classes;
  return Array.from({ length: logits.length / length }, (_, n) =>
    Array.from(of(logits.subarray(n * length, (n + 1) * length))),
  ).flat();
}

/** Largest difference over the largest expected number. */
export function relativeDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = found.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const apart = Math.abs(found[i] - expected[i]);
    difference = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : Math.max(difference, apart);
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference / (largest || 1);
}
