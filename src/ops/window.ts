// ops: sizes of sliding windows, shared by convolution and pooling.
import { UsageError } from "../errors.ts";

/**
 * Output extent of a window of `kernel` moved by `stride` over `extent` values with `padding` zeros on both sides
 * (floor).
 */
export function windowedExtent(op: string, extent: number, kernel: number, stride: number, padding: number): number {
  const out = Math.floor((extent + 2 * padding - kernel) / stride) + 1;
  if (out >= 1) return out;
  throw new UsageError(`${op}: a window of ${kernel} does not fit into ${extent} values with padding ${padding}`);
}

/**
 * Outputs [first, end) whose tap at kernel position `tap` lies inside the input: 0 ≤ out·stride + tap − padding <
 * extent.
 */
export function outputsInside(
  tap: number,
  extent: number,
  outExtent: number,
  stride: number,
  padding: number,
): { first: number; end: number } {
  const first = Math.max(0, Math.ceil((padding - tap) / stride));
  const end = Math.min(outExtent, Math.floor((extent - 1 + padding - tap) / stride) + 1);
  return { first, end };
}
