// analyze: how far a network's probabilities can be trusted (Guo et al. 2017, "On Calibration of Modern Neural
// Networks"). A probability is calibrated when of the images that got 0.8 four in five are right. Portable; doubles
// throughout.
import type { AnswerThreshold, Calibration, OperatingPoint } from "../checkpoint/calibration.ts";

/** The logits of labelled images. */
export interface LabelledLogits {
  readonly logits: Float32Array; // [N, classes]
  readonly labels: ArrayLike<number>; // [N]
  readonly classes: number;
}

/** Images whose first class has a probability in (low, high]. */
export interface ReliabilityBin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
  /** Mean probability of the first class, 0…1; NaN without images. */
  readonly confidence: number;
  /** Share of right answers, 0…1; NaN without images. */
  readonly accuracy: number;
}

/** How well probabilities agree with what is right. */
export interface Reliability {
  readonly count: number;
  /** Expected calibration error, 0…1: mean |accuracy − confidence| of the bins, each weighing its images. */
  readonly calibrationError: number;
  /** Mean over images of Σ (p − 1[class is the label])² over the classes, 0…2. */
  readonly brier: number;
  /** Mean cross-entropy, nats. */
  readonly loss: number;
  readonly bins: readonly ReliabilityBin[];
}

/** As Guo et al. have. */
const BINS = 15;
/** Precisions for which a "don't know" threshold is kept. */
export const targetPrecisions = [0.8, 0.9, 0.95, 0.98, 0.99] as const;
/** Fewer images would fit noise. */
const LEAST_IMAGES = 30;
/** A temperature beyond these fits no network: its loss falls towards T = 0 or T = ∞. */
const LEAST_TEMPERATURE = 1 / 64;
const GREATEST_TEMPERATURE = 64;

/** What was fitted, or why nothing could be. */
export type Calibrated =
  | { readonly calibration: Calibration; readonly missing?: undefined }
  | { readonly calibration?: undefined; readonly missing: string };

/** Fits temperature and thresholds on validation images. */
export function calibrate(images: LabelledLogits): Calibrated {
  const count = images.labels.length;
  if (count < LEAST_IMAGES) {
    return {
      missing: `${count} validation images are too few to calibrate on, expected at least ${LEAST_IMAGES}`,
    };
  }
  const temperature = fitTemperature(images);
  if (temperature === undefined) {
    return { missing: "no temperature makes these probabilities better: all answers are right, or none is" };
  }
  const probabilities = new Probabilities(images, temperature);
  return {
    calibration: {
      count,
      temperature,
      answers: answerThresholds(probabilities, images.labels),
      classes: Array.from({ length: images.classes }, (_, c) => operatingPoint(probabilities, images.labels, c)),
    },
  };
}

/**
 * The T that minimises the mean cross-entropy of softmax(z / T). With β = 1/T the loss is convex, its derivative
 * mean(Σ p·z − z[label]) and its second derivative the mean variance of z under p: Newton's method, kept inside the
 * bracket by bisection. undefined where the optimum is not inside the bracket.
 */
export function fitTemperature(images: LabelledLogits): number | undefined {
  let low = 1 / GREATEST_TEMPERATURE;
  let high = 1 / LEAST_TEMPERATURE;
  if (derivatives(images, low).first >= 0 || derivatives(images, high).first <= 0) return undefined;
  let beta = 1;
  for (let round = 0; round < 100; round++) {
    const { first, second } = derivatives(images, beta);
    if (first === 0) break;
    if (first < 0) low = beta;
    else high = beta;
    const newton = beta - first / second;
    const next = newton > low && newton < high ? newton : Math.sqrt(low * high);
    const step = Math.abs(next - beta);
    beta = next;
    if (step <= 1e-14 * beta) break;
  }
  return 1 / beta;
}

/** Of the mean cross-entropy by β, where p = softmax(β·z). */
function derivatives({ logits, labels, classes }: LabelledLogits, beta: number): { first: number; second: number } {
  let first = 0;
  let second = 0;
  for (let n = 0; n < labels.length; n++) {
    const row = logits.subarray(n * classes, (n + 1) * classes);
    const greatest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    let total = 0;
    let mean = 0;
    let square = 0;
    // Differences from the greatest: neither mean nor variance cares, and no power overflows.
    for (const logit of row) {
      const z = logit - greatest;
      const power = Math.exp(beta * z);
      total += power;
      mean += power * z;
      square += power * z * z;
    }
    mean /= total;
    first += mean - row[labels[n]] + greatest;
    second += square / total - mean * mean;
  }
  return { first: first / labels.length, second: second / labels.length };
}

