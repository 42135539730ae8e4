// bench: the benchmark command. Each net is proven (gate.ts), then timed (measure.ts); tables go to stdout, or one JSON
// document with --json; talk goes to stderr.
import { formatBytes, formatPercent, table } from "../src/analyze/format.ts";
import { readEnvironment } from "../src/run/environment.node.ts";
import { measureLimits, openDevice, type TimedBackend } from "./device.ts";
import type { MachineLimits } from "./machine.ts";
import { gateBatch, type JobResult, measure } from "./measure.ts";
import { type BenchOptions, mainUsage, readBenchOptions } from "./options.ts";
import { printJson, printLine, reportFailure, say } from "./output.ts";
import { markdownTable, writeResult } from "./results.ts";
import type { RooflineRow } from "./roofline.ts";

/** `table` for a terminal or `markdownTable`. */
type Table = typeof table;

function resultTable(results: readonly JobResult[], draw: Table): string {
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
  return draw([header, ...rows], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
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

/** A title and two tables, or nothing where the calls were not timed. */
function rooflineTables(
  { net, mode, batch, trafficBytes, dispatches, roofline }: JobResult,
  draw: Table,
  heading = "",
): string[] {
  if (!roofline) return [];
  const { ms, calls, groups, dearest } = roofline;
  const rows = (title: string, found: readonly RooflineRow[]): string =>
    draw(
      [[title, ...rooflineHeader], ...found.map((row) => [row.what, ...rooflineCells(row)])],
      [1, 2, 3, 4, 5, 6, 7, 8],
    );
  const inDispatches = dispatches === undefined ? "" : ` (${dispatches} dispatches)`;
  return [
    `${heading}${net}, ${mode}, batch ${batch}: ${ms.toFixed(1)} ms in ${calls} kernel calls${inDispatches} that ` +
      `touch ${(trafficBytes / 1e6).toFixed(0)} MB`,
    rows("by kernel and geometry", groups),
    rows("the dearest calls", dearest),
  ];
}

const limitsLine = ({ gflops, gigabytesPerSecond }: MachineLimits): string =>
  `at most ${gflops.toFixed(0)} GFLOP/s in registers, ${gigabytesPerSecond.toFixed(1)} GB/s copied`;

async function measureAll(backend: TimedBackend, options: BenchOptions) {
  const { jobs, roofline, recompute, steps } = options;
  const limits = roofline ? await measureLimits(backend) : undefined;
  if (limits) say(limitsLine(limits));
  const proven = new Set<string>();
  const results: JobResult[] = [];
  for (const job of jobs) {
    say(`${job.net}, ${job.mode}, batch ${job.batch} of ${job.size}×${job.size} …`);
    const result = await measure(backend, job, { recompute, steps, limits, proven });
    const { checked, distinct } = result.gate;
    say(
      `  ${checked} of ${distinct} kinds of kernel calls, together as they run, agree with the f64 reference (batch ` +
        `${gateBatch})`,
    );
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
  const backend = await openDevice(options);
  try {
    const { cpu, cores, node, v8, platform } = readEnvironment();
    const { name, threads, features, notes } = backend.info;
    const date = new Date().toISOString();
    const machine = `${cpu}, ${threads} of ${cores} threads, node ${node}; ${name} ${JSON.stringify(features)}`;
    for (const line of [machine, ...notes]) say(line);
    const { limits, results } = await measureAll(backend, options);
    if (options.output) {
      const title = `# \`npm run bench -- ${args.join(" ")}\`, ${date.slice(0, 10)}`;
      const facts = [title, machine, ...notes, ...(limits ? [limitsLine(limits)] : [])];
      const tables = [
        resultTable(results, markdownTable),
        ...results.flatMap((result) => rooflineTables(result, markdownTable, "## ")),
      ];
      await writeResult(`bench-${options.device}`, date, ".md", `${[...facts, ...tables].join("\n\n")}\n`);
    }
    if (options.json) {
      const { device, activationDtype, variant } = options;
      const where = { node, v8, platform, cpu, cores, device, activationDtype, threads, variant, features, notes };
      printJson({ date, ...where, limits, results });
      return;
    }
    printLine(
      [resultTable(results, table), ...results.flatMap((result) => rooflineTables(result, table))].join("\n\n"),
    );
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
