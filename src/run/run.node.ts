// run: a training run from its settings to its folder. Whoever starts one — the command, a server, a page's host — gets
// the same events and leaves the same folder; they only show what happens.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type ConstantGuess, constantGuess } from "../analyze/classErrors.ts";
import type { Backend, BackendInfo } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { saveCheckpoint, setAside } from "../checkpoint/store.node.ts";
import type { Dataset } from "../data/dataset.ts";
import { loadBatches } from "../data/loader.node.ts";
import { DivergedError, UsageError } from "../errors.ts";
import { evaluate } from "../infer/evaluate.ts";
import type { TrainConfig } from "../train/config.ts";
import { createTrainer } from "../train/createTrainer.ts";
import type { Evaluation } from "../train/evaluation.ts";
import type { EpochMetrics, RecoveredEvent, StartEvent, TrainEvent } from "../train/events.ts";
import type { CheckpointSink, Trainer } from "../train/trainer.ts";
import { calibrateRun } from "./calibrateRun.ts";
import { dataDigest, openConfiguredDataset } from "./data.node.ts";
import { openRunDevice, type RunDevice } from "./device.node.ts";
import { type Environment, environmentFacts, readEnvironment } from "./environment.node.ts";
import { RunFolder, type RunOrigin, type RunPast, readPast, requireFree } from "./folder.node.ts";
import { requireMemory } from "./memory.ts";
import { type ReportContext, type ReportStanding, settingRows, writeReport } from "./report.node.ts";
import { reportResults } from "./results.node.ts";
import { findResumePoint, firstState, type ResumePoint, runOf } from "./start.node.ts";
import { TensorBoardFile } from "./tensorBoardFile.node.ts";

/** What a run consists of and where it goes. */
export interface RunOptions {
  /** Every setting, as resolveConfig returns them; of a resumed run those of savedConfig. */
  readonly config: TrainConfig;
  /**
   * Where the run goes: a new or empty folder. Default: runs/<model>-<time>; of a resumed run the folder that it is in.
   */
  readonly folder?: string | undefined;
  /**
   * The folder of a run, or of one of its checkpoints, to go on with: on the same device with as many threads bit for
   * bit as if it had not stopped.
   */
  readonly resume?: string | undefined;
  /**
   * A run's folder, a checkpoint's, or weights of another tool (.safetensors, .pth, .keras, .h5, a timm folder) that a
   * new run starts from. Not with `resume`.
   */
  readonly initFrom?: string | undefined;
  /**
   * Aborted: the run finishes its step, saves and ends with `interrupted`. Before its first event it rejects with the
   * signal's reason instead.
   */
  readonly signal?: AbortSignal | undefined;
  /** Setting, as dotted path → where it came from, for the report. */
  readonly sources?: Readonly<Record<string, string>> | undefined;
  /** What starts the same run, for the report. */
  readonly command?: string | undefined;
  /** Receives sentences for people that come before the first event: what was left out, what was damaged. */
  readonly report?: ((line: string) => void) | undefined;
}

/** First event of a run: everything was checked and its folder is there. */
export interface OpenedEvent {
  readonly type: "opened";
  readonly folder: string;
  /** The report, which is rewritten after each epoch. */
  readonly report: string;
  /** Name of the data set. */
  readonly dataset: string;
  readonly backend: BackendInfo;
  /** What this process may use. */
  readonly memoryBytes: number;
}

/** Last event of a run that has done all its epochs: its report is written. */
export interface FinishedEvent {
  readonly type: "finished";
  readonly folder: string;
  readonly report: string;
  readonly classes: readonly string[];
  readonly trainCount: number;
  readonly final: EpochMetrics;
  readonly best: EpochMetrics;
  /** Of the validation images by the final weights. */
  readonly evaluation: Evaluation;
  /** What a constant answer comes to on the validation images. */
  readonly constant: ConstantGuess;
}

/**
 * What `runTraining` yields, discriminated by `type`: `opened` first, then the trainer's events; `finished` last if
 * all epochs were done.
 */
export type RunEvent = OpenedEvent | TrainEvent | FinishedEvent;

/**
 * Trains a network as `config` says and leaves the run's folder: settings, metrics, report and checkpoints. Opens the
 * data and the device and closes them again. The folder is made when everything else has been checked, and is locked
 * while the run lasts. Whoever stops iterating ends the run; what came after its last checkpoint is then lost. A run
 * that fails says so in its report and throws.
 * @throws UsageError for settings that do not fit together or not to the data, a folder that is in use, a resumed run
 * that would be another one
 * @throws InputError for data or checkpoints that are not what they should be
 * @throws ResourceError when memory or disk does not suffice, or another process writes to the folder
 * @throws DivergedError when the loss is no longer finite
 * @throws DeviceError when the device cannot be had, or is lost again and again
 */
