// backends/webgpu: plans on a GPU through WebGPU, in Node and in browsers, also inside a worker.
//
// A run is one command buffer with one compute pass, or a few where it moves very much, submitted without waiting:
// dispatches of a pass run in order, so do submissions and the queue's writes. `read` waits for its own results, `run`
// for the oldest of more than `queueDepth` runs.
import { DeviceError, ResourceError } from "../../errors.ts";
import { sizeOf } from "../../ops/op.ts";
import type { ActivationDtype, BufferName, Plan } from "../../plan/plan.ts";
import type { Backend, BackendInfo, Executable, RunScalars } from "../backend.ts";
import { requireStorable } from "../dtype.ts";
import { Lifetime } from "../lifetime.ts";
import { findBuffer } from "../persistent.ts";
import { compileProgram, type MemorySpace, memorySpaces, type Program, type Window } from "./compile.ts";
import { callBytes, runWords, slots, wordBytes } from "./dispatch.ts";
import { type FoundGpu, findAdapter, openGpu } from "./gpu.ts";
import { fromHalves, lacksHalves, toHalves } from "./halves.ts";
import type { Matrices, Target } from "./kernel.ts";
import { findMatrices, matrixFeatures } from "./matrix.ts";
import { findWrongProduct } from "./selfCheck.ts";

/** Which GPU the backend takes and what it may use of it. */
export interface WebgpuOptions {
  /** Default: navigator.gpu, or in Node the package `webgpu`. */
  readonly gpu?: GPU;
  /**
   * How plans for it may store feature maps. f16 halves the memory and the traffic that grow with the batch and rounds
   * each feature once, by at most 2⁻¹⁰ of itself; parameters, statistics, gradients and all sums stay f32. Where the
   * device offers subgroup matrices (tensor cores) and multiplies right with them, convolutions of the forward pass
   * round their operands to f16 as well. Default f32. f16 needs the feature shader-f16 and an engine with Float16Array.
   */
  readonly activationDtype?: ActivationDtype;
  /** false: subgroup matrices are not used, also where they are offered. */
  readonly matrices?: boolean;
  /** Stage products in workgroup memory. Default: on a GPU, not on an adapter that computes on the CPU. */
  readonly tiled?: boolean;
  /** Bytes that one binding may show, at most the adapter's limit; for tests. */
  readonly bindingBytes?: number;
  /** false: an adapter that computes on the CPU is refused, as slower than the wasm backend. */
  readonly software?: boolean;
}

/**
 * Of the adapter's limits, those that decide how large a net fits: large buffers, or many windows on them. The others
 * stay at WebGPU's defaults, which every device has.
 */
const wantedLimits = ["maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage"] as const;

/**
 * A backend on the system's preferred GPU.
 * @throws DeviceError where there is no WebGPU, no adapter, one that lacks what is asked for, or one whose answers are
 * wrong
 */
export async function createWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const { activationDtype = "f32" } = options;
  const gpu = options.gpu ?? (await openGpu());
  const found = await findAdapter(gpu);
  const { name, software } = found;
  if (software && options.software === false) {
    throw new DeviceError(`the only WebGPU adapter is ${name}, which computes on the CPU, slower than wasm`, { name });
  }
  const lacks = activationDtype === "f16" ? lacksHalves(found) : undefined;
  if (lacks !== undefined) {
    throw new DeviceError(`feature maps cannot be stored in f16, ask for activationDtype "f32": ${lacks}`, { name });
  }
  const notes = [
    `The GPU is ${name}.`,
    ...(software ? ["This adapter computes on the CPU: right, but slower than wasm."] : []),
  ];
  const tiled = options.tiled ?? !software;
  const matrices =
    activationDtype === "f16" && tiled && options.matrices !== false ? findMatrices(found.adapter) : undefined;
  if (matrices) {
    const proved = await openProved(found, options, notes, matrices);
    if (typeof proved !== "string") return proved;
    notes.push(`Its subgroup matrices are not used: ${proved}.`);
  }
  // An adapter gives one device, which the matrices may have taken down.
  const proved = await openProved(matrices ? await findAdapter(gpu) : found, options, notes);
  if (typeof proved !== "string") return proved;
  throw new DeviceError(`${name} is of no use: ${proved}`, { name });
}

