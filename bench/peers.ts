// Beside the line: this package and PyTorch side by side on the same cores. Each round runs ours, then PyTorch with every layout, each in
// a process of its own, so that a change in the machine's mood meets all of them; PyTorch is judged by its best layout.
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { formatBytes } from "../src/analyze/format.ts";
import { readEnvironment } from "../src/cli/environment.ts";
import { printJson, printLine, reportFailure, say, table } from "../src/cli/output.ts";
import { ResourceError, UsageError, VerificationError } from "../src/errors.ts";
import { canonicalName } from "../src/spec/variants.ts";
import { choice, defaultSize, defaultThreads, isImageNet, type Job, parseFlags, wholeNumber } from "./options.ts";
import { median, type Spread, spreadOf } from "./statistics.ts";

const run = promisify(execFile);

/** Our names → those of peers/pytorch.py. */
const peerNames: ReadonlyMap<string, string> = new Map([
  ...["40-12", "100-12", "BC-40-12", "BC-100-12", "BC-250-24", "BC-190-40"].map((name): [string, string] => [
    name,
    name,
  ]),
  ["121", "densenet121"],
]);
const layouts = ["channels_last", "contiguous"] as const;
/** Keeps glibc from handing memory back to the system after every step: PyTorch at its best (peers/pytorch.py). */
const mallocSettings = { MALLOC_MMAP_THRESHOLD_: "8589934592", MALLOC_TRIM_THRESHOLD_: "8589934592" };

const usage = `Times this package and PyTorch side by side, interleaved, on the same cores.

Usage: npm run bench:peers -- [nets…] [--mode train|infer] [--batch N] [--threads T] [--rounds N] [--steps N] [--json] [--output]

Without nets: BC-40-12 and BC-100-12. Nets with a PyTorch peer: ${[...peerNames.keys()].join(", ")}.
--output also writes bench/results/peers-<date>.json. Without PyTorch (apt-get install python3-torch python3-torchvision) the
comparison is skipped and says so.

Example: npm run bench:peers -- BC-100-12 --rounds 5 --output`;

interface PeerOptions {
  readonly jobs: readonly Job[];
  readonly threads: number;
  readonly rounds: number;
  readonly steps: number;
  readonly json: boolean;
  readonly output: boolean;
}

/** One process: the median of its steps. */
interface Run {
  readonly imagesPerSecond: number;
  readonly stepMs: readonly number[];
  readonly peakRssBytes: number;
}

interface Contestant {
  readonly who: "densenet" | (typeof layouts)[number];
  readonly runs: readonly Run[];
  /** Of the runs' medians. */
  readonly imagesPerSecond: Spread;
  /** Median of the runs. */
  readonly peakRssBytes: number;
}

interface Comparison extends Job {
  readonly contestants: readonly Contestant[];
  readonly bestPeer: (typeof layouts)[number];
  /** Our images per second over the best peer's, round by round. */
  readonly ratio: Spread;
}

function readOptions(args: readonly string[]): PeerOptions {
  const { values, positionals } = parseFlags(args, {
    mode: { type: "string", default: "train" },
    batch: { type: "string" },
    threads: { type: "string" },
    rounds: { type: "string", default: "3" },
    steps: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
    output: { type: "boolean", default: false },
  });
  const mode = choice("--mode", values.mode, ["train", "infer"]);
  const batch = values.batch === undefined ? undefined : wholeNumber("--batch", values.batch, 1, 65536);
  const nets = [...new Set((positionals.length > 0 ? positionals : ["BC-40-12", "BC-100-12"]).map(canonicalName))];
  for (const net of nets) {
    if (peerNames.has(net)) continue;
    throw new UsageError(`${net} has no PyTorch peer, expected one of ${[...peerNames.keys()].join(", ")}`, { net });
  }
  return {
    jobs: nets.map((net) => ({ net, mode, batch: batch ?? (isImageNet(net) ? 8 : 64), size: defaultSize(net) })),
    threads: values.threads === undefined ? defaultThreads() : wholeNumber("--threads", values.threads, 1, 64),
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    steps: wholeNumber("--steps", values.steps, 1, 100_000),
    json: values.json,
    output: values.output,
  };
}

/** The first Python that has PyTorch. Debian's stands in /usr/bin, also where another python3 comes first on the path. */
async function findPython(): Promise<string | undefined> {
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      await run(python, ["-c", "import torch, torchvision"]);
      return python;
    } catch {
      // Not there, or without PyTorch: the next one.
    }
  }
  return undefined;
}

interface Failed {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number | string | null;
}

