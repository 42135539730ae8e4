// train: the learning-rate range test (Smith, "Cyclical Learning Rates", WACV 2017, section 3.3): the rate rises from
// update to update until the loss grows, and what the loss did along the way says which rates train.
import type { Backend } from "../backends/backend.ts";
import type { Dataset } from "../data/dataset.ts";
import { UsageError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import type { TrainConfig } from "./config.ts";
import { addSamples, metricsOf, noTotals } from "./metrics.ts";
import { usualRates } from "./optimizer.ts";
import type { BatchLoader } from "./trainer.ts";
import { compileTraining, epochLayout } from "./trainingPlans.ts";
import { submitUpdate } from "./update.ts";

/** What is trained and over which rates. */
export interface RangeTestOptions {
  /** Where it starts; it is not changed. */
  readonly model: Model;
  readonly dataset: Dataset;
  readonly backend: Backend;
  /** Of its optimisation all but the rate and its schedule counts. */
  readonly config: TrainConfig;
  readonly loadBatches: BatchLoader;
  /** Rate of the first update. Default 10⁻⁴, with AdamW a hundredth of that. */
  readonly from?: number;
  /** Rate of the last one, if the test gets so far. Default 10, with AdamW a hundredth of that. */
  readonly to?: number;
  /** From `from` to `to`. Default 100. */
  readonly updates?: number;
  /** Aborted: the test ends after the update in flight. */
  readonly signal?: AbortSignal | undefined;
}

/** One update of a range test. */
export interface RatePoint {
  readonly learningRate: number;
  /** Of the update's images before it, nats; Infinity where it is no number any more. */
  readonly loss: number;
  /** The loss averaged over the updates so far, older ones less. */
  readonly smoothed: number;
}

/** Weight of what came before in the smoothed loss. */
const MEMORY = 0.9;
/** The loss has left the useful rates for good where it is so many times the lowest. */
const GROWN = 3;

/**
 * Updates at rates that rise geometrically, one point each. Ends where the smoothed loss has grown to three times its
 * least, or is no number any more.
 * @throws UsageError for rates that do not rise, fewer than 10 updates, or too few images for one
 */
export async function* rangeTest(options: RangeTestOptions): AsyncGenerator<RatePoint, void, undefined> {
  const { model, dataset, backend, config, loadBatches, updates = 100, signal } = options;
  const { lr } = usualRates[config.optimizer];
  const { from = lr / 1000, to = 100 * lr } = options;
  if (!(from > 0 && to > from && Number.isFinite(to))) {
    throw new UsageError(`range test: got rates from ${from} to ${to}, expected a rise from above 0`);
  }
  if (!(Number.isInteger(updates) && updates >= 10)) {
    throw new UsageError(`range test: got ${updates} updates, expected a whole number of at least 10`);
  }
  const layout = epochLayout(dataset.train.length, config);
  if (layout.stepsPerEpoch === 0) {
    throw new UsageError(
      `range test: ${dataset.train.length} training images do not fill a batch of ${config.batchSize}`,
    );
  }
  const compiled = await compileTraining(backend, model.spec, dataset, config, layout);
  const { executable } = compiled;
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const { batchSize, seed, data } = config;
    let average = 0;
    let lowest = Number.POSITIVE_INFINITY;
    let step = 0;
    for (let epoch = 0; step < updates; epoch++) {
      const how = { batchSize, seed, epoch, shuffle: true, augment: data.augment, erase: data.erase };
      let batchesLeft = layout.stepsPerEpoch;
      for await (const batch of loadBatches(dataset, "train", how)) {
        const learningRate = from * (to / from) ** (step / (updates - 1));
        const { found } = await submitUpdate(compiled, batch, { step, learningRate }, false);
        let totals = noTotals;
        for (const samples of found) totals = addSamples(totals, await samples);
        const { loss } = metricsOf(totals);
        if (!Number.isFinite(loss)) {
          yield { learningRate, loss: Number.POSITIVE_INFINITY, smoothed: Number.POSITIVE_INFINITY };
          return;
        }
        step++;
        average = MEMORY * average + (1 - MEMORY) * loss;
        // The average began at 0, which is taken out again.
        const smoothed = average / (1 - MEMORY ** step);
        yield { learningRate, loss, smoothed };
        lowest = Math.min(lowest, smoothed);
        if (smoothed > GROWN * lowest || step === updates || signal?.aborted) return;
        if (--batchesLeft === 0) break;
      }
    }
  } finally {
    await executable.dispose();
  }
}

/** By how many updates the smoothed loss is late: the mean age of what it averages. */
const LATE = MEMORY / (1 - MEMORY);

/**
 * The highest rate at which the loss still fell: that of the lowest smoothed loss, but as many updates earlier as
 * smoothing is late; two significant digits. undefined where the loss never fell.
 */
export function suggestRate(points: readonly RatePoint[]): number | undefined {
  const lowest = points.reduce((at, { smoothed }, index) => (smoothed < points[at].smoothed ? index : at), 0);
  const point = points[Math.round(lowest - LATE)];
  return point === undefined ? undefined : Number(point.learningRate.toPrecision(2));
}
