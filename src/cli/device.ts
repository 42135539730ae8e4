// cli: the backend that --device and --threads ask for.
import type { Backend } from "../backends/backend.ts";
import { createReferenceBackend } from "../backends/reference/backend.ts";
import { createWasmBackend } from "../backends/wasm/wasm.ts";
import { UsageError } from "../errors.ts";

export interface DeviceChoice {
  readonly device: "wasm" | "reference";
  /** null: one per processor. */
  readonly threads: number | null;
}

const MAX_THREADS = 64;

/**
 * @throws UsageError for a number of threads outside 1…64
 * @throws DeviceError where the device cannot be had
 */
export async function openBackend({ device, threads }: DeviceChoice): Promise<Backend> {
  if (threads !== null && (threads < 1 || threads > MAX_THREADS)) {
    throw new UsageError(`threads: got ${threads}, expected 1 to ${MAX_THREADS}`, { field: "threads", value: threads });
  }
  if (device === "reference") return createReferenceBackend({ precision: "f32" });
  return await createWasmBackend(threads === null ? {} : { threads });
}
