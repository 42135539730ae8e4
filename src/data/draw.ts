// data: random numbers of the loader. Each is a function of (seed, epoch, which image or position, which draw) and of
// nothing else, so any batch can be made again without making those before it.
import { lowbias32 } from "../ops/random.ts";

/** Which decision a number is for; numbers of different draws are independent. */
export const draws = {
  shuffle: 0,
  mirror: 1,
  shiftY: 2,
  shiftX: 3,
  cropArea: 4,
  cropAspect: 5,
  cropY: 6,
  cropX: 7,
  split: 8,
  colourOrder: 9,
  colourFactor: 10,
  lightRadius: 11,
  lightAngle: 12,
  erase: 13,
  eraseArea: 14,
  eraseAspect: 15,
  eraseY: 16,
  eraseX: 17,
} as const;
export type Draw = (typeof draws)[keyof typeof draws];

/** Random word in 0…2³²−1. Arguments are taken modulo 2³². */
export function randomWord(seed: number, epoch: number, index: number, draw: Draw, attempt = 0): number {
  const stream = lowbias32((draw + 0x85ebca6b + Math.imul(attempt, 0x9e3779b1)) >>> 0);
  return lowbias32(index ^ lowbias32(epoch ^ lowbias32(seed ^ stream)));
}

/** Fraction in [0, 1). */
export function randomFraction(seed: number, epoch: number, index: number, draw: Draw, attempt = 0): number {
  return randomWord(seed, epoch, index, draw, attempt) / 2 ** 32;
}

/** Whole number in 0…bound − 1. */
export function randomBelow(bound: number, seed: number, epoch: number, index: number, draw: Draw): number {
  return Math.floor(randomFraction(seed, epoch, index, draw) * bound);
}
