// run: the folder of a run. config.json, environment.json, metrics.csv (a line per epoch), metrics.jsonl (every event), report.html;
// checkpoints lie in it too and are the store's business.
import { closeSync, openSync, writeSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReportStep } from "../analyze/report/data.ts";
import { isRecord } from "../checkpoint/record.ts";
import { writeFileAtomic } from "../checkpoint/store.node.ts";
import { ResourceError, UsageError } from "../errors.ts";
import type { EpochEvent, EpochMetrics, StartEvent, TrainEvent } from "../train/events.ts";

const CONFIG = "config.json";
const ENVIRONMENT = "environment.json";
const EVENTS = "metrics.jsonl";
const TABLE = "metrics.csv";
const REPORT = "report.html";

const COLUMNS = [
  "epoch",
  "trainLoss",
  "trainTop1Error",
  "trainTop5Error",
  "valLoss",
  "valTop1Error",
  "valTop5Error",
  "learningRate",
  "seconds",
  "imagesPerSecond",
] as const satisfies readonly (keyof EpochMetrics)[];

/** How the first part of a run began. */
export interface RunOrigin {
  readonly startedAt: Date;
  readonly command?: string;
  /** Setting → where it came from. */
  readonly sources: Readonly<Record<string, unknown>>;
}

export class RunFolder {
  readonly path: string;
  readonly reportPath: string;
  readonly origin: RunOrigin;
  /** Of all parts of the run, a resumed one's past included. */
  readonly epochs: EpochMetrics[] = [];
  readonly steps: ReportStep[] = [];
  #past: readonly TrainEvent[];
  #events: number | undefined;
  #stepsPerEpoch = 1;

  private constructor(
    path: string,
    past: readonly TrainEvent[],
    origin: RunOrigin = { startedAt: new Date(), sources: {} },
  ) {
    this.path = path;
    this.origin = origin;
    this.reportPath = join(path, REPORT);
    this.#past = past;
  }

  /**
   * A folder for a new run, or for one that goes on elsewhere: then `past` is the folder that it leaves.
   * @throws UsageError when something is in it already
   * @throws ResourceError when it cannot be made
   */
  static async create(path: string, past?: RunFolder): Promise<RunFolder> {
    try {
      await mkdir(path, { recursive: true });
      if ((await readdir(path)).length > 0) {
        throw new UsageError(
          `${path}: is not empty, expected a new folder for the run; to go on with the run in it say --resume ${path}`,
          { output: path },
        );
      }
    } catch (error) {
      throw folderError(error, path);
    }
    return past === undefined ? new RunFolder(path, []) : new RunFolder(path, past.#past, past.origin);
  }

  /** The folder of a run that goes on. A line that was being written when the run died is dropped. */
  static async reopen(path: string): Promise<RunFolder> {
    const text = await readFile(join(path, EVENTS), "utf8").catch(() => "");
    const past = text.split("\n").flatMap((line) => {
      try {
        return line === "" ? [] : [JSON.parse(line) as TrainEvent];
      } catch {
        return [];
      }
    });
    return new RunFolder(path, past, await readOrigin(path));
  }

  /** What decides the run and what it runs on, in files of their own. */
  async describe(config: unknown, environment: unknown): Promise<void> {
    await writeFileAtomic(join(this.path, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    await writeFileAtomic(join(this.path, ENVIRONMENT), `${JSON.stringify(environment, null, 2)}\n`);
  }

  /** Adds an event to the record. The first one must be the start; it cuts off what the checkpoint did not yet know. */
  async record(event: TrainEvent): Promise<void> {
    if (event.type === "start") await this.#begin(event);
    if (this.#events === undefined) throw new Error("an event came before the start of the run");
    try {
      writeSync(this.#events, `${JSON.stringify(event)}\n`);
    } catch (error) {
      throw folderError(error, join(this.path, EVENTS));
    }
    this.#keep(event);
    if (event.type === "epoch") await writeFileAtomic(join(this.path, TABLE), csv(this.epochs));
  }

  async writeReport(html: string): Promise<void> {
    await writeFileAtomic(this.reportPath, html);
  }

  close(): void {
    if (this.#events !== undefined) closeSync(this.#events);
    this.#events = undefined;
  }

  async #begin(start: StartEvent): Promise<void> {
    this.#stepsPerEpoch = start.stepsPerEpoch;
    const kept = this.#past.filter((event) => lastStep(event, start.stepsPerEpoch) <= start.resumedAtStep);
    for (const event of kept) this.#keep(event);
    this.#past = [];
    const path = join(this.path, EVENTS);
    await writeFileAtomic(path, kept.map((event) => `${JSON.stringify(event)}\n`).join(""));
    this.#events = openSync(path, "a");
  }

  #keep(event: TrainEvent): void {
    if (event.type === "epoch") this.epochs.push(metricsOf(event));
    if (event.type !== "step") return;
    this.steps.push({
      epoch: event.step / this.#stepsPerEpoch,
      loss: event.loss,
      learningRate: event.learningRate,
    });
  }
}

/** What environment.json says of the run's beginning. A folder that was copied without it, or a run that died before it was there, has none. */
async function readOrigin(path: string): Promise<RunOrigin> {
  try {
    const { startedAt, command, sources } = JSON.parse(await readFile(join(path, ENVIRONMENT), "utf8"));
    const began = new Date(String(startedAt));
    return {
      startedAt: Number.isNaN(began.getTime()) ? new Date() : began,
      ...(typeof command === "string" ? { command } : {}),
      sources: isRecord(sources) ? sources : {},
    };
  } catch {
    return { startedAt: new Date(), sources: {} };
  }
}

/** The step after which an event was told; a run that resumes there or later has it behind it. */
function lastStep(event: TrainEvent, stepsPerEpoch: number): number {
  switch (event.type) {
    case "start":
      return event.resumedAtStep;
    case "epoch":
      return event.epoch * stepsPerEpoch;
    case "end":
      return event.steps;
    default:
      return event.step;
  }
}

function metricsOf({ type: _type, best: _best, ...metrics }: EpochEvent): EpochMetrics {
  return metrics;
}

function csv(epochs: readonly EpochMetrics[]): string {
  return [COLUMNS, ...epochs.map((epoch) => COLUMNS.map((column) => epoch[column]))]
    .map((row) => `${row.join(",")}\n`)
    .join("");
}

function folderError(error: unknown, path: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new ResourceError(`${path}: the disk is full`, { path }, { cause: error });
  }
  if (code === "EEXIST" || code === "ENOTDIR") {
    return new UsageError(`${path}: is a file, expected a folder`, { path }, { cause: error });
  }
  if (code === "EACCES" || code === "EROFS" || code === "EPERM") {
    return new ResourceError(
      `${path}: may not be written, expected a folder that can be`,
      { path, code },
      { cause: error },
    );
  }
  return error;
}
