// checkpoint: what makes a network's probabilities trustworthy, fitted on validation images and kept with its weights.
// Portable, and as small as a page that classifies needs; analyze/calibration.ts fits it.
import { isRecord } from "./record.ts";

/** Temperature and thresholds of a network with one softmax over its classes. Every probability is softmax(z / T). */
export interface Calibration {
  /** Validation images that it was fitted on. */
  readonly count: number;
  /** T: above 1 where the network is surer than it is right. */
  readonly temperature: number;
  /** From which probability of its first class on an answer is as often right as aimed at, by ascending target. */
  readonly answers: readonly AnswerThreshold[];
  /** Operating point of each class, by its index; null for a class without validation images. */
  readonly classes: readonly (OperatingPoint | null)[];
}

/** Below it "don't know" is the better answer. */
export interface AnswerThreshold {
  /** Share of right ones among the answers that are given, 0…1. */
  readonly targetPrecision: number;
  /** The least probability with that precision; null where none has it. */
  readonly threshold: number | null;
  /** Share of the validation images whose answer reaches the threshold, 0…1. */
  readonly coverage: number;
}

/** A threshold for the probability of one class, against all others: that of the greatest F1. */
export interface OperatingPoint {
  readonly threshold: number;
  /** Of the images that reach it, the share of the class, 0…1. */
  readonly precision: number;
  /** Of the images of the class, the share that reach it, 0…1. */
  readonly recall: number;
}

/** What `value`, of a parsed description, is: a calibration for so many classes, or undefined for anything else. */
export function readCalibration(value: unknown, classes: number): Calibration | undefined {
  if (!isRecord(value)) return undefined;
  const { count, temperature, answers, classes: points } = value;
  if (!Number.isInteger(count) || !isPositive(temperature)) return undefined;
  if (!Array.isArray(answers) || !answers.every(isAnswerThreshold)) return undefined;
  if (!Array.isArray(points) || points.length !== classes) return undefined;
  if (!points.every((point) => point === null || isOperatingPoint(point))) return undefined;
  return { count: count as number, temperature, answers, classes: points };
}

function isAnswerThreshold(value: unknown): value is AnswerThreshold {
  if (!isRecord(value)) return false;
  const { targetPrecision, threshold, coverage } = value;
  return isShare(targetPrecision) && (threshold === null || isShare(threshold)) && isShare(coverage);
}

function isOperatingPoint(value: unknown): value is OperatingPoint {
  return isRecord(value) && isShare(value.threshold) && isShare(value.precision) && isShare(value.recall);
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value < Number.POSITIVE_INFINITY;
}

function isShare(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 1;
}
