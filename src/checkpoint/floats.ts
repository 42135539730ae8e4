// checkpoint: numbers of files → f32, and f32 → f16. Portable.
import { InputError } from "../errors.ts";

/**
 * Bytes per element of every dtype whose layout is known; only those that `decodeFloats` takes are numbers of a
 * network.
 */
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
 * @throws InputError for dtypes that no weights have
 */
export function decodeFloats(bytes: Uint8Array, dtype: string): Float32Array<ArrayBuffer> {
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
      throw new InputError(`a tensor has dtype ${dtype}, expected F32, F16, BF16 or F64`, { dtype });
  }
}

/** Half way between 65504, the largest f16, and what would be the next: from here on a number rounds to an infinity. */
const ROUNDS_TO_INFINITY = 65520;

/** The first number that no f16 is near, if there is one; infinities are among them. */
export function beyondHalves(floats: Float32Array): number | undefined {
  return floats.find((value) => Math.abs(value) >= ROUNDS_TO_INFINITY);
}

/** The nearest f16 of each number, ties to even, as bits. What is too large becomes an infinity. */
export function encodeHalves(floats: Float32Array): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(floats, numberToHalf);
}

function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= ROUNDS_TO_INFINITY) return sign | 0x7c00;
  // Below 2⁻¹⁴ steps of 2⁻²⁴; a sum that reaches 1024 is 2⁻¹⁴, the smallest number with an exponent.
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24);
  let exponent = 15;
  while (magnitude < 2 ** exponent) exponent--;
  // 1024…2048 steps; 2048 carries into the exponent.
  return sign | (((exponent + 14) << 10) + roundHalfEven(magnitude * 2 ** (10 - exponent)));
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. Exact. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The nearest numbers that f16 has. */
export function roundToHalves(floats: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(encodeHalves(floats), halfToNumber);
}
