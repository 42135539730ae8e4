// backends: a backend by name.
import { DeviceError } from "../errors.ts";
import type { Backend, BackendInfo } from "./backend.ts";
import { createReferenceBackend } from "./reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "./wasm/wasm.ts";
import { createWebgpuBackend, type WebgpuOptions } from "./webgpu/webgpu.ts";

export const backendNames = ["auto", "webgpu", "wasm", "reference"] as const;
export type BackendName = (typeof backendNames)[number];

/** Each backend heeds its own: threads and what else concerns wasm, storage of webgpu. */
export type BackendOptions = WasmOptions & Pick<WebgpuOptions, "storage">;

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
export async function createBackend(name: BackendName = "wasm", options: BackendOptions = {}): Promise<Backend> {
  switch (name) {
    case "wasm":
      return createWasmBackend(options);
    case "webgpu":
      return createWebgpuBackend(options);
    case "reference":
      return createReferenceBackend({ precision: "f32" });
    case "auto":
      try {
        return await createWebgpuBackend({ ...options, software: false });
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        return withNote(await createWasmBackend(options), `WebGPU was passed over: ${error.message}.`);
      }
  }
}
