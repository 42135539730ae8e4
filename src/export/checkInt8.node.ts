// export: what rounding to eight bits cost, measured at once on the calibration images: the file's answers beside those
// of the f32 network.

import { spread } from "../analyze/featureMaps.ts";
import type { Backend } from "../backends/backend.ts";
import { runAhead } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { inOrder } from "../data/epoch.ts";
import { InputError, VerificationError } from "../errors.ts";
import { buildGraph, macs } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { planInference } from "../plan/planners.ts";
import type { BatchLoader } from "../train/trainer.ts";
import { inputOf, outputsOf, PLAIN_LOOP_MACS, relativeDifference } from "./check.node.ts";
import type { ExportFormatName, ExportOptions } from "./export.ts";
import { CALIBRATION_BATCH } from "./onnx/ranges.ts";
import { onnxOutput } from "./onnx/write.ts";
import { onnxRunner } from "./onnxRuntime.node.ts";

/** Labelled images, of which at most `images` are taken, evenly spread over the split. */
export interface CalibrationData {
  readonly dataset: Dataset;
  readonly split: "train" | "val";
  readonly loadBatches: BatchLoader;
  readonly images: number;
}

/** An int8 file's answers beside those of the f32 network. Shares and errors are percentages. */
export interface Int8Check {
  /** Who computed the int8 answers: a runtime with its version, or a reading of our own. */
  readonly by: string;
  /** Whose images. */
  readonly dataset: string;
  readonly calibratedOn: number;
  readonly images: number;
  readonly top1Accuracy: { readonly f32: number; readonly int8: number };
  /** Share of the images that both give the same best class. */
  readonly sameTop1: number;
  /** Largest difference of an output, over the largest output of f32. */
  readonly difference: number;
}

/**
 * Static int8 of trained networks costs tenths of a point; a network that lost two has a layer that eight bits do not
 * hold. Of few images two are chance.
 */
const MOST_LOST = { points: 2, images: 2 } as const;

/** Of which plain loops take about ten seconds. */
const PLAIN_LOOPS = 10 * PLAIN_LOOP_MACS;

/** The batches of the calibration images, normalised as the network wants them. */
export function calibrationBatches(trained: TrainedModel, data: CalibrationData): AsyncIterable<Batch> {
  return batchesOf(trained, data, spread(data.dataset[data.split].length, data.images));
}

function batchesOf(
  { preprocessing: { mean, std, height, width }, classes }: TrainedModel,
  { dataset, split, loadBatches }: CalibrationData,
  indices: Int32Array,
): AsyncIterable<Batch> {
  if (dataset.height !== height || dataset.width !== width || dataset.classes.length !== classes.length) {
    throw new InputError(
      `${dataset.name}: has images of ${dataset.height}×${dataset.width} in ${dataset.classes.length} classes, ` +
        `calibration needs ${height}×${width} in ${classes.length}`,
      { dataset: dataset.name },
    );
  }
  return loadBatches({ ...dataset, mean, std }, split, { ...inOrder(CALIBRATION_BATCH), indices });
}

/**
 * Runs the file `main`, which was calibrated on `data`, on the same images; where no runtime is installed, on as many of
 * them as plain loops take ten seconds for.
 * @throws VerificationError where it gets more of them wrong than rounding explains
 */
export async function checkInt8(
  trained: TrainedModel,
  format: ExportFormatName,
  main: string,
  options: ExportOptions,
  backend: Backend,
  data: CalibrationData,
): Promise<Int8Check> {
  const { model, preprocessing, classes } = trained;
  const { height, width } = preprocessing;
  const { inChannels } = model.spec;
  const { by, run, plainLoops } = await onnxRunner(main, inputOf(format), onnxOutput(options));
  const all = spread(data.dataset[data.split].length, data.images);
  const few = Math.max(1, Math.floor(PLAIN_LOOPS / macs(model.spec, preprocessing)));
  const indices = plainLoops ? spread(all.length, few).map((at) => all[at]) : all;
  const graph = buildGraph(model.spec, { batch: CALIBRATION_BATCH, height, width, mode: "inference" });
  const executable = await backend.compile({ check: planInference(graph) });
  const right = { f32: 0, int8: 0 };
  let [same, difference, largest] = [0, 0, 0];
  try {
    for (const [path, { data: values }] of model.state) await executable.write(path, values);
    const workOf = ({ images }: Batch) => ({ plan: "check", inputs: { [hostBuffers.images]: images } });
    const batches = batchesOf(trained, data, indices);
    for await (const { item, found } of runAhead(executable, batches, workOf, [hostBuffers.logits])) {
      const { count, labels } = item;
      const images = item.images.subarray(0, count * inChannels * height * width);
      const logits = Float32Array.from(found[0].subarray(0, count * classes.length));
      const expected = outputsOf(trained, logits, options);
      const answers = options.pixels
        ? await run([count, height, width, inChannels], bytesOf(trained, images))
        : await run([count, inChannels, height, width], images);
      const scale = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      largest = Math.max(largest, scale);
      difference = Math.max(difference, relativeDifference(answers, expected) * scale);
      for (let n = 0; n < count; n++) {
        const [f32, int8] = [bestOf(expected, n, classes.length), bestOf(answers, n, classes.length)];
        right.f32 += Number(f32 === labels[n]);
        right.int8 += Number(int8 === labels[n]);
        same += Number(f32 === int8);
      }
    }
  } finally {
    await executable.dispose();
  }
  const share = (part: number): number => (100 * part) / indices.length;
  const check: Int8Check = {
    by,
    dataset: data.dataset.name,
    calibratedOn: all.length,
    images: indices.length,
    top1Accuracy: { f32: share(right.f32), int8: share(right.int8) },
    sameTop1: share(same),
    difference: difference / (largest || 1),
  };
  const most = Math.max(MOST_LOST.images, (MOST_LOST.points / 100) * indices.length);
  if (right.f32 - right.int8 <= most && Number.isFinite(difference)) return check;
  throw new VerificationError(
    `${main}: in int8 the network gets ${right.int8} of ${indices.length} calibration images right, in f32 ` +
      `${right.f32}; expected at most ${Math.floor(most)} fewer. More images (--calibration-images) or --dtype f16 may do`,
    { ...check, path: main },
  );
}

/** The class of the greatest output of image `n`; of equal ones the first. */
function bestOf(outputs: ArrayLike<number>, n: number, classes: number): number {
  let best = 0;
  for (let k = 1; k < classes; k++) if (outputs[n * classes + k] > outputs[n * classes + best]) best = k;
  return best;
}

/** Normalised images [N, C, H, W] as the pixels [N, H, W, C] that they were. */
function bytesOf({ preprocessing, model }: TrainedModel, images: Float32Array): Uint8Array {
  const { mean, std, height, width } = preprocessing;
  const channels = model.spec.inChannels;
  const plane = height * width;
  return Uint8Array.from(images, (_, i) => {
    const c = i % channels;
    const pixel = Math.floor(i / channels);
    const value = images[(Math.floor(pixel / plane) * channels + c) * plane + (pixel % plane)];
    return Math.round(255 * (value * std[c] + mean[c]));
  });
}
