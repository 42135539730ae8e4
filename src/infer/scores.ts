// infer: logits → probabilities → named classes.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";

/** A class that the network finds in an image, with its probability. */
export interface Prediction {
  readonly label: string;
  /** Of the class, 0-based. */
  readonly index: number;
  /**
   * Probability, 0…1: of a softmax over all classes, or of the class alone where the network has a sigmoid for each.
   */
  readonly score: number;
}

/** softmax(z / temperature) as exp(z − max) / Σ exp(z − max), in doubles: no logit overflows. */
export function softmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  const values = Float64Array.from(logits, (logit) => logit / temperature);
  const greatest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = values.map((value) => Math.exp(value - greatest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

/** 1 / (1 + exp(−z)) of each. */
export function sigmoid(logits: ArrayLike<number>): Float64Array {
  return Float64Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
}

/** Logits of one image → a probability for each class. */
export type Probabilities = (logits: ArrayLike<number>) => Float64Array;

/** What a network's logits mean: a sigmoid for each, or the softmax over all with the temperature of its calibration. */
export function probabilitiesOf({
  outputs,
  calibration,
}: Pick<TrainedModel, "outputs" | "calibration">): Probabilities {
  if (outputs === "sigmoid") return sigmoid;
  const temperature = calibration?.temperature ?? 1;
  return (logits) => softmax(logits, temperature);
}

/** The `topK` most probable classes, best first; of equal ones the smaller index first, as the error counts it. */
export function topPredictions(
  logits: ArrayLike<number>,
  classes: readonly string[],
  topK: number,
  probabilities: Probabilities = softmax,
): Prediction[] {
  const scores = probabilities(logits);
  // Ordered by logit: probabilities of clearly different logits can round to the same number.
  const order = Array.from(scores.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  return order.slice(0, topK).map((index) => ({
    label: classes[index],
    index,
    score: scores[index],
  }));
}
