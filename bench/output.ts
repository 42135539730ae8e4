// bench: data of the benchmarks goes to stdout, progress to stderr; a failure is one sentence and an exit
// code (options.ts lists them).
import { DenseNetError, DeviceError, ResourceError, UsageError, VerificationError } from "../src/errors.ts";

/** One line of data. */
export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One JSON document. */
export function printJson(value: unknown): void {
  printLine(JSON.stringify(value));
}

/** One line of progress. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

const CODES = [
  [UsageError, 2],
  [ResourceError, 5],
  [DeviceError, 6],
  [VerificationError, 7],
] as const;

/**
 * Says what failed on stderr, and with `json` on stdout too. Returns the exit code: 1 for what was not foreseen, which
 * shows its stack.
 */
export function reportFailure(error: unknown, json: boolean): number {
  const foreseen = error instanceof DenseNetError;
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  say(`bench: ${foreseen ? message : stack}`);
  if (json) printJson({ error: { kind: name, message, details: foreseen ? error.details : {} } });
  return CODES.find(([kind]) => error instanceof kind)?.[1] ?? 1;
}
