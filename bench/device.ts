// bench: the two devices that are benchmarked, and the three things that differ between them.
import { gradWinogradPays } from "../src/backends/wasm/convGradWeightWinograd.ts";
import { createWasmBackend, type WasmBackend } from "../src/backends/wasm/wasm.ts";
import { winogradPays } from "../src/backends/wasm/winograd.ts";
import { compileProgram } from "../src/backends/webgpu/compile.ts";
import { createWebgpuBackend, WebgpuBackend } from "../src/backends/webgpu/webgpu.ts";
import type { ActivationDtype, KernelCall, Plan } from "../src/plan/plan.ts";
import { measureCard } from "./card.ts";
import type { CallGroup } from "./gate.ts";
import { type MachineLimits, measureMachine } from "./machine.ts";
import { type Device, type Variant, variantOptions } from "./options.ts";

/** Backends that measure how long each kernel call takes (`runTimed`). */
export type TimedBackend = WasmBackend | WebgpuBackend;

export interface DeviceChoice {
  readonly device: Device;
  readonly activationDtype: ActivationDtype;
  readonly threads: number;
  readonly variant: Variant;
}

export function openDevice({ device, activationDtype, threads, variant }: DeviceChoice): Promise<TimedBackend> {
  return device === "cpu"
    ? createWasmBackend({ threads, ...variantOptions[variant] })
    : createWebgpuBackend({ activationDtype });
}

export function measureLimits(backend: TimedBackend): Promise<MachineLimits> {
  if (backend instanceof WebgpuBackend) return measureCard(backend.device);
  return measureMachine(backend.target, backend.info.threads);
}

function takesWinograd({ kernel, args }: KernelCall): boolean {
  if (kernel === "conv") return winogradPays(args.size, args.x.channels, args.y.channels);
  if (kernel === "convGradInput") return winogradPays(args.size, args.dy.channels, args.dx.channels);
  return kernel === "convGradWeight" && gradWinogradPays(args.size, args.x.channels, args.dy.channels);
}

/**
 * Calls that the backend takes together, and the way that it takes for them: the same kernels may take another one at
 * another batch.
 */
export interface WayOfGroup {
  readonly group: CallGroup;
  readonly way: string;
}

export function waysOf(backend: TimedBackend, plan: Plan): readonly WayOfGroup[] {
  if (!(backend instanceof WebgpuBackend)) {
    return plan.calls.map((call) => ({ group: [call], way: takesWinograd(call) ? "Winograd" : "direct" }));
  }
  const dispatches = compileProgram({ step: plan }, backend.target).steps.get("step") ?? [];
  // A dispatch names the first call of its group; the calls up to the next one that is named are in it too.
  const named = [...Map.groupBy(dispatches, ({ call }) => call)];
  return named.map(([call, own], index) => ({
    group: plan.calls.slice(call, named[index + 1]?.[0]),
    way: own.map(({ label }) => label).join(", "),
  }));
}
