// densenet/webgpu: the GPU through WebGPU, alone. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export { createWebgpuBackend, type WebgpuBackend, type WebgpuOptions } from "./backends/webgpu/webgpu.ts";
export * from "./errors.ts";
