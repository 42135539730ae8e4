// analyze/report: everything a report shows, as plain data. Who trains fills it; renderReport turns it into one file.
import type { Calibration } from "../../checkpoint/calibration.ts";
import type { EpochMetrics } from "../../train/events.ts";
import type { Reliability } from "../calibration.ts";
import type { ConstantGuess } from "../classErrors.ts";
import type { Summary } from "../summary.ts";

export interface ReportStep {
  /** Epochs done at the end of the step, a fraction: 1.5 is the middle of the second epoch. */
  readonly epoch: number;
  /** Mean cross-entropy of the batch, nats. */
  readonly loss: number;
  readonly learningRate: number;
}

export interface ReportEvaluation {
  /** What was evaluated, for a heading: "1,000 validation images after epoch 8". */
  readonly caption: string;
  /** Percent. */
  readonly top1Error: number;
  readonly top5Error: number;
  readonly loss: number;
  readonly count: number;
  /** confusion[label][prediction] in images, [classes][classes]. */
  readonly confusion: readonly (readonly number[])[];
  readonly trust: ReportTrust;
}

/** How far the probabilities can be trusted. */
export interface ReportTrust {
  /** The softmax of the network's own logits. */
  readonly measured: Reliability;
  /** What the checkpoint carries, and the same images with its temperature. */
  readonly fitted?: { readonly calibration: Calibration; readonly measured: Reliability };
  /** Where nothing was fitted: why. */
  readonly missing?: string | undefined;
}

export interface ReportImage {
  /** `data:image/…;base64,…`. */
  readonly dataUri: string;
  /** Undefined where nobody knows it. */
  readonly label?: string;
  readonly prediction: string;
  /** Softmax score of the prediction, in [0, 1]. */
  readonly score: number;
  /** Says which image it is, e.g. its file name or number. */
  readonly name: string;
  /** The image in grey with the evidence for the prediction in colour, `data:image/…;base64,…`. */
  readonly evidenceUri?: string;
}

/** Images of a cell of the confusion matrix. */
export interface ReportConfusion {
  readonly label: string;
  readonly prediction: string;
  /** Of the validation, all together. */
  readonly count: number;
  /** The surest of them. */
  readonly images: readonly ReportImage[];
}

export interface ReportSetting {
  readonly key: string;
  readonly value: string;
  /** Where it came from: flag, config file, preset, default. */
  readonly source: string;
}

export interface ReportFact {
  readonly name: string;
  readonly value: string;
}

export interface ReportData {
  readonly title: string;
  readonly state: "running" | "finished" | "interrupted" | "diverged" | "failed";
  /** Of a run that failed: why. */
  readonly reason?: string;
  /** For people, e.g. "23 November 2026, 22:13 UTC". */
  readonly startedAt: string;
  /** Computing time of the run, that of the processes before it was resumed included. */
  readonly elapsedSeconds: number;
  readonly data: {
    readonly name: string;
    readonly trainCount: number;
    readonly validationCount: number;
    readonly classes: readonly string[];
    readonly citation?: string;
    /** What a constant answer comes to on the validation images. */
    readonly constant: ConstantGuess;
  };
  /** What whoever started the run wrote about it; "" for nothing. */
  readonly notes: string;
  readonly epochsPlanned: number;
  readonly epochs: readonly EpochMetrics[];
  readonly steps: readonly ReportStep[];
  readonly summary: Summary;
  /** All device memory of the run. */
  readonly peakBytes: number;
  readonly evaluation?: ReportEvaluation;
  readonly images: readonly ReportImage[];
  /** Images of the cells with the most mistakes. */
  readonly confusions: readonly ReportConfusion[];
  readonly config: readonly ReportSetting[];
  readonly environment: readonly ReportFact[];
  /** The command line that repeats the run. */
  readonly command: string;
}
