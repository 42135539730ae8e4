// cli: one training run from a resolved configuration to a run folder, told as it goes. `train` and `demo` share it.
import { basename, dirname, join, resolve } from "node:path";
import { formatInteger, formatPercent } from "../analyze/format.ts";
import type { Backend } from "../backends/backend.ts";
import type { Dataset } from "../data/dataset.ts";
import { DivergedError, UsageError } from "../errors.ts";
import { openRunDevice, type RunDevice } from "../run/device.node.ts";
import { environmentFacts, readEnvironment } from "../run/environment.node.ts";
import { RunFolder } from "../run/folder.node.ts";
import { memoryLine, requireMemory } from "../run/memory.ts";
import { modelTitle, type ReportContext, writeReport } from "../run/report.node.ts";
import { finalResults } from "../run/results.node.ts";
import type { EndEvent, InterruptedEvent, RecoveredEvent, StartEvent, TrainEvent } from "../train/events.ts";
import type { ResolvedConfig } from "../train/resolveConfig.ts";
import { openConfiguredDataset, resumeRun, startRun } from "../train/trainer.node.ts";
import type { Trainer } from "../train/trainer.ts";
import { sayChoice } from "./backend.ts";
import { Progress } from "./progress.ts";
import { listenForStop, type StopRequest } from "./signals.ts";
import { RESUMED, settingRows, type TrainFlags } from "./trainConfig.ts";

export interface TrainingRunOptions {
  readonly resolved: ResolvedConfig;
  readonly flags: TrainFlags;
  /** Where a new run goes; default runs/<model>-<time>. */
  readonly output?: string;
  /** Told every event. */
  readonly onEvent?: (event: TrainEvent) => void;
}

export interface TrainingOutcome {
  readonly folder: string;
  readonly report: string;
  /** The trained model, for what comes after. */
  readonly trainer: Trainer;
  readonly dataset: Dataset;
  readonly backend: Backend;
  readonly end: EndEvent;
}

/** What every run needs before its first step. */
interface Prepared {
  readonly dataset: Dataset;
  readonly trainer: Trainer;
  readonly folder: RunFolder;
}

/**
 * Trains to the end and hands the outcome to `then` while the backend still lives.
 * @returns the exit code: 0, or the signal's when the run was stopped (then `then` is not called)
 */
export async function trainingRun(
  options: TrainingRunOptions,
  then: (outcome: TrainingOutcome) => Promise<void>,
): Promise<number> {
  const { config } = options.resolved;
  if (config.data.dir === null) {
    throw new UsageError(
      `--data-dir: not given, expected the folder of the pictures that the preset ${options.flags.preset} is about`,
      { flag: "--data-dir" },
    );
  }
  const dataset = await openConfiguredDataset(config);
  const device = await openRunDevice(config);
  sayChoice(config, device.backend.info);
  try {
    const prepared = await prepare(options, dataset, device);
    const progress = new Progress();
    const stop = listenForStop((cause) => {
      progress.line(
        cause === "EPIPE"
          ? "nobody reads the output any more: finishing the step and saving"
          : `${cause}: finishing the step and saving; once more to stop at once`,
      );
    });
    try {
      const end = await follow(options, prepared, progress, stop);
      if (end === undefined) return stop.exitCode() ?? 0;
      const { folder, trainer } = prepared;
      await then({ dataset, trainer, backend: trainer.backend, folder: folder.path, report: folder.reportPath, end });
      return 0;
    } finally {
      progress.clear();
      stop.release();
      prepared.folder.close();
    }
  } finally {
    await device.dispose();
  }
}

/** A trainer and its folder, both checked before anything is written. */
async function prepare(options: TrainingRunOptions, dataset: Dataset, device: RunDevice): Promise<Prepared> {
  const { resolved, flags, output } = options;
  const { config } = resolved;
  const { backend, reopen } = device;
  if (flags.resume === undefined) {
    const path = output ?? join("runs", `${config.model.variant}-${timestamp(new Date())}`);
    const trainer = startRun({ config, dataset, backend, reopen, runDir: path });
    return { dataset, trainer, folder: await RunFolder.create(path) };
  }
  const path = output ?? runOf(flags.resume);
  const trainer = await resumeRun(flags.resume, { config, dataset, backend, reopen, runDir: path });
  const folder =
    output === undefined
      ? await RunFolder.reopen(path)
      : await RunFolder.create(path, await RunFolder.reopen(runOf(flags.resume)));
  return { dataset, trainer, folder };
}

/** The run that a checkpoint's folder lies in: <run>/checkpoints/<checkpoint>. */
function runOf(path: string): string {
  const parent = dirname(resolve(path));
  return basename(parent) === "checkpoints" ? dirname(parent) : path;
}

