// Beside the line: this package and its peers side by side on the same cores: PyTorch, and for inference ONNX Runtime, native and as
// WebAssembly. Each round runs ours, then every peer, each in a process of its own, so that a change in the machine's mood meets all of them.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { formatBytes } from "../src/analyze/format.ts";
import { readEnvironment } from "../src/cli/environment.ts";
import { printJson, printLine, reportFailure, say, table } from "../src/cli/output.ts";
import { ResourceError, UsageError, VerificationError } from "../src/errors.ts";
import { canonicalName } from "../src/spec/variants.ts";
import {
  choice,
  defaultSize,
  defaultThreads,
  isImageNet,
  type Job,
  type Mode,
  parseFlags,
  wholeNumber,
} from "./options.ts";
import { writeResult } from "./results.ts";
import { median, quantile, type Spread, spreadOf } from "./statistics.ts";

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
const onnxRuntimeVersion = "1.30.0";
/** Keeps glibc from handing memory back to the system after every step: PyTorch at its best (peers/pytorch.py). */
const mallocSettings = { MALLOC_MMAP_THRESHOLD_: "8589934592", MALLOC_TRIM_THRESHOLD_: "8589934592" };

/** What `--suite` compares: training and inference of small and large nets. */
const suite: readonly (readonly [net: string, mode: Mode, batch: number])[] = [
  ["BC-100-12", "train", 64],
  ["BC-40-12", "train", 64],
  ["40-12", "train", 64],
  ["BC-190-40", "train", 8],
  ["BC-250-24", "train", 8],
  ["121", "train", 8],
  ["BC-100-12", "infer", 64],
  ["121", "infer", 1],
  ["121", "infer", 8],
];

