// data: the bytes of a regular file. Whatever else a path leads to — a pipe, a device, a folder, too much — is refused
// before it is opened, and every failure of the system becomes a sentence of the right kind.
import { open, stat } from "node:fs/promises";
import { InputError, ResourceError } from "../errors.ts";

export interface ReadOptions {
  /** For messages: what was expected. */
  readonly expected: string;
  /** A larger file is refused unread. */
  readonly maxBytes: number;
  /** Read no more than the first so many bytes. */
  readonly first?: number;
}

/**
 * @throws InputError naming a path that leads to no regular file, to too large a one or to none
 * @throws ResourceError when the process or the system has run out of files or memory
 */
export async function readRegularFile(file: string, options: ReadOptions): Promise<Uint8Array> {
  const { expected, maxBytes, first = Number.POSITIVE_INFINITY } = options;
  try {
    const found = await stat(file);
    if (!found.isFile()) {
      const kind = fileKind(found);
      throw new InputError(`${shown(file)}: is ${kind}, expected ${expected}`, { file, kind });
    }
    if (found.size > maxBytes) {
      throw new InputError(`${file}: has ${found.size} bytes, expected ${expected} of at most ${maxBytes}`, {
        file,
        bytes: found.size,
        maxBytes,
      });
    }
    const handle = await open(file);
    try {
      const bytes = new Uint8Array(Math.min(found.size, first));
      let filled = 0;
      while (filled < bytes.length) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw readFailure(file, expected, cause);
  }
}

/** What a failed system call on `path` means to the person who gave it. */
export function readFailure(path: string, expected: string, cause: unknown): Error {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
  if (code === undefined) return cause instanceof Error ? cause : new Error(String(cause));
  const exhausted = EXHAUSTED[code];
  if (exhausted !== undefined) {
    return new ResourceError(`${path}: cannot be read, ${exhausted} (${code})`, { file: path, code }, { cause });
  }
  const why = REASONS[code] ?? `cannot be read (${code})`;
  return new InputError(`${shown(path)}: ${why}, expected ${expected}`, { file: path, code }, { cause });
}

const EXHAUSTED: Readonly<Record<string, string>> = {
  EMFILE: "the process has too many files open; allow it more (ulimit -n)",
  ENFILE: "the system has too many files open",
  ENOMEM: "the system is out of memory",
};
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  ENOTDIR: "does not exist, because what should be a folder on its path is a file (ENOTDIR)",
  EISDIR: "is a folder",
  EACCES: "may not be read (EACCES)",
  EPERM: "may not be read (EPERM)",
  EIO: "cannot be read, the disk or the network failed (EIO)",
  ELOOP: "is a link that leads back to itself (ELOOP)",
  ENAMETOOLONG: "has a name that is too long for the system (ENAMETOOLONG)",
};

/** A path for messages; an empty one is seen. */
function shown(path: string): string {
  return path || '""';
}

/** What is not a regular file, in words. */
export function fileKind(found: {
  isDirectory(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
  isCharacterDevice(): boolean;
  isBlockDevice(): boolean;
}): string {
  if (found.isDirectory()) return "a folder";
  if (found.isFIFO()) return "a named pipe";
  if (found.isSocket()) return "a socket";
  return found.isCharacterDevice() || found.isBlockDevice() ? "a device" : "no regular file";
}