/** A backend on a device of the adapter's, or why its answers are wrong; that device is then given back. */
async function openProved(
  { adapter, name, software }: FoundGpu,
  { activationDtype = "f32", tiled = !software, bindingBytes = Number.POSITIVE_INFINITY }: WebgpuOptions,
  notes: readonly string[],
  matrices?: Matrices,
): Promise<WebgpuBackend | string> {
  const timestamps = adapter.features.has("timestamp-query");
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({
      requiredLimits: Object.fromEntries(wantedLimits.map((limit) => [limit, adapter.limits[limit]])),
      requiredFeatures: [
        ...(timestamps ? ["timestamp-query"] : []),
        ...(activationDtype === "f16" ? ["shader-f16"] : []),
        ...(matrices ? matrixFeatures : []),
      ] as GPUFeatureName[],
    });
  } catch (error) {
    throw new DeviceError(`${name} gave no device: ${(error as Error).message}`, { name }, { cause: error });
  }
  const { limits } = device;
  const target: Target = {
    tiled,
    bindingBytes: Math.min(bindingBytes, limits.maxStorageBufferBindingSize),
    // The tables take one.
    windows: limits.maxStorageBuffersPerShaderStage - 1,
    ...(matrices ? { matrices } : {}),
  };
  const backend = new WebgpuBackend(device, target, {
    name: "webgpu",
    threads: 1,
    device: name,
    activationDtype,
    maxBufferBytes: limits.maxBufferSize,
    features: { tiled, software, timestamps, subgroupMatrices: matrices !== undefined },
    notes,
  });
  const wrong = await findWrongProduct(backend).catch(({ message }: Error) => message);
  if (wrong === undefined) return backend;
  await backend.dispose();
  return wrong;
}

/** The GPU through WebGPU; made by `createWebgpuBackend`. */
export class WebgpuBackend implements Backend {
  readonly info: BackendInfo;
  readonly device: GPUDevice;
  readonly target: Target;
  /** Why the device is of no use any more. */
  #failure: DeviceError | undefined;
  readonly #life = new Lifetime("backend");
  readonly #executables = new Set<WebgpuExecutable>();

  constructor(device: GPUDevice, target: Target, info: BackendInfo) {
    this.device = device;
    this.target = target;
    this.info = info;
    device.lost.then(({ message, reason }) => {
      this.#failure ??= new DeviceError(`the GPU was lost (${reason}): ${message}`, { reason });
    });
    device.addEventListener("uncapturederror", ({ error }) => {
      this.#failure ??= new DeviceError(`the GPU refused a command: ${error.message.split("\n")[0]}`, {});
    });
  }

  /**
   * @throws DisposedError once it was disposed of
   * @throws DeviceError once the device was lost or has refused a command
   */
  requireAlive(): void {
    this.#life.requireAlive();
    if (this.#failure) throw this.#failure;
  }

  async compile(plans: Readonly<Record<string, Plan>>): Promise<WebgpuExecutable> {
    this.requireAlive();
    return this.#life.during(async () => {
      requireStorable(this.info, plans);
      const program = compileProgram(plans, this.target);
      const executable = await WebgpuExecutable.create(this, program, plans, (ended) =>
        this.#executables.delete(ended),
      );
      this.#executables.add(executable);
      return executable;
    });
  }

  /** The device takes all buffers with it and rejects what waits for them. */
  dispose(): Promise<void> {
    return this.#life.end(async () => {
      const ends = [...this.#executables].map((executable) => executable.dispose());
      this.device.destroy();
      await Promise.all(ends);
    });
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Bytes moved by the dispatches of one submission, about. Drivers take a device away that works on one for seconds; an
 * integrated GPU of 50 GB/s moves as much in a third of one. A step of BC-100-12 at batch 64 is one submission, of 121
 * several. The order of dispatches is the same.
 */
const submissionBytes = 16 * 2 ** 30;

/** Dispatches in order, cut where those before have moved `most` bytes. */
export function submissions<S extends { readonly movedBytes: number }>(steps: readonly S[], most: number): S[][] {
  const cut: S[][] = [[]];
  let moved = 0;
  for (const step of steps) {
    if (moved >= most) {
      cut.push([]);
      moved = 0;
    }
    cut.at(-1)?.push(step);
    moved += step.movedBytes;
  }
  return cut;
}

