// train: one weight update on the device: its micro-batches forward and backward, then the weights. Submitted without
// waiting for what it finds.
import type { Batch } from "../data/dataset.ts";
import { DivergedError } from "../errors.ts";
import { hostBuffers } from "../plan/names.ts";
import { findBrokenLayer } from "./divergence.ts";
import { addSamples, noTotals, type Samples } from "./metrics.ts";
import { reduceGradients } from "./reduction.ts";
import type { StepPlan, TrainingPlans } from "./trainingPlans.ts";

/** An update that was submitted. */
export interface Update {
  /** 0-based. */
  readonly step: number;
  readonly learningRate: number;
  /** Of each micro-batch. */
  readonly found: readonly Promise<Samples>[];
}

/** Which update it is, 0-based, and its learning rate. */
export type UpdatePlace = Pick<Update, "step" | "learningRate">;

/**
 * Submits an update. `inspect`: waits for the loss of each micro-batch, so that nothing runs over the trace of where it
 * broke.
 * @throws DivergedError naming the layer where `inspect` finds a loss that is not finite
 */
export async function submitUpdate(
  compiled: TrainingPlans,
  batch: Batch,
  { step, learningRate }: UpdatePlace,
  inspect: boolean,
): Promise<Update> {
  const { executable, plans, config, layout, reduction } = compiled;
  const { accumulationSteps, seed } = config;
  const [first, second] = config.betas.map((beta) => 1 - beta ** (step + 1));
  const rates = { learningRate, ...(config.optimizer === "adamw" ? { corrections: [first, second] as const } : {}) };
  const plan: StepPlan = batch.count === config.batchSize ? "train" : "trainTail";
  const images = plan === "train" ? layout.microBatch : layout.tailMicroBatch;
  const stride = batch.images.length / batch.labels.length;
  const found: Promise<Samples>[] = [];
  for (let index = 0; index < accumulationSteps; index++) {
    const [from, to] = [index * images, (index + 1) * images];
    await executable.write(hostBuffers.images, batch.images.subarray(from * stride, to * stride), plan);
    await executable.write(hostBuffers.labels, batch.labels.subarray(from, to), plan);
    // Dropout draws anew for every micro-batch.
    await executable.run(plan, { ...rates, seed, step: (step * accumulationSteps + index) >>> 0 });
    const samples = executable
      .read([hostBuffers.sampleLoss, hostBuffers.sampleRank], plan)
      .then(([loss, rank]): Samples => ({ loss, rank, count: images }));
    found.push(samples);
    // Awaited later: that await reports a device that was lost meanwhile.
    samples.catch(() => {});
    if (inspect) {
      const { loss } = addSamples(noTotals, await samples);
      if (!Number.isFinite(loss)) {
        const epoch = Math.floor(step / layout.stepsPerEpoch) + 1;
        throw new DivergedError(
          `the loss is ${loss} in update ${step + 1} (epoch ${epoch}) at learning rate ${learningRate}; the first layer ` +
            `that broke is ${await findBrokenLayer(executable, plans, plan)}`,
          { step: step + 1, epoch, learningRate },
        );
      }
    }
    if (plans.update) await executable.run(index === 0 ? "setSums" : "addSums");
  }
  // Without it the plan `train` ends with the update.
  if (plans.update) {
    if (reduction) await reduceGradients(executable, plans.update, reduction);
    await executable.run("update", rates);
  }
  return { step, learningRate, found };
}
