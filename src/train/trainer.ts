// train: the training loop (section 4.2). Portable: images come from a loader and checkpoints go to a sink, both passed
// in.
//
// The loop is a function of its state. What an update does depends on weights, running statistics, momenta and the
// update's number alone — order, augmentation, dropout and learning rate are all computed from (seed, number) — so a
// run that is stopped between two updates and continued from its checkpoint has the bits of one that was not. The same
// makes a run outlive its device: the trainer keeps a copy of the state in host memory (stateCopy.ts) and, on a new
// device, repeats the updates after it.
//
// The device never waits for the host: an update is submitted (update.ts) while those before it run, and its losses are
// reported some updates late (Executable.queueDepth).
import type { Backend, Executable } from "../backends/backend.ts";
import { Lifetime } from "../backends/lifetime.ts";
import { runAhead } from "../backends/runAhead.ts";
import type { Checkpoint, TrainedModel, TrainingState } from "../checkpoint/checkpoint.ts";
import { balancedIndices } from "../data/balance.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { type EpochOptions, inOrder } from "../data/epoch.ts";
import { DeviceError, DivergedError, UsageError } from "../errors.ts";
import { isStatistic, type Model } from "../model/model.ts";
import type { TrainConfig } from "./config.ts";
import { type Evaluation, EvaluationTally, evaluationOutputs, evaluationWork } from "./evaluation.ts";
import type { EpochMetrics, RecoveredEvent, StartEvent, StepEvent, TrainEvent } from "./events.ts";
import { bestOf, isDone } from "./history.ts";
import { addSamples, addTotals, metricsOf, noTotals } from "./metrics.ts";
import type { GradientReduction } from "./reduction.ts";
import type { RunState } from "./runState.ts";
import { learningRate } from "./schedule.ts";
import { Speed } from "./speed.ts";
import type { StateCopy } from "./stateCopy.ts";
import { compileTraining, type EpochLayout, memoryUse, type TrainingPlans } from "./trainingPlans.ts";
import { submitUpdate, type Update, type UpdatePlace } from "./update.ts";

/**
 * The batches of an epoch: a function of its arguments, apart from `startBatch`, which skips. `makeBatches`; in Node
 * `loadBatches`.
 */
export type BatchLoader = (dataset: Dataset, split: "train" | "val", options: EpochOptions) => AsyncIterable<Batch>;

/** Keeps a checkpoint and returns where it is. `evaluation`: of one at the end of an epoch, its validation. */
export type CheckpointSink = (
  checkpoint: Checkpoint,
  about: { readonly step: number; readonly best: boolean; readonly evaluation?: Evaluation },
) => Promise<string>;

/** What a run consists of: network, images, device, settings, and where batches come from and checkpoints go. */
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
  /**
   * Disposes of the backend in use, whose device was lost, and returns another one, which the caller disposes of as of
   * the first. `losses`: how many there were since an update was last reported, from 1. Without `reopen` a lost device
   * ends the run with its DeviceError.
   */
  readonly reopen?: (losses: number) => Promise<Backend>;
  /**
   * Joins the run with those of other processes, see GradientReduction. Each update then waits for its losses and for
   * the others. Not together with `reopen`: the updates after a lost device are repeated, which the others would not
   * wait for.
   */
  readonly reduction?: GradientReduction;
}

/** Losses of the device in a row, with no update reported between them, before the run gives up. */
const MAX_LOSSES = 3;
/**
 * Between copies of the state into host memory, where nothing else asks for one sooner. A lost device costs at most so
 * much work. A copy waits until the queue is empty, reads weights, statistics and momenta in one transfer and checks
 * every number. BC-100-12's 796 tensors are read in 8 ms on lavapipe (32 to 52 when each had a transfer of its own) and
 * 3 ms on wasm, and checked in 10 (2 cores of an AMD EPYC, 2026-11-24): less than a thousandth of the time between.
 */
const COPY_SECONDS = 30;

