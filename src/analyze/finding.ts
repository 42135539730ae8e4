// analyze: a sentence of the paper beside what was measured of it. The criterion is fixed before anything is measured,
// so that "not found" is an answer.

/** A sentence of the paper, and whether what was measured bears it out. */
export interface Finding {
  /** The paper's sentence. */
  readonly claim: string;
  /** Where it stands: "section 5, observation 1". */
  readonly place: string;
  /** When it counts as found, in words. */
  readonly criterion: string;
  /** What was measured, in words, with units. */
  readonly measured: string;
  /** The same measure where the claim has no reason to hold, such as before training. */
  readonly control?: string;
  readonly found: boolean;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 0 ? (low + high) / 2 : high;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