interface PlanRun {
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly callOffset: number;
  readonly grid: readonly [width: number, height: number];
  readonly call: number;
  readonly movedBytes: number;
}

type Buffers = Readonly<Record<MemorySpace | "tables" | "calls" | "run", GPUBuffer>>;

const layoutFor = (device: GPUDevice, windows: number): GPUBindGroupLayout => {
  const visibility = GPUShaderStage.COMPUTE;
  return device.createBindGroupLayout({
    entries: [
      {
        binding: slots.call,
        visibility,
        buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: callBytes },
      },
      { binding: slots.run, visibility, buffer: { type: "uniform" } },
      { binding: slots.tables, visibility, buffer: { type: "read-only-storage" } },
      ...Array.from({ length: windows }, (_, i) => ({
        binding: slots.windows + i,
        visibility,
        buffer: { type: "storage" as const },
      })),
    ],
  });
};

/** @throws DeviceError with the driver's words if it rejects a shader */
async function createPipelines(device: GPUDevice, { shaders }: Program) {
  const layouts = new Map<number, GPUBindGroupLayout>();
  for (const { windows } of shaders) if (!layouts.has(windows)) layouts.set(windows, layoutFor(device, windows));
  const pipelines = await Promise.all(
    shaders.map(async ({ label, text, windows }) => {
      const layout = device.createPipelineLayout({ bindGroupLayouts: [layouts.get(windows) as GPUBindGroupLayout] });
      const module = device.createShaderModule({ label, code: text });
      try {
        return await device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } });
      } catch (error) {
        const { messages } = await module.getCompilationInfo();
        const said = messages.find(({ type }) => type === "error");
        const why = said ? `line ${said.lineNum}: ${said.message}` : (error as Error).message.split("\n")[0];
        throw new DeviceError(`the GPU's driver rejected the shader of ${label}: ${why}`, { label }, { cause: error });
      }
    }),
  );
  return { pipelines, layouts };
}

/** @throws ResourceError where the device lacks the memory */
async function createBuffers(device: GPUDevice, { words, calls, tables }: Program): Promise<Buffers> {
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const uniform = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
  const sizes = {
    ...(Object.fromEntries(
      memorySpaces.map((space) => [space, Math.max(words[space], 64) * wordBytes(space)]),
    ) as Record<MemorySpace, number>),
    tables: tables.byteLength,
    calls: Math.max(calls.byteLength, callBytes),
    run: runWords.count * 4,
  };
  const needed = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  const largest = Math.max(...Object.values(sizes));
  const { maxBufferSize } = device.limits;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  if (largest > maxBufferSize) {
    throw new ResourceError(
      `these plans need a buffer of ${mebibytes(largest)}, this GPU allows at most ${mebibytes(maxBufferSize)}: ` +
        `lower the batch size or set recompute to "bottleneck"`,
      { bytes: largest, limit: maxBufferSize },
    );
  }
  device.pushErrorScope("out-of-memory");
  const make = (name: keyof typeof sizes): GPUBuffer =>
    device.createBuffer({
      label: name,
      size: sizes[name],
      usage: name === "calls" || name === "run" ? uniform : storage,
    });
  const buffers = {
    arena: make("arena"),
    maps: make("maps"),
    persistent: make("persistent"),
    scratch: make("scratch"),
    tables: make("tables"),
    calls: make("calls"),
    run: make("run"),
  };
  const refused = await device.popErrorScope();
  if (refused) {
    for (const buffer of Object.values(buffers)) buffer.destroy();
    throw new ResourceError(
      `the GPU does not have the ${mebibytes(needed)} that these plans need: lower the batch size or set recompute ` +
        `to "bottleneck"`,
      { bytes: needed },
    );
  }
  device.queue.writeBuffer(buffers.tables, 0, tables);
  device.queue.writeBuffer(buffers.calls, 0, calls);
  return buffers;
}

/** Plans compiled for the GPU; made by `WebgpuBackend.compile`. */
export class WebgpuExecutable implements Executable {
  readonly peakBytes: number;
  readonly arenaBytes: number;
  /** One that computes, one behind it, one that the host prepares. */
  readonly queueDepth = 3;
  readonly shaderCount: number;
  readonly #life = new Lifetime("executable");
  readonly #backend: WebgpuBackend;
  readonly #program: Program;
  readonly #plans: Readonly<Record<string, Plan>>;
  readonly #runs: ReadonlyMap<string, readonly PlanRun[]>;
  readonly #buffers: Buffers;
  readonly #onDispose: (executable: WebgpuExecutable) => void;
  readonly #submitted: Promise<undefined>[] = [];

