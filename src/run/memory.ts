// run: whether a run fits, said before its first step.
import { formatBytes } from "../analyze/format.ts";
import { ResourceError } from "../errors.ts";
import type { StartEvent } from "../train/events.ts";

type Needs = Pick<StartEvent, "peakBytes" | "memory" | "backend">;

/**
 * What the run needs of its device's memory and what that allows, as one line. `systemBytes`: this machine's memory.
 */
export function memoryLine({ peakBytes, memory, backend }: Needs, systemBytes: number): string {
  const { device, maxBufferBytes, name } = backend;
  const parts =
    `weights, gradients and momenta ${formatBytes(memory.weights)}, features ` +
    `${formatBytes(memory.features)}, working memory ${formatBytes(memory.working)}`;
  const limits = [
    ...(maxBufferBytes === undefined ? [] : [`${device ?? name} allows ${formatBytes(maxBufferBytes)} in one piece`]),
    ...(usesSystemMemory(backend) ? [`this machine has ${formatBytes(systemBytes)}`] : []),
  ];
  return `memory: ${formatBytes(peakBytes)} (${parts}); ${limits.join(", ")}`;
}

/** @throws ResourceError where a device that lives in this machine's memory needs more than there is */
export function requireMemory({ peakBytes, backend }: Needs, systemBytes: number): void {
  if (!usesSystemMemory(backend) || peakBytes <= systemBytes) return;
  throw new ResourceError(
    `the run needs ${formatBytes(peakBytes)} on ${backend.name}, and this machine has ${formatBytes(systemBytes)}: ` +
      "lower --batch-size, raise --grad-accum-steps or say --recompute bottleneck",
    { bytes: peakBytes, limit: systemBytes },
  );
}

/** A GPU has memory of its own, of a size that WebGPU does not report. */
function usesSystemMemory({ name, features }: StartEvent["backend"]): boolean {
  return name !== "webgpu" || features.software === true;
}
