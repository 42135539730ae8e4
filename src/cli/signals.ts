// cli: SIGINT, SIGTERM and a reader that goes away ask a run to stop; it finishes its step, saves, and ends. A second signal ends it at once.

export interface StopRequest {
  /** Aborted at the first signal. */
  readonly signal: AbortSignal;
  /** 130 after SIGINT, 143 after SIGTERM, 0 when the reader of stdout went away, undefined while nothing happened. */
  readonly exitCode: () => number | undefined;
  readonly release: () => void;
}

const CODES = { SIGINT: 130, SIGTERM: 143 } as const;
/** npm and timeout pass on a signal that the terminal or the system has sent to the whole process group already: that echo is no second wish. */
const ECHO_MS = 500;

/** `onRequest` is told which signal it was. */
export function listenForStop(onRequest: (cause: "SIGINT" | "SIGTERM" | "EPIPE") => void): StopRequest {
  const controller = new AbortController();
  let code: number | undefined;
  let asked = 0;
  const handlers = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const handler = (): void => {
      if (code !== undefined) {
        if (performance.now() - asked > ECHO_MS) process.exit(CODES[name]);
        return;
      }
      code = CODES[name];
      asked = performance.now();
      onRequest(name);
      controller.abort();
    };
    process.on(name, handler);
    return { name, handler };
  });
  process.stdout.removeListener("error", endQuietlyOnClosedPipe);
  const onClosedPipe = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE") throw error;
    if (code !== undefined) return;
    code = 0;
    onRequest("EPIPE");
    controller.abort();
  };
  process.stdout.on("error", onClosedPipe);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release: () => {
      // What was stopped is about to end with its code, which an echo that comes late must not change.
      if (code === undefined) for (const { name, handler } of handlers) process.removeListener(name, handler);
      process.stdout.removeListener("error", onClosedPipe);
      process.stdout.on("error", endQuietlyOnClosedPipe);
    },
  };
}

/** `densenet … | head -1` is no failure: nobody wants the rest. */
export function endQuietlyOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}
