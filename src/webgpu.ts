// densenet/webgpu: the GPU through WebGPU, alone. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export type { Matrices, Target as WebgpuTarget } from "./backends/webgpu/kernel.ts";
export {
  createWebgpuBackend,
  type WebgpuBackend,
  type WebgpuExecutable,
  type WebgpuOptions,
} from "./backends/webgpu/webgpu.ts";
export * from "./errors.ts";
