// analyze: which vectors lie near each other, by the cosine of the angle between them: the length of a feature vector
// says how much there is of something in an image, its direction what.

/** A neighbour of a vector. */
export interface Neighbour {
  readonly index: number;
  /** Cosine, −1…1; 0 where a vector is all zeros. */
  readonly similarity: number;
}

/**
 * The `count` nearest others of each vector, nearest first; of equally near ones the first. All pairs are compared:
 * n² · d multiply-adds.
 */
export function nearestNeighbours(vectors: readonly Float32Array[], count: number): Neighbour[][] {
  const directions = vectors.map(direction);
  return directions.map((own, index) => {
    const nearest: Neighbour[] = [];
    for (const [other, vector] of directions.entries()) {
      if (other === index) continue;
      const similarity = product(own, vector);
      if (nearest.length === count && similarity <= nearest[count - 1].similarity) continue;
      const place = nearest.findIndex((found) => found.similarity < similarity);
      nearest.splice(place === -1 ? nearest.length : place, 0, { index: other, similarity });
      if (nearest.length > count) nearest.pop();
    }
    return nearest;
  });
}

/** 1 − cosine: 0 for the same direction, 2 for opposite ones. */
export const cosineDistance = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  const length = Math.sqrt(product(a, a) * product(b, b));
  return length > 0 ? 1 - product(a, b) / length : 1;
};

function direction(vector: Float32Array): Float32Array {
  const length = Math.sqrt(product(vector, vector));
  return length > 0 ? vector.map((value) => value / length) : vector;
}

function product(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += a[at] * b[at];
  return sum;
}
