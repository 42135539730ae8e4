// densenet/wasm: the CPU through WebAssembly, alone. Portable.
export type { Backend, BackendInfo, Executable, RunScalars } from "./backends/backend.ts";
export { createWasmBackend, type WasmBackend, type WasmOptions } from "./backends/wasm/wasm.ts";
export * from "./errors.ts";
