// infer: how well a trained network does on labelled pictures (the errors of the paper's tables 2 and 3). Portable.
import type { Backend } from "../backends/backend.ts";
import { runAhead, type Work } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { InputError } from "../errors.ts";
import { buildGraph } from "../graph/build.ts";
import { planInference } from "../plan/lower.ts";
import { addSamples, metricsOf, noTotals } from "../train/metrics.ts";
import type { BatchLoader } from "../train/trainer.ts";
import { softmax } from "./scores.ts";

export interface EvaluateOptions {
  readonly trained: TrainedModel;
  readonly dataset: Dataset;
  /** Default: the validation split. */
  readonly split?: "train" | "val";
  readonly backend: Backend;
  readonly loadBatches: BatchLoader;
  /** Pictures at once; changes speed and memory only. Default 64. */
  readonly batchSize?: number;
  /** Called after each batch with the number of pictures done. */
  readonly onProgress?: (done: number) => void;
}

export interface Evaluation {
  /** Percent of the pictures whose label is not the first guess, not among the first five. */
  readonly top1Error: number;
  readonly top5Error: number;
  /** Mean cross-entropy, nats. */
  readonly loss: number;
  readonly count: number;
  /** confusion[label][guess]: pictures. */
  readonly confusion: readonly (readonly number[])[];
  /** First guess and its probability by position in the split. */
  readonly guesses: readonly { readonly index: number; readonly score: number }[];
}

/**
 * Runs every picture of the split through the network, prepared as the checkpoint says and not augmented.
 * @throws InputError when the data's pictures or classes are not those the network was trained for
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { trained, dataset, split = "val", backend, loadBatches, batchSize = 64, onProgress } = options;
  const { model, preprocessing, classes } = trained;
  requireSameKind(trained, dataset);
  const { height, width, mean, std } = preprocessing;
  const graph = buildGraph(model.spec, { batch: batchSize, height, width, mode: "inference", loss: true });
  const executable = await backend.compile({ evaluate: planInference(graph) });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const confusion = classes.map(() => classes.map(() => 0));
    const guesses: { index: number; score: number }[] = [];
    let totals = noTotals;
    const how = { batchSize, padTo: batchSize, seed: 0, epoch: 0, shuffle: false, augment: "none" } as const;
    const batches = loadBatches({ ...dataset, mean, std }, split, how);
    const work = ({ images, labels }: Batch): Work => ({ plan: "evaluate", inputs: { images, labels } });
    const outputs = ["sampleLoss", "sampleRank", "logits"];
    for await (const { item, found } of runAhead(executable, batches, work, outputs)) {
      const { labels, count } = item;
      const [loss, rank, logits] = found;
      totals = addSamples(totals, { loss, rank, count });
      for (let n = 0; n < count; n++) {
        const own = Float32Array.from(logits.subarray(n * classes.length, (n + 1) * classes.length));
        const index = own.reduce((best, value, c) => (value > own[best] ? c : best), 0);
        confusion[labels[n]][index]++;
        guesses.push({ index, score: softmax(own)[index] });
      }
      onProgress?.(totals.count);
    }
    const metrics = metricsOf(totals);
    if (!Number.isFinite(metrics.loss)) {
      throw new InputError(
        `the network's loss on ${dataset.name} is ${metrics.loss}: its weights do not give finite logits`,
      );
    }
    return { ...metrics, count: totals.count, confusion, guesses };
  } finally {
    await executable.dispose();
  }
}

function requireSameKind({ model, preprocessing, classes }: TrainedModel, dataset: Dataset): void {
  const { channels, height, width } = dataset;
  if (channels !== model.spec.inChannels || height !== preprocessing.height || width !== preprocessing.width) {
    throw new InputError(
      `${dataset.name}: its pictures are [${channels}, ${height}, ${width}], the network expects [${model.spec.inChannels}, ${preprocessing.height}, ${preprocessing.width}]`,
      { dataset: dataset.name },
    );
  }
  const differs = Math.max(classes.length, dataset.classes.length);
  for (let index = 0; index < differs; index++) {
    if (classes[index] === dataset.classes[index]) continue;
    throw new InputError(
      `${dataset.name}: class ${index} is ${named(dataset.classes[index])}, the network was trained with ${named(classes[index])}`,
      { dataset: dataset.name, index },
    );
  }
}

function named(label: string | undefined): string {
  return label === undefined ? "missing" : `"${label}"`;
}
