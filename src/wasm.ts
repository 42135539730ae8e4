// densenet/wasm: the CPU through WebAssembly, alone. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export type { TargetOptions } from "./backends/wasm/features.ts";
export type { Target as WasmTarget } from "./backends/wasm/target.ts";
export {
  type CallTimes,
  createWasmBackend,
  type WasmBackend,
  type WasmExecutable,
  type WasmOptions,
} from "./backends/wasm/wasm.ts";
export * from "./errors.ts";
