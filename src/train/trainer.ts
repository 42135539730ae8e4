// train: the training loop (section 4.2). Portable: pictures come from a loader and checkpoints go to a sink that are passed in.
//
// The loop is a function of its state. What an update does depends on weights, running statistics, momenta and the update's number alone —
// order, augmentation, dropout and learning rate are all computed from (seed, number) — so a run that is stopped between two updates and
// continued from its checkpoint has the bits of one that was not.
import type { Backend, Executable } from "../backends/backend.ts";
import { type Checkpoint, isStatistic, type TrainedModel, type TrainingState } from "../checkpoint/checkpoint.ts";
import type { Model, StateDict, StateTensor } from "../checkpoint/stateDict.ts";
import type { Augment } from "../data/batch.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { DivergedError, UsageError } from "../errors.ts";
import type { TrainConfig } from "./config.ts";
import { findBrokenLayer } from "./divergence.ts";
import type { EpochMetrics, StepEvent, TrainEvent } from "./events.ts";
import { addRun, metricsOf, noTotals, type Totals } from "./metrics.ts";
import { parseRunState, type RunState, requireSameRun } from "./runState.ts";
import { learningRate } from "./schedule.ts";
import { Speed } from "./speed.ts";
import { compileTraining, type EpochLayout, epochLayout, type StepPlan, type TrainingPlans } from "./trainingPlans.ts";

/** The batches of an epoch: a function of its arguments, apart from `startBatch`, which skips. `loadBatches` of the data folder in Node. */
export type BatchLoader = (
  dataset: Dataset,
  split: "train" | "val",
  options: {
    readonly batchSize: number;
    readonly seed: number;
    /** 0-based. */
    readonly epoch: number;
    readonly shuffle: boolean;
    readonly augment: Augment;
    readonly startBatch?: number;
    /** Fills a smaller last batch with zeros. */
    readonly padTo?: number;
  },
) => AsyncIterable<Batch>;

/** Keeps a checkpoint and says where it is. */
export type CheckpointSink = (
  checkpoint: Checkpoint,
  about: { readonly step: number; readonly best: boolean },
) => Promise<string>;

export interface TrainerOptions {
  readonly model: Model;
  readonly dataset: Dataset;
  readonly backend: Backend;
  readonly config: TrainConfig;
  readonly loadBatches: BatchLoader;
  /** Without it nothing is saved, and the trained model is only in `trained`. */
  readonly save?: CheckpointSink;
  /** The training state that belongs to `model`, from a checkpoint. */
  readonly resume?: TrainingState;
}

export class Trainer {
  readonly #options: TrainerOptions;
  readonly #layout: EpochLayout;
  readonly #speed = new Speed();
  #trained: TrainedModel;
  #state: RunState;
  #momentum: StateDict | undefined;
  readonly #batchesBefore: number;
  #saved: { readonly step: number; readonly path: string } | undefined;

  /** @throws UsageError when model, data and configuration do not fit together, or a resumed run would not be the same run. */
  constructor(options: TrainerOptions) {
    const { model, dataset, config, resume } = options;
    const { classes, channels, height, width, mean, std, name } = dataset;
    if (model.spec.numClasses !== classes.length || model.spec.inChannels !== channels) {
      throw new UsageError(
        `the network takes ${model.spec.inChannels} channels and tells ${model.spec.numClasses} classes, but ${name} has ${channels} channels and ${classes.length} classes`,
      );
    }
    this.#options = options;
    this.#layout = epochLayout(dataset.train.length, config);
    if (this.#layout.stepsPerEpoch === 0) {
      throw new UsageError(
        `batchSize: ${dataset.train.length} training pictures do not fill ${config.accumulationSteps} parts of at least 2 pictures`,
        { field: "batchSize", value: config.batchSize },
      );
    }
    if (dataset.val.length === 0) {
      throw new UsageError(`${name} has no validation pictures, expected some or a valSplit`, {
        field: "data.valSplit",
      });
    }
    this.#trained = { model, preprocessing: { height, width, mean, std }, classes, dataset: name };
    const trainCount = dataset.train.length;
    if (resume) {
      const saved = parseRunState(resume.run, "the checkpoint");
      requireSameRun(saved, config, trainCount);
      this.#state = { ...saved, config };
      this.#momentum = resume.momentum;
    } else {
      this.#state = { config, step: 0, running: noTotals, history: [], trainCount };
    }
    this.#batchesBefore = model.batchesTracked - this.#state.step * config.accumulationSteps;
  }

