// cli: the backend that --device and --threads ask for.
import type { Backend } from "../backends/backend.ts";
import { UsageError } from "../errors.ts";
import type { TrainConfig } from "../train/config.ts";
import { createConfiguredBackend } from "../train/trainer.node.ts";
import { say } from "./output.ts";

/** What the wasm backend's thread protocol is made for. */
const MAX_THREADS = 64;

/**
 * @throws UsageError for a number of threads outside 1…64
 * @throws DeviceError where the device cannot be had
 */
export async function openBackend(choice: Pick<TrainConfig, "device" | "threads">): Promise<Backend> {
  const { threads } = choice;
  if (threads !== null && (threads < 1 || threads > MAX_THREADS)) {
    throw new UsageError(`threads: got ${threads}, expected 1 to ${MAX_THREADS}`, { field: "threads", value: threads });
  }
  const backend = await createConfiguredBackend(choice);
  if (choice.device === "auto") say(`device: ${backend.info.name}. ${backend.info.notes[0] ?? ""}`.trim());
  return backend;
}
