// backends: a backend by name.
import { DeviceError } from "../errors.ts";
import type { Backend, BackendInfo } from "./backend.ts";
import { createReferenceBackend } from "./reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "./wasm/wasm.ts";
import { createWebgpuBackend } from "./webgpu/webgpu.ts";

export const backendNames = ["auto", "webgpu", "wasm", "reference"] as const;
export type BackendName = (typeof backendNames)[number];

/** The same backend, telling also what was passed over for it. */
function withNote(backend: Backend, note: string): Backend {
  const info: BackendInfo = { ...backend.info, notes: [note, ...backend.info.notes] };
  return { info, compile: (plans) => backend.compile(plans), dispose: () => backend.dispose() };
}

/**
 * `wasm`: the CPU at speed. `webgpu`: the system's GPU. `auto`: webgpu where there is a GPU (not one that the CPU plays), else wasm;
 * `info.notes` says why. `reference`: plain loops in f32, the oracle, thousands of times slower.
 * @throws DeviceError where the backend cannot run
 */
export async function createBackend(name: BackendName = "wasm", options: WasmOptions = {}): Promise<Backend> {
  switch (name) {
    case "wasm":
      return createWasmBackend(options);
    case "webgpu":
      return createWebgpuBackend();
    case "reference":
      return createReferenceBackend({ precision: "f32" });
    case "auto":
      try {
        return await createWebgpuBackend({ software: false });
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        return withNote(await createWasmBackend(options), `WebGPU was passed over: ${error.message}.`);
      }
  }
}
