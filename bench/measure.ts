// bench: one net, one mode: plan, proof, compile, warm up, time.
//
// A training step is what a trainer does without its data loader: images and labels are copied in, the plan runs
// (forward, backward, Nesterov SGD), the losses are read. An inference step copies images in and logits out.
import { readFileSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Executable } from "../src/backends/backend.ts";
import type { WasmExecutable } from "../src/backends/wasm/wasm.ts";
import { WebgpuExecutable } from "../src/backends/webgpu/webgpu.ts";
import { VerificationError } from "../src/errors.ts";
import { differentiate } from "../src/graph/differentiate.ts";
import type { Graph } from "../src/graph/graph.ts";
import { initializeParameters } from "../src/model/initialize.ts";
import { buildGraph, namedSpec } from "../src/networks/registry.ts";
import type { ActivationDtype, Plan } from "../src/plan/plan.ts";
import { planInference, planTraining } from "../src/plan/planners.ts";
import type { RecomputePolicy } from "../src/plan/recompute.ts";
import { type TimedBackend, type WayOfGroup, waysOf } from "./device.ts";
import { type CallGroup, type GateReport, requireConformance } from "./gate.ts";
import type { MachineLimits } from "./machine.ts";
import { defaultSteps, type Job } from "./options.ts";
import { type Roofline, readRoofline } from "./roofline.ts";
import { median, quantile, type Spread, spreadOf } from "./statistics.ts";

/**
 * Before timing: V8 compiles each wasm kernel twice, the second time well, and does so while the first steps run; a GPU
 * raises its clock.
 */
const warmup = { least: 3, seconds: 2 } as const;

/** Images in the plans that prove the kernels: the batch is a loop count, so two show what more would. */
export const gateBatch = 2;

export interface JobResult extends Job {
  readonly recompute: RecomputePolicy;
  readonly gate: GateReport;
  /** Plan to machine code, threads started or pipelines made. */
  readonly compileMs: number;
  readonly warmupMs: readonly number[];
  /** Every timed step, in order. */
  readonly stepMs: readonly number[];
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly imagesPerSecond: Spread;
  /** Multiply-adds of one step as planned (a commuted transition has a quarter of its 1×1's). */
  readonly macs: number;
  /** Bytes that the kernel calls of one step must touch, each counted once a call. */
  readonly trafficBytes: number;
  /** On a GPU: dispatches of one step. */
  readonly dispatches?: number;
  /** 2 flops a multiply-add, at the median step. */
  readonly gflops: number;
  /** Memory of the executable: program, persistent buffers, arena, scratch. */
  readonly peakBytes: number;
  readonly planBytes: { readonly arena: number; readonly persistent: number };
  /**
   * Highest resident set of this process from this job's compilation on; from the process's beginning where the system
   * cannot reset it.
   */
  readonly peakRssBytes: number;
  readonly roofline?: Roofline;
}

interface Prepared {
  readonly graph: Graph;
  readonly plan: Plan;
}

function prepare(
  { net, mode, size, changes }: Job,
  batch: number,
  recompute: RecomputePolicy,
  activationDtype: ActivationDtype,
): Prepared {
  const spec = namedSpec(net, changes);
  const sizes = { batch, height: size, width: size };
  if (mode === "infer") {
    const graph = buildGraph(spec, { ...sizes, mode: "inference" });
    return { graph, plan: planInference(graph, { activationDtype }) };
  }
  const graph = differentiate(buildGraph(spec, { ...sizes, mode: "training" }));
  return {
    graph,
    plan: planTraining(graph, {
      recompute,
      optimizer: { momentum: 0.9, nesterov: true, weightDecay: 1e-4 },
      activationDtype,
    }),
  };
}

/**
 * Linux: lets the highest resident set be counted anew, without the garbage so far. Elsewhere it stays that of the
 * whole process.
 */
function resetPeakRss(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Not Linux, or not allowed: peakRssBytes then counts from the process's beginning, as its description says.
  }
}

