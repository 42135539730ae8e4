// backends: a backend by name.
import { DeviceError, UsageError } from "../errors.ts";
import { show } from "../show.ts";
import type { Backend, BackendInfo } from "./backend.ts";
import { requireOfferedDtype } from "./dtype.ts";
import { type BackendName, backendNames } from "./names.ts";
import { createReferenceBackend } from "./reference/backend.ts";
import { createWasmBackend, type WasmOptions } from "./wasm/wasm.ts";
import { createWebgpuBackend, type WebgpuOptions } from "./webgpu/webgpu.ts";

/**
 * Each backend uses its own: wasm the threads and the rest of WasmOptions; webgpu, which alone has f16, the activation
 * dtype.
 */
export type BackendOptions = WasmOptions & Pick<WebgpuOptions, "activationDtype">;

/** The same backend, with a note on what was passed over for it. */
function withNote(backend: Backend, note: string): Backend {
  const info: BackendInfo = { ...backend.info, notes: [note, ...backend.info.notes] };
  return {
    info,
    compile: (plans) => backend.compile(plans),
    dispose: () => backend.dispose(),
    [Symbol.asyncDispose]: () => backend.dispose(),
  };
}

/**
 * `wasm`: the CPU at speed. `webgpu`: the system's GPU. `auto`: webgpu where there is a GPU (not one emulated on the
 * CPU), else wasm; `info.notes` says why. `reference`: plain loops in f32, the oracle, thousands of times slower.
 * @throws UsageError for another name, and for f16 with wasm or reference
 * @throws DeviceError where the backend cannot run; with `auto` also where f16 leaves none but webgpu
 */
export async function createBackend(name: BackendName = "wasm", options: BackendOptions = {}): Promise<Backend> {
  const { activationDtype = "f32" } = options;
  requireOfferedDtype(name, activationDtype);
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
        if (activationDtype === "f16") {
          const why = `activationDtype f16 needs WebGPU, so wasm cannot take its place: ${error.message}`;
          throw new DeviceError(why, error.details, { cause: error });
        }
        return withNote(await createWasmBackend(options), `WebGPU was passed over: ${error.message}.`);
      }
    default:
      throw new UsageError(`backend: got ${show(name)}, expected one of ${backendNames.join(", ")}`, { value: name });
  }
}
