// cli: the backend of the verbs that open one themselves.
import type { Backend, BackendInfo } from "../backends/backend.ts";
import { createConfiguredBackend, type DeviceChoice } from "../run/device.node.ts";
import { say } from "./output.ts";

/**
 * Opens what --device, --activation-dtype and --threads ask for.
 * @throws UsageError for a number of threads outside 1…64, or an activation dtype that the device does not have
 * @throws DeviceError where the device cannot be had
 */
export async function openBackend(choice: DeviceChoice): Promise<Backend> {
  const backend = await createConfiguredBackend(choice);
  sayChoice(choice, backend.info);
  return backend;
}

/** With `auto`: which device was taken, and why. */
export function sayChoice({ device }: Pick<DeviceChoice, "device">, { name, notes }: BackendInfo): void {
  if (device === "auto") say(`device: ${name}. ${notes[0] ?? ""}`.trim());
}
