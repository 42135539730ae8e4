// Test support: the only source of randomness in tests. One seed decides every draw, so a failure can be run again;
// another seed: DENSENET_TEST_SEED=7 node --test test/data/augment.test.ts
import fc from "fast-check";

/** Unsigned 32 bit. */
export const testSeed = Number(process.env.DENSENET_TEST_SEED ?? 1608_06993) >>> 0;

// A property that fails prints this seed and the path to the smallest case.
fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: testSeed });

export { fc };

/** Numbers in [0, 1), another sequence for each key: a 32-bit generator by Tommy Ettinger ("mulberry32"). */
export function draws(key: string): () => number {
  let state = [...key].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 0x01000193), testSeed);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
