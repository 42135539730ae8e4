// backends/webgpu: the way to a device: the page's or worker's navigator.gpu, in Node the optional package `webgpu`
// (Dawn).
import { DeviceError } from "../../errors.ts";

export interface FoundGpu {
  readonly adapter: GPUAdapter;
  /** As the driver names itself, e.g. "NVIDIA H100" or "SwiftShader Device". */
  readonly name: string;
  /** The adapter computes on the CPU. */
  readonly software: boolean;
}

/**
 * By their flags. Dawn's object must stay referenced, a collected one takes its devices with it; and one is enough,
 * each brings threads and memory of the driver's.
 */
const opened = new Map<string, GPU>();

async function loadDawn(flags: readonly string[]): Promise<GPU> {
  const known = opened.get(flags.join());
  if (known) return known;
  // A name that bundlers do not follow: pages have navigator.gpu and never need the package.
  const name = "webgpu";
  try {
    const dawn: { create(flags: readonly string[]): GPU; globals: object } = await import(/* @vite-ignore */ name);
    Object.assign(globalThis, dawn.globals);
    const gpu = dawn.create(flags);
    opened.set(flags.join(), gpu);
    return gpu;
  } catch (error) {
    throw new DeviceError(
      "WebGPU in Node needs the package webgpu, which is not installed here or has no build for this system: npm " +
        "install webgpu",
      { package: name },
      { cause: error },
    );
  }
}

/**
 * Without these Dawn hides shader-f16 on NVIDIA's Vulkan driver, and rounds timestamps to 65 µs, longer than most
 * dispatches take on a card.
 */
const usualFlags = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
  "disable-dawn-features=timestamp_quantization",
];

/** @throws DeviceError where there is no WebGPU. `dawnFlags` reach Dawn in Node only. */
export async function openGpu(dawnFlags: readonly string[] = usualFlags): Promise<GPU> {
  const { navigator, process } = globalThis;
  if (process?.versions?.node !== undefined) return loadDawn(dawnFlags);
  if (navigator?.gpu) return navigator.gpu;
  throw new DeviceError(
    "this browser offers no WebGPU to this page: it needs a recent browser, https or localhost, and graphics " +
      "acceleration switched on",
  );
}

/** @throws DeviceError where the system has no driver that WebGPU accepts. */
export async function findAdapter(gpu: GPU): Promise<FoundGpu> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new DeviceError(
      "WebGPU found no adapter: this system has no graphics driver (Vulkan, Metal or Direct3D 12) that it accepts",
    );
  }
  const { description, device, vendor, architecture } = adapter.info;
  const name = [description || device || architecture, vendor].filter(Boolean).join(", ") || "an unnamed adapter";
  const software = adapter.info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe/i.test(name);
  return { adapter, name, software };
}
