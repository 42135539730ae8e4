// Test support: whether numbers that were drawn here are distributed as those of a reference, by its quantiles.
import assert from "node:assert/strict";

/**
 * Two samples of one distribution, of `draws` each, lie farther apart than 2.5 √(2/draws) with probability
 * 2 exp(−2·2.5²) < 10⁻⁵ (Kolmogorov and Smirnov; ties only make it rarer). `quantiles`: of the reference's `draws`, at
 * levels (i + ½)/length, where it is looked at.
 */
export function sameDistribution(
  what: string,
  found: readonly number[],
  quantiles: readonly number[],
  draws: number,
): void {
  const farthest = 2.5 * Math.sqrt(2 / draws);
  const sorted = Float64Array.from(found).sort();
  // Quantiles are rounded to five digits.
  const slack = 1e-5;
  for (const [i, quantile] of quantiles.entries()) {
    const level = (i + 0.5) / quantiles.length;
    const atMost = sorted.findLastIndex((value) => value <= quantile + slack) + 1;
    const below = sorted.findLastIndex((value) => value < quantile - slack) + 1;
    assert.ok(atMost / sorted.length >= level - farthest, `${what}: ${atMost} of ${sorted.length} up to ${quantile}`);
    assert.ok(below / sorted.length <= level + farthest, `${what}: ${below} of ${sorted.length} below ${quantile}`);
  }
}
