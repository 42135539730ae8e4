// train: a run's model, data and settings, checked against each other before anything is computed.
import { InputError, UsageError } from "../errors.ts";
import { requireUsable } from "../model/check.ts";
import { isStatistic, type Model } from "../model/model.ts";
import type { TrainConfig } from "./config.ts";
import { noTotals } from "./metrics.ts";
import { requireProcesses } from "./reduction.ts";
import { requireTrainConfig } from "./resolveConfig.ts";
import { parseRunState, type RunState, requireSameRun } from "./runState.ts";
import { type Moments, StateCopy } from "./stateCopy.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";
import { epochLayout } from "./trainingPlans.ts";

/**
 * A trainer of `model` on `dataset`. `backend` stays the caller's.
 * @throws UsageError when a setting is none that `resolveConfig` would give; when model, data and settings do not fit
 * together; when a resumed run would not be the same run
 * @throws InputError when a tensor of the model is missing, unexpected, of another shape or holds a number that cannot
 * be, or the training state to resume from is damaged
 */
export function createTrainer(options: TrainerOptions): Trainer {
  const { model, dataset, resume, reopen, reduction } = options;
  const config = requireTrainConfig(options.config);
  const { classes, channels, height, width, mean, std, name } = dataset;
  requireUsable(model);
  if (model.spec.numClasses !== classes.length || model.spec.inChannels !== channels) {
    throw new UsageError(
      `the network takes ${model.spec.inChannels} channels and has ${model.spec.numClasses} classes, but ${name} ` +
        `has ${channels} channels and ${classes.length} classes`,
    );
  }
  if (reduction) requireProcesses(reduction);
  if (reduction && reopen) {
    throw new UsageError(
      "reopen: a run whose gradients are reduced cannot go on with another device on its own, expected reduction or " +
        "reopen",
      { field: "reopen" },
    );
  }
  const trainCount = dataset.train.length;
  const layout = epochLayout(trainCount, config);
  if (layout.stepsPerEpoch === 0) {
    throw new UsageError(
      `batchSize: ${trainCount} training images do not fill ${config.accumulationSteps} micro-batches of at least 2 ` +
        "images",
      { field: "batchSize", value: config.batchSize },
    );
  }
  if (dataset.val.length === 0) {
    throw new UsageError(`${name} has no validation images, expected some or a valSplit`, { field: "data.valSplit" });
  }
  let state: RunState = { config, step: 0, running: noTotals, history: [], trainCount };
  if (resume) {
    const saved = parseRunState(resume.run, "the checkpoint");
    requireSameRun(saved, config, trainCount);
    if (config.optimizer === "adamw" && resume.secondMoment === undefined) {
      throw new InputError("the training state has no second moments, expected those of a run with adamw", {
        field: "optimizer",
      });
    }
    state = { ...saved, config };
  }
  const trained = { model, preprocessing: { height, width, mean, std }, classes, dataset: name };
  const copy = new StateCopy(trained, resume ?? noMoments(model, config), state.step, config.accumulationSteps);
  return new Trainer({ ...options, config }, layout, state, copy);
}

function noMoments(model: Model, { optimizer }: TrainConfig): Moments {
  const parameters = [...model.state].filter(([, { role }]) => !isStatistic(role));
  const zeros = (): Moments["momentum"] =>
    new Map(parameters.map(([path, { shape, data }]) => [path, { shape, data: new Float32Array(data.length) }]));
  return { momentum: zeros(), ...(optimizer === "adamw" ? { secondMoment: zeros() } : {}) };
}
