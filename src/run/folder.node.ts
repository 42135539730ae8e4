// run: the folder of a run. config.json, environment.json, metrics.csv (a line per epoch), metrics.jsonl (every event),
// report.html, and run.lock while a process writes to it; checkpoints lie in it too and are the store's business.
import { closeSync, openSync, writeSync } from "node:fs";
import { access, constants, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { ReportStep } from "../analyze/report/data.ts";
import { isRecord } from "../checkpoint/record.ts";
import { removeTemporary, writeFileAtomic } from "../checkpoint/store.node.ts";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { UsageError } from "../errors.ts";
import type { EpochEvent, EpochMetrics, StartEvent, TrainEvent } from "../train/events.ts";
import { LOCK, RunLock } from "./lock.node.ts";

export const CONFIG = "config.json";
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

/** How a run began. */
export interface RunOrigin {
  readonly startedAt: Date;
  readonly command?: string;
  /** Setting → where it came from. */
  readonly sources: Readonly<Record<string, unknown>>;
  /** Of the run's images; runs that were saved before there was one have none. */
  readonly dataDigest?: string;
  /** The weights that it began with, where they were not made for it. */
  readonly initFrom?: string;
}

/** What the folder of a run says of what it did before. */
export interface RunPast {
  readonly events: readonly TrainEvent[];
  readonly origin: RunOrigin;
}

/** How often it is checked that the folder still is where it was, at most. */
const CHECK_MS = 1000;

export class RunFolder {
  readonly path: string;
  readonly reportPath: string;
  readonly origin: RunOrigin;
  /** Of the whole run, a resumed one's past included. */
  readonly epochs: EpochMetrics[] = [];
  readonly steps: ReportStep[] = [];
  readonly #lock: RunLock;
  #past: readonly TrainEvent[];
  #events: number | undefined;
  #stepsPerEpoch = 1;
  #checkedAt = 0;

  private constructor(path: string, lock: RunLock, { events, origin }: RunPast) {
    this.path = path;
    this.origin = origin;
    this.reportPath = join(path, REPORT);
    this.#lock = lock;
    this.#past = events;
  }

  /**
   * A folder for a new run, or for one that goes on elsewhere: then `past` is that of the folder that it leaves. Locked
   * until it is closed.
   * @throws UsageError when something is in it already, or it cannot be a folder
   * @throws ResourceError when it cannot be made, or another process has taken it meanwhile
   */
  static async create(path: string, past: RunPast = noPast()): Promise<RunFolder> {
    await requireFree(path);
    try {
      await mkdir(path, { recursive: true });
    } catch (error) {
      throw writeFailure(path, error);
    }
    return new RunFolder(path, await RunLock.acquire(path), past);
  }

  /**
   * The folder of a run that goes on, locked until it is closed.
   * @throws ResourceError when another process writes to it, or it cannot be written
   */
  static async reopen(path: string): Promise<RunFolder> {
    const lock = await RunLock.acquire(path);
    try {
      await removeTemporary(path);
      return new RunFolder(path, lock, await readPast(path));
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** What decides the run and what it runs on, in files of their own. */
  async describe(config: unknown, environment: unknown): Promise<void> {
    await writeFileAtomic(join(this.path, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    await writeFileAtomic(join(this.path, ENVIRONMENT), `${JSON.stringify(environment, null, 2)}\n`);
  }

  /**
   * Adds an event to the record. The first one must be the start; it cuts off what the checkpoint did not yet know.
   * `history`: the epochs that the run has behind it at its start.
   * @throws ResourceError when the disk is full, or the folder is no longer where it was
   */
  async record(event: TrainEvent, history: readonly EpochMetrics[] = []): Promise<void> {
    if (event.type === "start") await this.#begin(event, history);
    if (this.#events === undefined) throw new Error("an event came before the start of the run");
    if (event.type !== "step" || performance.now() - this.#checkedAt > CHECK_MS) this.requireHeld();
    try {
      writeSync(this.#events, `${JSON.stringify(event)}\n`);
    } catch (error) {
      throw writeFailure(join(this.path, EVENTS), error);
    }
    if (event.type === "step") this.#keepStep(event);
    if (event.type !== "epoch") return;
    this.epochs.push(metricsOf(event));
    await this.#writeTable();
  }

  /** @throws ResourceError when the folder is no longer where it was, or another process has taken it over */
  requireHeld(): void {
    this.#lock.requireHeld();
    this.#checkedAt = performance.now();
  }

  /** The reason for whatever fails now, if the folder is no longer where it was. */
  missing(): unknown {
    try {
      this.requireHeld();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  async writeReport(html: string): Promise<void> {
    await writeFileAtomic(this.reportPath, html);
  }

  /** Lets others write to the folder. Twice is fine. */
  async close(): Promise<void> {
    if (this.#events !== undefined) closeSync(this.#events);
    this.#events = undefined;
    await this.#lock.release();
  }

  async #begin(start: StartEvent, history: readonly EpochMetrics[]): Promise<void> {
    this.#stepsPerEpoch = start.stepsPerEpoch;
    const kept = this.#past.filter((event) => lastStep(event, start.stepsPerEpoch) <= start.resumedAtStep);
    for (const event of kept) if (event.type === "step") this.#keepStep(event);
    this.#past = [];
    // The checkpoint knows its epochs, whatever became of the record.
    this.epochs.push(...history);
    const path = join(this.path, EVENTS);
    await writeFileAtomic(path, kept.map((event) => `${JSON.stringify(event)}\n`).join(""));
    if (history.length > 0) await this.#writeTable();
    try {
      this.#events = openSync(path, "a");
    } catch (error) {
      throw writeFailure(path, error);
    }
  }

  #keepStep({ step, loss, learningRate }: { step: number; loss: number; learningRate: number }): void {
    this.steps.push({ epoch: step / this.#stepsPerEpoch, loss, learningRate });
  }

  async #writeTable(): Promise<void> {
    const rows = [COLUMNS, ...this.epochs.map((epoch) => COLUMNS.map((column) => epoch[column]))];
    await writeFileAtomic(join(this.path, TABLE), rows.map((row) => `${row.join(",")}\n`).join(""));
  }
}

/**
 * Makes sure that a new run can have the folder, and makes nothing: whatever is wrong with the settings or the data
 * shows before.
 * @throws UsageError when something is in it already, or it cannot be a folder
 * @throws ResourceError when it may not be written
 */
export async function requireFree(path: string): Promise<void> {
  if (path === "") throw new UsageError('the run\'s folder: got "", expected a path', { output: path });
  try {
    const found = await readdir(path).catch(async (error: unknown) => {
      if (systemCode(error) === "ENOENT") return undefined;
      // Of a path through a file nothing can be said but that.
      if (systemCode(error) === "ENOTDIR") await requireNoFile(path);
      throw error;
    });
    const left = found?.filter((name) => name !== LOCK && !name.startsWith(".tmp-")) ?? [];
    if (left.length > 0) {
      const isRun = left.includes(CONFIG) || left.includes("checkpoints");
      throw new UsageError(
        `${path}: is not empty, expected a new folder for the ` +
          `run${isRun ? `; to go on with the run in it say --resume ${path}` : ""}`,
        { output: path },
      );
    }
    await access(found === undefined ? await nearestFolder(path) : path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw writeFailure(path, error);
  }
}

async function requireNoFile(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === false) throw new UsageError(`${path}: is a file, expected a folder`, { output: path });
}

/** The folder that exists already and in which `path` would be made. */
async function nearestFolder(path: string): Promise<string> {
  for (let at = dirname(resolve(path)); ; at = dirname(at)) {
    try {
      if (!(await stat(at)).isDirectory()) throw Object.assign(new Error("ENOTDIR"), { code: "ENOTDIR" });
      return at;
    } catch (error) {
      if (systemCode(error) !== "ENOENT" || at === dirname(at)) throw error;
    }
  }
}

function noPast(): RunPast {
  return { events: [], origin: { startedAt: new Date(), sources: {} } };
}

/**
 * What was recorded in the folder of a run. A line that was being written when the run died, or that is no event, is
 * passed over.
 */
export async function readPast(path: string): Promise<RunPast> {
  const text = await readFile(join(path, EVENTS), "utf8").catch(() => "");
  const events = text.split("\n").flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return isEvent(value) ? [value] : [];
    } catch {
      return [];
    }
  });
  return { events, origin: await readOrigin(path) };
}

/** The numbers of each type of event that the record's readers go by. */
const NUMBERS: Readonly<Record<TrainEvent["type"], readonly string[]>> = {
  start: ["resumedAtStep"],
  step: ["step", "loss", "learningRate"],
  epoch: COLUMNS,
  checkpoint: ["step"],
  recovered: ["step"],
  interrupted: ["step"],
  end: ["steps"],
};

function isEvent(value: unknown): value is TrainEvent {
  if (!isRecord(value) || typeof value.type !== "string" || !Object.hasOwn(NUMBERS, value.type)) return false;
  return NUMBERS[value.type as TrainEvent["type"]].every((key) => Number.isFinite(value[key]));
}

/**
 * What environment.json says of the run's beginning. A folder that was copied without it, or a run that died before it
 * was there, has none.
 */
export async function readOrigin(path: string): Promise<RunOrigin> {
  try {
    const value: unknown = JSON.parse(await readFile(join(path, ENVIRONMENT), "utf8"));
    if (!isRecord(value)) return noPast().origin;
    const { startedAt, command, sources, dataDigest, initFrom } = value;
    const began = new Date(String(startedAt));
    return {
      startedAt: Number.isNaN(began.getTime()) ? new Date() : began,
      ...(typeof command === "string" ? { command } : {}),
      sources: isRecord(sources) ? sources : {},
      ...(typeof dataDigest === "string" ? { dataDigest } : {}),
      ...(typeof initFrom === "string" ? { initFrom } : {}),
    };
  } catch {
    return noPast().origin;
  }
}

/** The step after which an event was emitted; a run that resumes there or later has it behind it. */
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
