// run: what the folders of runs say of them, read without opening their weights.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { RunSummary } from "../analyze/compareRuns.ts";
import { InputError } from "../errors.ts";
import { networkTitle } from "../networks/registry.ts";
import { trainConfigSchema } from "../train/config.ts";
import { isDone } from "../train/history.ts";
import { CONFIG, readPast } from "./folder.node.ts";
import { LOCK } from "./lock.node.ts";
import { settingRows } from "./report.node.ts";

/** A lock that was not touched for so long is of a process that died. */
const LOCK_MS = 60_000;

/** The folders of runs that `path` is or holds, in the order of their names. */
export async function findRuns(path: string): Promise<string[]> {
  if (await isRun(path)) return [path];
  const entries = await readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read, expected a folder of runs`, { path }, { cause });
  });
  const found: string[] = [];
  for (const { name } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (await isRun(join(path, name))) found.push(join(path, name));
  }
  return found;
}

async function isRun(path: string): Promise<boolean> {
  return stat(join(path, CONFIG)).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** @throws InputError when the folder is none of a run, or its settings cannot be read */
export async function readRunSummary(folder: string): Promise<RunSummary> {
  const file = join(folder, CONFIG);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new InputError(`${folder}: is no folder of a run, it has no ${CONFIG}`, { path: folder }, { cause });
  });
  const parsed = trainConfigSchema.safeParse(parseJson(text, file));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new InputError(`${file}: ${issue?.path.join(".") || "the settings"}: ${issue?.message}`, { file });
  }
  const config = parsed.data;
  const { events, origin } = await readPast(folder);
  const start = events.findLast((event) => event.type === "start");
  const epochs = events.flatMap((event) => {
    if (event.type !== "epoch") return [];
    const { type: _, best: __, ...metrics } = event;
    return [metrics];
  });
  const touched = await stat(join(folder, LOCK)).catch(() => undefined);
  const isRunning = touched !== undefined && Date.now() - touched.mtimeMs < LOCK_MS;
  const isFinished = isDone(epochs, config);
  return {
    folder,
    network: start === undefined ? config.model.variant : networkTitle(start.spec, config.model.variant),
    ...(start === undefined ? {} : { params: start.params }),
    state: isRunning ? "running" : isFinished ? "finished" : "stopped",
    startedAt: origin.startedAt.toISOString(),
    notes: config.notes,
    epochsPlanned: config.epochs,
    epochs,
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
    settings: settingRows(config, {}).map(({ key, value }) => ({ key, value })),
  };
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${file}: is not JSON, expected the settings of the run`, { file }, { cause });
  }
}
