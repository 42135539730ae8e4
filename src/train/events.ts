// train: what a run reports while it goes on. One event is one JSON line of `densenet train --json` and of
// metrics.jsonl in the run folder.
import type { BackendInfo } from "../backends/backend.ts";
import type { NetworkSpec } from "../networks/registry.ts";
import type { TrainConfig } from "./config.ts";

/** Bytes of device memory by what lies in them; their sum is what the compiled plans need at once. */
export interface MemoryUse {
  /** Parameters, gradients, momenta and running statistics. */
  readonly weights: number;
  /** Feature maps and all else that lives within a run. */
  readonly features: number;
  /** The backend's own: what kernels work in, tables, rounding to its units. */
  readonly working: number;
}

/** First event of a run, also of a resumed one. */
export interface StartEvent {
  readonly type: "start";
  readonly config: TrainConfig;
  readonly spec: NetworkSpec;
  /** Learned numbers in the net. */
  readonly params: number;
  /** Bytes of device memory that the compiled plans need at once. */
  readonly peakBytes: number;
  /** peakBytes by what lies in them. */
  readonly memory: MemoryUse;
  readonly backend: BackendInfo;
  readonly classes: readonly string[];
  readonly trainCount: number;
  readonly valCount: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** Updates done before a resumed run goes on; 0 for a fresh one. */
  readonly resumedAtStep: number;
}

/** After each weight update, in order; where the device runs ahead of its results, some updates late. */
export interface StepEvent {
  readonly type: "step";
  /** Updates done since the start of training, 1-based. */
  readonly step: number;
  /** 1-based. */
  readonly epoch: number;
  /** Mean cross-entropy of this batch, nats. */
  readonly loss: number;
  /** Of this batch, percent. */
  readonly top1Error: number;
  readonly learningRate: number;
  /** Over the last steps, validation excluded. */
  readonly imagesPerSecond: number;
  /** Until the end of training, at the present speed. */
  readonly etaSeconds: number;
}

/** The results of one epoch. Errors are percentages, losses nats per image. */
export interface EpochMetrics {
  /** 1-based. */
  readonly epoch: number;
  readonly trainLoss: number;
  readonly trainTop1Error: number;
  readonly trainTop5Error: number;
  /** Validation uses running statistics and no dropout. */
  readonly valLoss: number;
  readonly valTop1Error: number;
  readonly valTop5Error: number;
  /** Of the epoch's last update. */
  readonly learningRate: number;
  /** This process's share of the epoch, validation included. */
  readonly seconds: number;
  readonly imagesPerSecond: number;
}

/** After the validation at the end of each epoch. */
export interface EpochEvent extends EpochMetrics {
  readonly type: "epoch";
  /** No earlier epoch had a lower valTop1Error. */
  readonly best: boolean;
}

/** A checkpoint is on disk, whole; loading it checks its SHA-256. */
export interface CheckpointEvent {
  readonly type: "checkpoint";
  readonly path: string;
  readonly step: number;
}

/** All epochs are done, or as many as `patience` allows. */
export interface EndEvent {
  readonly type: "end";
  /** That were done. */
  readonly epochs: number;
  readonly steps: number;
  /** Of this process. */
  readonly seconds: number;
  /** The last epoch: the number the paper reports. */
  readonly final: EpochMetrics;
  /** The epoch with the lowest validation error, reported apart, since it was chosen by looking at that error. */
  readonly best: EpochMetrics;
}

/**
 * The device was lost. Its work since the last copy of the state was repeated on `backend`, and the run goes on as if
 * nothing had happened.
 */
export interface RecoveredEvent {
  readonly type: "recovered";
  /** Updates reported before; the next one reported is the one after it. */
  readonly step: number;
  /** Updates that were repeated. */
  readonly repeatedSteps: number;
  /** The message of the lost device. */
  readonly reason: string;
  /** Where the run goes on. */
  readonly backend: BackendInfo;
}

/** The run was asked to stop, finished its step and saved. */
export interface InterruptedEvent {
  readonly type: "interrupted";
  readonly step: number;
  readonly epoch: number;
  /** Where to resume from; absent when the run has nowhere to save. */
  readonly path?: string;
}

/** What `Trainer.run` yields, discriminated by `type`. */
export type TrainEvent =
  | StartEvent
  | StepEvent
  | EpochEvent
  | CheckpointEvent
  | RecoveredEvent
  | EndEvent
  | InterruptedEvent;
