// bench: this package and its peers side by side. On the same cores: PyTorch, and for inference ONNX Runtime, native
// and as WebAssembly. On the same GPU: PyTorch with CUDA, as it comes, with mixed precision, and compiled. Each round
// runs ours, then every peer, each in a process of its own, so that a change in the machine's mood meets all of them.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { formatBytes, table } from "../src/analyze/format.ts";
import { ResourceError, UsageError, VerificationError } from "../src/errors.ts";
import { canonicalName } from "../src/networks/registry.ts";
import { type ActivationDtype, activationDtypes } from "../src/plan/plan.ts";
import { type Environment, readEnvironment } from "../src/run/environment.node.ts";
import {
  choice,
  type Device,
  defaultSize,
  defaultThreads,
  devices,
  isImageNet,
  type Job,
  type Mode,
  parseFlags,
  readActivationDtype,
  wholeNumber,
} from "./options.ts";
import { printJson, printLine, reportFailure, say } from "./output.ts";
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
const onnxRuntimeVersion = "1.30.0";
/** Keeps glibc from handing memory back to the system after every step: PyTorch at its best (peers/pytorch.py). */
const mallocSettings = { MALLOC_MMAP_THRESHOLD_: "8589934592", MALLOC_TRIM_THRESHOLD_: "8589934592" };

/** What `--suite` compares: training and inference of small and large nets. */
const suites: Readonly<Record<Device, readonly (readonly [net: string, mode: Mode, batch: number])[]>> = {
  cpu: [
    ["BC-100-12", "train", 64],
    ["BC-40-12", "train", 64],
    ["40-12", "train", 64],
    ["BC-190-40", "train", 8],
    ["BC-250-24", "train", 8],
    ["121", "train", 8],
    ["BC-100-12", "infer", 64],
    ["121", "infer", 1],
    ["121", "infer", 8],
  ],
  webgpu: [
    ["BC-100-12", "train", 64],
    ["BC-100-12", "train", 256],
    ["121", "train", 64],
    ["121", "train", 256],
    ["BC-100-12", "infer", 64],
    ["BC-100-12", "infer", 256],
    ["121", "infer", 1],
    ["121", "infer", 64],
    ["121", "infer", 256],
  ],
};

const usage = `Times this package and its peers side by side, interleaved, on the same cores or on the same GPU.

Usage: npm run bench:peers -- [nets…] [--suite] [--device ${devices.join("|")}] [--activation-dtype ${activationDtypes.join("|")}] [--mode train|infer] [--batch N]
         [--threads T] [--rounds N] [--steps N] [--json] [--output]

Training: PyTorch, both memory layouts. Inference: also onnxruntime-node and onnxruntime-web, which the first run installs from the npm
registry, without install scripts, beside bench/peers.
--device webgpu: PyTorch with CUDA in f32 (convolutions in TF32, its default), channels_last with autocast, and that compiled with CUDA graphs.
There --activation-dtype f16 is about ours: feature maps in half the memory, as autocast has them.
Without nets: BC-40-12 and BC-100-12. Nets with peers: ${[...peerNames.keys()].join(", ")}. --suite: all of the README's table, or what of it
has these nets, this mode and this batch. --output also writes bench/results/peers-<date>.json. A peer that is not there (PyTorch:
apt-get install python3-torch python3-torchvision) or fails is skipped, and named.

Examples:
  npm run bench:peers -- BC-100-12 --rounds 5 --output
  npm run bench:peers -- --suite --device webgpu --mode train --batch 64`;

interface PeerOptions {
  readonly jobs: readonly Job[];
  readonly device: Device;
  /** Of our feature maps on a GPU. */
  readonly activationDtype: ActivationDtype;
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
  /** Of a GPU: ours, what the plan takes; PyTorch's, what its allocator holds. */
  readonly deviceBytes: number | null;
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
  readonly deviceBytes: number | null;
  /** Peers: our images per second over theirs, round by round. */
  readonly ratio?: Spread;
}

