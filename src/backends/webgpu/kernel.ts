// backends/webgpu: what an emitter is given and what it returns.
import type { BufferName, KernelName, KernelTable, View } from "../../plan/plan.ts";
import type { PersistentRole } from "../persistent.ts";
import type { Dispatch, Operand } from "./dispatch.ts";

/** What the emitters are allowed to use on this device. */
export interface Target {
  /**
   * true: products stage their operands in workgroup memory. false: each thread loads what it needs itself, which is
   * far faster on adapters that run on the CPU, where a barrier costs more than the loads it saves.
   */
  readonly tiled: boolean;
  /** Bytes that one binding may show. */
  readonly bindingBytes: number;
  /** Windows that a shader may bind. */
  readonly windows: number;
  /**
   * In a plan that stores feature maps in f16, products whose operands may be rounded to f16 are multiplied by these.
   */
  readonly matrices?: Matrices;
}

/** Subgroup matrices A [m, k] · B [k, n] of f16, summed in f32, and the lanes of the subgroups that own them. */
export interface Matrices {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly lanes: number;
}

/** Where the buffers of one call lie. */
export interface Addresses {
  /**
   * Channels of a buffer [N, C, H, W] (all images: from the first image's first channel to the last image's last) or of
   * a vector [C].
   */
  view(view: View): Operand;
  buffer(name: BufferName): Operand;
  role(role: PersistentRole): Operand;
  /** Words from an image of a view to the next. */
  batchStride(view: View): number;
  /** Working memory of this call alone, uninitialised. */
  scratch(words: number): Operand;
  /** Constants of this call. */
  table(words: readonly number[]): Operand;
}

export type Emit<K extends KernelName> = (
  args: Readonly<KernelTable[K]>,
  at: Addresses,
  target: Target,
) => readonly Dispatch[];