const usage = `Times this package and its peers side by side, interleaved, on the same cores.

Usage: npm run bench:peers -- [nets…] [--suite] [--mode train|infer] [--batch N] [--threads T] [--rounds N] [--steps N] [--json] [--output]

Training: PyTorch, both memory layouts. Inference: also onnxruntime-node and onnxruntime-web, which the first run installs from the npm
registry, without install scripts, beside bench/peers.
Without nets: BC-40-12 and BC-100-12. Nets with peers: ${[...peerNames.keys()].join(", ")}. --suite: all of the README's table.
--output also writes bench/results/peers-<date>.json. A peer that is not there (PyTorch: apt-get install python3-torch
python3-torchvision) is skipped, and named.

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
  readonly who: string;
  readonly runs: readonly Run[];
  /** Of the runs' medians. */
  readonly imagesPerSecond: Spread;
  /** Of all steps of all runs. */
  readonly latencyMs: { readonly p50: number; readonly p90: number; readonly p99: number };
  /** Median of the runs. */
  readonly peakRssBytes: number;
  /** Peers: our images per second over theirs, round by round. */
  readonly ratio?: Spread;
}

interface Comparison extends Job {
  readonly contestants: readonly Contestant[];
}

/** Someone else who can do the job. */
interface Peer {
  readonly name: string;
  run(job: Job, options: PeerOptions): Promise<Run>;
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
    suite: { type: "boolean", default: false },
  });
  const mode = choice("--mode", values.mode, ["train", "infer"]);
  const batch = values.batch === undefined ? undefined : wholeNumber("--batch", values.batch, 1, 65536);
  const sized = (net: string, jobMode: Mode, images: number): Job => ({
    net,
    mode: jobMode,
    batch: images,
    size: defaultSize(net),
  });
  const nets = [...new Set((positionals.length > 0 ? positionals : ["BC-40-12", "BC-100-12"]).map(canonicalName))];
  for (const net of nets) {
    if (peerNames.has(net)) continue;
    throw new UsageError(`${net} has no peer, expected one of ${[...peerNames.keys()].join(", ")}`, { net });
  }
  return {
    jobs: values.suite
      ? suite.filter(([net]) => positionals.length === 0 || nets.includes(net)).map((job) => sized(...job))
      : nets.map((net) => sized(net, mode, batch ?? (isImageNet(net) ? 8 : 64))),
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
  return toRun(result, batch);
}

function pyTorch(python: string, layout: (typeof layouts)[number], version: string): Peer {
  return {
    name: `PyTorch ${version} ${layout}`,
    async run({ net, mode, batch, size }, { threads, steps }) {
      const flags = { net: peerNames.get(net), mode, batch, size, layout, threads, steps };
      const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
      const script = join(import.meta.dirname, "peers", "pytorch.py");
      return toRun(
        await askProgram("PyTorch", python, [script, ...args], { ...process.env, ...mallocSettings }),
        batch,
      );
    },
  };
}

function onnxRuntime(name: string): Peer {
  return {
    name: `${name} ${onnxRuntimeVersion}`,
    async run({ net, batch, size }, { threads, steps }) {
      const flags = { package: name, net, batch, size, threads, steps };
      const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
      const script = join(import.meta.dirname, "peers", "onnxruntime.ts");
      return toRun(await askProgram(name, process.execPath, [script, ...args], process.env), batch);
    },
  };
}

function toRun(answer: unknown, batch: number): Run {
  const { stepMs, peakRssBytes } = answer as Pick<Run, "stepMs" | "peakRssBytes">;
  return { imagesPerSecond: (batch / median(stepMs)) * 1000, stepMs, peakRssBytes };
}

interface Skipped {
  readonly peer: string;
  readonly reason: string;
}

/** The peers that this machine has, and those it lacks. */
async function findPeers(modes: ReadonlySet<Mode>): Promise<{ found: Record<Mode, Peer[]>; skipped: Skipped[] }> {
  const found: Record<Mode, Peer[]> = { train: [], infer: [] };
  const skipped: Skipped[] = [];
  const python = await findPython();
  if (python === undefined) {
    const reason =
      "no python3 here can import torch and torchvision; apt-get install python3-torch python3-torchvision brings them";
    skipped.push({ peer: "PyTorch", reason });
  } else {
    const { stdout } = await run(python, ["-c", "import torch; print(torch.__version__)"]);
    for (const layout of layouts) {
      const peer = pyTorch(python, layout, stdout.trim());
      found.train.push(peer);
      found.infer.push(peer);
    }
  }
  if (!modes.has("infer")) return { found, skipped };
  const packages = ["onnxruntime-node", "onnxruntime-web"];
  const reason = await installBeside(packages.map((name) => `${name}@${onnxRuntimeVersion}`));
  if (reason === undefined) found.infer.push(...packages.map(onnxRuntime));
  else skipped.push(...packages.map((peer) => ({ peer, reason })));
  return { found, skipped };
}

/** Installs packages into bench/peers/node_modules, without install scripts; returns why that failed, or undefined. */
async function installBeside(packages: readonly string[]): Promise<string | undefined> {
  const folder = join(import.meta.dirname, "peers");
  const present = packages.every((name) => existsSync(join(folder, "node_modules", name.split("@")[0] ?? name)));
  if (present) return undefined;
  say(`installing ${packages.join(" and ")} for the comparison`);
  try {
    await run("npm", [
      "install",
      "--no-save",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--prefix",
      folder,
      ...packages,
    ]);
    return undefined;
  } catch (error) {
    return `npm could not install it: ${((error as Failed).stderr ?? "").trim().split("\n").at(-1) ?? ""}`;
  }
}

function contestant(who: string, runs: readonly Run[]): Contestant {
  const all = runs.flatMap(({ stepMs }) => stepMs);
  return {
    who,
    runs,
    imagesPerSecond: spreadOf(runs.map(({ imagesPerSecond }) => imagesPerSecond)),
    latencyMs: { p50: quantile(all, 0.5), p90: quantile(all, 0.9), p99: quantile(all, 0.99) },
    peakRssBytes: median(runs.map(({ peakRssBytes }) => peakRssBytes)),
  };
}

async function compare(peers: readonly Peer[], job: Job, options: PeerOptions): Promise<Comparison> {
  const ours: Run[] = [];
  const theirs = peers.map((peer) => ({ peer, runs: [] as Run[] }));
  for (let round = 1; round <= options.rounds; round++) {
    say(`${job.net}, ${job.mode}, batch ${job.batch}: round ${round} of ${options.rounds}`);
    const our = await runOurs(job, options);
    say(`  densenet ${our.imagesPerSecond.toFixed(1)} images/s`);
    ours.push(our);
    for (const { peer, runs } of theirs) {
      const their = await peer.run(job, options);
      say(`  ${peer.name} ${their.imagesPerSecond.toFixed(1)} images/s`);
      runs.push(their);
    }
  }
  const ratioTo = (runs: readonly Run[]): Spread =>
    spreadOf(runs.map(({ imagesPerSecond }, round) => (ours[round]?.imagesPerSecond ?? Number.NaN) / imagesPerSecond));
  const rivals = theirs.map(({ peer, runs }) => ({ ...contestant(peer.name, runs), ratio: ratioTo(runs) }));
  return { ...job, contestants: [contestant("densenet", ours), ...rivals] };
}

function comparisonTable(comparisons: readonly Comparison[]): string {
  const header = [
    "net",
    "mode",
    "batch",
    "who",
    "images/s",
    "lowest–highest",
    "p50 ms",
    "p90",
    "p99",
    "peak RSS",
    "ours / it",
  ];
  const rows = comparisons.flatMap(({ net, mode, batch, contestants }) =>
    contestants.map(({ who, imagesPerSecond: { median: middle, lowest, highest }, latencyMs, peakRssBytes, ratio }) => [
      net,
      mode,
      String(batch),
      who,
      middle.toFixed(1),
      `${lowest.toFixed(1)}–${highest.toFixed(1)}`,
      ...[latencyMs.p50, latencyMs.p90, latencyMs.p99].map((ms) => ms.toFixed(0)),
      formatBytes(peakRssBytes),
      ratio ? `${ratio.median.toFixed(2)} (${ratio.lowest.toFixed(2)}–${ratio.highest.toFixed(2)})` : "",
    ]),
  );
  return table([header, ...rows], [2, 4, 5, 6, 7, 8, 9, 10]);
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) {
    printLine(usage);
    return;
  }
  const options = readOptions(args);
  const { found, skipped } = await findPeers(new Set(options.jobs.map(({ mode }) => mode)));
  for (const { peer, reason } of skipped) say(`skipped: ${peer}: ${reason}`);
  const date = new Date().toISOString();
  const comparisons: Comparison[] = [];
  for (const job of options.jobs) comparisons.push(await compare(found[job.mode], job, options));
  const { threads, rounds, steps } = options;
  const document = {
    date,
    ...readEnvironment(),
    threads,
    rounds,
    steps,
    pytorchMalloc: mallocSettings,
    skipped,
    comparisons,
  };
  if (options.output) await writeResult("peers", date, ".json", `${JSON.stringify(document, undefined, 2)}\n`);
  if (options.json) printJson(document);
  else {
    printLine(comparisonTable(comparisons));
    if (skipped.length > 0) printLine(`${skipped.length} skipped: ${skipped.map(({ peer }) => peer).join(", ")}`);
  }
}

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  process.exitCode = reportFailure(error, args.includes("--json"));
}