export interface Comparison extends Job {
  /** Of our backend: what it found, and what it says about it. */
  readonly features: Readonly<Record<string, boolean>>;
  readonly notes: readonly string[];
  readonly contestants: readonly Contestant[];
}

/** What --json prints and --output keeps. */
export interface PeerDocument extends Environment {
  readonly date: string;
  readonly device: Device;
  /** Of our feature maps; documents from before there was a choice have none. */
  readonly activationDtype?: ActivationDtype;
  readonly threads: number;
  readonly rounds: number;
  readonly steps: number;
  readonly pytorchMalloc: Readonly<Record<string, string>>;
  readonly skipped: readonly Skipped[];
  readonly comparisons: readonly Comparison[];
}

interface OurRun extends Run, Pick<Comparison, "features" | "notes"> {}

/** Someone else who can do the job. */
interface Peer {
  readonly name: string;
  run(job: Job, options: PeerOptions): Promise<Run>;
}

function readOptions(args: readonly string[]): PeerOptions {
  const { values, positionals } = parseFlags(args, {
    device: { type: "string", default: "cpu" },
    mode: { type: "string" },
    batch: { type: "string" },
    threads: { type: "string" },
    rounds: { type: "string", default: "3" },
    steps: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
    output: { type: "boolean", default: false },
    suite: { type: "boolean", default: false },
    "activation-dtype": { type: "string" },
  });
  const device = choice("--device", values.device, devices);
  const mode = values.mode === undefined ? undefined : choice("--mode", values.mode, ["train", "infer"]);
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
  const jobs = values.suite
    ? suites[device]
        .filter(([net]) => positionals.length === 0 || nets.includes(net))
        .filter(([, jobMode, images]) => jobMode === (mode ?? jobMode) && images === (batch ?? images))
        .map((job) => sized(...job))
    : nets.map((net) => sized(net, mode ?? "train", batch ?? (isImageNet(net) ? 8 : 64)));
  if (jobs.length === 0) {
    const known = suites[device].map(([net, jobMode, images]) => `${net} ${jobMode} ${images}`).join(", ");
    throw new UsageError(`--suite has nothing of that; net, mode and batch are of ${known}`, { nets, mode, batch });
  }
  return {
    jobs,
    device,
    activationDtype: readActivationDtype(device, values["activation-dtype"]),
    threads: values.threads === undefined ? defaultThreads() : wholeNumber("--threads", values.threads, 1, 64),
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    steps: wholeNumber("--steps", values.steps, 1, 100_000),
    json: values.json,
    output: values.output,
  };
}

interface Python {
  readonly file: string;
  readonly torch: string;
  readonly cuda: boolean;
}

/**
 * The first Python that has PyTorch. Debian's stands in /usr/bin, also where another python3 comes first on the path.
 */
async function findPython(): Promise<Python | undefined> {
  const question =
    "import json, torch; print(json.dumps({'torch': torch.__version__, 'cuda': torch.cuda.is_available()}))";
  for (const file of ["python3", "/usr/bin/python3"]) {
    try {
      return { file, ...JSON.parse((await run(file, ["-c", question])).stdout) };
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
    const message =
      `${who} ended with ${code === null || code === undefined ? "a signal" : `exit code ${code}`}: ` + `${said}`;
    if (code === 7) throw new VerificationError(message, { who }, { cause: error });
    throw new ResourceError(message, { who }, { cause: error });
  }
}

async function runOurs({ net, mode, batch, size }: Job, options: PeerOptions): Promise<OurRun> {
  const { device, activationDtype, threads, steps } = options;
  const flags = {
    mode,
    batch,
    size,
    steps,
    device,
    ...(device === "cpu" ? { threads } : { "activation-dtype": activationDtype }),
  };
  const script = join(import.meta.dirname, "main.ts");
  const found = (await askProgram(
    "densenet",
    process.execPath,
    [script, net, ...asFlags(flags), "--json"],
    process.env,
  )) as Pick<OurRun, "features" | "notes"> & {
    readonly results: readonly (Pick<Run, "stepMs" | "peakRssBytes"> & { readonly peakBytes: number })[];
  };
  const [result] = found.results;
  if (!result) throw new VerificationError(`the benchmark of ${net} gave no result`);
  const { features, notes } = found;
  const deviceBytes = device === "cpu" ? null : result.peakBytes;
  return { ...toRun({ ...result, deviceBytes }, batch), features, notes };
}

const asFlags = (values: Readonly<Record<string, string | number | undefined>>): string[] =>
  Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);

