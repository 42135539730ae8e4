// hub: one file of the hub → the cache, resumed where it was cut off, kept only when its hash is the published one.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import { DenseNetError, InputError } from "../errors.ts";

/** A file's hash as the hub names it: SHA-256 of large files, git's SHA-1 of small ones. */
export interface PublishedHash {
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

/** What a blob's name in the cache says. */
export function hashOfName(name: string): PublishedHash | undefined {
  if (/^[0-9a-f]{64}$/.test(name)) return { algorithm: "sha256", hex: name };
  return /^[0-9a-f]{40}$/.test(name) ? { algorithm: "git-sha1", hex: name } : undefined;
}

export async function hasHash(file: string, { algorithm, hex }: PublishedHash): Promise<boolean> {
  const hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
  if (algorithm === "git-sha1") hash.update(`blob ${(await stat(file)).size}\0`);
  for await (const piece of createReadStream(file)) hash.update(piece);
  return hash.digest("hex") === hex;
}

/** How often a server that is busy or a connection that breaks is tried again, and how long is waited. */
const ATTEMPTS = 4;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 30_000;

/** Statuses that pass. */
const BUSY: readonly number[] = [408, 429, 500, 502, 503, 504];

/** Of a file, as long as each brings some of it. */
const MOST_ATTEMPTS = 64;

/** Of a server that answers a request for the rest of a file with all of it. */
const RANGE_IGNORED = "the server does not send parts of files";

/**
 * `fetch` that waits for a busy server as long as it asks (`Retry-After`), and gives up on one that does not answer, or
 * stops sending, for `timeoutMs`.
 */
export function patientFetch(timeoutMs: number): typeof fetch {
  const seconds = timeoutMs / 1000;
  return async (input, init) => {
    for (let attempt = 1; ; attempt++) {
      const silence = new AbortController();
      const timer = setTimeout(() => silence.abort(new Error(`no answer within ${seconds} s`)), timeoutMs);
      let response: Response | undefined;
      try {
        response = await fetch(input, { ...init, signal: silence.signal });
      } catch (error) {
        const reason = error instanceof Error ? causeOf(error) : String(error);
        // Those who read the body as a Blob get the message only.
        if (attempt === ATTEMPTS || reason.includes("redirect")) throw new Error(reason, { cause: error });
      } finally {
        clearTimeout(timer);
      }
      if (response !== undefined) {
        if (response.status === 200 && new Headers(init?.headers).has("Range")) {
          await response.body?.cancel();
          throw new Error(RANGE_IGNORED);
        }
        if (!BUSY.includes(response.status) || attempt === ATTEMPTS) return withoutSilence(response, timeoutMs);
        await response.body?.cancel();
      }
      await wait(Math.min(LONGEST_WAIT_MS, retryAfterMs(response) ?? FIRST_WAIT_MS * 2 ** attempt));
    }
  };
}

/** The same answer, whose body fails when nothing comes for `timeoutMs`. */
function withoutSilence(response: Response, timeoutMs: number): Response {
  const { body, status, statusText, headers } = response;
  if (body === null) return response;
  const reader = body.getReader();
  const guarded = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done, value } = await within(reader.read(), timeoutMs);
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        reader.cancel().catch(() => {});
        throw error;
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(guarded, { status, statusText, headers });
}

/** Seconds; a date is none of the hub's. */
function retryAfterMs(response: Response | undefined): number | undefined {
  const seconds = Number(response?.headers.get("Retry-After") ?? Number.NaN);
  return seconds >= 0 ? 1000 * seconds : undefined;
}

export interface Download {
  /** Where the file goes, complete and proved. */
  readonly target: string;
  readonly size: number;
  readonly hash: PublishedHash;
  /** The bytes from `start` on. */
  readonly read: (start: number) => ReadableStream<Uint8Array>;
  /** What messages call the file. */
  readonly name: string;
}

/**
 * Writes to `target`.incomplete, beginning where an earlier attempt ended.
 * @throws InputError when the file cannot be had whole, or is another than was published
 */
export async function download({ target, size, hash, read, name }: Download): Promise<void> {
  const incomplete = `${target}.incomplete`;
  const folder = dirname(target);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw writeFailure(folder, error);
  });
  let reason = "";
  let failures = 0;
  // What lay there may have been damaged: a whole of another hash is fetched once more from the start.
  let mayRestart = true;
  for (let attempt = 1; attempt <= MOST_ATTEMPTS && failures < ATTEMPTS; attempt++) {
    if ((await sizeOf(incomplete)) > size) await rm(incomplete);
    const had = await sizeOf(incomplete);
    try {
      if (had < size) await append(incomplete, read(had));
    } catch (error) {
      if (error instanceof DenseNetError) throw error;
      reason = error instanceof Error ? causeOf(error) : String(error);
      if (reason.includes(RANGE_IGNORED)) await rm(incomplete, { force: true });
    }
    const have = await sizeOf(incomplete);
    if (have === size && (await hasHash(incomplete, hash))) {
      await rename(incomplete, target);
      return;
    }
    if (have >= size) {
      await rm(incomplete);
      reason = `its ${hash.algorithm === "sha256" ? "SHA-256" : "git SHA-1"} is not the published ${hash.hex}`;
      if (!mayRestart) break;
      mayRestart = false;
    }
    failures = have > had ? 0 : failures + 1;
    if (failures < ATTEMPTS) await wait(FIRST_WAIT_MS * 2 ** failures);
  }
  const got = await sizeOf(incomplete);
  throw new InputError(
    `${name}: cannot be fetched: ${reason || `it ends after ${got} of its ${size} bytes`}` +
      `${got > 0 ? `; the next attempt continues after ${got} of ${size} bytes` : ""}`,
    { file: name },
  );
}

async function append(file: string, stream: ReadableStream<Uint8Array>): Promise<void> {
  const full = (error: unknown): never => {
    throw writeFailure(file, error);
  };
  const out = await open(file, "a").catch(full);
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      await out.write(value).catch(full);
    }
  } finally {
    await out.close();
    reader.cancel().catch(() => {});
  }
}

async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${timeoutMs / 1000} s`)), timeoutMs);
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

/** The innermost reason: fetch says "fetch failed" and keeps ECONNREFUSED as the cause. */
export function causeOf(error: Error): string {
  const { cause } = error;
  if (cause instanceof Error) return causeOf(cause);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return error.message || code || error.name;
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
