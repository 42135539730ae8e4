// Test support: the formula that gives golden nets their weights and images. scripts/fixtures/makeFixtures.py is its
// twin.
//
// One idea: only exactly rounded operations (32-bit integers, one division by 2^24, √, one product and one sum rounded
// to f32), so both languages get the same bits and no weights need to be stored.

/** FNV-1a, 32 bits, of an ASCII text. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Chris Wellons' lowbias32: a bijection of 32-bit integers that looks random. */
export function lowbias32(x: number): number {
  let h = x ^ (x >>> 16);
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** fround(offset + fround(scale)·u) with u uniform in [−1/2, 1/2) in steps of 2^-24, for indices 0 … count − 1. */
export function formula(key: string, count: number, offset: number, scale: number): Float32Array<ArrayBuffer> {
  const hash = fnv1a(key);
  const factor = Math.fround(scale);
  return Float32Array.from({ length: count }, (_, i) => {
    const u = (lowbias32(i ^ hash) >>> 8) / 2 ** 24 - 0.5;
    return offset + factor * u;
  });
}

/** Parameter or running statistic at a state-dict path. `lift` is the centre of batch norm's beta. */
export function stateValue(path: string, shape: readonly number[], lift: number): Float32Array<ArrayBuffer> {
  const leaf = path.slice(path.lastIndexOf(".") + 1);
  const count = shape.reduce((product, extent) => product * extent, 1);
  if (leaf === "weight" && shape.length === 4) return formula(path, count, 0, Math.sqrt(24 / (count / shape[0])));
  if (leaf === "weight" && shape.length === 2) return formula(path, count, 0, Math.sqrt(12 / shape[1]));
  if (leaf === "weight" || leaf === "running_var") return formula(path, count, 1, 1);
  return formula(path, count, leaf === "bias" && path.includes(".norm") ? lift : 0, 0.4);
}

/** Images [N, C, H, W] of white noise with variance 1. */
export function makeImages(key: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  return formula(
    key,
    shape.reduce((product, extent) => product * extent, 1),
    0,
    Math.sqrt(12),
  );
}

/** Labels [N] in 0 … classes − 1 that go with the images of `key`. */
export function labels(key: string, batch: number, classes: number): Int32Array<ArrayBuffer> {
  const hash = fnv1a(`${key}.labels`);
  return Int32Array.from({ length: batch }, (_, i) => lowbias32(i ^ hash) % classes);
}
