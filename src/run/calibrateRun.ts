// run: the calibration of a run, which its checkpoints carry and its report shows, from its validation. Portable.
import { type Calibrated, calibrate, type LabelledLogits } from "../analyze/calibration.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Evaluation } from "../train/evaluation.ts";

/** The logits of an evaluation of a split, with its labels. */
export function labelledLogits({ logits, confusion }: Evaluation, labels: ArrayLike<number>): LabelledLogits {
  return { logits, labels, classes: confusion.length };
}

/**
 * `evaluation`: of the run's validation images. Test images are none: what is fitted to them is not measured by them.
 */
export function calibrateRun(evaluation: Evaluation, { val, valIsTest }: Dataset): Calibrated {
  if (valIsTest) {
    return {
      missing:
        "the run held no validation images out, and test images are not for fitting; --val-split 0.1 holds some out",
    };
  }
  return calibrate(labelledLogits(evaluation, val.labels));
}
