// backends/webgpu: the host's side of f16 storage. A buffer in f16 has an even number of words, because a queue copies
// multiples of four bytes.
import type { FoundGpu } from "./gpu.ts";

/** Why feature maps cannot be stored in f16 on this adapter, or undefined. */
export function lacksHalves({ adapter, name }: FoundGpu): string | undefined {
  if (!adapter.features.has("shader-f16")) return `${name} has no feature shader-f16`;
  // Browsers that offer shader-f16 have it.
  return "Float16Array" in globalThis
    ? undefined
    : "this JavaScript engine has no Float16Array (Node has it from 24 on)";
}

/** Rounded to the nearest f16. As bytes: Dawn's queue does not take a Float16Array. */
export function toHalves(data: Float32Array): Uint8Array<ArrayBuffer> {
  const halves = new Float16Array(data.length + (data.length % 2));
  halves.set(data);
  return new Uint8Array(halves.buffer);
}

export const fromHalves = (bytes: ArrayBuffer, count: number): Float32Array =>
  Float32Array.from(new Float16Array(bytes, 0, count));
