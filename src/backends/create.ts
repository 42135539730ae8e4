// backends: a backend by name.
import type { Backend } from "./backend.ts";
import { createReferenceBackend } from "./reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "./wasm/wasm.ts";

export const backendNames = ["wasm", "reference"] as const;
export type BackendName = (typeof backendNames)[number];

/**
 * `wasm`: the CPU at speed. `reference`: plain loops in f32, the oracle, thousands of times slower.
 * @throws DeviceError where the backend cannot run
 */
export async function createBackend(name: BackendName = "wasm", options: WasmOptions = {}): Promise<Backend> {
  switch (name) {
    case "wasm":
      return createWasmBackend(options);
    case "reference":
      return createReferenceBackend({ precision: "f32" });
  }
}
