// bench: what happens when one thing grows: depth, batch, image size, growth rate, threads; and what each fast path and
// recompute policy is worth. Every point is a process of its own (this file with --point), so that its memory is its
// own.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { formatBytes, table } from "../src/analyze/format.ts";
import { summarize } from "../src/analyze/summary.ts";
import { UsageError, VerificationError } from "../src/errors.ts";
import { namedSpec, usualInput } from "../src/networks/registry.ts";
import { type RecomputePolicy, recomputePolicies } from "../src/plan/recompute.ts";
import { readEnvironment } from "../src/run/environment.node.ts";
import { openDevice } from "./device.ts";
import { type JobResult, measure } from "./measure.ts";
import { defaultThreads, type Job, type Mode, parseFlags, type Variant, variants } from "./options.ts";
import { printJson, printLine, reportFailure, say } from "./output.ts";
import { plotSvg } from "./plot.ts";
import { writeResult } from "./results.ts";
import { median, spreadOf } from "./statistics.ts";

const usage = `Times one net while one thing changes, each point in a process of its own.

Usage: npm run bench:sweep -- [sweeps…] [--json] [--output]

Sweeps: depth, batch, size, growth, threads, variants, recompute, cold. Default: all of them.
--output also writes bench/results/sweep-<date>.json, and for depth an SVG beside it.

Example: npm run bench:sweep -- depth --output`;

/** One process. */
interface Point extends Job {
  /** What the point is called in its sweep's table. */
  readonly label: string;
  readonly threads: number;
  readonly variant: Variant;
  readonly recompute: RecomputePolicy;
}

interface PointResult extends Point {
  readonly p50Ms: number;
  readonly imagesPerSecond: JobResult["imagesPerSecond"];
  readonly macs: number;
  /** Picoseconds a multiply-add takes, at the median step. */
  readonly picosecondsPerMac: number;
  readonly peakBytes: number;
  readonly planBytes: JobResult["planBytes"];
  readonly peakRssBytes: number;
  /**
   * What a framework that copies concatenations and keeps every pre-activation would hold, see activationBytesNaive.
   */
  readonly naiveBytes: number;
}

const layersPerBlock = (depth: number): number => (depth - 4) / 6;

function point(net: string, mode: Mode, batch: number, rest: Partial<Point> = {}): Point {
  const size = usualInput(namedSpec(net));
  return {
    label: net,
    net,
    mode,
    batch,
    size,
    threads: defaultThreads(),
    variant: "default",
    recompute: "none",
    ...rest,
  };
}

const both: readonly Mode[] = ["train", "infer"];

const sweeps = {
  depth: [40, 70, 100, 130, 160, 190, 220, 250].map((depth) => {
    const blockConfig = Array.from({ length: 3 }, () => layersPerBlock(depth));
    return point("BC-100-12", "train", 64, { label: `depth ${depth}`, changes: { blockConfig } });
  }),
  batch: both.flatMap((mode) =>
    [1, 2, 4, 8, 16, 32, 64, 128, 256].map((batch) =>
      point("BC-100-12", mode, batch, { label: `${mode}, batch ${batch}` }),
    ),
  ),
  size: [
    ...[29, 31, 32, 33, 37, 41, 48, 53, 64].map((size) =>
      point("BC-40-12", "train", 32, { size, label: `BC-40-12, ${size}×${size}` }),
    ),
    ...[29, 64, 97, 113, 160, 191, 224, 225, 256].map((size) =>
      point("121", "infer", 4, { size, label: `121, ${size}×${size}` }),
    ),
  ],
  growth: [7, 11, 12, 13, 16, 17, 24, 31, 32, 33].map((growthRate) =>
    point("BC-40-12", "train", 32, { label: `k = ${growthRate}`, changes: { growthRate } }),
  ),
  threads: [
    ["BC-100-12", "train", 64],
    ["BC-100-12", "infer", 64],
    ["121", "train", 8],
    ["121", "infer", 8],
  ].flatMap(([net, mode, batch]) =>
    [1, 2].map((threads) =>
      point(String(net), mode as Mode, Number(batch), {
        threads,
        label: `${net}, ${mode}, ${threads} ${threads === 1 ? "thread" : "threads"}`,
      }),
    ),
  ),
  variants: both.flatMap((mode) =>
    variants.map((variant) => point("BC-100-12", mode, 64, { variant, label: `${mode}, ${variant}` })),
  ),
  recompute: ["BC-100-12", "BC-250-24"].flatMap((net) =>
    recomputePolicies.map((recompute) =>
      point(net, "train", net === "BC-100-12" ? 64 : 8, { recompute, label: `${net}, ${recompute}` }),
    ),
  ),
} as const satisfies Record<string, readonly Point[]>;

type PointSweep = keyof typeof sweeps;
const pointSweeps = Object.keys(sweeps) as PointSweep[];
const sweepNames = [...pointSweeps, "cold"] as const;

async function measurePoint({ threads, variant, recompute, ...job }: Point): Promise<PointResult> {
  const backend = await openDevice({ device: "cpu", activationDtype: "f32", threads, variant });
  try {
    const result = await measure(backend, job, { recompute, steps: undefined, limits: undefined, proven: new Set() });
    const { p50Ms, imagesPerSecond, macs, peakBytes, planBytes, peakRssBytes } = result;
    const image = { height: job.size, width: job.size };
    const summary = summarize(namedSpec(job.net, job.changes), { ...image, batch: job.batch });
    return {
      ...job,
      threads,
      variant,
      recompute,
      p50Ms,
      imagesPerSecond,
      macs,
      picosecondsPerMac: (p50Ms * 1e9) / macs,
      peakBytes,
      planBytes,
      peakRssBytes,
      naiveBytes: summary.activationBytesNaive,
    };
  } finally {
    await backend.dispose();
  }
}

