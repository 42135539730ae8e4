// backends/wasm: plans on the CPU through WebAssembly, in Node and in browsers.
//
// A program is compiled once; compute threads share its memory and run plans in step (worker.ts). The calling thread
// only copies data in and out and is never blocked. Without SharedArrayBuffer one thread computes and owns the memory.
import { DeviceError, ResourceError, UsageError } from "../../errors.ts";
import type { BufferName, Plan } from "../../plan/plan.ts";
import type { Backend, BackendInfo, Executable, RunScalars } from "../backend.ts";
import { requireStorable } from "../dtype.ts";
import { Lifetime } from "../lifetime.ts";
import { maxThreads } from "../names.ts";
import { findBuffer } from "../persistent.ts";
import { controlWords } from "./barrier.ts";
import { compileProgram, type Program, pageBytes } from "./compile.ts";
import { scalarOffsets } from "./elementwise.ts";
import { chooseTarget, type TargetOptions } from "./features.ts";
import type { Target } from "./target.ts";
import { type ComputeThread, startThread } from "./threads.ts";

/** What the wasm backend may use. */
export interface WasmOptions extends TargetOptions {
  /** Compute threads, 1 to 64. Default: one per processor. More than one needs SharedArrayBuffer. */
  readonly threads?: number;
  /** false: behave as a page without cross-origin isolation. */
  readonly sharedMemory?: boolean;
  /**
   * false: plans of inference pack and transform their weights at every run instead of keeping a second copy of them
   * (121: 45 MB).
   */
  readonly keepWeights?: boolean;
  /**
   * In a browser, the URL of the compute threads' script where it does not lie beside the importing module, such as a
   * blob: of a page that carries it in itself. A classic script: dist/browser/worker.js, bundled without imports.
   */
  readonly workerUrl?: string;
}

/**
 * A backend whose compute threads are started by the first `compile`.
 * @throws UsageError for a number of threads outside 1…64
 * @throws DeviceError where WebAssembly SIMD is missing
 */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  const notes: string[] = [];
  const shared =
    options.sharedMemory !== false &&
    typeof SharedArrayBuffer !== "undefined" &&
    globalThis.crossOriginIsolated !== false;
  const wanted = options.threads ?? Math.min(maxThreads, globalThis.navigator?.hardwareConcurrency ?? 1);
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > maxThreads) {
    const message = `threads: got ${wanted}, expected a whole number from 1 to ${maxThreads}`;
    throw new UsageError(message, { field: "threads", value: wanted });
  }
  if (!shared && wanted > 1)
    notes.push("One thread: there is no SharedArrayBuffer (a page needs COOP same-origin and COEP require-corp).");
  let chosen: ReturnType<typeof chooseTarget>;
  try {
    chosen = chooseTarget(options);
  } catch (error) {
    throw new DeviceError(
      "this runtime cannot run WebAssembly SIMD, which the wasm backend is made of",
      {},
      { cause: error },
    );
  }
  const { keepWeights = true, workerUrl } = options;
  return new WasmBackend(
    chosen.target,
    shared ? wanted : 1,
    shared,
    keepWeights,
    [...notes, ...chosen.notes],
    workerUrl,
  );
}

/** The CPU through WebAssembly; made by `createWasmBackend`. */
export class WasmBackend implements Backend {
  readonly info: BackendInfo;
  readonly target: Target;
  readonly #shared: boolean;
  readonly #keepsWeights: boolean;
  readonly #workerUrl: string | undefined;
  readonly #life = new Lifetime("backend");
  readonly #executables = new Set<WasmExecutable>();

  constructor(
    target: Target,
    threads: number,
    shared: boolean,
    keepsWeights: boolean,
    notes: readonly string[],
    workerUrl?: string,
  ) {
    this.target = target;
    this.#shared = shared;
    this.#keepsWeights = keepsWeights;
    this.#workerUrl = workerUrl;
    this.info = {
      name: "wasm",
      threads,
      activationDtype: "f32",
      maxBufferBytes: 2 ** 32,
      features: { relaxedSimd: target.relaxedSimd, revectorized: target.revectorized, sharedMemory: shared },
      notes,
    };
  }