  private constructor(
    backend: WebgpuBackend,
    program: Program,
    plans: Readonly<Record<string, Plan>>,
    runs: ReadonlyMap<string, readonly PlanRun[]>,
    buffers: Buffers,
    onDispose: (executable: WebgpuExecutable) => void,
  ) {
    this.#backend = backend;
    this.#program = program;
    this.#plans = plans;
    this.#runs = runs;
    this.#buffers = buffers;
    this.#onDispose = onDispose;
    this.shaderCount = program.shaders.length;
    const bytesOf = (spaces: readonly MemorySpace[]): number =>
      spaces.reduce((sum, space) => sum + program.words[space] * wordBytes(space), 0);
    this.peakBytes = bytesOf(memorySpaces);
    this.arenaBytes = bytesOf(["arena", "maps"]);
  }

  static async create(
    backend: WebgpuBackend,
    program: Program,
    plans: Readonly<Record<string, Plan>>,
    onDispose: (executable: WebgpuExecutable) => void,
  ): Promise<WebgpuExecutable> {
    const { device } = backend;
    const { pipelines, layouts } = await createPipelines(device, program);
    const buffers = await createBuffers(device, program);
    const groups = new Map<string, GPUBindGroup>();
    const bind = (windows: readonly Window[]): GPUBindGroup => {
      const key = JSON.stringify(windows);
      const known = groups.get(key);
      if (known) return known;
      const made = device.createBindGroup({
        layout: layouts.get(windows.length) as GPUBindGroupLayout,
        entries: [
          { binding: slots.call, resource: { buffer: buffers.calls, size: callBytes } },
          { binding: slots.run, resource: { buffer: buffers.run } },
          { binding: slots.tables, resource: { buffer: buffers.tables } },
          ...windows.map(({ space, start, words }, i) => ({
            binding: slots.windows + i,
            resource: { buffer: buffers[space], offset: start * wordBytes(space), size: words * wordBytes(space) },
          })),
        ],
      });
      groups.set(key, made);
      return made;
    };
    const runs = new Map<string, PlanRun[]>();
    for (const [plan, steps] of program.steps) {
      runs.set(
        plan,
        steps.map(({ shader, windows, callOffset, grid, call, movedBytes }) => ({
          pipeline: pipelines[shader] as GPUComputePipeline,
          bindings: bind(windows),
          callOffset,
          grid,
          call,
          movedBytes,
        })),
      );
    }
    backend.requireAlive();
    return new WebgpuExecutable(backend, program, plans, runs, buffers, onDispose);
  }

  /** Dispatches that one run of a plan makes. */
  dispatchCount(plan: string): number {
    return this.#runsOf(plan).length;
  }

