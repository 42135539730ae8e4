// cli: `densenet doctor` — whether this machine can do what the package needs, and what it found.
import type { Command } from "commander";
import { formatBytes, table } from "../analyze/format.ts";
import type { Backend } from "../backends/backend.ts";
import { findAdapter, openGpu } from "../backends/webgpu/gpu.ts";
import { lacksHalves } from "../backends/webgpu/halves.ts";
import type { Matrices } from "../backends/webgpu/kernel.ts";
import { findMatrices } from "../backends/webgpu/matrix.ts";
import { DenseNetError, DeviceError, VerificationError } from "../errors.ts";
import { featureName, readEnvironment } from "../run/environment.node.ts";
import { compareWithReference, SELF_CHECK_TOLERANCE } from "../run/selfCheck.ts";
import { openBackend } from "./backend.ts";
import { exitCodeOf } from "./exitCodes.ts";
import { examples, jsonOption, settingOption } from "./flags.ts";
import { printJson, printLine, say, toned } from "./output.ts";

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

const OLDEST_NODE = 22;

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .summary("check this machine and what the backend found on it")
    .description(
      "Checks Node, the WebAssembly backend, the GPU if there is one and image decoding, and trains a tiny network " +
        "one step on each backend and on the reference to compare them.",
    )
    .addOption(settingOption("threads"))
    .addOption(jsonOption())
    .addHelpText("after", examples("densenet doctor", "densenet doctor --threads 1 --json"))
    .action(doctor);
}

async function doctor(options: { readonly threads?: number; readonly json?: boolean }): Promise<void> {
  const environment = readEnvironment();
  const checks: Check[] = [nodeCheck(environment.node)];
  let failure: DenseNetError | undefined;
  let backend: Backend | undefined;
  try {
    backend = await openBackend({ device: "wasm", activationDtype: "f32", threads: options.threads ?? null });
    const { info } = backend;
    checks.push({
      name: "wasm backend",
      ok: true,
      detail: `${info.threads} ${info.threads === 1 ? "thread" : "threads"}, ${foundFeatures(info.features)}`,
    });
    const compared = await selfCheck("self-check", backend);
    checks.push(compared);
    if (!compared.ok) failure = new VerificationError(`${compared.name}: ${compared.detail}`);
  } catch (error) {
    if (!(error instanceof DenseNetError)) throw error;
    failure = error;
    checks.push({ name: "wasm backend", ok: false, detail: error.message });
  }
  const gpu = await findGpu();
  if (!("missing" in gpu)) {
    const compared = await gpuCheck();
    checks.push(compared);
    if (!compared.ok) failure ??= new DeviceError(`${compared.name}: ${compared.detail}`);
  }
  const images = await imageCheck();
  checks.push(images);
  if (!images.ok) failure ??= new DeviceError(`image decoding: ${images.detail}`);
  if (checks[0]?.ok === false) failure ??= new DeviceError(`node: ${checks[0].detail}`);
  if (options.json) {
    printJson({
      ok: failure === undefined,
      environment,
      backend: backend?.info,
      webgpu: gpu,
      checks,
      ...(failure === undefined
        ? {}
        : { error: { kind: failure.name, message: failure.message, details: failure.details } }),
    });
  } else {
    const { cpu, cores, memoryBytes, platform } = environment;
    printLine(
      table([
        ["processor", cpu],
        ["cores", String(cores)],
        ["memory", formatBytes(memoryBytes)],
        ["system", platform],
        ...gpuRows(gpu),
      ]),
    );
    printLine("");
    for (const check of checks) {
      const mark = check.ok ? toned("green", "ok  ", process.stdout) : toned("red", "FAIL", process.stdout);
      printLine(`  ${check.name}: ${check.detail}`, mark);
    }
    for (const note of backend?.info.notes ?? []) printLine(`note  ${note}`);
  }
  await backend?.dispose();
  if (failure !== undefined) {
    if (!options.json) say(failure.message, `${toned("red", "densenet:")} `);
    process.exitCode = exitCodeOf(failure);
  }
}