export async function* runTraining(options: RunOptions): AsyncGenerator<RunEvent, void, undefined> {
  const { config, signal, report = () => {} } = options;
  const place = await findPlace(options);
  let { folder } = place;
  let device: RunDevice | undefined;
  let training: ReturnType<Trainer["run"]> | undefined;
  try {
    const opened = await openConfiguredDataset(config, report);
    signal?.throwIfAborted();
    device = await openRunDevice(config);
    signal?.throwIfAborted();
    const { point } = place;
    const saved = point?.saved;
    const { model, normalization } =
      saved === undefined
        ? await firstState(config, opened, options.initFrom ?? place.origin?.initFrom, report)
        : { model: saved.trained.model, normalization: saved.trained.preprocessing };
    const { mean, std } = normalization;
    const dataset = { ...opened, mean, std };
    const save: CheckpointSink = (checkpoint, about) => {
      if (folder === undefined) throw new Error("a checkpoint came before the start of the run");
      folder.requireHeld();
      const trained = withCalibration(checkpoint.trained, dataset, about.evaluation);
      return saveCheckpoint(folder.path, { ...checkpoint, trained }, { ...about, keep: config.keepCheckpoints });
    };
    const { backend, reopen } = device;
    const trainer = createTrainer({
      ...{ config, dataset, backend, reopen, loadBatches, save, model },
      ...(saved === undefined ? {} : { resume: saved.training }),
    });
    training = trainer.run(signal);
    const { value: start } = await training.next();
    if (start?.type !== "start") throw new Error("the training began without its start event");
    const environment = readEnvironment();
    requireMemory(start, environment.memoryBytes);

    folder ??= await RunFolder.create(place.path, place.past);
    if (point !== undefined) await passOver(point, folder.path, report);
    yield* recorded(options, { trainer, training, start, dataset, folder, environment });
  } finally {
    await training?.return();
    await device?.dispose();
    await folder?.close();
  }
}

interface Place {
  readonly path: string;
  /** Of a run that goes on where it is, locked. */
  readonly folder?: RunFolder;
  /** Of a run that goes on elsewhere. */
  readonly past?: RunPast;
  readonly origin?: RunOrigin;
  readonly point?: ResumePoint;
}

