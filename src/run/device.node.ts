// run: the backend that a configuration asks for, and the next one when its device is lost.
import { setTimeout } from "node:timers/promises";
import type { Backend } from "../backends/backend.ts";
import { createBackend } from "../backends/create.ts";
import type { TrainConfig } from "../train/config.ts";

/** What of a configuration decides its backend. */
export type DeviceChoice = Pick<TrainConfig, "device" | "activationDtype" | "threads">;

/**
 * The backend of a configuration; the caller disposes of it.
 * @throws UsageError for a number of threads outside 1…64, or an activation dtype that the device does not have
 * @throws DeviceError where the device cannot be had
 */
export async function createConfiguredBackend({ device, activationDtype, threads }: DeviceChoice): Promise<Backend> {
  return createBackend(device, { activationDtype, ...(threads === null ? {} : { threads }) });
}

/** What a run computes on: one backend, or one after the other. */
export interface RunDevice {
  /** The first. */
  readonly backend: Backend;
  /**
   * For the trainer: the same choice again. Where that is auto, wasm, if it will do, when the GPU does not come back or
   * is lost a third time in a row.
   */
  readonly reopen: (losses: number) => Promise<Backend>;
  /** Disposes of the one in use. */
  dispose(): Promise<void>;
}

/** A driver that restarts needs a moment, a second time a longer one. */
const PAUSE_MS = 1000;

/** @throws as createConfiguredBackend does */
export async function openRunDevice(choice: DeviceChoice): Promise<RunDevice> {
  const backend = await createConfiguredBackend(choice);
  let current = backend;
  return {
    backend,
    async reopen(losses) {
      // A lost device may fail once more while it is disposed of.
      await Promise.allSettled([current.dispose()]);
      await setTimeout(PAUSE_MS * losses);
      const { device, activationDtype } = choice;
      const wasm = device === "auto" && activationDtype === "f32" && losses > 2;
      current = await createConfiguredBackend(wasm ? { ...choice, device: "wasm" } : choice);
      return current;
    },
    dispose: () => current.dispose(),
  };
}