/** The WebGPU adapter, or why there is none; a machine without one lacks nothing that it needs. */
type FoundAdapter =
  | { readonly missing: string }
  | {
      readonly name: string;
      readonly software: boolean;
      readonly limits: Readonly<Record<(typeof shownLimits)[number], number>>;
      readonly features: Readonly<Record<(typeof shownFeatures)[number], boolean>>;
      /** Whether --activation-dtype f16 can be had, and if not, why. */
      readonly f16Storage: { readonly ok: boolean; readonly missing?: string };
      /** Those that it offers and convolutions go through with --activation-dtype f16, if they then multiply right. */
      readonly subgroupMatrices: Matrices | null;
    };

/** Those that decide how large a net fits, in bytes. */
const shownLimits = ["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize"] as const;
const shownFeatures = ["subgroups", "shader-f16", "timestamp-query"] as const;

async function findGpu(): Promise<FoundAdapter> {
  try {
    const found = await findAdapter(await openGpu());
    const { adapter, name, software } = found;
    const limits = Object.fromEntries(shownLimits.map((limit) => [limit, adapter.limits[limit]]));
    const features = Object.fromEntries(shownFeatures.map((feature) => [feature, adapter.features.has(feature)]));
    const missing = lacksHalves(found);
    const f16Storage = missing === undefined ? { ok: true } : { ok: false, missing };
    const subgroupMatrices = (missing === undefined && findMatrices(adapter)) || null;
    return { name, software, limits, features, f16Storage, subgroupMatrices } as Exclude<
      FoundAdapter,
      { missing: string }
    >;
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { missing: error.message };
  }
}

function gpuRows(gpu: FoundAdapter): string[][] {
  if ("missing" in gpu) return [["WebGPU", `none: ${gpu.missing}`]];
  const { name, software, limits, features, f16Storage, subgroupMatrices: matrices } = gpu;
  return [
    ["WebGPU", `${name}${software ? " (computes on the processor)" : ""}`],
    [
      "",
      `buffers up to ${formatBytes(limits.maxBufferSize)}, bindings ` +
        `${formatBytes(limits.maxStorageBufferBindingSize)}, workgroup memory ` +
        `${formatBytes(limits.maxComputeWorkgroupStorageSize)}`,
    ],
    ["", foundFeatures(features)],
    [
      "",
      f16Storage.ok
        ? "feature maps in f32 or f16 (--activation-dtype)"
        : `feature maps in f32 only: ${f16Storage.missing}`,
    ],
    ...(matrices ? [["", `with f16 subgroup matrices of ${matrices.m}×${matrices.n}×${matrices.k}`]] : []),
  ];
}

async function gpuCheck(): Promise<Check> {
  const name = "webgpu self-check";
  try {
    const backend = await openBackend({ device: "webgpu", activationDtype: "f32", threads: null });
    try {
      return await selfCheck(name, backend);
    } finally {
      await backend.dispose();
    }
  } catch (error) {
    if (!(error instanceof DenseNetError)) throw error;
    return { name, ok: false, detail: error.message };
  }
}

async function selfCheck(name: string, backend: Backend): Promise<Check> {
  const difference = await compareWithReference(backend);
  const detail =
    "gradients and loss of a training step differ from the reference by at most " +
    `${difference.toExponential(1)} of the largest, expected at most ${SELF_CHECK_TOLERANCE}`;
  return { name, ok: difference <= SELF_CHECK_TOLERANCE, detail };
}

function nodeCheck(version: string): Check {
  const ok = Number.parseInt(version, 10) >= OLDEST_NODE;
  return { name: "node", ok, detail: ok ? version : `found ${version}, expected ${OLDEST_NODE} or later` };
}

async function imageCheck(): Promise<Check> {
  try {
    const { default: sharp } = await import("sharp");
    return {
      name: "image decoding",
      ok: true,
      detail: `sharp ${sharp.versions.sharp ?? ""} (libvips ${sharp.versions.vips})`,
    };
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return { name: "image decoding", ok: false, detail: `the package sharp does not load (${why})` };
  }
}

function foundFeatures(features: Readonly<Record<string, boolean>>): string {
  return Object.entries(features)
    .map(([name, present]) => `${present ? "" : "no "}${featureName(name)}`)
    .join(", ");
}
