// ops: randomness without state. A random word is a function of (seed, step, stream, index), so every backend, every
// number of threads and every resumed run draws the same ones. Only 32-bit integer operations are used.

/** Bijective 32-bit mixer "lowbias32" (Chris Wellons, "Prospecting for Hash Functions", 2018). */
export function lowbias32(word: number): number {
  let x = word >>> 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 0;
}

/** Key of one dropout or gate op (`stream`) in one training step. All arguments are taken modulo 2³². */
export function dropoutKey(seed: number, step: number, stream: number): number {
  return lowbias32(seed ^ lowbias32(step ^ lowbias32((stream + 0x9e3779b9) >>> 0)));
}

/** Threshold of `isKept`: 24 bits, because 24-bit integers are exact in f32. */
export function dropThreshold(rate: number): number {
  return Math.ceil(rate * 2 ** 24);
}

/** Whether element `index` survives; true with probability 1 − rate. */
export function isKept(index: number, key: number, threshold: number): boolean {
  return lowbias32(index ^ key) >>> 8 >= threshold;
}