  #runsOf(plan: string): readonly PlanRun[] {
    const found = this.#runs.get(plan);
    if (found) return found;
    throw new RangeError(`no plan is called ${plan}; there are ${[...this.#runs.keys()].join(", ")}`);
  }

  async write(name: BufferName, data: Float32Array | Int32Array, plan?: string): Promise<void> {
    this.#requireAlive();
    const buffer = findBuffer(this.#plans, name, plan);
    const held = sizeOf(buffer.shape);
    if (data.length !== held) throw new RangeError(`${name} holds ${held} numbers, got ${data.length}`);
    const { space, start } = this.#program.address(buffer, plan);
    const bytes =
      space === "maps" && data instanceof Float32Array
        ? toHalves(data)
        : new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    this.#backend.device.queue.writeBuffer(this.#buffers[space], start * wordBytes(space), bytes);
  }

  /** One staging buffer, in which they lie one after the other, one submission, one mapping. */
  async read(names: readonly BufferName[], plan?: string): Promise<(Float32Array | Int32Array)[]> {
    this.#requireAlive();
    const { device } = this.#backend;
    let size = 0;
    const copies = names.map((name) => {
      const buffer = findBuffer(this.#plans, name, plan);
      const { space, start, words } = this.#program.address(buffer, plan);
      const from = size;
      // A queue copies multiples of four bytes.
      size += Math.ceil((words * wordBytes(space)) / 4) * 4;
      return { dtype: buffer.dtype, space, start, words, from, to: size };
    });
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.createCommandEncoder();
    for (const { space, start, from, to } of copies) {
      encoder.copyBufferToBuffer(this.#buffers[space], start * wordBytes(space), staging, from, to - from);
    }
    device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      this.#requireAlive();
      const what = names.length === 1 ? names[0] : `${names.length} buffers`;
      throw new DeviceError(`the GPU did not give ${what} back: ${(error as Error).message}`, {}, { cause: error });
    }
    const mapped = staging.getMappedRange();
    const found = copies.map(({ dtype, space, words, from, to }) => {
      const bytes = mapped.slice(from, to);
      if (space === "maps") return fromHalves(bytes, words);
      return dtype === "i32" ? new Int32Array(bytes) : new Float32Array(bytes);
    });
    staging.destroy();
    this.#requireAlive();
    return found;
  }

  /**
   * Resolves when the run is submitted, not when it is done; when more than `queueDepth` are in flight, waits for the
   * oldest.
   */
  async run(plan: string, scalars: RunScalars = {}): Promise<void> {
    this.#requireAlive();
    const { device } = this.#backend;
    this.#writeScalars(scalars);
    for (const part of submissions(this.#runsOf(plan), submissionBytes)) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, bindings, callOffset, grid } of part) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindings, [callOffset]);
        pass.dispatchWorkgroups(...grid);
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    this.#submitted.push(device.queue.onSubmittedWorkDone());
    if (this.#submitted.length > this.queueDepth) await this.#submitted.shift();
    this.#requireAlive();
  }

  #writeScalars({ learningRate = 0, seed = 0, step = 0, corrections = [1, 1] }: RunScalars): void {
    const block = new DataView(new ArrayBuffer(runWords.count * 4));
    block.setFloat32(runWords.learningRate * 4, learningRate, true);
    block.setUint32(runWords.seed * 4, seed, true);
    block.setUint32(runWords.step * 4, step, true);
    for (const [at, correction] of corrections.entries()) {
      block.setFloat32((runWords.corrections + at) * 4, correction, true);
    }
    this.#backend.device.queue.writeBuffer(this.#buffers.run, 0, block.buffer as ArrayBuffer);
  }

  /**
   * Runs a plan and measures the milliseconds of each kernel call by the device's own clock.
   * @throws DeviceError where the adapter has no timestamps
   */
  async runTimed(plan: string, scalars: RunScalars = {}): Promise<readonly number[]> {
    const { device, info } = this.#backend;
    if (!info.features.timestamps) throw new DeviceError("this GPU has no timestamps, so its calls cannot be timed");
    const runs = this.#runsOf(plan);
    const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
    const resolved = device.createBuffer({
      size: 256 * runs.length,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const staging = device.createBuffer({
      size: 256 * runs.length,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    this.#writeScalars(scalars);
    const encoder = device.createCommandEncoder();
    runs.forEach(({ pipeline, bindings, callOffset, grid }, index) => {
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
      });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings, [callOffset]);
      pass.dispatchWorkgroups(...grid);
      pass.end();
      encoder.resolveQuerySet(querySet, 0, 2, resolved, index * 256);
    });
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 256 * runs.length);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange());
    const callMs = new Array<number>(this.#plans[plan]?.calls.length ?? 0).fill(0);
    runs.forEach(({ call }, index) => {
      const nanoseconds = (stamps[index * 32 + 1] ?? 0n) - (stamps[index * 32] ?? 0n);
      callMs[call] = (callMs[call] ?? 0) + Number(nanoseconds) / 1e6;
    });
    for (const buffer of [resolved, staging]) buffer.destroy();
    querySet.destroy();
    this.#requireAlive();
    return callMs;
  }

  /** @throws DisposedError or DeviceError when nothing can run here any more */
  #requireAlive(): void {
    this.#life.requireAlive();
    this.#backend.requireAlive();
  }

  dispose(): Promise<void> {
    return this.#life.end(async () => {
      await Promise.allSettled(this.#submitted);
      for (const buffer of Object.values(this.#buffers)) buffer.destroy();
      this.#onDispose(this);
    });
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