/** Runs the trainer and records what it tells. @returns undefined when the run was interrupted */
async function follow(
  options: TrainingRunOptions,
  { trainer, folder, dataset }: Prepared,
  progress: Progress,
  stop: StopRequest,
): Promise<EndEvent | undefined> {
  const environment = readEnvironment();
  const { resolved, flags } = options;
  const { origin } = folder;
  const { startedAt, command = commandLine() } = origin;
  // A setting that a resumed run kept comes from where it came from then.
  const settings = settingRows(resolved, flags).map((row) => {
    const before = origin.sources[row.key];
    return row.source === RESUMED && typeof before === "string" ? { ...row, source: before } : row;
  });
  let context: ReportContext | undefined;
  try {
    for await (const event of trainer.run(stop.signal)) {
      if (event.type === "start") requireMemory(event, environment.memoryBytes);
      await folder.record(event);
      options.onEvent?.(event);
      if (event.type === "start") {
        await folder.describe(resolved.config, {
          startedAt,
          ...environment,
          backend: event.backend,
          command,
          sources: Object.fromEntries(settings.map((row) => [row.key, row.source])),
        });
        context = {
          start: event,
          dataset,
          folder,
          settings,
          environment: environmentFacts(environment, event.backend),
          command,
          startedAt,
        };
        introduce(event, memoryLine(event, environment.memoryBytes), dataset, folder, progress);
      }
      progress.show(event);
      if (context === undefined) continue;
      if (event.type === "recovered") {
        const note = recoveredSentence(event);
        progress.line(note);
        context = { ...context, environment: [...context.environment, { name: "note", value: note }] };
      }
      if (event.type === "epoch") await writeReport(context, "running");
      if (event.type === "interrupted") {
        await writeReport(context, "interrupted");
        farewell(event, folder, progress);
        return undefined;
      }
      if (event.type === "end") {
        progress.line("evaluating for the report");
        await writeReport(
          context,
          "finished",
          await finalResults(trainer.trained, dataset, trainer.backend, event.final.epoch),
        );
        return event;
      }
    }
  } catch (error) {
    progress.clear();
    if (error instanceof DivergedError && context !== undefined) await writeReport(context, "diverged");
    throw error;
  }
  throw new Error("the training ended without saying so");
}

function introduce(start: StartEvent, memory: string, dataset: Dataset, folder: RunFolder, progress: Progress): void {
  const { backend, params, trainCount, valCount, classes } = start;
  progress.line(
    `${modelTitle(start)}: ${formatInteger(params)} parameters, on ${backend.device ?? `${backend.name} with ${backend.threads} ${backend.threads === 1 ? "thread" : "threads"}`}`,
  );
  progress.line(memory);
  progress.line(
    `${dataset.name}: ${formatInteger(trainCount)} pictures of ${classes.length} classes to train on, ${formatInteger(valCount)} to measure with`,
  );
  if (start.resumedAtStep > 0) progress.line(`goes on after step ${start.resumedAtStep} of ${start.totalSteps}`);
  progress.line(`writes to ${folder.path}`);
}

/** What happened to a device, and where the run goes on. */
function recoveredSentence({ reason, backend, step, repeatedSteps }: RecoveredEvent): string {
  const again = repeatedSteps === 0 ? "" : `, the last ${repeatedSteps} of them done again`;
  return `${reason}; the run goes on with ${backend.device ?? backend.name} after ${step} updates${again}`;
}

function farewell(event: InterruptedEvent, folder: RunFolder, progress: Progress): void {
  progress.line(
    `stopped after step ${event.step} and saved; go on with: densenet train --resume ${quoted(folder.path)}`,
  );
}

/** What a run came to, for people. */
export function closingLines({ end, folder, report, trainer }: TrainingOutcome): string[] {
  const { final, best } = end;
  const chance = 100 * (1 - 1 / trainer.trained.classes.length);
  return [
    `validation error ${formatPercent(final.valTop1Error, 2)} after epoch ${final.epoch} (loss ${final.valLoss.toFixed(4)}; guessing gives ${formatPercent(chance, chance < 99.5 ? 0 : 1)})`,
    ...(best.valTop1Error === final.valTop1Error
      ? []
      : [`lowest was ${formatPercent(best.valTop1Error, 2)} after epoch ${best.epoch}`]),
    `run     ${folder}`,
    `report  ${report}`,
  ];
}

/** 2026-11-23T22-13-05, in UTC; colons are not for file names. */
function timestamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "-");
}

function commandLine(): string {
  return ["densenet", ...process.argv.slice(2)].map(quoted).join(" ");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
