// run: one process at a time writes to the folder of a run. Who reads (eval, predict, a viewer) asks nobody.
//
// The lock is the file run.lock, which says who holds it; of two processes exactly one can create it. Its holder
// touches it every few seconds. A lock whose holder is known to be dead is taken over at once; one of another machine
// or container, whose processes cannot be seen, when it has not been touched for a minute by the clock of the file
// system itself.
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { type FileHandle, link, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setInterval } from "node:timers";
import { isRecord } from "../checkpoint/record.ts";
import { systemCode, writeFailure } from "../checkpoint/writeFailure.ts";
import { ResourceError } from "../errors.ts";

export const LOCK = "run.lock";
const TOUCH_MS = 10_000;
const ABANDONED_MS = 60_000;

/** A process as others can recognise it. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /**
   * Where pids mean the same: the machine's boot and the container's pid namespace; "" where the system does not say.
   */
  readonly space: string;
  /**
   * When the process began, in the system's own count; "" where it does not say. A pid that was given anew has another.
   */
  readonly born: string;
  /** Of this acquisition. */
  readonly id: string;
}

/** Ids of the locks that this process holds. */
const held = new Set<string>();

export class RunLock {
  readonly #path: string;
  readonly #folder: string;
  readonly #id: string;
  readonly #file: FileHandle;
  readonly #inode: string;
  readonly #timer: NodeJS.Timeout;
  /** A process that is ended in mid-run leaves no lock behind, if it can still do something. */
  readonly #onExit = (): void => {
    if (this.#isHeld()) rmSync(this.#path, { force: true });
  };

  private constructor(folder: string, id: string, file: FileHandle, inode: string) {
    this.#folder = folder;
    this.#path = join(folder, LOCK);
    this.#id = id;
    this.#file = file;
    this.#inode = inode;
    this.#timer = setInterval(() => {
      const now = new Date();
      // What is wrong with the disk shows where something is written.
      file.utimes(now, now).catch(() => {});
    }, TOUCH_MS).unref();
    process.on("exit", this.#onExit);
  }

  /**
   * @throws ResourceError naming the process that holds the lock, or when the folder cannot be written
   */
  static async acquire(folder: string): Promise<RunLock> {
    const path = join(folder, LOCK);
    const holder = thisProcess();
    try {
      for (;;) {
        try {
          const file = await open(path, "wx");
          await file.writeFile(`${JSON.stringify(holder)}\n`);
          held.add(holder.id);
          return new RunLock(folder, holder.id, file, inodeOf(await file.stat()));
        } catch (error) {
          if (systemCode(error) !== "EEXIST") throw error;
          await takeAway(path, holder.id, folder);
        }
      }
    } catch (error) {
      throw writeFailure(folder, error);
    }
  }

  /**
   * @throws ResourceError when the folder is no longer where it was, or another process has taken it over
   */
  requireHeld(): void {
    if (this.#isHeld()) return;
    throw new ResourceError(
      `${this.#folder}: the run's folder was removed, renamed or taken over by another process while the run was ` +
        "writing to it; expected it to stay until the run ends. What was saved before can be resumed from where the " +
        "folder is now",
      { folder: this.#folder },
    );
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    process.removeListener("exit", this.#onExit);
    held.delete(this.#id);
    await this.#file.close().catch(() => {});
    if (this.#isHeld()) await rm(this.#path, { force: true }).catch(() => {});
  }

  #isHeld(): boolean {
    try {
      return inodeOf(statSync(this.#path)) === this.#inode;
    } catch {
      return false;
    }
  }
}

/** Removes the lock at `path` if nobody holds it any more. @throws ResourceError naming its holder otherwise */
async function takeAway(path: string, id: string, folder: string): Promise<void> {
  const holder = await readHolder(path);
  const alive = holder === undefined ? undefined : lives(holder);
  if (alive === true || (alive === undefined && !(await isAbandoned(path, id)))) {
    const who = holder === undefined ? "another process" : `process ${holder.pid} on ${holder.host}`;
    throw new ResourceError(
      `${folder}: ${who} is writing to this run; expected one at a time. ` +
        `${alive === true ? "End it first" : `If it is gone, try again in a minute or delete ${path}`}`,
      { folder, ...(holder === undefined ? {} : { pid: holder.pid, host: holder.host }) },
    );
  }
  const aside = join(folder, `.tmp-${LOCK}-${id}`);
  try {
    await rename(path, aside);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  // Another process may have taken over between the look and the rename: then it keeps what it has.
  const moved = await readHolder(aside);
  if (moved !== undefined && moved.id !== holder?.id) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

/** undefined where this process cannot see the holder's. */
function lives({ pid, host, space, born, id }: Holder): boolean | undefined {
  const here = thisProcess();
  if (host !== here.host || space !== here.space) return undefined;
  if (pid === process.pid) return held.has(id);
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemCode(error) === "ESRCH") return false;
  }
  return born === bornOf(pid) || bornOf(pid) === "";
}

/** Both times are the file system's, so it does not matter whether clocks agree. */
async function isAbandoned(path: string, id: string): Promise<boolean> {
  const probe = join(path, "..", `.tmp-now-${id}`);
  try {
    await writeFile(probe, "");
    const [lock, now] = await Promise.all([stat(path), stat(probe)]);
    return now.mtimeMs - lock.mtimeMs > ABANDONED_MS;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return true;
    throw error;
  } finally {
    await rm(probe, { force: true }).catch(() => {});
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (!isRecord(value)) return undefined;
    const { pid, host, space, born, id } = value;
    if (typeof pid !== "number" || typeof host !== "string" || typeof id !== "string") return undefined;
    return { pid, host, space: String(space), born: String(born), id };
  } catch {
    return undefined;
  }
}

function thisProcess(): Holder {
  const boot = textOf(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());
  const pids = textOf(() => readlinkSync("/proc/self/ns/pid"));
  return {
    pid: process.pid,
    host: hostname(),
    space: boot === "" ? "" : `${boot} ${pids}`,
    born: bornOf(process.pid),
    id: randomUUID(),
  };
}

/** Field 22 of Linux's /proc/<pid>/stat; the second field, a name, may hold spaces and brackets. */
function bornOf(pid: number): string {
  return textOf(() => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8");
    return fields.slice(fields.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  });
}

function textOf(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}

function inodeOf({ dev, ino }: { readonly dev: number; readonly ino: number }): string {
  return `${dev}:${ino}`;
}
