// backends/webgpu: what an emitter is given and what it returns.
import type { BufferName, BufferRole, KernelName, KernelTable, View } from "../../plan/plan.ts";
import type { Dispatch, Operand } from "./dispatch.ts";

/** What the emitters are allowed to use on this device. */
export interface Target {
  /**
   * true: products stage their operands in workgroup memory. false: each thread loads what it needs itself, which is far faster on adapters
   * that run on the CPU, where a barrier costs more than the loads it saves.
   */
  readonly tiled: boolean;
  /** Bytes that one binding may show. */
  readonly bindingBytes: number;
}

/** Where the buffers of one call lie. */
export interface Addresses {
  /** Channels of a buffer [N, C, H, W] (all images: from the first image's first channel to the last image's last) or of a vector [C]. */
  view(view: View): Operand;
  buffer(name: BufferName): Operand;
  role(role: BufferRole): Operand;
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
