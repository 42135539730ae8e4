// cli: SIGINT, SIGTERM, SIGHUP and a stdout that fails ask a run to stop; it finishes its step, saves, and ends. A
// second signal ends it at once.
import { whenOutputFails } from "./output.ts";

const CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type SignalName = keyof typeof CODES;

/** Why a run is asked to stop: a signal, nobody reads stdout any more, or stdout cannot be written. */
export type StopCause = SignalName | "closed" | "failed";

export interface StopRequest {
  /** Aborted at the first signal. */
  readonly signal: AbortSignal;
  /** That of the signal; 0 when the reader of stdout went away or stdout failed; undefined while nothing happened. */
  readonly exitCode: () => number | undefined;
  readonly release: () => void;
}

/**
 * npm and timeout pass on a signal that the terminal or the system has sent to the whole process group already: that
 * echo is no second wish.
 */
const ECHO_MS = 500;

/** `onRequest` hears why the run is asked to stop. Where it returns "now", the process ends at once. */
export function listenForStop(onRequest: (cause: StopCause) => "now" | undefined): StopRequest {
  const controller = new AbortController();
  let code: number | undefined;
  let asked = 0;
  const request = (cause: StopCause, exitCode: number): void => {
    code = exitCode;
    asked = performance.now();
    if (onRequest(cause) === "now") process.exit(exitCode);
    controller.abort();
  };
  const handlers = (Object.keys(CODES) as SignalName[]).map((name) => {
    const handler = (): void => {
      if (code === undefined) request(name, CODES[name]);
      else if (performance.now() - asked > ECHO_MS) process.exit(CODES[name]);
    };
    process.on(name, handler);
    return { name, handler };
  });
  const output = whenOutputFails((closed) => {
    if (code === undefined) request(closed ? "closed" : "failed", 0);
  });
  return {
    signal: controller.signal,
    exitCode: () => code,
    release: () => {
      // What was stopped is about to end with its code, which an echo that comes late must not change.
      if (code === undefined) for (const { name, handler } of handlers) process.removeListener(name, handler);
      output.release();
    },
  };
}
