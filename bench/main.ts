// Beside the line: the benchmark command. Each net is proven (gate.ts), then timed (measure.ts); tables go to stdout, or one JSON document
// with --json; talk goes to stderr.
import { formatBytes, formatPercent } from "../src/analyze/format.ts";
import { createWasmBackend, type WasmBackend } from "../src/backends/wasm/wasm.ts";
import { readEnvironment } from "../src/cli/environment.ts";
import { printJson, printLine, reportFailure, say, table } from "../src/cli/output.ts";
import { measureMachine } from "./machine.ts";
import { gateBatch, type JobResult, measure } from "./measure.ts";
import { type BenchOptions, mainUsage, readBenchOptions, variantOptions } from "./options.ts";
import type { Roofline, RooflineRow } from "./roofline.ts";

function resultTable(results: readonly JobResult[]): string {
  const header = [
    "net",
    "mode",
    "batch",
    "size",
    "images/s",
    "lowest–highest",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "steps",
    "GFLOP/s",
    "peak",
    "RSS",
  ];
  const rows = results.map((result) => [
    result.net,
    result.mode,
    String(result.batch),
    String(result.size),
    result.imagesPerSecond.median.toFixed(1),
    `${result.imagesPerSecond.lowest.toFixed(1)}–${result.imagesPerSecond.highest.toFixed(1)}`,
    result.p50Ms.toFixed(1),
    result.p90Ms.toFixed(1),
    result.p99Ms.toFixed(1),
    String(result.stepMs.length),
    result.gflops.toFixed(1),
    formatBytes(result.peakBytes),
    formatBytes(result.peakRssBytes),
  ]);
  return table([header, ...rows], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}

const rooflineHeader = ["ms", "share", "calls", "GFLOP/s", "of peak", "MB", "GB/s", "of copy", "limit"];

function rooflineCells(row: RooflineRow): string[] {
  return [
    row.ms.toFixed(2),
    formatPercent(row.share * 100),
    String(row.calls),
    row.macs > 0 ? row.gflops.toFixed(1) : "–",
    row.macs > 0 ? formatPercent(row.peakShare * 100, 0) : "–",
    (row.bytes / 1e6).toFixed(1),
    row.gigabytesPerSecond.toFixed(1),
    formatPercent(row.bandwidthShare * 100, 0),
    row.limit,
  ];
}

function rooflineTables({ net, mode, batch }: JobResult, { ms, groups, dearest }: Roofline): string {
  const rows = (title: string, found: readonly RooflineRow[]): string =>
    table(
      [[title, ...rooflineHeader], ...found.map((row) => [row.what, ...rooflineCells(row)])],
      [1, 2, 3, 4, 5, 6, 7, 8],
    );
  return [
    `\n${net}, ${mode}, batch ${batch}: ${ms.toFixed(1)} ms by kernel and geometry`,
    rows("kernel", groups),
    "\nthe dearest calls",
    rows("call", dearest),
  ].join("\n");
}

async function measureAll(backend: WasmBackend, options: BenchOptions) {
  const { jobs, roofline, recompute, steps } = options;
  const limits = roofline ? await measureMachine(backend.target, backend.info.threads) : undefined;
  if (limits) {
    say(
      `${limits.threads} threads at most: ${limits.gflops.toFixed(0)} GFLOP/s in registers, ${limits.gigabytesPerSecond.toFixed(1)} GB/s copied`,
    );
  }
  const proven = new Set<string>();
  const results: JobResult[] = [];
  for (const job of jobs) {
    say(`${job.net}, ${job.mode}, batch ${job.batch} of ${job.size}×${job.size} …`);
    const result = await measure(backend, job, { recompute, steps, limits, proven });
    const { checked, distinct } = result.gate;
    say(`  ${checked} of ${distinct} kinds of kernel calls agree with the f64 reference (batch ${gateBatch})`);
    results.push(result);
  }
  return { limits, results };
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) {
    printLine(mainUsage);
    return;
  }
  const options = readBenchOptions(args);
  const backend = await createWasmBackend({ threads: options.threads, ...variantOptions[options.variant] });
  try {
    const { cpu, cores, node, v8, platform } = readEnvironment();
    const { threads, features, notes } = backend.info;
    const date = new Date().toISOString();
    say(`${cpu}, ${threads} of ${cores} threads, node ${node}; ${JSON.stringify(features)}`);
    for (const note of notes) say(note);
    const { limits, results } = await measureAll(backend, options);
    if (options.json) {
      const { variant } = options;
      printJson({ date, node, v8, platform, cpu, cores, threads, variant, features, notes, limits, results });
      return;
    }
    printLine(resultTable(results));
    for (const result of results) if (result.roofline) printLine(rooflineTables(result, result.roofline));
  } finally {
    await backend.dispose();
  }
}

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  process.exitCode = reportFailure(error, args.includes("--json"));
}
