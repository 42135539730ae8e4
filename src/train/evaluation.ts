// train: what a network does on labelled images, counted batch by batch (the errors of the paper's tables 2 and 3). A
// run's validation and `evaluate` both count with this, so that the last validation of a run already holds what its
// report shows.
import type { Work } from "../backends/runAhead.ts";
import type { Batch } from "../data/dataset.ts";
import { hostBuffers } from "../plan/names.ts";
import { addSamples, type Metrics, metricsOf, noTotals } from "./metrics.ts";

/** Errors in percent of the images, loss as mean cross-entropy in nats. */
export interface Evaluation extends Metrics {
  /** Images. */
  readonly count: number;
  /** confusion[label][guess]: images. */
  readonly confusion: readonly (readonly number[])[];
  /** The first guess for each image and its softmax probability, 0…1, by position in the split. */
  readonly guesses: readonly Guess[];
  /** By position in the split. */
  readonly logits: Float32Array; // [N, classes]
}

/** The likeliest class of an image. */
export interface Guess {
  /** Of the class, 0-based. */
  readonly index: number;
  readonly score: number;
}

/** What a run of an inference plan with a loss leaves for EvaluationTally. */
export const evaluationOutputs = [hostBuffers.sampleLoss, hostBuffers.sampleRank, hostBuffers.logits] as const;

/** The run of the plan `evaluate` on a batch. */
export function evaluationWork({ images, labels }: Batch): Work {
  return { plan: "evaluate", inputs: { [hostBuffers.images]: images, [hostBuffers.labels]: labels } };
}

/** Counts the images of an unshuffled split, batch by batch. */
export class EvaluationTally {
  #totals = noTotals;
  readonly #confusion: number[][];
  readonly #guesses: Guess[] = [];
  readonly #logits: Float32Array[] = [];

  constructor(classes: number) {
    this.#confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  }

  /** Images so far. */
  get count(): number {
    return this.#totals.count;
  }

  /** `found`: the values of evaluationOutputs after the batch. */
  add({ labels, count }: Batch, [loss, rank, logits]: readonly (Float32Array | Int32Array)[]): void {
    this.#totals = addSamples(this.#totals, { loss, rank, count });
    const classes = this.#confusion.length;
    this.#logits.push(Float32Array.from(logits.subarray(0, count * classes)));
    for (let n = 0; n < count; n++) {
      const guess = firstGuess(logits.subarray(n * classes, (n + 1) * classes));
      this.#confusion[labels[n]][guess.index]++;
      this.#guesses.push(guess);
    }
  }

  /** Metrics of no image are NaN. */
  result(): Evaluation {
    return {
      ...metricsOf(this.#totals),
      count: this.count,
      confusion: this.#confusion,
      guesses: this.#guesses,
      logits: joined(this.#logits),
    };
  }
}

function joined(batches: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(batches.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const batch of batches) {
    all.set(batch, at);
    at += batch.length;
  }
  return all;
}

/**
 * Of equal logits the smaller index, as sampleRank counts. The probability of the greatest logit is 1/Σ exp(z − max),
 * in doubles.
 */
function firstGuess(logits: Float32Array | Int32Array): Guess {
  let index = 0;
  for (let c = 1; c < logits.length; c++) if (logits[c] > logits[index]) index = c;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - logits[index]);
  return { index, score: 1 / total };
}
