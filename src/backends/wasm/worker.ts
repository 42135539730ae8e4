// backends/wasm: a compute thread. All threads run the same plan in step: every phase is followed by a barrier.
import { barrierWait, controlWords } from "./barrier.ts";

export interface WorkerStart {
  readonly kind: "start";
  readonly module: WebAssembly.Module;
  /**
   * Shared with all threads, or undefined: then this is the only thread and the memory is its own, of `pages` pages.
   */
  readonly memory: WebAssembly.Memory | undefined;
  readonly pages: number;
  readonly control: Int32Array;
  readonly code: ReadonlyMap<string, Int32Array>;
  readonly thread: number;
  readonly threads: number;
  readonly shared: number;
  readonly scratch: number;
}

export type WorkerRequest =
  | WorkerStart
  | { readonly kind: "run"; readonly plan: string; readonly timed: boolean }
  | { readonly kind: "write"; readonly address: number; readonly data: Uint8Array }
  | { readonly kind: "read"; readonly address: number; readonly bytes: number };

export type WorkerReply =
  | { readonly kind: "done"; readonly data?: Uint8Array; readonly phaseMs?: Float64Array }
  | { readonly kind: "failed"; readonly message: string };

/** A phase with all its operands, decoded once: running it allocates nothing. */
interface ReadyPhase {
  readonly run: (...operands: number[]) => void;
  readonly operands: readonly number[];
}

interface Compute {
  readonly start: WorkerStart;
  readonly memory: WebAssembly.Memory;
  readonly plans: ReadonlyMap<string, readonly ReadyPhase[]>;
}

function begin(start: WorkerStart): Compute {
  const memory = start.memory ?? new WebAssembly.Memory({ initial: start.pages, maximum: start.pages });
  const { exports } = new WebAssembly.Instance(start.module, { env: { memory } });
  const { shared, scratch, thread, threads } = start;
  const plans = new Map<string, ReadyPhase[]>();
  for (const [name, code] of start.code) {
    const phases: ReadyPhase[] = [];
    for (let at = 0; at < code.length; ) {
      const end = at + 2 + code[at + 1];
      const run = exports[`f${code[at]}`] as (...operands: number[]) => void;
      phases.push({ run, operands: [...code.subarray(at + 2, end), scratch, shared, thread, threads] });
      at = end;
    }
    plans.set(name, phases);
  }
  return { start, memory, plans };
}

function run({ start, plans }: Compute, plan: string, timed: boolean): WorkerReply {
  const { control, threads } = start;
  const phases = plans.get(plan);
  if (!phases) return { kind: "failed", message: `no plan is called ${plan}` };
  const phaseMs: number[] = [];
  try {
    for (const { run: runPhase, operands } of phases) {
      const began = timed ? performance.now() : 0;
      runPhase(...operands);
      if (threads > 1) barrierWait(control, threads);
      if (timed) phaseMs.push(performance.now() - began);
      if (Atomics.load(control, controlWords.failed) !== 0) return { kind: "failed", message: "another thread failed" };
    }
  } catch (error) {
    Atomics.store(control, controlWords.failed, 1);
    return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
  }
  return timed ? { kind: "done", phaseMs: Float64Array.from(phaseMs) } : { kind: "done" };
}

let compute: Compute | undefined;

function answer(request: WorkerRequest): WorkerReply {
  if (request.kind === "start") {
    compute = begin(request);
    return { kind: "done" };
  }
  if (!compute) return { kind: "failed", message: "the thread was asked to work before it was started" };
  if (request.kind === "run") return run(compute, request.plan, request.timed);
  if (request.kind === "read") {
    return {
      kind: "done",
      data: new Uint8Array(compute.memory.buffer).slice(request.address, request.address + request.bytes),
    };
  }
  new Uint8Array(compute.memory.buffer).set(request.data, request.address);
  return { kind: "done" };
}

function replyTo(request: WorkerRequest): WorkerReply {
  try {
    return answer(request);
  } catch (error) {
    return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}

// Node's worker threads speak through parentPort, browsers' workers through the global scope.
const parentPort = globalThis.process?.getBuiltinModule?.("node:worker_threads")?.parentPort;
if (parentPort) {
  parentPort.on("message", (request: WorkerRequest) => parentPort.postMessage(replyTo(request)));
} else {
  globalThis.onmessage = (event: MessageEvent<WorkerRequest>) => globalThis.postMessage(replyTo(event.data));
}