/** The JSON line that a program prints. @throws the program's own error, by its exit code. */
async function askProgram(
  who: string,
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<unknown> {
  try {
    const { stdout } = await run(file, args, { env, maxBuffer: 64 * 2 ** 20 });
    return JSON.parse(stdout);
  } catch (error) {
    const { stderr = "", code } = error as Failed;
    const said = stderr.trim().split("\n").at(-1) ?? "";
    const message = `${who} ended with ${code === null || code === undefined ? "a signal" : `exit code ${code}`}: ${said}`;
    if (code === 7) throw new VerificationError(message, { who }, { cause: error });
    throw new ResourceError(message, { who }, { cause: error });
  }
}

async function runOurs({ net, mode, batch, size }: Job, { threads, steps }: PeerOptions): Promise<Run> {
  const flags = { "--mode": mode, "--batch": batch, "--size": size, "--threads": threads, "--steps": steps };
  const args = [
    join(import.meta.dirname, "main.ts"),
    net,
    ...Object.entries(flags).flatMap(([k, v]) => [k, String(v)]),
  ];
  const found = (await askProgram("densenet", process.execPath, [...args, "--json"], process.env)) as {
    readonly results: readonly { readonly stepMs: readonly number[]; readonly peakRssBytes: number }[];
  };
  const [result] = found.results;
  if (!result) throw new VerificationError(`the benchmark of ${net} gave no result`);
  const { stepMs, peakRssBytes } = result;
  return { imagesPerSecond: (batch / median(stepMs)) * 1000, stepMs, peakRssBytes };
}

async function runPyTorch(
  python: string,
  layout: string,
  { net, mode, batch, size }: Job,
  { threads, steps }: PeerOptions,
): Promise<Run & { readonly version: string }> {
  const flags = { net: peerNames.get(net), mode, batch, size, layout, threads, steps };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const script = join(import.meta.dirname, "peers", "pytorch.py");
  const env = { ...process.env, ...mallocSettings };
  const found = (await askProgram("PyTorch", python, [script, ...args], env)) as Run & { readonly version: string };
  const { stepMs, peakRssBytes, version } = found;
  return { imagesPerSecond: (batch / median(stepMs)) * 1000, stepMs, peakRssBytes, version };
}

function contestant(who: Contestant["who"], runs: readonly Run[]): Contestant {
  return {
    who,
    runs,
    imagesPerSecond: spreadOf(runs.map(({ imagesPerSecond }) => imagesPerSecond)),
    peakRssBytes: median(runs.map(({ peakRssBytes }) => peakRssBytes)),
  };
}

async function compare(python: string, job: Job, options: PeerOptions) {
  const ours: Run[] = [];
  const theirs = new Map(layouts.map((layout): [typeof layout, Run[]] => [layout, []]));
  let version = "";
  for (let round = 1; round <= options.rounds; round++) {
    say(`${job.net}, ${job.mode}, batch ${job.batch}: round ${round} of ${options.rounds}`);
    const our = await runOurs(job, options);
    say(`  densenet ${our.imagesPerSecond.toFixed(1)} images/s`);
    ours.push(our);
    for (const [layout, runs] of theirs) {
      const their = await runPyTorch(python, layout, job, options);
      say(`  PyTorch ${layout} ${their.imagesPerSecond.toFixed(1)} images/s`);
      runs.push(their);
      version = their.version;
    }
  }
  const peers = [...theirs].map(([layout, runs]) => ({ layout, ...contestant(layout, runs) }));
  const best = peers.reduce((a, b) => (b.imagesPerSecond.median > a.imagesPerSecond.median ? b : a));
  const ratios = ours.map(
    ({ imagesPerSecond }, round) => imagesPerSecond / (best.runs[round]?.imagesPerSecond ?? Number.NaN),
  );
  const contestants = [contestant("densenet", ours), ...peers.map(({ who, runs }) => contestant(who, runs))];
  const comparison: Comparison = { ...job, contestants, bestPeer: best.layout, ratio: spreadOf(ratios) };
  return { comparison, version };
}

function comparisonTable(comparisons: readonly Comparison[], version: string): string {
  const header = ["net", "mode", "batch", "who", "images/s", "lowest–highest", "peak RSS", "ours / best PyTorch"];
  const rows = comparisons.flatMap(({ net, mode, batch, contestants, ratio }) =>
    contestants.map(({ who, imagesPerSecond: { median: middle, lowest, highest }, peakRssBytes }) => [
      net,
      mode,
      String(batch),
      who === "densenet" ? who : `PyTorch ${version} ${who}`,
      middle.toFixed(1),
      `${lowest.toFixed(1)}–${highest.toFixed(1)}`,
      formatBytes(peakRssBytes),
      who === "densenet" ? `${ratio.median.toFixed(2)} (${ratio.lowest.toFixed(2)}–${ratio.highest.toFixed(2)})` : "",
    ]),
  );
  return table([header, ...rows], [2, 4, 5, 6, 7]);
}

async function writeResults(document: object, date: string): Promise<string> {
  const folder = join(import.meta.dirname, "results");
  await mkdir(folder, { recursive: true });
  const path = join(folder, `peers-${date.slice(0, 19).replaceAll(":", "")}.json`);
  await writeFile(path, `${JSON.stringify(document, undefined, 2)}\n`);
  return path;
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) {
    printLine(usage);
    return;
  }
  const options = readOptions(args);
  const python = await findPython();
  if (python === undefined) {
    const reason =
      "no python3 here can import torch and torchvision; apt-get install python3-torch python3-torchvision brings them";
    say(`skipped: pytorch: ${reason}`);
    if (options.json) printJson({ skipped: [{ peer: "pytorch", reason }], comparisons: [] });
    else printLine("1 skipped: pytorch");
    return;
  }
  const date = new Date().toISOString();
  const comparisons: Comparison[] = [];
  let version = "";
  for (const job of options.jobs) {
    const found = await compare(python, job, options);
    comparisons.push(found.comparison);
    version = found.version;
  }
  const { threads, rounds, steps } = options;
  const document = {
    date,
    ...readEnvironment(),
    threads,
    rounds,
    steps,
    pytorch: { version, malloc: mallocSettings },
    skipped: [],
    comparisons,
  };
  if (options.output) say(`written: ${await writeResults(document, date)}`);
  if (options.json) printJson(document);
  else printLine(comparisonTable(comparisons, version));
}

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  process.exitCode = reportFailure(error, args.includes("--json"));
}
