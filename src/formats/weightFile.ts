// formats: what a reader of somebody else's file gives: named tensors that are read when they are wanted, and what the file says about itself. Portable.
import { InputError } from "../errors.ts";

/** A tensor in a file. Reading it makes a copy, so that inspecting a file costs little more than its header. */
export interface FileTensor {
  readonly shape: readonly number[];
  /** In the names of safetensors: F32, F16, BF16, F64, I64 … */
  readonly dtype: string;
  /** The numbers in row-major order, as f32 whatever they are stored as. @throws InputError when the dtype is none that weights have */
  read(): Float32Array<ArrayBuffer>;
}

/** How images become the network's input, as far as a file says so. */
export interface FilePreprocessing {
  readonly height?: number;
  readonly width?: number;
  /** Per channel, of values in 0…1. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Side of the cut-out over the side of the scaled image: 0.875 is 224 of 256. */
  readonly cropRatio?: number;
  /** Of the resizing: `bilinear`, `bicubic`. */
  readonly interpolation?: string;
}

/** A file of weights, opened. */
export interface WeightFile {
  /** What it is, in words: `a PyTorch zip archive`. */
  readonly format: string;
  readonly tensors: ReadonlyMap<string, FileTensor>;
  /** What was found beside the tensors, one line each: `state_dict`, `epoch 164`. */
  readonly notes: readonly string[];
  /** Names by class index. */
  readonly classes?: readonly string[];
  readonly preprocessing?: FilePreprocessing;
  /** The network's name in its origin: `densenet121`, `torchxrayvision.models.DenseNet`. */
  readonly origin?: string;
}

/** Bytes per element of every dtype whose layout is known; only those that `decodeFloats` takes can be weights. */
export const dtypeBytes: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  C64: 8,
  C128: 16,
};

/**
 * Little-endian elements → f32. `bytes` may lie at any address. F64 is rounded, I64 and I32 are counters and small.
 * @throws InputError naming `what` for dtypes that no weights have
 */
export function decodeFloats(bytes: Uint8Array, dtype: string, what: string): Float32Array<ArrayBuffer> {
  const { buffer } = Uint8Array.from(bytes);
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "F64":
      return Float32Array.from(new Float64Array(buffer));
    case "F16":
      return Float32Array.from(new Uint16Array(buffer), halfToNumber);
    case "BF16": {
      const words = new Uint16Array(buffer);
      const bits = new Uint32Array(words.length);
      for (let i = 0; i < words.length; i++) bits[i] = words[i] << 16;
      return new Float32Array(bits.buffer);
    }
    case "I64":
      return Float32Array.from(new BigInt64Array(buffer), Number);
    case "I32":
      return Float32Array.from(new Int32Array(buffer));
    default:
      throw new InputError(`${what} has dtype ${dtype}, expected F32, F16, BF16 or F64`, { dtype });
  }
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. Exact. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