const run = promisify(execFile);

async function runSweep(points: readonly Point[]): Promise<PointResult[]> {
  const results: PointResult[] = [];
  for (const one of points) {
    const { stdout } = await run(process.execPath, [import.meta.filename, "--point", JSON.stringify(one)]);
    const result: PointResult = JSON.parse(stdout);
    say(`  ${one.label}: ${result.p50Ms.toFixed(1)} ms, ${result.imagesPerSecond.median.toFixed(1)} images/s`);
    results.push(result);
  }
  return results;
}

function sweepTable(results: readonly PointResult[]): string {
  const header = ["point", "images/s", "lowest–highest", "p50 ms", "ps/MAC", "backend", "RSS", "naive activations"];
  const rows = results.map((result) => [
    result.label,
    result.imagesPerSecond.median.toFixed(1),
    `${result.imagesPerSecond.lowest.toFixed(1)}–${result.imagesPerSecond.highest.toFixed(1)}`,
    result.p50Ms.toFixed(1),
    result.picosecondsPerMac.toFixed(1),
    formatBytes(result.peakBytes),
    formatBytes(result.peakRssBytes),
    formatBytes(result.naiveBytes),
  ]);
  return table([header, ...rows], [1, 2, 3, 4, 5, 6, 7]);
}

function depthPlot(results: readonly PointResult[]): string {
  const depths = results.map(({ label }) => Number(label.replace("depth ", "")));
  const line = (name: string, value: (result: PointResult) => number) => ({
    name,
    points: results.map((result, index) => [depths[index] ?? 0, Number(value(result).toPrecision(4))] as const),
  });
  const mebibytes = (bytes: number): number => bytes / 2 ** 20;
  return plotSvg([
    {
      title: "Memory, training at batch 64, k = 12",
      xName: "depth L",
      yName: "MiB",
      lines: [
        line("resident, peak", ({ peakRssBytes }) => mebibytes(peakRssBytes)),
        line("plan", ({ planBytes }) => mebibytes(planBytes.arena + planBytes.persistent)),
      ],
    },
    {
      title: "Time per multiply-add",
      xName: "depth L",
      yName: "ps",
      lines: [line("training step", ({ picosecondsPerMac }) => picosecondsPerMac)],
    },
  ]);
}

/** Milliseconds from starting the command to its first training step's end. */
async function coldStart(net: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "densenet-cold-"));
  const command = join(import.meta.dirname, "..", "src", "cli", "main.ts");
  const flags = ["train", "--preset", "quick", "--model", net, "--batch-size", "64", "--json", "--output", folder];
  const began = performance.now();
  const child = spawn(process.execPath, [command, ...flags], { stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(child, "exit");
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      if (JSON.parse(line).type === "step") return performance.now() - began;
    }
    throw new VerificationError(`densenet ${flags.join(" ")} ended before its first step`, { net });
  } finally {
    child.kill();
    await ended;
    await rm(folder, { recursive: true, force: true });
  }
}

async function runCold(): Promise<readonly { readonly net: string; readonly firstStepMs: readonly number[] }[]> {
  const results = [];
  for (const net of ["BC-40-12", "BC-100-12"]) {
    const firstStepMs: number[] = [];
    while (firstStepMs.length < 7) firstStepMs.push(await coldStart(net));
    say(`  ${net}: ${median(firstStepMs).toFixed(0)} ms`);
    results.push({ net, firstStepMs });
  }
  return results;
}

function readSweeps(positionals: readonly string[]): readonly (typeof sweepNames)[number][] {
  if (positionals.length === 0) return sweepNames;
  return positionals.map((asked) => {
    const found = sweepNames.find((name) => name === asked);
    if (found !== undefined) return found;
    throw new UsageError(`there is no sweep ${asked}, expected some of ${sweepNames.join(", ")}`, { asked });
  });
}

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseFlags(args, {
    point: { type: "string" },
    json: { type: "boolean", default: false },
    output: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  });
  if (values.help) {
    printLine(usage);
    return;
  }
  if (values.point !== undefined) {
    printJson(await measurePoint(JSON.parse(values.point)));
    return;
  }
  const date = new Date().toISOString();
  const results: Record<string, unknown> = {};
  for (const name of readSweeps(positionals)) {
    say(`${name} …`);
    if (name === "cold") {
      const found = await runCold();
      results[name] = found;
      const rows = found.map(({ net, firstStepMs }) => {
        const { median: middle, lowest, highest } = spreadOf(firstStepMs);
        return [net, middle.toFixed(0), `${lowest.toFixed(0)}–${highest.toFixed(0)}`];
      });
      if (!values.json)
        printLine(`\n${table([["net", "ms to the first step's end", "lowest–highest"], ...rows], [1, 2])}`);
    } else {
      const found = await runSweep(sweeps[name]);
      results[name] = found;
      if (!values.json) printLine(`\n${sweepTable(found)}`);
      if (name === "depth" && values.output) {
        await writeResult("sweep", date, "-depth.svg", depthPlot(found));
      }
    }
  }
  const document = { date, ...readEnvironment(), threads: defaultThreads(), results };
  if (values.output) await writeResult("sweep", date, ".json", `${JSON.stringify(document, undefined, 2)}\n`);
  if (values.json) printJson(document);
}

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  process.exitCode = reportFailure(error, args.includes("--json"));
}