  /** The model as of the last checkpoint, end of an epoch or end of `run`. */
  get trained(): TrainedModel {
    return this.#trained;
  }

  get history(): readonly EpochMetrics[] {
    return this.#state.history;
  }

  /**
   * Trains to the end of the configured epochs, or until `signal` is aborted: then the update under way is finished, a checkpoint saved, and
   * `interrupted` is the last event. Leaving the loop early loses what came after the last checkpoint.
   * @throws DivergedError when the loss or a weight is no longer finite; nothing is saved then.
   */
  async *run(signal?: AbortSignal): AsyncGenerator<TrainEvent, void, undefined> {
    const { backend, config, dataset, model } = this.#options;
    const { stepsPerEpoch } = this.#layout;
    const compiled = await compileTraining(backend, model.spec, dataset, config, this.#layout);
    const began = performance.now();
    const run: ActiveRun = { ...compiled, ...(signal ? { signal } : {}) };
    try {
      await this.#load(compiled.executable);
      yield {
        type: "start",
        config,
        spec: model.spec,
        params: [...model.state].reduce((sum, [path, { data }]) => sum + (isStatistic(path) ? 0 : data.length), 0),
        peakBytes: compiled.executable.peakBytes,
        backend: backend.info,
        classes: dataset.classes,
        trainCount: dataset.train.length,
        valCount: dataset.val.length,
        stepsPerEpoch,
        totalSteps: config.epochs * stepsPerEpoch,
        resumedAtStep: this.#state.step,
      };
      while (this.#state.history.length < config.epochs) {
        yield* this.#epoch(run);
        if (signal?.aborted && this.#state.history.length < config.epochs) {
          yield* this.#interrupted(compiled.executable);
          return;
        }
      }
      const final = this.#state.history.at(-1) as EpochMetrics;
      yield {
        type: "end",
        epochs: config.epochs,
        steps: this.#state.step,
        seconds: (performance.now() - began) / 1000,
        final,
        best: bestOf(this.#state.history),
      };
    } finally {
      await compiled.executable.dispose();
    }
  }

  /** What is left of the epoch under way, its validation and its checkpoint. Returns early when the run is aborted. */
  async *#epoch(run: ActiveRun): AsyncGenerator<TrainEvent, void, undefined> {
    const { config, dataset, loadBatches } = this.#options;
    const { stepsPerEpoch } = this.#layout;
    const epoch = this.#state.history.length;
    const began = performance.now();
    const { batchSize, seed, checkpointEverySteps } = config;
    const startBatch = this.#state.step - epoch * stepsPerEpoch;
    let trained = 0;
    let trainingSeconds = 0;
    if (startBatch < stepsPerEpoch && !run.signal?.aborted) {
      const { augment } = config.data;
      const batches = loadBatches(dataset, "train", { batchSize, seed, epoch, shuffle: true, augment, startBatch });
      let stepBegan = performance.now();
      for await (const batch of batches) {
        const event = await this.#step(run, batch, epoch, stepBegan);
        trained += batch.count;
        trainingSeconds += (performance.now() - stepBegan) / 1000;
        yield event;
        const { step } = this.#state;
        const epochDone = step === (epoch + 1) * stepsPerEpoch;
        if (!epochDone && checkpointEverySteps > 0 && step % checkpointEverySteps === 0) {
          yield* this.#checkpoint(run.executable, false);
        }
        if (epochDone || run.signal?.aborted) break;
        stepBegan = performance.now();
      }
    }
    if (run.signal?.aborted) return;

    const validationBegan = performance.now();
    const validation = await this.#validate(run);
    if (validation === undefined) return;
    this.#speed.addValidation((performance.now() - validationBegan) / 1000);
    const train = metricsOf(this.#state.running);
    const val = metricsOf(validation);
    if (!Number.isFinite(val.loss)) {
      throw new DivergedError(`the validation loss of epoch ${epoch + 1} is ${val.loss}; expected a finite number`, {
        epoch: epoch + 1,
      });
    }
    const metrics: EpochMetrics = {
      epoch: epoch + 1,
      trainLoss: train.loss,
      trainTop1Error: train.top1Error,
      trainTop5Error: train.top5Error,
      valLoss: val.loss,
      valTop1Error: val.top1Error,
      valTop5Error: val.top5Error,
      learningRate: learningRate(config, this.#state.step - 1, stepsPerEpoch),
      seconds: (performance.now() - began) / 1000,
      imagesPerSecond: trained === 0 ? 0 : trained / trainingSeconds,
    };
    const history = [...this.#state.history, metrics];
    const best = bestOf(history) === metrics;
    this.#state = { ...this.#state, history, running: noTotals };
    await this.#readBack(run.executable);
    yield { type: "epoch", ...metrics, best };
    yield* this.#checkpoint(run.executable, best);
  }

  /** One update. */
  async #step(run: ActiveRun, batch: Batch, epoch: number, began: number): Promise<StepEvent> {
    const { executable, plans } = run;
    const { config } = this.#options;
    const { part, tailPart, stepsPerEpoch } = this.#layout;
    const { accumulationSteps, seed } = config;
    const { step } = this.#state;
    const rate = learningRate(config, step, stepsPerEpoch);
    const plan: StepPlan = batch.count === config.batchSize ? "train" : "trainTail";
    const pictures = plan === "train" ? part : tailPart;
    const stride = batch.images.length / batch.labels.length;
    let totals = noTotals;
    for (let index = 0; index < accumulationSteps; index++) {
      const [from, to] = [index * pictures, (index + 1) * pictures];
      await executable.write("images", batch.images.subarray(from * stride, to * stride), plan);
      await executable.write("labels", batch.labels.subarray(from, to), plan);
      // Dropout draws anew for every part.
      await executable.run(plan, { learningRate: rate, seed, step: (step * accumulationSteps + index) >>> 0 });
      totals = await addRun(totals, executable, plan, pictures);
      if (!Number.isFinite(totals.loss)) {
        throw new DivergedError(
          `the loss is ${totals.loss} in update ${step + 1} (epoch ${epoch + 1}) at learning rate ${rate}; the first layer that broke is ${await findBrokenLayer(executable, requirePlan(plans, plan))}`,
          { step: step + 1, epoch: epoch + 1, learningRate: rate },
        );
      }
      if (accumulationSteps > 1) await executable.run(index === 0 ? "setSums" : "addSums");
    }
    if (accumulationSteps > 1) await executable.run("update", { learningRate: rate });
    this.#state = { ...this.#state, step: step + 1, running: sum(this.#state.running, totals) };
    this.#speed.addStep(totals.count, (performance.now() - began) / 1000);
    const { loss, top1Error } = metricsOf(totals);
    return {
      type: "step",
      step: step + 1,
      epoch: epoch + 1,
      loss,
      top1Error,
      learningRate: rate,
      imagesPerSecond: this.#speed.imagesPerSecond(),
      etaSeconds: this.#speed.etaSeconds(config.epochs * stepsPerEpoch - step - 1, config.epochs - epoch),
    };
  }

  /** Totals over the validation split, with running statistics; undefined when the run was aborted meanwhile. */
  async #validate({ executable, signal }: ActiveRun): Promise<Totals | undefined> {
    const { config, dataset, loadBatches } = this.#options;
    const { part } = this.#layout;
    const options = {
      batchSize: part,
      padTo: part,
      seed: config.seed,
      epoch: 0,
      shuffle: false,
      augment: "none",
    } as const;
    let totals = noTotals;
    for await (const batch of loadBatches(dataset, "val", options)) {
      if (signal?.aborted) return undefined;
      await executable.write("images", batch.images, "evaluate");
      await executable.write("labels", batch.labels, "evaluate");
      await executable.run("evaluate");
      totals = await addRun(totals, executable, "evaluate", batch.count);
    }
    return totals;
  }

  async *#interrupted(executable: Executable): AsyncGenerator<TrainEvent, void, undefined> {
    const { step, history } = this.#state;
    const epoch = history.length + 1;
    if (this.#saved?.step !== step) yield* this.#checkpoint(executable, false);
    await this.#readBack(executable);
    yield { type: "interrupted", step, epoch, ...(this.#saved ? { path: this.#saved.path } : {}) };
  }

  async *#checkpoint(executable: Executable, best: boolean): AsyncGenerator<TrainEvent, void, undefined> {
    const { save } = this.#options;
    if (!save) return;
    const { step } = this.#state;
    const momentum = await this.#readBack(executable);
    const path = await save({ trained: this.#trained, training: { momentum, run: this.#state } }, { step, best });
    this.#saved = { step, path };
    yield { type: "checkpoint", path, step };
  }

  async #load(executable: Executable): Promise<void> {
    for (const [path, { data }] of this.#trained.model.state) {
      await executable.write(path, data);
      if (isStatistic(path)) continue;
      await executable.write(momentumBuffer(path), this.#momentum?.get(path)?.data ?? new Float32Array(data.length));
    }
  }

  /** Takes weights and running statistics from the device; returns the momenta. @throws DivergedError if one is not finite. */
  async #readBack(executable: Executable): Promise<StateDict> {
    const { model } = this.#options;
    const state = new Map<string, StateTensor>();
    const momentum = new Map<string, StateTensor>();
    for (const [path, { shape }] of model.state) {
      state.set(path, { shape, data: await this.#readFinite(executable, path) });
      if (!isStatistic(path)) {
        momentum.set(path, { shape, data: await this.#readFinite(executable, momentumBuffer(path)) });
      }
    }
    const batchesTracked = this.#batchesBefore + this.#state.step * this.#options.config.accumulationSteps;
    this.#trained = { ...this.#trained, model: { spec: model.spec, state, batchesTracked } };
    return momentum;
  }

  async #readFinite(executable: Executable, name: string): Promise<Float32Array> {
    const data = await executable.read(name);
    const odd = data.findIndex((value) => !Number.isFinite(value));
    if (odd !== -1 || !(data instanceof Float32Array)) {
      throw new DivergedError(`${name} holds ${data[odd]} after update ${this.#state.step}; expected finite numbers`, {
        name,
        step: this.#state.step,
      });
    }
    return data;
  }
}

/** What lives only while `run` does. */
interface ActiveRun extends TrainingPlans {
  readonly signal?: AbortSignal;
}

function momentumBuffer(path: string): string {
  return `momentum(${path})`;
}

function sum(a: Totals, b: Totals): Totals {
  return {
    count: a.count + b.count,
    loss: a.loss + b.loss,
    top1Wrong: a.top1Wrong + b.top1Wrong,
    top5Wrong: a.top5Wrong + b.top5Wrong,
  };
}

/** The first epoch with the lowest validation error. */
function bestOf(history: readonly EpochMetrics[]): EpochMetrics {
  return history.reduce((best, metrics) => (metrics.valTop1Error < best.valTop1Error ? metrics : best));
}

function requirePlan(plans: TrainingPlans["plans"], name: string): TrainingPlans["plans"][string] {
  const plan = plans[name];
  if (plan === undefined) throw new RangeError(`no plan ${name} was compiled`);
  return plan;
}
