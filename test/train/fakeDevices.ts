// Test support: devices that behave like a GPU, emulated on a backend that does not: results that come late, and
// devices that get lost.
import type { Backend, Executable } from "../../src/backends/backend.ts";
import { DeviceError } from "../../src/errors.ts";

/** The backend with other executables. */
function withExecutables(backend: Backend, change: (executable: Executable) => Executable): Backend {
  return {
    info: backend.info,
    compile: async (plans) => change(await backend.compile(plans)),
    dispose: () => backend.dispose(),
    [Symbol.asyncDispose]: () => backend.dispose(),
  };
}

const forwarded = (executable: Executable): Executable => ({
  peakBytes: executable.peakBytes,
  arenaBytes: executable.arenaBytes,
  queueDepth: executable.queueDepth,
  write: (...args) => executable.write(...args),
  read: (...args) => executable.read(...args),
  run: (...args) => executable.run(...args),
  dispose: () => executable.dispose(),
  [Symbol.asyncDispose]: () => executable.dispose(),
});

/**
 * Turns of the event loop without a call, after which the host is taken to wait; between two calls the trainer needs
 * two or three.
 */
const STALL_TURNS = 25;

/**
 * A device that is done with a run only when `depth` − 1 more of the same plan lie behind it, or when the host waits
 * instead of calling: then `stalls` says for which run ("train 3": the third of that plan).
 */
export function lateDevice(backend: Backend, depth: number, stalls: string[] = []): Backend {
  return withExecutables(backend, (executable) => {
    const submitted = new Map<string, number>();
    /** In the order of the runs. */
    const unread: { readonly plan: string; readonly run: number; readonly done: () => void }[] = [];
    let calls = 0;
    const finish = (isDone: (of: { plan: string; run: number }) => boolean): void => {
      for (const read of unread.splice(0)) {
        if (isDone(read)) read.done();
        else unread.push(read);
      }
    };
    const watch = (since: number, turns: number): void => {
      const [first] = unread;
      if (since !== calls || first === undefined) return;
      if (turns < STALL_TURNS) {
        setImmediate(watch, since, turns + 1);
        return;
      }
      stalls.push(`${first.plan} ${first.run}`);
      finish(({ plan, run }) => plan === first.plan && run === first.run);
      watch(since, 0);
    };
    return {
      ...forwarded(executable),
      queueDepth: depth,
      async run(plan, scalars) {
        calls++;
        await executable.run(plan, scalars);
        const run = (submitted.get(plan) ?? 0) + 1;
        submitted.set(plan, run);
        finish((read) => read.plan === plan && read.run + depth - 1 <= run);
        watch(calls, 0);
      },
      async read(buffers, plan) {
        calls++;
        const values = executable.read(buffers, plan);
        if (plan === undefined) return values;
        const run = submitted.get(plan) ?? 0;
        await new Promise<void>((done) => {
          unread.push({ plan, run, done });
          watch(calls, 0);
        });
        return values;
      },
    };
  });
}

export type CallKind = "compile" | "write" | "run" | "read";

/** How often a device was called. */
export type CallCounts = Record<CallKind, number>;

export const noCalls = (): CallCounts => ({ compile: 0, write: 0, run: 0, read: 0 });

/** A device that is lost at its call number `at` of a kind (from 0), and stays so. */
export function losingDevice(backend: Backend, kind: CallKind, at: number, counts: CallCounts = noCalls()): Backend {
  let lost = false;
  const count = (called: CallKind): void => {
    if (called === kind && counts[called] === at) lost = true;
    counts[called]++;
    if (lost) throw new DeviceError(`the device was lost at ${kind} ${at}`);
  };
  return {
    info: backend.info,
    async compile(plans) {
      count("compile");
      const executable = await backend.compile(plans);
      return {
        ...forwarded(executable),
        async write(...args) {
          count("write");
          return executable.write(...args);
        },
        async run(...args) {
          count("run");
          return executable.run(...args);
        },
        async read(...args) {
          count("read");
          return executable.read(...args);
        },
      };
    },
    dispose: () => backend.dispose(),
    [Symbol.asyncDispose]: () => backend.dispose(),
  };
}