/**
 * A run of training, made by `createTrainer`. `dispose` or `await using` ends it in the middle of an epoch, with what
 * came after the last checkpoint lost; what it is asked then rejects with a DisposedError. A run that has come to its
 * end needs neither.
 */
export class Trainer implements AsyncDisposable {
  readonly #options: TrainerOptions;
  readonly #layout: EpochLayout;
  readonly #speed = new Speed();
  readonly #life = new Lifetime("trainer");
  /** Where the run stands by the events that were emitted. */
  #state: RunState;
  /** The device's state in host memory, as it was some updates ago. */
  readonly #copy: StateCopy;
  #saved: { readonly step: number; readonly path: string } | undefined;
  /** When that was; before the first save, when the run began. */
  #savedAt = 0; // ms
  /** A checkpoint within the epoch is due; it stays due for the next device if this one is lost over it. */
  #saveIsDue = false;
  #evaluation: Evaluation | undefined;
  /** Updates that were submitted and not reported. */
  #pending: Update[] = [];
  /** What the loader rejected with, an image that cannot be read as a rule. */
  #loaderError: unknown;
  #backend: Backend;
  #losses = 0;
  /** What `run` returned, from its first event to its last. */
  #events: AsyncGenerator<TrainEvent, void, undefined> | undefined;
  #executable: Executable | undefined;

  /** `copy`: the device's state at the update where `state` stands. */
  constructor(options: TrainerOptions, layout: EpochLayout, state: RunState, copy: StateCopy) {
    this.#options = options;
    this.#layout = layout;
    this.#state = state;
    this.#copy = copy;
    this.#backend = options.backend;
  }

  /**
   * The model as it was last copied from the device: at a checkpoint, at the end of an epoch or of `run`, and now and
   * then.
   */
  get trained(): TrainedModel {
    return this.#copy.trained;
  }

  /**
   * The validation of the last finished epoch image by image, of which its `epoch` event gives the sums: confusion
   * matrix and first guesses. At the end of a run that is an evaluation of `trained`. undefined while this trainer has
   * validated no epoch, as after resuming a run that was finished already.
   */
  get evaluation(): Evaluation | undefined {
    return this.#evaluation;
  }

  get history(): readonly EpochMetrics[] {
    return this.#state.history;
  }

  /** The one in use: not the one given if that lost its device. */
  get backend(): Backend {
    return this.#backend;
  }

