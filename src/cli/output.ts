// cli: who writes where. Data goes to stdout, all talk to stderr; colour only where a terminal shows it and NO_COLOR is
// not set. Text that comes from files and folders never reaches a terminal as control characters.
//
// Output that is lost is a failure and the process ends with 5; a reader of stdout that went away (`… | head -1`) is
// none, and what becomes of stderr never changes what the command does.
import { styleText } from "node:util";
import { systemCode } from "../checkpoint/writeFailure.ts";
import { DenseNetError, ResourceError } from "../errors.ts";
import { BUG, exitCodeOf } from "./exitCodes.ts";

export type Tone = "bold" | "dim" | "red" | "green" | "blue";

/**
 * Text for people on stderr, in colour if stderr is a terminal (styleText honours NO_COLOR, NODE_DISABLE_COLORS and
 * FORCE_COLOR).
 */
export function toned(tone: Tone, text: string, stream: NodeJS.WriteStream = process.stderr): string {
  return styleText(tone, text, { stream });
}

/** Control characters and those that reverse the direction of text, as what JSON writes for them; lines stay lines. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === "\n" ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What the first write to stdout that failed failed with. */
let lost: unknown;
/** Who is to know that stdout fails, in place of ending at once. */
let onLost: ((closed: boolean) => void) | undefined;

function stdoutFailed(error: unknown): void {
  const closed = systemCode(error) === "EPIPE";
  if (!closed) lost ??= error;
  if (onLost !== undefined) onLost(closed);
  else if (closed) process.exit(Number(process.exitCode ?? 0));
}

/** Must be called before anything is written. */
export function watchOutput(): void {
  process.stdout.on("error", stdoutFailed);
  process.stderr.on("error", () => {});
}

/** Until `release` is called, `listener` hears that stdout was closed or fails, and the process goes on. */
export function whenOutputFails(listener: (closed: boolean) => void): { release(): void } {
  onLost = listener;
  return {
    release() {
      onLost = undefined;
    },
  };
}

/** Writes to stdout as it is. */
export function print(text: string): void {
  try {
    process.stdout.write(text);
  } catch (error) {
    stdoutFailed(error);
  }
}

/** One line of data, behind a mark that may be coloured. */
export function printLine(text: string, mark = ""): void {
  print(`${mark}${printable(text)}\n`);
}

/** One JSON document, or one of the JSON lines of a stream of events. */
export function printJson(value: unknown): void {
  print(`${JSON.stringify(value)}\n`);
}

/** Writes to stderr as it is, and does not care whether that works. */
export function talk(text: string): void {
  try {
    process.stderr.write(text);
  } catch {
    // Nobody reads it.
  }
}

/** One line of talk, behind a mark that may be coloured. */
export function say(text: string, mark = ""): void {
  talk(`${mark}${printable(text)}\n`);
}

/**
 * Says on stderr what failed, and with `json` on stdout too. Returns the exit code. Errors not thrown on purpose are
 * bugs and show their stack.
 */
export function reportFailure(error: unknown, json: boolean): number {
  const mark = `${toned("red", "densenet:")} `;
  if (error instanceof DenseNetError) {
    say(error.message, mark);
    if (json) printJson({ error: { kind: error.name, message: error.message, details: error.details } });
    return exitCodeOf(error);
  }
  const message = error instanceof Error ? error.message : String(error);
  say(`this is a bug in densenet: ${message}`, mark);
  if (error instanceof Error && error.stack) talk(`${toned("dim", printable(error.stack))}\n`);
  if (json) printJson({ error: { kind: "Bug", message, details: {} } });
  return BUG;
}

/**
 * Waits until a slow reader has taken everything. @returns `code`, or where that is 0 and output was lost, the code for
 * that
 */
export async function flushOutput(code: number): Promise<number> {
  await new Promise<void>((resolve) => {
    try {
      process.stdout.write("", () => resolve());
    } catch {
      resolve();
    }
  });
  // A write that failed is reported an instant after its callback.
  await new Promise((resolve) => setImmediate(resolve));
  if (lost === undefined) return code;
  const why = lost instanceof Error ? lost.message : String(lost);
  const failure = reportFailure(new ResourceError(`stdout: the output could not be written (${why})`), false);
  return code === 0 ? failure : code;
}
