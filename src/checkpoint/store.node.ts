// checkpoint: the checkpoints of a run on disk. Whatever moment a process dies at, `last` names a whole checkpoint, and
// loading proves it by its SHA-256.
//
//   <run>/checkpoints/step-00000120/{model.safetensors, training.safetensors, manifest.json}
//   <run>/checkpoints/{last.json, best.json}     which folder is meant
//
// A checkpoint is written to a temporary folder beside, synced to the disk, and renamed into place; only then do the
// pointers change, each by writing a new file and renaming it over the old one. Renames within a folder are atomic, so
// a reader sees the old state or the new.
import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { type DenseNetError, InputError, ResourceError, VerificationError } from "../errors.ts";
import {
  type Checkpoint,
  decodeModel,
  decodeTraining,
  encodeModel,
  encodeTraining,
  MODEL_FILE,
  readModel,
  TRAINING_FILE,
} from "./checkpoint.ts";
import { isRecord } from "./record.ts";
import { systemCode, writeFailure } from "./writeFailure.ts";

/** In a run's folder, the checkpoints; in a checkpoint's, the list of its files. */
export const FOLDER = "checkpoints";
export const MANIFEST = "manifest.json";
const TEMPORARY = ".tmp-";
const CHECKPOINT_NAME = /^step-(\d+)(?:-(\d+))?$/;

/** Which checkpoint of a run: the newest, or the one with the lowest validation error. */
export type Pointer = "last" | "best";

/** Which checkpoint this is of its run, and how many are kept. */
export interface SaveOptions {
  /** Updates done; names the folder. */
  readonly step: number;
  /** Whether `best` shall point here too. */
  readonly best: boolean;
  /** Older checkpoints beyond so many are deleted, `last` and `best` never. */
  readonly keep: number;
}

interface Manifest {
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/**
 * Saves a checkpoint of the run in `runDir` and points `last`, and where asked `best`, to it.
 * @returns its folder
 * @throws ResourceError when the disk is full or may not be written; what was saved before stays as it was.
 */
export async function saveCheckpoint(runDir: string, checkpoint: Checkpoint, options: SaveOptions): Promise<string> {
  const folder = join(runDir, FOLDER);
  let temporary: string | undefined;
  let files: [string, Uint8Array][] = [];
  try {
    await mkdir(folder, { recursive: true });
    files = encoded(checkpoint);
    await removeTemporary(runDir);
    const name = await freeName(folder, options.step);
    temporary = join(folder, `${TEMPORARY}${name}`);
    await mkdir(temporary);
    for (const [file, bytes] of files) await writeSynced(join(temporary, file), bytes);
    await syncFolder(temporary);
    await rename(temporary, join(folder, name));
    await syncFolder(folder);
    // best before last: a run that dies between them does this step again and arrives at the same best.
    if (options.best) await writePointer(folder, "best", name);
    await writePointer(folder, "last", name);
    await prune(folder, options.keep);
    return join(folder, name);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true }).catch(() => {});
    const bytes = files.reduce((sum, [, { length }]) => sum + length, 0);
    throw writeFailure(folder, error, { bytes, ...(await freeBytes(runDir)) });
  }
}

/** The files of a checkpoint, last the manifest. */
function encoded({ trained, training }: Checkpoint): [string, Uint8Array][] {
  const files: [string, Uint8Array][] = [[MODEL_FILE, encodeModel(trained)]];
  if (training !== undefined) files.push([TRAINING_FILE, encodeTraining(training)]);
  const described = files.map(([file, bytes]) => [file, { bytes: bytes.length, sha256: sha256(bytes) }] as const);
  return [...files, [MANIFEST, json({ files: Object.fromEntries(described) } satisfies Manifest)]];
}