  /**
   * Trains to the end of the configured epochs or, with `patience`, to where they no longer help; or until `signal` is
   * aborted: then the updates in flight are finished, a checkpoint saved, and `interrupted` is the last event. Leaving
   * the loop early loses what came after the last checkpoint. What the loader rejects with is thrown after the updates before it are saved, so that an image that
   * cannot be read costs none of them.
   * @throws DivergedError when the loss or a weight is no longer finite; nothing is saved then
   * @throws DeviceError when the device is lost and there is no other, or it is lost again and again
   * @throws DisposedError when the trainer or its backend is disposed of
   * @throws UsageError while another `run` of this trainer has not come to its end
   */
  run(signal?: AbortSignal): AsyncGenerator<TrainEvent, void, undefined> {
    const events: AsyncGenerator<TrainEvent, void, undefined> = this.#run(signal, () => {
      this.#life.requireAlive();
      if (this.#events) {
        throw new UsageError("this trainer is running already: take the events of that run, or dispose of the trainer");
      }
      this.#events = events;
    });
    return events;
  }

  async *#run(signal: AbortSignal | undefined, begin: () => void): AsyncGenerator<TrainEvent, void, undefined> {
    begin();
    const began = performance.now();
    this.#savedAt = began;
    let run: ActiveRun | undefined;
    let started = false;
    let lost: DeviceError | undefined;
    try {
      while (run === undefined || !this.#isDone()) {
        try {
          if (run === undefined) {
            const repeatedSteps = this.#state.step - this.#copy.step;
            run = await this.#open(signal);
            if (!started) yield this.#startEvent(run);
            started = true;
            if (lost) yield this.#recoveredEvent(lost, repeatedSteps);
          }
          if (!this.#isDone()) yield* this.#epoch(run);
          if (signal?.aborted && !this.#isDone()) {
            yield* this.#interrupted(run.executable);
            return;
          }
        } catch (error) {
          this.#life.requireAlive();
          if (run !== undefined && error !== undefined && error === this.#loaderError) {
            yield* this.#report(run, this.#pending, 0);
            yield* this.#saveStep(run.executable);
          }
          if (!(error instanceof DeviceError)) throw error;
          this.#backend = await this.#reopen(error);
          this.#life.requireAlive();
          lost = error;
          run = undefined;
        }
      }
      const final = this.#state.history.at(-1) as EpochMetrics;
      yield {
        type: "end",
        epochs: final.epoch,
        steps: this.#state.step,
        seconds: (performance.now() - began) / 1000,
        final,
        best: bestOf(this.#state.history),
      };
    } finally {
      this.#events = undefined;
      this.#executable = undefined;
      await run?.executable.dispose();
    }
  }

  /** Ends a run in flight and frees what it has on the device. May be called again. */
  dispose(): Promise<void> {
    return this.#life.end(async () => {
      await this.#executable?.dispose();
      await this.#events?.return();
    });
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Compiles, loads the copy of the state and repeats the updates that were reported after it. */
  async #open(signal: AbortSignal | undefined): Promise<ActiveRun> {
    const { config, dataset, model, reduction } = this.#options;
    const compiled = await compileTraining(this.#backend, model.spec, dataset, config, this.#layout, reduction);
    const run: ActiveRun = { ...compiled, ...(signal ? { signal } : {}) };
    this.#executable = run.executable;
    try {
      this.#life.requireAlive();
      await this.#repeat(run, this.#state.step);
    } catch (error) {
      await compiled.executable.dispose();
      throw error;
    }
    return run;
  }

  #startEvent(run: ActiveRun): StartEvent {
    const { config, dataset, model } = this.#options;
    const { stepsPerEpoch } = this.#layout;
    return {
      type: "start",
      config,
      spec: model.spec,
      params: [...model.state].reduce((sum, [, { role, data }]) => sum + (isStatistic(role) ? 0 : data.length), 0),
      peakBytes: run.executable.peakBytes,
      memory: memoryUse(run),
      backend: this.#backend.info,
      classes: dataset.classes,
      trainCount: dataset.train.length,
      valCount: dataset.val.length,
      stepsPerEpoch,
      totalSteps: config.epochs * stepsPerEpoch,
      resumedAtStep: this.#state.step,
    };
  }

  #recoveredEvent({ message }: DeviceError, repeatedSteps: number): RecoveredEvent {
    const { step } = this.#state;
    return { type: "recovered", step, repeatedSteps, reason: message, backend: this.#backend.info };
  }

  /** @throws DeviceError when there is no other backend, or there were too many losses in a row */
  async #reopen(lost: DeviceError): Promise<Backend> {
    const { reopen } = this.#options;
    if (!reopen) throw lost;
    for (let error = lost; ; ) {
      if (++this.#losses > MAX_LOSSES) {
        const { step } = this.#state;
        throw new DeviceError(
          `${error.message}; that was the ${this.#losses}th time in a row, after update ${step}, so the run gives up`,
          { ...error.details, step, losses: this.#losses },
          { cause: lost },
        );
      }
      try {
        return await reopen(this.#losses);
      } catch (again) {
        if (!(again instanceof DeviceError)) throw again;
        error = again;
      }
    }
  }

  #isDone(): boolean {
    return isDone(this.#state.history, this.#options.config);
  }

  /** The rest of the current epoch, its validation and its checkpoint. Returns early when the run is aborted. */
  async *#epoch(run: ActiveRun): AsyncGenerator<TrainEvent, void, undefined> {
    const { reopen, reduction } = this.#options;
    const { stepsPerEpoch } = this.#layout;
    const { executable, signal } = run;
    const epoch = this.#state.history.length;
    const began = performance.now();
    const end = (epoch + 1) * stepsPerEpoch;
    if (this.#saveIsDue) yield* this.#checkpoint(executable, false);
    this.#speed.startEpoch();
    let { step } = this.#state;
    if (step < end && !signal?.aborted) {
      const pending: Update[] = [];
      this.#pending = pending;
      // A reduced update cannot be repeated to find out later where it broke.
      const inspect = executable.queueDepth === 1 || reduction !== undefined;
      for await (const batch of this.#batches(step)) {
        pending.push(await submitUpdate(run, batch, this.#place(step), inspect));
        step++;
        this.#saveIsDue = step < end && this.#wantsSave(step);
        const copy = reopen !== undefined && this.#copy.ageSeconds > COPY_SECONDS;
        yield* this.#report(run, pending, this.#saveIsDue || copy ? 0 : executable.queueDepth - 1);
        if (this.#saveIsDue) yield* this.#checkpoint(executable, false);
        else if (copy) await this.#copy.take(executable, this.#state.step);
        if (step === end || signal?.aborted) break;
      }
      yield* this.#report(run, pending, 0);
    }
    if (signal?.aborted) return;

    await this.#copy.take(executable, this.#state.step);
    const validationBegan = performance.now();
    const val = await this.#validate(run);
    if (val === undefined) return;
    this.#speed.addValidation((performance.now() - validationBegan) / 1000);
    const train = metricsOf(this.#state.running);
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
      learningRate: this.#place(this.#state.step - 1).learningRate,
      seconds: (performance.now() - began) / 1000,
      imagesPerSecond: this.#speed.epochImagesPerSecond(),
    };
    const history = [...this.#state.history, metrics];
    const best = bestOf(history) === metrics;
    this.#state = { ...this.#state, history, running: noTotals };
    this.#evaluation = val;
    yield { type: "epoch", ...metrics, best };
    yield* this.#checkpoint(executable, best, val);
  }

  /** Whether to save after update number `step` (1-based), within its epoch. */
  #wantsSave(step: number): boolean {
    const { config, save } = this.#options;
    const { checkpointEverySteps: every, checkpointMinutes: minutes } = config;
    if (save === undefined) return false;
    const late = minutes > 0 && performance.now() - this.#savedAt > minutes * 60_000;
    return late || (every > 0 && step % every === 0);
  }

  #place(step: number): UpdatePlace {
    return { step, learningRate: learningRate(this.#options.config, step, this.#layout.stepsPerEpoch) };
  }

  /** The training batches from update `step` to the end of its epoch. */
  #batches(step: number): AsyncIterable<Batch> {
    const { config, dataset, loadBatches } = this.#options;
    const { batchSize, seed, data } = config;
    const { stepsPerEpoch } = this.#layout;
    const epoch = Math.floor(step / stepsPerEpoch);
    const startBatch = step - epoch * stepsPerEpoch;
    const indices = data.balance ? { indices: balancedIndices(dataset.train.labels, seed, epoch) } : {};
    const how = {
      batchSize,
      seed,
      epoch,
      shuffle: true,
      augment: data.augment,
      erase: data.erase,
      startBatch,
      ...indices,
    };
    return this.#loaded(loadBatches(dataset, "train", how));
  }

  /** The same batches; what the loader rejects with is known again from what else fails. */
  async *#loaded(batches: AsyncIterable<Batch>): AsyncGenerator<Batch, void, undefined> {
    try {
      yield* batches;
    } catch (error) {
      this.#loaderError = error;
      throw error;
    }
  }

  /** Reports what the oldest updates in flight found, until `keep` are left. */
  async *#report(run: ActiveRun, pending: Update[], keep: number): AsyncGenerator<StepEvent, void, undefined> {
    const { config } = this.#options;
    const { stepsPerEpoch } = this.#layout;
    while (pending.length > keep) {
      const { step, learningRate, found } = pending.shift() as Update;
      let totals = noTotals;
      for (const samples of found) totals = addSamples(totals, await samples);
      if (!Number.isFinite(totals.loss)) throw await this.#brokenLater(run, step, totals.loss);
      this.#losses = 0;
      this.#state = { ...this.#state, step: step + 1, running: addTotals(this.#state.running, totals) };
      this.#speed.addStep(totals.count);
      const epoch = this.#state.history.length;
      const { loss, top1Error } = metricsOf(totals);
      yield {
        type: "step",
        step: step + 1,
        epoch: epoch + 1,
        loss,
        top1Error,
        learningRate,
        imagesPerSecond: this.#speed.imagesPerSecond(),
        etaSeconds: this.#speed.etaSeconds(config.epochs * stepsPerEpoch - step - 1, config.epochs - epoch),
      };
      this.#speed.resume();
    }
  }

  /**
   * The updates after the one whose loss is not finite have run over its trace, so it is repeated, to inspect it in
   * time.
   */
  async #brokenLater(run: ActiveRun, step: number, loss: number): Promise<DivergedError | DeviceError> {
    try {
      await this.#repeat(run, step + 1);
    } catch (error) {
      if (error instanceof DivergedError) return error;
      throw error;
    }
    return new DeviceError(
      `the loss of update ${step + 1} was ${loss}, and a finite number when the update was repeated: this device ` +
        "does not compute the same twice",
      { step: step + 1 },
    );
  }

  /**
   * Brings the device from the copy of the state to where `until` updates are done and reports nothing. @throws
   * DivergedError as submitUpdate does
   */
  async #repeat(run: ActiveRun, until: number): Promise<void> {
    await this.#copy.load(run.executable);
    let step = this.#copy.step;
    if (step >= until) return;
    for await (const batch of this.#batches(step)) {
      await submitUpdate(run, batch, this.#place(step), true);
      if (++step === until) return;
    }
  }

  /** Evaluates the validation split, with running statistics; undefined when the run was aborted meanwhile. */
  async #validate({ executable, signal }: ActiveRun): Promise<Evaluation | undefined> {
    const { dataset, loadBatches } = this.#options;
    const { microBatch } = this.#layout;
    const batches = this.#loaded(loadBatches(dataset, "val", inOrder(microBatch)));
    const tally = new EvaluationTally(dataset.classes.length);
    for await (const { item, found } of runAhead(executable, batches, evaluationWork, evaluationOutputs)) {
      if (signal?.aborted) return undefined;
      tally.add(item, found);
    }
    return tally.result();
  }

  async *#interrupted(executable: Executable): AsyncGenerator<TrainEvent, void, undefined> {
    const { step, history } = this.#state;
    const epoch = history.length + 1;
    yield* this.#saveStep(executable);
    yield { type: "interrupted", step, epoch, ...(this.#saved ? { path: this.#saved.path } : {}) };
  }

  /** Saves the state where it stands, unless that was the last to be saved. */
  async *#saveStep(executable: Executable): AsyncGenerator<TrainEvent, void, undefined> {
    const { step } = this.#state;
    await this.#copy.take(executable, step);
    if (this.#saved?.step !== step) yield* this.#checkpoint(executable, false);
  }

  async *#checkpoint(
    executable: Executable,
    best: boolean,
    evaluation?: Evaluation,
  ): AsyncGenerator<TrainEvent, void, undefined> {
    const { save } = this.#options;
    if (!save) return;
    const { step } = this.#state;
    await this.#copy.take(executable, step);
    const training = { ...this.#copy.moments, run: this.#state };
    const path = await save(
      { trained: this.#copy.trained, training },
      { step, best, ...(evaluation ? { evaluation } : {}) },
    );
    this.#saved = { step, path };
    this.#savedAt = performance.now();
    this.#saveIsDue = false;
    yield { type: "checkpoint", path, step };
    this.#speed.resume();
  }
}

/** What lives only while `run` does. */
interface ActiveRun extends TrainingPlans {
  readonly signal?: AbortSignal;
}
