// train: what the finished epochs of a run say: which was best, and whether there is another one.
import type { TrainConfig } from "./config.ts";
import type { EpochMetrics } from "./events.ts";

/** The first epoch with the lowest validation error. */
export function bestOf(history: readonly EpochMetrics[]): EpochMetrics {
  return history.reduce((best, metrics) => (metrics.valTop1Error < best.valTop1Error ? metrics : best));
}

/**
 * Whether a run of `config` ends after the epochs of `history`: it has done all, or the validation error had no new low
 * for `patience` of them.
 */
export function isDone(
  history: readonly EpochMetrics[],
  { epochs, patience }: Pick<TrainConfig, "epochs" | "patience">,
): boolean {
  if (history.length >= epochs) return true;
  return patience > 0 && history.length > 0 && history.length - bestOf(history).epoch >= patience;
}
