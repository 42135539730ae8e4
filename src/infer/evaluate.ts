// infer: how well a trained network does on labelled images. Portable.
import type { Backend } from "../backends/backend.ts";
import { runAhead, type Work } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { inOrder } from "../data/epoch.ts";
import { FIVE_CROPS } from "../data/fitImage.ts";
import { InputError } from "../errors.ts";
import { requireUsable } from "../model/check.ts";
import { buildGraph } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { planInference } from "../plan/planners.ts";
import { type Evaluation, EvaluationTally, evaluationOutputs, evaluationWork } from "../train/evaluation.ts";
import type { BatchLoader } from "../train/trainer.ts";
import { inputMismatch } from "./inputCheck.ts";

/** A trained network, the images to measure it on, and the device that runs it. */
export interface EvaluateOptions {
  readonly trained: TrainedModel;
  readonly dataset: Dataset;
  /** Default: the validation split. */
  readonly split?: "train" | "val";
  readonly backend: Backend;
  readonly loadBatches: BatchLoader;
  /**
   * Images that go through the network at once. Default 64. Decides speed and memory; as kernels sum in an order that
   * fits the batch, losses and scores of another batch size may differ in their last bits (and so may the guess for an
   * image whose best two classes are that close).
   */
  readonly batchSize?: number;
  /**
   * Ten-crop evaluation, as of the paper's Table 3: the scores before the softmax are the mean over centre, corners and
   * these mirrored, of images in files. Default false: the centre alone.
   */
  readonly tenCrop?: boolean;
  /** Gets a warning where the first batch is far from what the network was trained on. */
  readonly note?: (line: string) => void;
  /** Called after each batch with the number of images done. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Runs every image of the split through the network, prepared as the checkpoint says and not augmented. The evaluation
 * of the validation split at the end of a run needs no second pass: `Trainer.evaluation` has it.
 * @throws InputError when the model is incomplete or holds numbers that cannot be, when the split is empty, when the
 * data's images or classes are not those the network was trained for, or when the logits are not finite
 * @throws UsageError for ten crops of images that are not files
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const {
    trained,
    dataset,
    split = "val",
    backend,
    loadBatches,
    batchSize = 64,
    tenCrop = false,
    note,
    onProgress,
  } = options;
  const { model, preprocessing, classes } = trained;
  requireUsable(model);
  requireSameKind(trained, dataset);
  if (dataset[split].length === 0) {
    throw new InputError(`${dataset.name}: its ${split} split is empty, so there is nothing to evaluate on`, {
      dataset: dataset.name,
      split,
    });
  }
  const { height, width, mean, std } = preprocessing;
  // Ten crops of an image go through the network together.
  const images = tenCrop ? Math.max(1, Math.floor(batchSize / CROPS)) : batchSize;
  const batch = tenCrop ? CROPS * images : images;
  const graph = buildGraph(model.spec, { batch, height, width, mode: "inference", loss: !tenCrop });
  const executable = await backend.compile({
    evaluate: planInference(graph, { activationDtype: backend.info.activationDtype }),
  });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const tally = new EvaluationTally(classes.length);
    const batches = loadBatches({ ...dataset, mean, std }, split, { ...inOrder(images), tenCrop });
    const runs = tenCrop
      ? runAhead(executable, batches, cropsWork, [hostBuffers.logits])
      : runAhead(executable, batches, evaluationWork, evaluationOutputs);
    for await (const { item, found } of runs) {
      const mismatch = tally.count === 0 ? inputMismatch(model, { ...item, height, width }) : undefined;
      if (mismatch !== undefined) note?.(`warning: ${mismatch}`);
      tally.add(item, tenCrop ? meanOfCrops(item, found[0], classes.length) : found);
      onProgress?.(tally.count);
    }
    const evaluation = tally.result();
    if (!Number.isFinite(evaluation.loss)) {
      throw new InputError(
        `the network's loss on ${dataset.name} is ${evaluation.loss}: its weights do not give finite logits`,
      );
    }
    return evaluation;
  } finally {
    await executable.dispose();
  }
}

const CROPS = 2 * FIVE_CROPS;

function cropsWork({ images }: Batch): Work {
  return { plan: "evaluate", inputs: { [hostBuffers.images]: images } };
}

/**
 * Loss, rank and logits of each image from the logits of its crops [N, 10, K]: their mean, as in the authors' code, which
 * sums them.
 */
function meanOfCrops(
  { labels, count }: Batch,
  logits: Float32Array | Int32Array,
  classes: number,
): readonly [loss: Float32Array, rank: Int32Array, logits: Float32Array] {
  const loss = new Float32Array(count);
  const rank = new Int32Array(count);
  const means = new Float32Array(count * classes);
  for (let n = 0; n < count; n++) {
    const mean = means.subarray(n * classes, (n + 1) * classes);
    for (let k = 0; k < classes; k++) {
      let sum = 0;
      for (let crop = 0; crop < CROPS; crop++) sum += logits[(n * CROPS + crop) * classes + k];
      mean[k] = sum / CROPS;
    }
    const own = mean[labels[n]];
    const greatest = mean.reduce((a, b) => Math.max(a, b));
    loss[n] = greatest + Math.log(mean.reduce((sum, score) => sum + Math.exp(score - greatest), 0)) - own;
    // As sampleRank counts: of equal scores the smaller index comes first.
    rank[n] = mean.reduce((before, score, k) => before + Number(score > own || (score === own && k < labels[n])), 0);
  }
  return [loss, rank, means];
}

function requireSameKind({ model, preprocessing, classes }: TrainedModel, dataset: Dataset): void {
  const { channels, height, width } = dataset;
  if (channels !== model.spec.inChannels || height !== preprocessing.height || width !== preprocessing.width) {
    throw new InputError(
      `${dataset.name}: its images are [${channels}, ${height}, ${width}], the network expects ` +
        `[${model.spec.inChannels}, ${preprocessing.height}, ${preprocessing.width}]`,
      { dataset: dataset.name },
    );
  }
  const differs = Math.max(classes.length, dataset.classes.length);
  for (let index = 0; index < differs; index++) {
    // A checkpoint of a Mac may hold decomposed letters; a data set's are composed.
    if (classes[index]?.normalize("NFC") === dataset.classes[index]?.normalize("NFC")) continue;
    throw new InputError(
      `${dataset.name}: class ${index} is ${named(dataset.classes[index])}, the network was trained with ` +
        `${named(classes[index])}`,
      { dataset: dataset.name, index },
    );
  }
}

function named(label: string | undefined): string {
  return label === undefined ? "missing" : `"${label}"`;
}
