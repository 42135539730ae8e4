// data: the order of an epoch, a function of (seed, epoch) alone.
import { draws, randomBelow } from "./draw.ts";

/** Permutation of 0…length − 1 by Fisher and Yates; every epoch of every seed has its own. */
export function permutation(length: number, seed: number, epoch: number): Int32Array {
  const order = Int32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = randomBelow(i + 1, seed, epoch, i, draws.shuffle);
    const held = order[i];
    order[i] = order[j];
    order[j] = held;
  }
  return order;
}
