/// <reference lib="esnext.disposable" preserve="true" />
// The whole contract between the portable part of the line and a device.
import type { ActivationDtype, BufferName, Plan } from "../plan/plan.ts";

/** What a backend runs on and which of the device's features it found and uses. */
export interface BackendInfo {
  readonly name: "reference" | "wasm" | "webgpu";
  readonly threads: number;
  /** What its driver calls the device; absent where it is this machine's processor. */
  readonly device?: string;
  /** How plans for it should store feature maps: what it was opened for. f32 wherever f16 is not offered. */
  readonly activationDtype: ActivationDtype;
  /** Largest buffer that it can allocate, in bytes; absent where memory alone decides. */
  readonly maxBufferBytes?: number;
  /** What was found and used, e.g. { relaxedSimd: true, revectorized: true, sharedMemory: true }. */
  readonly features: Readonly<Record<string, boolean>>;
  /** Everything that was passed over, and why, as sentences. */
  readonly notes: readonly string[];
}

/** What a run may change without a new plan. */
export interface RunScalars {
  /** Used by `sgd` and `adamw` calls. */
  readonly learningRate?: number;
  /** Used by `adamw` calls: 1 − β₁ᵗ and 1 − β₂ᵗ in update t, counted from 1. */
  readonly corrections?: readonly [first: number, second: number];
  /** Seed and step choose the dropout masks, counter-based. Unsigned 32-bit. */
  readonly seed?: number;
  readonly step?: number;
}

/**
 * A device that can run plans. Made by a `create…` function, ended by `dispose` or `await using`. What is pending then,
 * or comes later, rejects with a DisposedError, also on the executables, which end with their backend.
 */
export interface Backend extends AsyncDisposable {
  readonly info: BackendInfo;
  /**
   * Plans that are compiled together share their persistent buffers (parameters, gradients, momentum, states) by name;
   * their arenas lie over one another, so arena contents survive only until another plan runs.
   */
  compile(plans: Readonly<Record<string, Plan>>): Promise<Executable>;
  /** Frees memory and threads, also of its executables. May be called again. */
  dispose(): Promise<void>;
}

/** Compiled plans with their memory. `dispose` and `await using` end it as they do a backend. */
export interface Executable extends AsyncDisposable {
  /** Sum of persistent bytes and of the largest arena. */
  readonly peakBytes: number;
  /** Of these, what the largest arena takes. */
  readonly arenaBytes: number;
  /**
   * Runs to have in flight before the results of the oldest are waited for. 1: `run` resolves when the run is done.
   * More: when it is submitted and no more than so many are in flight; the device computes on while results are
   * transferred.
   */
  readonly queueDepth: number;
  /**
   * Copies `data` into a buffer, for the runs that are begun later; `data` may change as soon as this resolves. Length
   * must be the buffer's, or a RangeError is thrown. `plan` is needed for arena buffers.
   */
  write(buffer: BufferName, data: Float32Array | Int32Array, plan?: string): Promise<void>;
  /**
   * Copies buffers out as the runs begun so far leave them, also when that is awaited after further runs were begun.
   * All in one transfer, so what is wanted together is asked for together. Integer buffers come as Int32Array. `plan`
   * is needed if one is an arena buffer.
   */
  read(buffers: readonly BufferName[], plan?: string): Promise<(Float32Array | Int32Array)[]>;
  /** Runs every call of a plan in order. Never blocks the calling thread's event loop on wasm and webgpu. */
  run(plan: string, scalars?: RunScalars): Promise<void>;
  /** Frees its memory. May be called again. */
  dispose(): Promise<void>;
}
