// train: the place where an update meets other processes that train the same network on other images (data-parallel
// training). Between the backward pass and the weight update the gradients leave the device, their sums over all
// processes come back, and the update takes the mean.
//
// A process exchanges gradient sums of its micro-batches, so accumulation costs no more exchanges. Every process then
// makes the same update of the same weights and momenta; running statistics stay each process's own, as in PyTorch's
// DistributedDataParallel.
import type { Executable } from "../backends/backend.ts";
import { UsageError } from "../errors.ts";
import type { Plan } from "../plan/plan.ts";

/** How the gradients of several processes become one sum (data-parallel training). */
export interface GradientReduction {
  /** Processes that take part, this one included. All have the same weights, batch size and number of updates. */
  readonly processes: number;
  /**
   * Replaces each gradient, in place, by its sum over all processes. The order and lengths are the same in all of them
   * and in all updates. It is called once per update, in order, and never a second time for the same update; the device
   * idles meanwhile. A rejection ends the run with that error.
   */
  sum(gradients: readonly Float32Array[]): Promise<void>;
}

/** @throws UsageError for an impossible number of processes */
export function requireProcesses({ processes }: GradientReduction): void {
  if (Number.isInteger(processes) && processes >= 1) return;
  throw new UsageError(`reduction.processes: got ${processes}, expected a whole number of at least 1`, {
    field: "reduction.processes",
    value: processes,
  });
}

/** Replaces the gradient sums on the device by their sums over all processes. `update`: the plan that will use them. */
export async function reduceGradients(
  executable: Executable,
  update: Plan,
  reduction: GradientReduction,
): Promise<void> {
  const names = [...update.buffers.values()].filter(({ role }) => role === "gradientSum").map(({ name }) => name);
  const gradients = (await executable.read(names)).filter((values) => values instanceof Float32Array);
  await reduction.sum(gradients);
  for (const [index, name] of names.entries()) await executable.write(name, gradients[index]);
}
