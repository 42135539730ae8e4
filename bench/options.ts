// bench: the benchmark's command line → what to time. Shared by main.ts and peers.ts.
import { availableParallelism } from "node:os";
import { type ParseArgsConfig, type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { maxThreads } from "../src/backends/names.ts";
import type { WasmOptions } from "../src/backends/wasm/wasm.ts";
import { UsageError } from "../src/errors.ts";
import { nearestName } from "../src/nearestName.ts";
import { canonicalName, type ModelFields, namedSpec, usualInput } from "../src/networks/registry.ts";
import { type ActivationDtype, activationDtypes } from "../src/plan/plan.ts";
import { type RecomputePolicy, recomputePolicies } from "../src/plan/recompute.ts";

export type Mode = "train" | "infer";

export const devices = ["cpu", "webgpu"] as const;
/** Where it runs: the wasm backend on the CPU, or a GPU. */
export type Device = (typeof devices)[number];

/** One thing to time: a step of a net on `batch` images [3, size, size]. */
export interface Job {
  readonly net: string;
  readonly mode: Mode;
  readonly batch: number;
  readonly size: number;
  /** What differs from the named net. */
  readonly changes?: ModelFields;
}

export const variants = ["default", "no-revectorize", "no-relaxed-simd", "no-shared-memory"] as const;
/** Fast paths that the wasm backend is asked not to take. */
export type Variant = (typeof variants)[number];
export const variantOptions: Readonly<Record<Variant, WasmOptions>> = {
  default: {},
  "no-revectorize": { revectorize: false },
  "no-relaxed-simd": { relaxedSimd: false },
  "no-shared-memory": { sharedMemory: false },
};

export interface BenchOptions {
  readonly jobs: readonly Job[];
  readonly device: Device;
  /** Of feature maps on a GPU. */
  readonly activationDtype: ActivationDtype;
  /** Of the CPU. */
  readonly threads: number;
  /** Timed steps; default: as many as fit a few seconds, see defaultSteps. */
  readonly steps: number | undefined;
  readonly recompute: RecomputePolicy;
  readonly variant: Variant;
  readonly roofline: boolean;
  readonly json: boolean;
  /** Also leave the tables in bench/results. */
  readonly output: boolean;
}

export const mainUsage = `Times a training step and inference of named nets, after proving the kernels.

Usage: npm run bench -- [nets…] [--device ${devices.join("|")}] [--mode train|infer|both] [--batch N] [--size S] [--steps N]
         [--recompute ${recomputePolicies.join("|")}] [--roofline] [--json] [--output]
       on the CPU also [--threads T] [--variant ${variants.join("|")}], on a GPU [--activation-dtype ${activationDtypes.join("|")}]

Without nets: BC-40-12 and BC-100-12 in both modes, 121 inference. CIFAR nets: batch 64 of 32×32.
ImageNet nets: 224×224, batch 8 for training, 1 and 8 for inference.
--activation-dtype f16: feature maps in half the memory. --roofline: which kernels take the time, and what holds them back.
--output: the tables as Markdown in bench/results too.

Examples:
  npm run bench -- BC-100-12 --mode train --roofline
  npm run bench -- 121 --mode infer --batch 1 --json > bench.json

Exit codes: 0 ok · 2 usage · 5 out of memory · 6 device · 7 a kernel's conformance failed`;

/** parseArgs, its complaints as one sentence for the user. */
export function parseFlags<const O extends ParseArgsOptionsConfig>(args: readonly string[], options: O) {
  const config = { args, options, allowPositionals: true, strict: true } as const satisfies ParseArgsConfig;
  try {
    return parseArgs(config);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const [, flag] = /'(--?[\w-]+)/.exec(error.message) ?? [];
    const known = Object.keys(options).map((name) => `--${name}`);
    if (flag !== undefined && !known.includes(flag)) {
      const near = nearestName(flag, known);
      const hint = near === undefined ? `expected one of ${known.join(", ")}` : `did you mean ${near}?`;
      throw new UsageError(`there is no option ${flag}; ${hint}`, { flag, expected: known });
    }
    throw new UsageError(error.message.split("\n")[0] ?? error.message, { flag });
  }
}

/** @throws UsageError unless `text` is a whole number in [least, most]. */
export function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`${flag}: got "${text}", expected a whole number from ${least} to ${most}`, {
    flag,
    value: text,
  });
}