/** How reliable probabilities are, with the checkpoint's temperature or another. */
export function reliability(images: LabelledLogits, temperature = 1): Reliability {
  const { labels, classes } = images;
  const probabilities = new Probabilities(images, temperature);
  const bins = Array.from({ length: BINS }, () => ({ count: 0, confidence: 0, right: 0 }));
  let brier = 0;
  let loss = 0;
  for (let n = 0; n < labels.length; n++) {
    const label = labels[n];
    for (let c = 0; c < classes; c++) brier += (probabilities.of(n, c) - (c === label ? 1 : 0)) ** 2;
    loss -= probabilities.logOf(n, label);
    const guess = probabilities.guess(n);
    const confidence = probabilities.of(n, guess);
    const bin = bins[Math.min(BINS - 1, Math.max(0, Math.ceil(confidence * BINS) - 1))];
    bin.count++;
    bin.confidence += confidence;
    if (guess === label) bin.right++;
  }
  const count = labels.length;
  return {
    count,
    calibrationError: bins.reduce((sum, { confidence, right }) => sum + Math.abs(right - confidence), 0) / count,
    brier: brier / count,
    loss: loss / count,
    bins: bins.map(({ count: of, confidence, right }, index) => ({
      low: index / BINS,
      high: (index + 1) / BINS,
      count: of,
      confidence: confidence / of,
      accuracy: right / of,
    })),
  };
}

/** For each target the least probability of the first class from which on so many answers are right. */
function answerThresholds(probabilities: Probabilities, labels: ArrayLike<number>): AnswerThreshold[] {
  const answers = Array.from(labels, (label, n) => {
    const guess = probabilities.guess(n);
    return { score: probabilities.of(n, guess), right: guess === label };
  });
  const points = cumulated(answers);
  return targetPrecisions.map((targetPrecision) => {
    const found = points.findLast(({ right, taken }) => right / taken >= targetPrecision);
    if (found === undefined) return { targetPrecision, threshold: null, coverage: 0 };
    return { targetPrecision, threshold: found.threshold, coverage: found.taken / labels.length };
  });
}

/** The threshold of the greatest F1 for the class against all others; of equal ones the highest. */
function operatingPoint(probabilities: Probabilities, labels: ArrayLike<number>, index: number): OperatingPoint | null {
  const scored = Array.from(labels, (label, n) => ({ score: probabilities.of(n, index), right: label === index }));
  const positives = scored.filter(({ right }) => right).length;
  if (positives === 0) return null;
  // F1 = 2·TP / (images taken + images of the class).
  const f1 = ({ right, taken }: Cumulated): number => (2 * right) / (taken + positives);
  const [first, ...others] = cumulated(scored);
  if (first === undefined) return null;
  const best = others.reduce((a, b) => (f1(b) > f1(a) ? b : a), first);
  return { threshold: best.threshold, precision: best.right / best.taken, recall: best.right / positives };
}

/** What reaches a threshold. */
interface Cumulated {
  readonly threshold: number;
  readonly taken: number;
  readonly right: number;
}

/** Every threshold that makes a difference, highest first; what has equal scores is taken together. */
function cumulated(answers: readonly { readonly score: number; readonly right: boolean }[]): Cumulated[] {
  const sorted = [...answers].sort((a, b) => b.score - a.score);
  const points: Cumulated[] = [];
  let right = 0;
  for (const [index, answer] of sorted.entries()) {
    if (answer.right) right++;
    if (sorted[index + 1]?.score === answer.score) continue;
    points.push({ threshold: answer.score, taken: index + 1, right });
  }
  return points;
}

/** softmax(z / T), of which only each image's normaliser is kept: N numbers, not N × classes. */
class Probabilities {
  readonly #images: LabelledLogits;
  readonly #temperature: number;
  /** Greatest logit, and log Σ exp((z − greatest) / T). */
  readonly #greatest: Float64Array; // [N]
  readonly #logTotal: Float64Array; // [N]

  constructor(images: LabelledLogits, temperature: number) {
    const { logits, labels, classes } = images;
    this.#images = images;
    this.#temperature = temperature;
    this.#greatest = new Float64Array(labels.length);
    this.#logTotal = new Float64Array(labels.length);
    for (let n = 0; n < labels.length; n++) {
      const row = logits.subarray(n * classes, (n + 1) * classes);
      const greatest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      this.#greatest[n] = greatest;
      this.#logTotal[n] = Math.log(row.reduce((sum, z) => sum + Math.exp((z - greatest) / temperature), 0));
    }
  }

  /** The first class of image `n`; of equal ones the smaller index. */
  guess(n: number): number {
    const { logits, classes } = this.#images;
    return logits.subarray(n * classes, (n + 1) * classes).indexOf(this.#greatest[n]);
  }

  logOf(n: number, index: number): number {
    const { logits, classes } = this.#images;
    return (logits[n * classes + index] - this.#greatest[n]) / this.#temperature - this.#logTotal[n];
  }

  of(n: number, index: number): number {
    return Math.exp(this.logOf(n, index));
  }
}