  async compile(plans: Readonly<Record<string, Plan>>): Promise<WasmExecutable> {
    return this.#life.during(async () => {
      requireStorable(this.info, plans);
      const program = compileProgram(plans, this.target, this.info.threads, this.#shared, this.#keepsWeights);
      const module = await WebAssembly.compile(program.bytes);
      this.#life.requireAlive();
      const makeThreads = () => Array.from({ length: this.info.threads }, () => startThread(this.#workerUrl));
      const executable = new WasmExecutable(program, plans, makeThreads, this.#shared, () =>
        this.#executables.delete(executable),
      );
      // Before its threads have started: a backend that is disposed of meanwhile ends them.
      this.#executables.add(executable);
      await executable.start(module);
      return executable;
    });
  }

  dispose(): Promise<void> {
    return this.#life.end(async () => {
      await Promise.all([...this.#executables].map((executable) => executable.dispose()));
    });
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** @throws ResourceError where the system lacks the memory */
function sharedMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const bytes = pages * pageBytes;
    throw new ResourceError(
      `this system does not give the ${(bytes / 2 ** 20).toFixed(0)} MiB that these plans need: lower the batch ` +
        `size or set recompute to "bottleneck"`,
      { bytes },
      { cause: error },
    );
  }
}

/** The name under which compute threads know what a plan runs first. */
const preparationOf = (plan: string): string => `prepare ${plan}`;

/** Milliseconds of each kernel call of a plan, as thread 0 saw them, waiting included. */
export type CallTimes = readonly number[];

/** Plans compiled for the CPU; made by `WasmBackend.compile`. */
export class WasmExecutable implements Executable {
  readonly peakBytes: number;
  readonly arenaBytes: number;
  readonly queueDepth = 1;
  readonly functionCount: number;
  readonly #program: Program;
  readonly #plans: Readonly<Record<string, Plan>>;
  readonly #life = new Lifetime("executable");
  readonly #memory: WebAssembly.Memory | undefined;
  readonly #threads: readonly ComputeThread[];
  readonly #onDispose: () => void;
  /** Plans whose kept weights are those of the parameters. */
  readonly #prepared = new Set<string>();

  /** @throws ResourceError where the system has not the memory */
  constructor(
    program: Program,
    plans: Readonly<Record<string, Plan>>,
    makeThreads: () => readonly ComputeThread[],
    shared: boolean,
    onDispose: () => void,
  ) {
    this.#program = program;
    this.#plans = plans;
    this.#memory = shared ? sharedMemory(program.pages) : undefined;
    this.#threads = makeThreads();
    this.#onDispose = onDispose;
    this.functionCount = program.functionCount;
    this.peakBytes = program.pages * pageBytes;
    this.arenaBytes = Math.max(0, ...Object.values(plans).map((plan) => plan.arenaBytes));
  }

  /** Hands the threads their code and memory; nothing else may be asked before. Ends them if one of them fails. */
  async start(module: WebAssembly.Module): Promise<void> {
    const { pages, shared, scratch, scratchBytes, preparation } = this.#program;
    const code = new Map(this.#program.code);
    for (const [plan, phases] of preparation) code.set(preparationOf(plan), phases);
    const memory = this.#memory;
    const words = controlWords.count * 4;
    const control = new Int32Array(memory ? new SharedArrayBuffer(words) : new ArrayBuffer(words));
    const threads = this.#threads.length;
    try {
      await Promise.all(
        this.#threads.map((thread, index) =>
          thread.ask({
            kind: "start",
            module,
            memory,
            pages,
            control,
            code,
            thread: index,
            threads,
            shared,
            scratch: scratch + index * scratchBytes,
          }),
        ),
      );
    } catch (error) {
      await this.dispose();
      throw error;
    }
  }