/** @throws UsageError unless `text` is one of `choices`. */
export function choice<const C extends string>(flag: string, text: string, choices: readonly C[]): C {
  const found = choices.find((one) => one === text);
  if (found !== undefined) return found;
  throw new UsageError(`${flag}: got "${text}", expected one of ${choices.join(", ")}`, { flag, value: text });
}

/** @throws UsageError where an activation dtype is chosen for the CPU, or one that there is not */
export function readActivationDtype(device: Device, text: string | undefined): ActivationDtype {
  if (text !== undefined && device === "cpu") {
    throw new UsageError(`--activation-dtype is for --device webgpu, got it with --device ${device}`, {
      flag: "--activation-dtype",
      device,
    });
  }
  return choice("--activation-dtype", text ?? "f32", activationDtypes);
}

export const defaultThreads = (): number => Math.min(maxThreads, availableParallelism());
export const isImageNet = (net: string): boolean => usualInput(namedSpec(net)) === 224;
/** Height and width of an image where no size was asked for. */
export const defaultSize = (net: string): number => (isImageNet(net) ? 224 : 32);

function defaultBatches(net: string, mode: Mode): readonly number[] {
  if (!isImageNet(net)) return [64];
  return mode === "train" ? [8] : [1, 8];
}

/** At least this many timed steps make a median; quick ones are repeated until they fill `seconds` or `most`. */
export const defaultSteps = { least: 5, most: 30, seconds: 8 } as const;

/** @throws UsageError for anything that cannot be timed. */
export function readBenchOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parseFlags(args, {
    device: { type: "string", default: "cpu" },
    mode: { type: "string" },
    batch: { type: "string" },
    size: { type: "string" },
    threads: { type: "string" },
    steps: { type: "string" },
    recompute: { type: "string", default: "none" },
    roofline: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    output: { type: "boolean", default: false },
    variant: { type: "string" },
    "activation-dtype": { type: "string" },
  });
  const device = choice("--device", values.device, devices);
  const ofCpu = (["threads", "variant"] as const).find((flag) => values[flag] !== undefined);
  if (device === "webgpu" && ofCpu !== undefined) {
    throw new UsageError(`--${ofCpu} is for --device cpu, got it with --device webgpu`, { flag: `--${ofCpu}`, device });
  }
  const asked = choice("--mode", values.mode ?? "both", ["train", "infer", "both"]);
  const batch = values.batch === undefined ? undefined : wholeNumber("--batch", values.batch, 1, 65536);
  const size = values.size === undefined ? undefined : wholeNumber("--size", values.size, 1, 4096);
  const wants = (mode: Mode): boolean => asked === "both" || asked === mode;
  const jobsOf = (net: string, modes: readonly Mode[]): Job[] =>
    modes.filter(wants).flatMap((mode) =>
      (batch === undefined ? defaultBatches(net, mode) : [batch]).map((images) => ({
        net,
        mode,
        batch: images,
        size: size ?? defaultSize(net),
      })),
    );
  const both: readonly Mode[] = ["train", "infer"];
  const nets = [...new Set(positionals.map(canonicalName))];
  return {
    jobs:
      nets.length > 0
        ? nets.flatMap((net) => jobsOf(net, both))
        : [...["BC-40-12", "BC-100-12"].flatMap((net) => jobsOf(net, both)), ...jobsOf("121", ["infer"])],
    device,
    activationDtype: readActivationDtype(device, values["activation-dtype"]),
    threads: values.threads === undefined ? defaultThreads() : wholeNumber("--threads", values.threads, 1, maxThreads),
    steps: values.steps === undefined ? undefined : wholeNumber("--steps", values.steps, 1, 100_000),
    recompute: choice("--recompute", values.recompute, recomputePolicies),
    variant: choice("--variant", values.variant ?? "default", variants),
    roofline: values.roofline,
    json: values.json,
    output: values.output,
  };
}