/** `flags`: of pytorch.py, beside those of the job. */
function pyTorch(file: string, name: string, flags: readonly string[]): Peer {
  return {
    name,
    async run({ net, mode, batch, size }, { threads, steps }) {
      const script = join(import.meta.dirname, "peers", "pytorch.py");
      const args = [script, ...asFlags({ net: peerNames.get(net), mode, batch, size, threads, steps }), ...flags];
      return toRun(await askProgram("PyTorch", file, args, { ...process.env, ...mallocSettings }), batch);
    },
  };
}

function onnxRuntime(name: string): Peer {
  return {
    name: `${name} ${onnxRuntimeVersion}`,
    async run({ net, batch, size }, { threads, steps }) {
      const script = join(import.meta.dirname, "peers", "onnxruntime.ts");
      const args = [script, ...asFlags({ package: name, net, batch, size, threads, steps })];
      return toRun(await askProgram(name, process.execPath, args, process.env), batch);
    },
  };
}

function toRun(answer: unknown, batch: number): Run {
  const { stepMs, peakRssBytes, deviceBytes = null } = answer as Omit<Run, "imagesPerSecond">;
  return { imagesPerSecond: (batch / median(stepMs)) * 1000, stepMs, peakRssBytes, deviceBytes };
}

interface Skipped {
  readonly peer: string;
  readonly reason: string;
}

/** Ways to run PyTorch, from what a user writes first to what makes it fastest. */
const pyTorchWays: Readonly<Record<Device, Readonly<Record<string, readonly string[]>>>> = {
  cpu: { channels_last: ["--layout", "channels_last"], contiguous: ["--layout", "contiguous"] },
  webgpu: {
    "CUDA f32": ["--device", "cuda", "--layout", "contiguous"],
    "CUDA channels_last AMP": ["--device", "cuda", "--amp"],
    "CUDA channels_last AMP compiled": ["--device", "cuda", "--amp", "--compile"],
  },
};

/** The peers that this machine has for this device, and those it lacks. */
async function findPeers(
  device: Device,
  modes: ReadonlySet<Mode>,
): Promise<{ found: Record<Mode, Peer[]>; skipped: Skipped[] }> {
  const found: Record<Mode, Peer[]> = { train: [], infer: [] };
  const skipped: Skipped[] = [];
  const python = await findPython();
  if (python === undefined) {
    const reason = "no python3 here can import torch; apt-get install python3-torch python3-torchvision brings it";
    skipped.push({ peer: "PyTorch", reason });
  } else if (device === "webgpu" && !python.cuda) {
    skipped.push({ peer: "PyTorch with CUDA", reason: `PyTorch ${python.torch} finds no CUDA device here` });
  } else {
    for (const [way, flags] of Object.entries(pyTorchWays[device])) {
      const peer = pyTorch(python.file, `PyTorch ${python.torch} ${way}`, flags);
      found.train.push(peer);
      found.infer.push(peer);
    }
  }
  if (device === "webgpu" || !modes.has("infer")) return { found, skipped };
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
    deviceBytes: runs[0]?.deviceBytes ?? null,
  };
}