function peakRssBytes(): number {
  try {
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    if (kibibytes !== undefined) return Number(kibibytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

/** Images of about unit variance; what is in them does not change the time. */
function drawImages(count: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * Math.sqrt(3);
  });
}

/**
 * By the fan-in, which keeps features of order 1 through any depth also where no batch normalizes them: f16 ends at
 * 65504.
 */
async function fillParameters(executable: Executable, { graph, plan }: Prepared): Promise<void> {
  for (const [path, { data }] of initializeParameters(graph, { seed: 1, fan: "in" })) {
    if (plan.buffers.has(path)) await executable.write(path, data);
  }
}

/**
 * A step of the job as a function that fails if the net's answer is not finite: NaNs and denormals have times of their
 * own.
 */
function stepOf(executable: WasmExecutable | WebgpuExecutable, { net, mode, batch, size }: Job, classes: number) {
  const images = drawImages(batch * 3 * size * size);
  const labels = Int32Array.from({ length: batch }, (_, image) => image % classes);
  let step = 0;
  return async (run: "run" | "runTimed"): Promise<readonly number[]> => {
    await executable.write("images", images, "step");
    if (mode === "train") await executable.write("labels", labels, "step");
    // A small rate: the same few images again and again would otherwise soon blow up or be learnt by heart.
    const callMs = await executable[run]("step", { learningRate: 0.01, seed: 1, step: step++ });
    const [answer] = await executable.read([mode === "train" ? "sampleLoss" : "logits"], "step");
    if (!answer.every(Number.isFinite)) {
      throw new VerificationError(`${net}, ${mode}: step ${step} gave a number that is not finite, so it is not timed`);
    }
    return callMs ?? [];
  };
}

const groups = (ways: readonly WayOfGroup[]): readonly CallGroup[] => ways.map(({ group }) => group);

/**
 * Proves at gateBatch what `planFor(batch)` runs, and what takes another way at `batch` at the smallest power of two
 * that takes the same. Reports on gateBatch.
 */
async function prove(
  backend: TimedBackend,
  batch: number,
  planFor: (batch: number) => Plan,
  proven: Set<string>,
): Promise<GateReport> {
  const wanted = waysOf(backend, planFor(batch));
  const first = planFor(gateBatch);
  const found = waysOf(backend, first);
  const report = await requireConformance(backend, first, groups(found), proven);
  let open = wanted.flatMap(({ way }, i) => (way === found[i]?.way ? [] : [i]));
  for (let smaller = 1; open.length > 0; smaller = Math.min(2 * smaller, batch)) {
    const plan = planFor(smaller);
    const ways = waysOf(backend, plan);
    const alike = new Set(open.filter((i) => ways[i]?.way === wanted[i]?.way));
    await requireConformance(backend, plan, groups(ways.filter((_, i) => alike.has(i))), proven);
    open = open.filter((i) => !alike.has(i));
  }
  return report;
}

export interface MeasureOptions {
  readonly recompute: RecomputePolicy;
  readonly steps: number | undefined;
  /** With them the kernel calls are timed too and set against them. */
  readonly limits: MachineLimits | undefined;
  /** Kinds of kernel calls that this backend has been seen to get right. */
  readonly proven: Set<string>;
}

/**
 * Times one job.
 * @throws VerificationError if a kernel's conformance fails or a step's answer is not finite; nothing is timed then.
 */
export async function measure(backend: TimedBackend, job: Job, options: MeasureOptions): Promise<JobResult> {
  const { recompute, steps, limits, proven } = options;
  const prepareBatch = (batch: number) => prepare(job, batch, recompute, backend.info.activationDtype);
  const gate = await prove(backend, job.batch, (batch) => prepareBatch(batch).plan, proven);
  const prepared = prepareBatch(job.batch);
  const { plan } = prepared;
  resetPeakRss();
  const began = performance.now();
  const executable = await backend.compile({ step: plan });
  const compileMs = performance.now() - began;
  try {
    await fillParameters(executable, prepared);
    const step = stepOf(executable, job, namedSpec(job.net).numClasses);
    const timeStep = async (): Promise<number> => {
      const start = performance.now();
      await step("run");
      return performance.now() - start;
    };
    const warmupMs: number[] = [];
    const warmUntil = performance.now() + warmup.seconds * 1000;
    while (warmupMs.length < warmup.least || performance.now() < warmUntil) warmupMs.push(await timeStep());
    const stepMs: number[] = [];
    const { least, most, seconds } = defaultSteps;
    const wanted = steps ?? Math.min(most, Math.max(least, Math.floor((seconds * 1000) / Math.min(...warmupMs))));
    while (stepMs.length < wanted) stepMs.push(await timeStep());
    const { calls } = plan;
    const macs = calls.reduce((sum, call) => sum + call.macs, 0);
    const result: JobResult = {
      ...job,
      recompute,
      gate,
      compileMs,
      warmupMs,
      stepMs,
      p50Ms: median(stepMs),
      p90Ms: quantile(stepMs, 0.9),
      p99Ms: quantile(stepMs, 0.99),
      imagesPerSecond: spreadOf(stepMs.map((ms) => (job.batch / ms) * 1000)),
      macs,
      trafficBytes: calls.reduce((sum, call) => sum + call.trafficBytes, 0),
      ...(executable instanceof WebgpuExecutable ? { dispatches: executable.dispatchCount("step") } : {}),
      gflops: (2 * macs) / median(stepMs) / 1e6,
      peakBytes: executable.peakBytes,
      planBytes: { arena: plan.arenaBytes, persistent: plan.persistentBytes },
      peakRssBytes: peakRssBytes(),
    };
    if (!limits) return result;
    const rounds = [await step("runTimed"), await step("runTimed"), await step("runTimed")];
    return { ...result, roofline: readRoofline(groups(waysOf(backend, { ...plan, calls })), rounds, limits) };
  } finally {
    await executable.dispose();
  }
}
