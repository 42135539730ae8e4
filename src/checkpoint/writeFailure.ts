// checkpoint: what a failed system call while writing means to the person who runs the program. A full disk, a lost
// connection or a place that may not be written is never a bug.
import { DenseNetError, ResourceError, UsageError } from "../errors.ts";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "may not be written, expected a place that can be",
  EPERM: "may not be written, expected a place that can be",
  EROFS: "lies on a file system that is read-only, expected a place that can be written",
  EFBIG: "would grow larger than a file may be here (ulimit -f, or the file system's limit)",
  EMFILE: "cannot be opened, the process has too many files open; allow it more (ulimit -n)",
  ENFILE: "cannot be opened, the system has too many files open",
  ENOMEM: "cannot be written, the system is out of memory",
  EIO: "cannot be written, the disk or the network failed",
  ENOENT: "was removed or renamed while it was in use",
  EBUSY: "is in use by another program",
  ETXTBSY: "is in use by another program",
  ESTALE: "cannot be written, the network file system has lost it",
};
/** Of a path that could not have worked at any time. */
const MISNAMED: Readonly<Record<string, string>> = {
  EEXIST: "is a file, expected a folder",
  ENOTDIR: "cannot be a folder, because something on its path is a file",
  EISDIR: "is a folder, expected a file",
  ELOOP: "is a link that leads back to itself",
  ENAMETOOLONG: "has a name that is too long for the file system",
};

export interface WriteFacts {
  /** How much was to be written, where that is known. */
  readonly bytes?: number;
  /** How much the disk still takes, where that is known. */
  readonly freeBytes?: number;
}

/** The error code of a failed system call, such as ENOSPC. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/**
 * A ResourceError, or a UsageError for a path that could never have worked, in place of `error` from writing `path`.
 * What no system call failed with is returned as it is.
 */
export function writeFailure(path: string, error: unknown, { bytes, freeBytes }: WriteFacts = {}): unknown {
  const code = systemCode(error);
  if (code === undefined || error instanceof DenseNetError) return error;
  const shown = path === "" ? '""' : path;
  const details = { path, code, ...(bytes === undefined ? {} : { bytes }) };
  if (code === "ENOSPC" || code === "EDQUOT") {
    const needed = bytes === undefined ? "" : `, ${megabytes(bytes)} were to be written`;
    const free = freeBytes === undefined ? "" : ` and ${megabytes(freeBytes)} are free`;
    const what = code === "EDQUOT" ? "the disk quota is used up" : "the disk is full";
    return new ResourceError(`${shown}: ${what}${needed}${free}`, details, { cause: error });
  }
  const misnamed = MISNAMED[code];
  if (misnamed !== undefined) return new UsageError(`${shown}: ${misnamed} (${code})`, details, { cause: error });
  return new ResourceError(`${shown}: ${REASONS[code] ?? "cannot be written"} (${code})`, details, { cause: error });
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1)} MB`;
}
