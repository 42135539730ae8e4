// train: loss and errors of many images from those of single ones. Sums, so that a batch weighs what it holds (section
// 4: test error over all images); doubles, which JSON returns exactly, so a resumed epoch ends with the same numbers.

/** Sums over images. */
export interface Totals {
  readonly count: number;
  /** Cross-entropies, nats. */
  readonly loss: number;
  /** Images whose label was not the first, not among the first five guesses. */
  readonly top1Wrong: number;
  readonly top5Wrong: number;
}

export const noTotals: Totals = Object.freeze({ count: 0, loss: 0, top1Wrong: 0, top5Wrong: 0 });

/** Loss in nats per image, errors in percent. */
export interface Metrics {
  readonly loss: number;
  readonly top1Error: number;
  readonly top5Error: number;
}

/** What a run of a plan with a loss found of single images, in its buffers sampleLoss and sampleRank. */
export interface Samples {
  readonly loss: ArrayLike<number>; // [N], nats
  readonly rank: ArrayLike<number>; // [N]: classes that were guessed before the label
  /** How many of the N are images; padding follows. */
  readonly count: number;
}

export function addSamples(totals: Totals, { loss: sampleLoss, rank, count }: Samples): Totals {
  let { loss, top1Wrong, top5Wrong } = totals;
  for (let n = 0; n < count; n++) {
    loss += sampleLoss[n];
    if (rank[n] >= 1) top1Wrong++;
    if (rank[n] >= 5) top5Wrong++;
  }
  return { count: totals.count + count, loss, top1Wrong, top5Wrong };
}

export function addTotals(a: Totals, b: Totals): Totals {
  return {
    count: a.count + b.count,
    loss: a.loss + b.loss,
    top1Wrong: a.top1Wrong + b.top1Wrong,
    top5Wrong: a.top5Wrong + b.top5Wrong,
  };
}

export function metricsOf({ count, loss, top1Wrong, top5Wrong }: Totals): Metrics {
  return { loss: loss / count, top1Error: (100 * top1Wrong) / count, top5Error: (100 * top5Wrong) / count };
}