/** Where the run will be, and what it goes on from, checked before anything is made or opened. */
async function findPlace({ config, folder: output, resume, initFrom }: RunOptions): Promise<Place> {
  if (resume === undefined) {
    const path = output ?? join("runs", `${config.model.variant}-${timestamp(new Date())}`);
    await requireFree(path);
    return { path };
  }
  if (initFrom !== undefined) {
    throw new UsageError("initFrom: a run that goes on has its own weights, expected initFrom or resume", {
      field: "initFrom",
    });
  }
  if (output !== undefined) {
    await requireFree(output);
    const past = await readPast(runOf(resume));
    return { path: output, past, origin: past.origin, point: await findResumePoint(resume) };
  }
  // Found before the lock is taken, which needs a folder that is a run's.
  await findResumePoint(resume);
  const folder = await RunFolder.reopen(runOf(resume));
  try {
    // And again under the lock: another process may have gone on meanwhile.
    return { path: folder.path, folder, origin: folder.origin, point: await findResumePoint(resume) };
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** Says what a resumed run does without, and keeps damaged checkpoints of its own folder aside. */
async function passOver({ saved, damaged }: ResumePoint, path: string, report: (line: string) => void): Promise<void> {
  if (saved === undefined) {
    report("the run had saved no checkpoint yet, so it begins again");
    return;
  }
  if (damaged.length === 0) return;
  for (const { folder, reason } of damaged) report(`${folder}: damaged, so it is passed over: ${reason}`);
  const isOwn = resolve(runOf(saved.folder)) === resolve(path);
  const places = isOwn ? await setAside(damaged, saved.folder) : [];
  report(
    `the run goes on from ${saved.folder}; what came after that is done ` +
      `again${places.length === 0 ? "" : `, and the damaged files are kept as ${places.join(", ")}`}`,
  );
}

interface Parts {
  readonly trainer: Trainer;
  readonly training: ReturnType<Trainer["run"]>;
  readonly start: StartEvent;
  readonly dataset: Dataset;
  readonly folder: RunFolder;
  readonly environment: Environment;
}

/** Records each event in the folder before it is passed on, and keeps the report true. */
async function* recorded(options: RunOptions, parts: Parts): AsyncGenerator<RunEvent, void, undefined> {
  const { config, sources = {}, command = "", initFrom, report = () => {} } = options;
  const { trainer, training, start, dataset, folder, environment } = parts;
  const { origin } = folder;
  const { startedAt } = origin;
  const settings = settingRows(config, sources, origin.sources);
  let context: ReportContext = {
    start,
    dataset,
    folder,
    settings,
    environment: environmentFacts(environment, start.backend),
    command: origin.command ?? command,
    startedAt,
  };
  const digest = await dataDigest(dataset, config.data.dir ?? "");
  if (origin.dataDigest !== undefined && origin.dataDigest !== digest) {
    report("names, sizes or labels of the images are not those that the run began with; it goes on with these");
  }
  let board: TensorBoardFile | undefined;
  let state: "running" | "ended" | { readonly failure: unknown } = "running";
  try {
    await folder.describe(config, {
      startedAt,
      ...environment,
      backend: start.backend,
      command: context.command,
      sources: Object.fromEntries(settings.map((row) => [row.key, row.source])),
      // What a resumed run began with: only of these is it known what was held out from the start.
      dataDigest: origin.dataDigest ?? digest,
      initFrom: origin.initFrom ?? (initFrom !== undefined && existsSync(initFrom) ? resolve(initFrom) : initFrom),
    });
    await folder.record(start, trainer.history);
    if (config.tensorBoard) board = new TensorBoardFile(folder.path, start);
    yield {
      type: "opened",
      folder: folder.path,
      report: folder.reportPath,
      dataset: dataset.name,
      backend: start.backend,
      memoryBytes: environment.memoryBytes,
    };
    yield start;
    for await (const event of training) {
      await folder.record(event);
      board?.record(event, trainer.trained.model);
      if (event.type === "recovered") {
        const note = { name: "note", value: recoveredSentence(event) };
        context = { ...context, environment: [...context.environment, note] };
      }
      if (event.type === "epoch") await writeReport(context, { state: "running" });
      if (event.type === "interrupted") {
        await writeReport(context, { state: "interrupted" });
        state = "ended";
      }
      yield event;
      if (event.type !== "end") continue;
      const evaluation = await finalEvaluation(trainer, dataset, trainer.backend);
      const { trained, backend } = trainer;
      const results = await reportResults({ trained, evaluation, dataset, epoch: event.final.epoch, backend });
      await board?.recordImages(event.steps, results.images);
      await writeReport(context, { state: "finished", results });
      folder.requireHeld();
      state = "ended";
      yield {
        type: "finished",
        folder: folder.path,
        report: folder.reportPath,
        classes: dataset.classes,
        trainCount: start.trainCount,
        final: event.final,
        best: event.best,
        evaluation,
        constant: constantGuess(dataset.val, dataset.classes),
      };
    }
  } catch (error) {
    const failure = folder.missing() ?? error;
    state = { failure };
    throw failure;
  } finally {
    board?.close();
    // Where the disk is full the report cannot say so; what failed is thrown, not that.
    if (state !== "ended" && folder.missing() === undefined) await writeReport(context, stateOf(state)).catch(() => {});
  }
}

function stateOf(state: "running" | { readonly failure: unknown }): ReportStanding {
  if (state === "running") return { state: "interrupted" };
  const { failure } = state;
  if (failure instanceof DivergedError) return { state: "diverged" };
  return { state: "failed", reason: failure instanceof Error ? failure.message : String(failure) };
}

/** The last validation of the run. One that was resumed at its end has done none. */
async function finalEvaluation(trainer: Trainer, dataset: Dataset, backend: Backend): Promise<Evaluation> {
  return trainer.evaluation ?? (await evaluate({ trained: trainer.trained, dataset, backend, loadBatches }));
}

/** The network with what its validation says of its probabilities. */
function withCalibration(trained: TrainedModel, dataset: Dataset, evaluation: Evaluation | undefined): TrainedModel {
  const calibration = evaluation && calibrateRun(evaluation, dataset).calibration;
  return calibration === undefined ? trained : { ...trained, calibration };
}

/** What happened to a device, and where the run goes on. */
export function recoveredSentence({ reason, backend, step, repeatedSteps }: RecoveredEvent): string {
  const again = repeatedSteps === 0 ? "" : `, the last ${repeatedSteps} of them repeated`;
  return `${reason}; the run goes on with ${backend.device ?? backend.name} after ${step} updates${again}`;
}

/** 2026-11-23T22-13-05, in UTC; colons are not for file names. */
function timestamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "-");
}
