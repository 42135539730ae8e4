// analyze: precision, recall and F1 of each class against all others (scikit-learn's precision_recall_fscore_support).

/** How well the network separates one class from all others. */
export interface ClassScore {
  /** Index of the class. */
  readonly label: number;
  /** Images of the class. */
  readonly count: number;
  /** Images taken for the class. */
  readonly predicted: number;
  /** Of the images taken for the class, the share that are; 0…1, NaN where none is. */
  readonly precision: number;
  /** Of the images of the class, the share taken for it; 0…1, NaN where there are none. */
  readonly recall: number;
  /** Harmonic mean of both as 2·TP / (images + predicted), 0…1; NaN where both are 0. */
  readonly f1: number;
}

/** From confusion[label][guess], in the order of the classes. */
export function classScores(confusion: readonly (readonly number[])[]): ClassScore[] {
  return confusion.map((row, label) => {
    const right = row[label] ?? 0;
    const count = row.reduce((total, guesses) => total + guesses, 0);
    const predicted = confusion.reduce((total, other) => total + (other[label] ?? 0), 0);
    return {
      label,
      count,
      predicted,
      precision: right / predicted,
      recall: right / count,
      f1: (2 * right) / (count + predicted),
    };
  });
}

/** The mean over the classes that have images, every class weighing the same; what no image was taken for counts 0. */
export function meanScores(scores: readonly ClassScore[]): Pick<ClassScore, "precision" | "recall" | "f1"> {
  const found = scores.filter(({ count }) => count > 0);
  const mean = (of: (score: ClassScore) => number): number =>
    found.reduce((sum, score) => sum + (of(score) || 0), 0) / found.length;
  return { precision: mean((of) => of.precision), recall: mean((of) => of.recall), f1: mean((of) => of.f1) };
}