/** Removes what killed processes had begun to write in the folder of a run. */
export async function removeTemporary(runDir: string): Promise<void> {
  for (const folder of [runDir, join(runDir, FOLDER)]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

async function freeBytes(path: string): Promise<{ readonly freeBytes?: number }> {
  return statfs(path).then(
    ({ bavail, bsize }) => ({ freeBytes: bavail * bsize }),
    () => ({}),
  );
}

/**
 * Writes `bytes` so that the file is either as it was or complete, and on the disk when this returns.
 * @throws ResourceError when the disk is full or may not be written; UsageError when there can be no such file
 */
export async function writeFileAtomic(path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = join(path, "..", `${TEMPORARY}${basename(path)}`);
  const encoded = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  try {
    await writeSynced(temporary, encoded);
    await rename(temporary, path);
    await syncFolder(join(path, ".."));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw writeFailure(path, error, { bytes: encoded.length });
  }
}

/** A checkpoint that was read, and where it lies. */
export interface LoadedCheckpoint extends Checkpoint {
  readonly folder: string;
  /**
   * Whether a SHA-256 proved it: its folder's manifest or the one in the file. Lone files of the first releases have
   * none.
   */
  readonly verified: boolean;
}

/**
 * The checkpoint that `path` leads to: a run's folder (then `pointer` chooses), a checkpoint's folder, or a
 * model.safetensors on its own. Every file is compared with its manifest first, where it has one, and with the SHA-256
 * that it carries.
 * @throws InputError when there is no such checkpoint or a file of it is not what it should be
 * @throws VerificationError when a file's SHA-256 is not that of its manifest
 */
export async function loadCheckpoint(path: string, pointer: Pointer = "last"): Promise<LoadedCheckpoint> {
  const found = await stat(path).catch((cause: unknown) => {
    const why = systemCode(cause) === "ENOENT" ? "there is no such checkpoint" : undefined;
    throw readFailure(path, cause, why);
  });
  if (!found.isDirectory()) {
    if (basename(path) === MODEL_FILE && (await exists(join(path, "..", MANIFEST)))) {
      const { trained } = await loadFolder(join(path, ".."));
      return { trained, folder: join(path, ".."), verified: true };
    }
    if (!found.isFile()) throw new InputError(`${path}: is no file and no folder; ${EXPECTED}`, { path });
    const bytes = await readFile(path).catch((cause: unknown) => {
      throw readFailure(path, cause);
    });
    return { ...readModel(bytes, path), folder: join(path, "..") };
  }
  const folder = (await exists(join(path, MANIFEST))) ? path : await follow(path, pointer);
  return { ...(await loadFolder(folder)), folder, verified: true };
}

const EXPECTED = "expected the folder of a run, a checkpoint's folder, or a .safetensors file that this package saved";

/**
 * What is wrong with a path to read from: the place, or the process and the system, which have run out of something.
 */
function readFailure(path: string, cause: unknown, why?: string): DenseNetError {
  const code = systemCode(cause);
  if (code === "EMFILE" || code === "ENFILE" || code === "ENOMEM") {
    const what = code === "ENOMEM" ? "out of memory" : "too many files are open; allow more (ulimit -n)";
    return new ResourceError(`${path}: cannot be read, ${what} (${code})`, { path, code }, { cause });
  }
  const reason = why ?? (code === undefined ? "cannot be read" : `cannot be read (${code})`);
  return new InputError(`${path || '""'}: ${reason}; ${EXPECTED}`, { path, code }, { cause });
}

/** A checkpoint that does not load, and why. */
export interface DamagedCheckpoint {
  readonly folder: string;
  readonly reason: string;
}

export interface NewestWhole {
  readonly checkpoint?: LoadedCheckpoint;
  /** Where there is no checkpoint: why. */
  readonly missing?: DenseNetError;
  /** Newer ones that were passed over. */
  readonly damaged: readonly DamagedCheckpoint[];
}

/**
 * What the run in `runDir` can go on from: the checkpoint that `last` names, or if that is damaged the newest one that
 * is whole.
 * @throws InputError or VerificationError, what is wrong with the newest, when there are some and all are damaged
 */
export async function loadNewestWhole(runDir: string): Promise<NewestWhole> {
  let first: DenseNetError;
  try {
    return { checkpoint: await loadCheckpoint(runDir, "last"), damaged: [] };
  } catch (error) {
    if (!(error instanceof InputError || error instanceof VerificationError)) throw error;
    first = error;
  }
  const folder = join(runDir, FOLDER);
  const names = (await readdir(folder).catch(() => [])).filter((name) => CHECKPOINT_NAME.test(name)).sort(newestFirst);
  if (names.length === 0) return { missing: first, damaged: [] };
  const damaged: DamagedCheckpoint[] = [];
  for (const name of names) {
    const path = join(folder, name);
    try {
      return { checkpoint: { ...(await loadFolder(path)), folder: path, verified: true }, damaged };
    } catch (error) {
      if (!(error instanceof InputError || error instanceof VerificationError)) throw error;
      damaged.push({ folder: path, reason: error.message });
    }
  }
  throw first;
}

/**
 * Renames damaged checkpoints, so that nothing takes them for whole ones and nothing is lost, and points `last` to the
 * one at `whole`.
 * @returns where they are now
 */
export async function setAside(damaged: readonly DamagedCheckpoint[], whole: string): Promise<string[]> {
  const places: string[] = [];
  try {
    for (const { folder } of damaged) {
      const parent = join(folder, "..");
      let place = join(parent, `damaged-${basename(folder)}`);
      for (let again = 2; await exists(place); again++) place = join(parent, `damaged-${basename(folder)}-${again}`);
      await rename(folder, place);
      places.push(place);
    }
    await writePointer(join(whole, ".."), "last", basename(whole));
  } catch (error) {
    throw writeFailure(whole, error);
  }
  return places;
}

async function loadFolder(folder: string): Promise<Checkpoint> {
  const files = await readManifest(folder);
  const read = async (file: string): Promise<Uint8Array | undefined> => {
    const entry = files.get(file);
    if (entry === undefined) return undefined;
    const path = join(folder, file);
    const bytes = await readFile(path).catch((cause: unknown) => {
      throw readFailure(path, cause, `cannot be read, though ${MANIFEST} lists it`);
    });
    if (bytes.length !== entry.bytes) {
      throw new InputError(`${path}: has ${bytes.length} bytes, expected the ${entry.bytes} that were saved`, {
        file: path,
      });
    }
    const found = sha256(bytes);
    if (found !== entry.sha256) {
      throw new VerificationError(
        `${path}: its SHA-256 is ${found}, expected ${entry.sha256} from ${MANIFEST}; the file was changed or ` +
          "damaged after it was saved",
        { file: path, found, expected: entry.sha256 },
      );
    }
    return bytes;
  };
  const modelBytes = await read(MODEL_FILE);
  if (modelBytes === undefined) {
    throw new InputError(`${join(folder, MANIFEST)}: does not list ${MODEL_FILE}`, { file: join(folder, MANIFEST) });
  }
  const trained = decodeModel(modelBytes, join(folder, MODEL_FILE));
  const trainingBytes = await read(TRAINING_FILE);
  if (trainingBytes === undefined) return { trained };
  return { trained, training: decodeTraining(trainingBytes, join(folder, TRAINING_FILE), trained.model) };
}

async function readManifest(folder: string): Promise<Map<string, { bytes: number; sha256: string }>> {
  const path = join(folder, MANIFEST);
  const value = await readJson(path);
  const files = new Map<string, { bytes: number; sha256: string }>();
  const listed = isRecord(value) && isRecord(value.files) ? value.files : {};
  for (const [file, entry] of Object.entries(listed)) {
    if (isRecord(entry) && typeof entry.bytes === "number" && typeof entry.sha256 === "string") {
      files.set(file, { bytes: entry.bytes, sha256: entry.sha256 });
    }
  }
  if (files.size === 0 || files.size !== Object.keys(listed).length) {
    throw new InputError(`${path}: expected a list of files with bytes and sha256`, { file: path });
  }
  return files;
}

async function follow(runDir: string, pointer: Pointer): Promise<string> {
  const folder = join(runDir, FOLDER);
  const path = join(folder, `${pointer}.json`);
  if (!(await exists(path))) {
    throw new InputError(`${runDir}: holds no checkpoint (there is no ${FOLDER}/${pointer}.json); ${EXPECTED}`, {
      path: runDir,
    });
  }
  const value = await readJson(path);
  const name = isRecord(value) ? value.checkpoint : undefined;
  if (typeof name !== "string" || !CHECKPOINT_NAME.test(name)) {
    throw new InputError(`${path}: expected {"checkpoint": "step-…"}`, { file: path });
  }
  return join(folder, name);
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw readFailure(path, cause);
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${path}: cannot be read as JSON`, { file: path }, { cause });
  }
}

async function writePointer(folder: string, pointer: Pointer, name: string): Promise<void> {
  await writeFileAtomic(join(folder, `${pointer}.json`), json({ checkpoint: name }));
}

/** step-00000120, or with -2, -3, … behind it where a run did the step already and died before pointing to it. */
async function freeName(folder: string, step: number): Promise<string> {
  const plain = `step-${String(step).padStart(8, "0")}`;
  let name = plain;
  for (let again = 2; await exists(join(folder, name)); again++) name = `${plain}-${again}`;
  return name;
}

/** Deletes all but the newest `keep` checkpoints and those pointed to. */
async function prune(folder: string, keep: number): Promise<void> {
  const pointed = new Set<unknown>();
  for (const pointer of ["last", "best"]) {
    const path = join(folder, `${pointer}.json`);
    if (!(await exists(path))) continue;
    // A pointer that somebody damaged is no reason to end a run that has just been saved.
    const value = await readJson(path).catch(() => undefined);
    if (isRecord(value)) pointed.add(value.checkpoint);
  }
  const names = (await readdir(folder)).filter((name) => CHECKPOINT_NAME.test(name)).sort(newestFirst);
  for (const name of names.slice(keep)) {
    if (!pointed.has(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

function newestFirst(a: string, b: string): number {
  const [stepA, againA] = numbersOf(a);
  const [stepB, againB] = numbersOf(b);
  return stepB - stepA || againB - againA;
}

function numbersOf(name: string): [number, number] {
  const match = CHECKPOINT_NAME.exec(name);
  return [Number(match?.[1]), Number(match?.[2] ?? 1)];
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename in the folder last through a loss of power. Windows has no such call and syncs names on its own. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}
