// data: an epoch in which every class is seen equally often, however uneven the classes are.
import { permutation } from "./shuffle.ts";

/**
 * As many positions as there are labels, in which classes differ by one image at most: a class with fewer images than
 * its share shows them again, one with more shows others in the next epoch. A function of (seed, epoch), without an
 * order of its own: the epoch is shuffled afterwards. An image that comes twice in an epoch is augmented alike both
 * times, so there it is a weight.
 */
export function balancedIndices(labels: Uint16Array, seed: number, epoch: number): Int32Array {
  const byClass = new Map<number, number[]>();
  // In an order of the seed's, so that a class goes through all its images before it repeats one.
  for (const position of permutation(labels.length, seed, 0)) {
    const own = byClass.get(labels[position]);
    if (own === undefined) byClass.set(labels[position], [position]);
    else own.push(position);
  }
  const classes = [...byClass.keys()].sort((a, b) => a - b).map((label) => byClass.get(label) ?? []);
  const share = Math.floor(labels.length / classes.length);
  const leftover = labels.length % classes.length;
  const chosen: number[] = [];
  for (const [place, own] of classes.entries()) {
    // The classes that get one image more change from epoch to epoch.
    const count = share + ((place + epoch) % classes.length < leftover ? 1 : 0);
    const begin = epoch * share;
    for (let k = 0; k < count; k++) chosen.push(own[(begin + k) % own.length]);
  }
  return Int32Array.from(chosen);
}
