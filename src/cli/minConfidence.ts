// cli: from which probability on `predict` gives an answer.
import { formatPercent } from "../analyze/format.ts";
import type { Calibration } from "../checkpoint/calibration.ts";
import { InputError, UsageError } from "../errors.ts";
import type { Prediction } from "../infer/scores.ts";

const FLAG = "--min-confidence";

/** A probability, the precision that answers shall have, or each class's own operating point. */
export type LeastConfidence = { readonly probability: number } | { readonly precision: number } | "class";

/** @throws UsageError for a text that is none of them */
export function parseMinConfidence(text: string): LeastConfidence {
  if (text === "class") return "class";
  const [, kind, digits = ""] = /^(precision:)?(.+)$/.exec(text) ?? [];
  const value = Number(digits);
  if (digits.trim() === "" || !(value >= 0 && value <= 1)) {
    throw new UsageError(`${FLAG}: got "${text}", expected a number from 0 to 1, precision:0.95 or class`, {
      flag: FLAG,
      value: text,
    });
  }
  return kind === undefined ? { probability: value } : { precision: value };
}

/**
 * Whether the first class of an image is sure enough.
 * @throws InputError when that takes a calibration that `checkpoint` does not have
 * @throws UsageError for a precision that it has no threshold for
 */
export function leastConfidence(
  asked: LeastConfidence,
  calibration: Calibration | undefined,
  checkpoint: string,
): (best: Prediction) => boolean {
  if (asked !== "class" && "probability" in asked) return ({ score }) => score >= asked.probability;
  if (calibration === undefined) {
    throw new InputError(
      `${checkpoint}: has no calibration, so nobody knows how often its answers are right; expected ${FLAG} with a ` +
        "number, or a network that was trained with validation images (--val-split)",
      { path: checkpoint },
    );
  }
  if (asked === "class") {
    return ({ index, score }) => {
      const point = calibration.classes[index];
      return point != null && score >= point.threshold;
    };
  }
  const found = calibration.answers.find(({ targetPrecision }) => targetPrecision === asked.precision);
  if (found === undefined) {
    const known = calibration.answers.map(({ targetPrecision }) => targetPrecision);
    throw new UsageError(
      `${FLAG}: the checkpoint has no threshold for a precision of ${asked.precision}, expected one of ${known.join(", ")}`,
      {
        flag: FLAG,
        value: asked.precision,
      },
    );
  }
  const { threshold } = found;
  if (threshold === null) {
    throw new InputError(
      `${checkpoint}: no answer was right ${formatPercent(100 * asked.precision, 0)} of the time on its ` +
        `${calibration.count} validation images, however sure; expected a lower precision, or a better network`,
      { path: checkpoint, precision: asked.precision },
    );
  }
  return ({ score }) => score >= threshold;
}
