// backends/webgpu: the host's side of f16 storage. A buffer in f16 has an even number of words, because a queue copies multiples of four bytes.

/** Whether this engine has Float16Array: browsers that offer shader-f16, Node 24 and later. */
export const hasFloat16 = (): boolean => "Float16Array" in globalThis;

/** Rounded to the nearest f16. As bytes: Dawn's queue does not take a Float16Array. */
export function toHalves(data: Float32Array): Uint8Array<ArrayBuffer> {
  const halves = new Float16Array(data.length + (data.length % 2));
  halves.set(data);
  return new Uint8Array(halves.buffer);
}

export const fromHalves = (bytes: ArrayBuffer, count: number): Float32Array =>
  Float32Array.from(new Float16Array(bytes, 0, count));
