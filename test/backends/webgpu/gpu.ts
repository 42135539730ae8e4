// Test support: GPUs for tests. Dawn's null backend validates shaders and pipelines on any machine and computes
// nothing; an adapter needs a driver, if only one that computes on the CPU (VK_DRIVER_FILES names it).
import { createRequire } from "node:module";
import { openGpu } from "../../../src/backends/webgpu/gpu.ts";
import { matrixFeatures } from "../../../src/backends/webgpu/matrix.ts";
import { WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";

const require = createRequire(import.meta.url);

/** Why Dawn cannot be had on this machine, or undefined. */
export function dawnMissing(): string | undefined {
  try {
    require.resolve("webgpu");
    return undefined;
  } catch {
    return "the optional package webgpu is not installed";
  }
}

/** What shaders may use beside the core of WGSL. */
const features = ["shader-f16", ...matrixFeatures] as GPUFeatureName[];

/** A device that accepts what is valid and runs nothing. */
export async function nullDevice(): Promise<GPUDevice> {
  const adapter = await (await openGpu(["backend=null", "enable-dawn-features=allow_unsafe_apis"])).requestAdapter();
  if (!adapter) throw new Error("Dawn's null backend gave no adapter");
  return adapter.requestDevice({ requiredFeatures: features });
}

/** A GPU with an adapter, or why there is none. With DENSENET_REQUIRE_WEBGPU set there must be one. */
export async function gpuOrReason(): Promise<GPU | string> {
  const reason =
    dawnMissing() ??
    (await (
      await openGpu()
    )
      .requestAdapter()
      .then((found) => (found ? undefined : "no WebGPU adapter: no graphics driver, and VK_DRIVER_FILES names none")));
  if (reason === undefined) return openGpu();
  if (process.env.DENSENET_REQUIRE_WEBGPU) throw new Error(reason);
  return reason;
}

/** `object` with some answers of its own; methods keep their `this`. */
export function altered<T extends object>(object: T, answers: Readonly<Record<string, unknown>>): T {
  return new Proxy(object, {
    get(target, name) {
      if (typeof name === "string" && name in answers) return answers[name];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * The backend with other shaders, as if its emitters had written them. What it compiles is disposed of alone: the
 * device is the backend's.
 * @throws RangeError from `compile` if no shader of what is compiled changes
 */
export function withShaders(backend: WebgpuBackend, change: (text: string) => string): WebgpuBackend {
  const { device, target, info } = backend;
  let changed = 0;
  const createShaderModule = ({ code, ...rest }: GPUShaderModuleDescriptor): GPUShaderModule => {
    const other = change(code);
    if (other !== code) changed++;
    return device.createShaderModule({ ...rest, code: other });
  };
  const planted = new WebgpuBackend(altered(device, { createShaderModule }), target, info);
  return altered(planted, {
    compile: async (plans: Parameters<WebgpuBackend["compile"]>[0]) => {
      changed = 0;
      const executable = await planted.compile(plans);
      if (changed === 0) throw new RangeError("no shader of these plans has the text that should change");
      return executable;
    },
  });
}
