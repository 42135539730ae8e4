// analyze: how a network does on each class. A total hides the rare ones: where 98 of 100 images are of one class,
// always naming it is 2 % wrong.
import type { Split } from "../data/dataset.ts";

export interface ClassError {
  /** Index of the class. */
  readonly label: number;
  /** Images of the class. */
  readonly count: number;
  /** Of these, percent; NaN where there are none. */
  readonly error: number;
}

/** From confusion[label][guess], in the order of the classes. */
export function classErrors(confusion: readonly (readonly number[])[]): ClassError[] {
  return confusion.map((row, label) => {
    const count = row.reduce((total, guesses) => total + guesses, 0);
    return { label, count, error: 100 * (1 - (row[label] ?? 0) / count) };
  });
}

/** The worst first, of equal ones the larger; classes without images not at all. */
export function worstFirst(errors: readonly ClassError[]): ClassError[] {
  return errors
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.error - a.error || b.count - a.count || a.label - b.label);
}

/** The mean of the classes' errors, percent: every class weighs the same, however many images it has. */
export function meanClassError(errors: readonly ClassError[]): number {
  const found = errors.filter(({ count }) => count > 0);
  return found.reduce((sum, { error }) => sum + error, 0) / found.length;
}

/** What naming one and the same class comes to: the least that a network must beat. */
export interface ConstantGuess {
  /** The commonest class of these images; of equally common ones the first. */
  readonly name: string;
  /** Of these images, percent. */
  readonly error: number;
}

export function constantGuess({ labels }: Pick<Split, "labels">, classes: readonly string[]): ConstantGuess {
  const counts = new Array<number>(classes.length).fill(0);
  for (const label of labels) counts[label] = (counts[label] ?? 0) + 1;
  const most = Math.max(...counts);
  return { name: classes[counts.indexOf(most)] ?? "", error: 100 * (1 - most / labels.length) };
}
