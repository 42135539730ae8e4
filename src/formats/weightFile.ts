// formats: what a reader of somebody else's file gives: named tensors that are read when they are wanted, and what the
// file says about itself. Portable.
import type { Preprocessing } from "../checkpoint/checkpoint.ts";
import { EPS } from "../networks/modules.ts";

/** A tensor in a file. Reading it makes a copy, so that inspecting a file costs little more than its header. */
export interface FileTensor {
  readonly shape: readonly number[];
  /** In the names of safetensors: F32, F16, BF16, F64, I64 … */
  readonly dtype: string;
  /**
   * The numbers in row-major order, as f32 whatever they are stored as. @throws InputError when the dtype is none that
   * weights have
   */
  read(): Float32Array<ArrayBuffer>;
}

/** How images become the network's input, as far as a file says so. */
export type FilePreprocessing = Partial<Preprocessing>;

/** A file of weights, opened. */
export interface WeightFile {
  /** What it is, in words: `a PyTorch zip archive`. */
  readonly format: string;
  readonly tensors: ReadonlyMap<string, FileTensor>;
  /** Size of the file, or of the files together. */
  readonly bytes: number;
  /** What was found beside the tensors, one line each: `state_dict`, `epoch 164`. */
  readonly notes: readonly string[];
  /** Names by class index. */
  readonly classes?: readonly string[];
  readonly preprocessing?: FilePreprocessing;
  /** As a trained model's, where the file says it. */
  readonly outputs?: "sigmoid";
  /** The network's name in its origin: `densenet121`, `torchxrayvision.models.DenseNet`. */
  readonly origin?: string;
}

/** A variance that means with our ε what `variance` means with `epsilon`: only their sum counts. */
export function withEpsilon(variance: FileTensor, epsilon: number): FileTensor {
  const { shape, dtype } = variance;
  return { shape, dtype, read: () => variance.read().map((value) => Math.max(0, value + (epsilon - EPS))) };
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