/** A peer that fails is left out of this comparison and goes to `skipped`; ours may not fail. */
async function compare(
  peers: readonly Peer[],
  job: Job,
  options: PeerOptions,
  skipped: Skipped[],
): Promise<Comparison> {
  const title = `${job.net}, ${job.mode}, batch ${job.batch}`;
  const ours: OurRun[] = [];
  const theirs = new Map<Peer, Run[]>(peers.map((peer) => [peer, []]));
  for (let round = 1; round <= options.rounds; round++) {
    say(`${title}: round ${round} of ${options.rounds}`);
    const our = await runOurs(job, options);
    say(`  densenet ${our.imagesPerSecond.toFixed(1)} images/s`);
    ours.push(our);
    for (const [peer, runs] of theirs) {
      try {
        const their = await peer.run(job, options);
        say(`  ${peer.name} ${their.imagesPerSecond.toFixed(1)} images/s`);
        runs.push(their);
      } catch (error) {
        if (!(error instanceof ResourceError)) throw error;
        say(`  skipped: ${peer.name}: ${error.message}`);
        skipped.push({ peer: `${peer.name} (${title})`, reason: error.message });
        theirs.delete(peer);
      }
    }
  }
  const ratioTo = (runs: readonly Run[]): Spread =>
    spreadOf(runs.map(({ imagesPerSecond }, round) => (ours[round]?.imagesPerSecond ?? Number.NaN) / imagesPerSecond));
  const rivals = [...theirs].map(([peer, runs]) => ({ ...contestant(peer.name, runs), ratio: ratioTo(runs) }));
  const { features = {}, notes = [] } = ours[0] ?? {};
  const us = contestant(options.activationDtype === "f16" ? "densenet f16" : "densenet", ours);
  return { ...job, features, notes, contestants: [us, ...rivals] };
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
    "GPU memory",
    "ours / it",
  ];
  const rows = comparisons.flatMap(({ net, mode, batch, contestants }) =>
    contestants.map(({ who, imagesPerSecond, latencyMs, peakRssBytes, deviceBytes, ratio }) => [
      net,
      mode,
      String(batch),
      who,
      imagesPerSecond.median.toFixed(1),
      `${imagesPerSecond.lowest.toFixed(1)}–${imagesPerSecond.highest.toFixed(1)}`,
      ...[latencyMs.p50, latencyMs.p90, latencyMs.p99].map((ms) => ms.toFixed(0)),
      formatBytes(peakRssBytes),
      deviceBytes === null ? "" : formatBytes(deviceBytes),
      ratio ? `${ratio.median.toFixed(2)} (${ratio.lowest.toFixed(2)}–${ratio.highest.toFixed(2)})` : "",
    ]),
  );
  return table([header, ...rows], [2, 4, 5, 6, 7, 8, 9, 10, 11]);
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) {
    printLine(usage);
    return;
  }
  const options = readOptions(args);
  const { found, skipped } = await findPeers(options.device, new Set(options.jobs.map(({ mode }) => mode)));
  for (const { peer, reason } of skipped) say(`skipped: ${peer}: ${reason}`);
  const date = new Date().toISOString();
  const comparisons: Comparison[] = [];
  const { device, activationDtype, threads, rounds, steps } = options;
  const document: PeerDocument = {
    date,
    ...readEnvironment(),
    device,
    activationDtype,
    threads,
    rounds,
    steps,
    pytorchMalloc: mallocSettings,
    skipped,
    comparisons,
  };
  let failure: ResourceError | undefined;
  for (const job of options.jobs) {
    try {
      comparisons.push(await compare(found[job.mode], job, options, skipped));
    } catch (error) {
      // A net that does not fit must not cost the comparisons of those that do.
      if (!(error instanceof ResourceError)) throw error;
      say(`failed: ${job.net}, ${job.mode}, batch ${job.batch}: ${error.message}`);
      failure ??= error;
    }
    // After each, because the next may run into a limit of time.
    if (options.output && comparisons.length > 0) {
      const name = device === "cpu" ? "peers" : `peers-${device}`;
      await writeResult(name, date, ".json", `${JSON.stringify(document, undefined, 2)}\n`);
    }
  }
  if (options.json) printJson(document);
  else {
    printLine(comparisonTable(comparisons));
    if (skipped.length > 0) printLine(`${skipped.length} skipped: ${skipped.map(({ peer }) => peer).join(", ")}`);
  }
  if (failure) throw failure;
}

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  process.exitCode = reportFailure(error, args.includes("--json"));
}
