// cli: who writes where. Data goes to stdout, all talk to stderr; colour only where a terminal shows it and NO_COLOR is not set.
import { styleText } from "node:util";
import { DenseNetError } from "../errors.ts";
import { BUG, exitCodeOf } from "./exitCodes.ts";

export type Tone = "bold" | "dim" | "red" | "green" | "blue";

/** Text for people on stderr, in colour if stderr is a terminal (styleText honours NO_COLOR, NODE_DISABLE_COLORS and FORCE_COLOR). */
export function toned(tone: Tone, text: string, stream: NodeJS.WriteStream = process.stderr): string {
  return styleText(tone, text, { stream });
}

/** One line of data. */
export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One JSON document, or one of the JSON lines of a stream of events. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** One line of talk. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Tells a failure on stderr, and with `json` on stdout too. Returns the exit code. Errors not thrown on purpose are bugs and show their stack. */
export function reportFailure(error: unknown, json: boolean): number {
  if (error instanceof DenseNetError) {
    say(`${toned("red", "densenet:")} ${error.message}`);
    if (json) printJson({ error: { kind: error.name, message: error.message, details: error.details } });
    return exitCodeOf(error);
  }
  const message = error instanceof Error ? error.message : String(error);
  say(`${toned("red", "densenet:")} this is a bug in densenet: ${message}`);
  if (error instanceof Error && error.stack) say(toned("dim", error.stack));
  if (json) printJson({ error: { kind: "Bug", message, details: {} } });
  return BUG;
}