  async write(name: BufferName, data: Float32Array | Int32Array, plan?: string): Promise<void> {
    this.#life.requireAlive();
    const buffer = findBuffer(this.#plans, name, plan);
    if (data.byteLength !== buffer.bytes) {
      throw new RangeError(`${name} holds ${buffer.bytes / 4} numbers, got ${data.length}`);
    }
    if (this.#program.keptSources.has(name)) this.#prepared.clear();
    await this.#put(this.#program.address(buffer), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  async #put(address: number, data: Uint8Array): Promise<void> {
    if (this.#memory) new Uint8Array(this.#memory.buffer).set(data, address);
    else await this.#threads[0]?.ask({ kind: "write", address, data });
  }

  async read(names: readonly BufferName[], plan?: string): Promise<(Float32Array | Int32Array)[]> {
    this.#life.requireAlive();
    return Promise.all(
      names.map(async (name) => {
        const buffer = findBuffer(this.#plans, name, plan);
        const address = this.#program.address(buffer);
        let bytes: Uint8Array;
        if (this.#memory) bytes = new Uint8Array(this.#memory.buffer, address, buffer.bytes).slice();
        else
          bytes =
            (await this.#threads[0]?.ask({ kind: "read", address, bytes: buffer.bytes }))?.data ?? new Uint8Array(0);
        return buffer.dtype === "i32"
          ? new Int32Array(bytes.buffer, bytes.byteOffset, buffer.bytes / 4)
          : new Float32Array(bytes.buffer, bytes.byteOffset, buffer.bytes / 4);
      }),
    );
  }

  async run(plan: string, scalars: RunScalars = {}): Promise<void> {
    await this.#runAll(plan, scalars, false);
  }

  /** Runs a plan and measures how long each of its kernel calls took, in milliseconds. */
  async runTimed(plan: string, scalars: RunScalars = {}): Promise<CallTimes> {
    const replies = await this.#runAll(plan, scalars, true);
    const phaseMs = replies[0]?.phaseMs ?? new Float64Array(0);
    let at = 0;
    return (this.#program.phasesOfCalls.get(plan) ?? []).map((phases) => {
      const sum = phaseMs.subarray(at, at + phases).reduce((total, ms) => total + ms, 0);
      at += phases;
      return sum;
    });
  }

  async #runAll(plan: string, scalars: RunScalars, timed: boolean) {
    this.#life.requireAlive();
    if (!this.#plans[plan])
      throw new RangeError(`no plan is called ${plan}; there are ${Object.keys(this.#plans).join(", ")}`);
    const block = new DataView(new ArrayBuffer(scalarOffsets.bytes));
    block.setFloat32(scalarOffsets.learningRate, scalars.learningRate ?? 0, true);
    block.setUint32(scalarOffsets.seed, scalars.seed ?? 0, true);
    block.setUint32(scalarOffsets.step, scalars.step ?? 0, true);
    for (const [at, correction] of (scalars.corrections ?? []).entries()) {
      block.setFloat32(scalarOffsets.corrections + 4 * at, correction, true);
    }
    await this.#put(this.#program.scalars, new Uint8Array(block.buffer));
    const runOnThreads = (name: string) =>
      Promise.all(this.#threads.map((thread) => thread.ask({ kind: "run", plan: name, timed })));
    if (this.#program.preparation.has(plan) && !this.#prepared.has(plan)) {
      await runOnThreads(preparationOf(plan));
      this.#prepared.add(plan);
    }
    if (this.#program.changesParameters.has(plan)) this.#prepared.clear();
    return await runOnThreads(plan);
  }

  dispose(): Promise<void> {
    return this.#life.end(async () => {
      await Promise.all(this.#threads.map((thread) => thread.end()));
      this.#onDispose();
    });
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
