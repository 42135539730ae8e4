// backends/wasm: the compute threads, in Node and in browsers alike.
import { DeviceError } from "../../errors.ts";
import { disposed } from "../lifetime.ts";
import type { WorkerReply, WorkerRequest } from "./worker.ts";

/** One worker that answers each request with one reply, in order. */
export interface ComputeThread {
  /**
   * @throws DeviceError when the worker fails at the request, has died or dies before it answers
   * @throws DisposedError when the thread was ended, or is before it answers
   */
  ask(request: WorkerRequest): Promise<Extract<WorkerReply, { kind: "done" }>>;
  /** At once: what is pending rejects. */
  end(): Promise<void>;
}

interface Pending {
  resolve(reply: Extract<WorkerReply, { kind: "done" }>): void;
  reject(error: Error): void;
}

/** `workerUrl`: of the script in a browser, where it does not lie beside this module. */
export function startThread(workerUrl?: string): ComputeThread {
  const pending: Pending[] = [];
  /** Why there will be no more replies. */
  let gone: Error | undefined;
  const settle = (reply: WorkerReply): void => {
    const first = pending.shift();
    if (reply.kind === "done") first?.resolve(reply);
    else first?.reject(new DeviceError(`a compute thread stopped: ${reply.message}`));
  };
  const giveUp = (reason: Error): void => {
    gone ??= reason;
    for (const { reject } of pending.splice(0)) reject(gone);
  };
  const fail = (message: string): void => giveUp(new DeviceError(`a compute thread died: ${message}`));
  const nodeThreads = globalThis.process?.getBuiltinModule?.("node:worker_threads");
  const { post, end } = nodeThreads
    ? startNodeThread(nodeThreads, settle, fail)
    : startWebThread(workerUrl, settle, fail);
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        if (gone) throw gone;
        post(request);
        pending.push({ resolve, reject });
      }),
    end: async () => {
      giveUp(disposed("executable"));
      await end();
    },
  };
}

interface Channel {
  post(request: WorkerRequest): void;
  end(): Promise<void>;
}

function startNodeThread(
  threads: typeof import("node:worker_threads"),
  settle: (reply: WorkerReply) => void,
  fail: (message: string) => void,
): Channel {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const worker = new threads.Worker(new URL(`./worker${extension}`, import.meta.url));
  // A program whose work is done may end although its threads still wait for more.
  worker.unref();
  let waiting = 0;
  worker.on("message", (reply: WorkerReply) => {
    if (--waiting === 0) worker.unref();
    settle(reply);
  });
  worker.on("error", (error) => fail(error instanceof Error ? error.message : String(error)));
  worker.on("exit", () => fail("it exited"));
  return {
    post: (request) => {
      if (waiting++ === 0) worker.ref();
      worker.postMessage(request);
    },
    end: async () => {
      await worker.terminate();
    },
  };
}

/** A browser says nothing of a worker script that it refuses, so this names all that can be wrong. */
const notStarted = (): string =>
  `${new URL("./worker.js", import.meta.url)} did not load as a worker. It must be served there, from the page's ` +
  "own origin, and in a cross-origin " +
  "isolated page with the header Cross-Origin-Embedder-Policy: require-corp, as the page itself";

/** @throws DeviceError where the worker script is of another origin */
function startWebThread(
  workerUrl: string | undefined,
  settle: (reply: WorkerReply) => void,
  fail: (message: string) => void,
): Channel {
  let worker: Worker;
  try {
    worker =
      workerUrl === undefined
        ? // One expression, by which bundlers know that the worker's script belongs to the bundle.
          new Worker(new URL("./worker.js", import.meta.url), { type: "module" })
        : // Classic: a page of file:// starts no module worker from a blob.
          new Worker(workerUrl);
  } catch (error) {
    throw new DeviceError(`a compute thread did not start: ${notStarted()}`, {}, { cause: error });
  }
  worker.onmessage = (event: MessageEvent<WorkerReply>) => settle(event.data);
  worker.onerror = (event) => fail(event.message || notStarted());
  return {
    post: (request) => worker.postMessage(request),
    end: async () => worker.terminate(),
  };
}
