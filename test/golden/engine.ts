// Test support: what the golden tests ask of anything that can compute a DenseNet, so that one suite covers all of
// them.
import type { Fixture, Precision } from "./fixture.ts";

/** Row-major values by name. */
export type Values = ReadonlyMap<string, ArrayLike<number>>;

export interface Engine {
  readonly name: string;
  /** What it stores and computes in: decides the tolerances. */
  readonly precision: Precision;
  /** Fast enough for densenet121. */
  readonly big: boolean;
  readonly keepsActivations: boolean;
  /** Inference with running statistics. Gives `logits` [N, K]. */
  infer(fixture: Fixture): Promise<Values>;
  /**
   * One training pass without an update. Gives `logits`, `loss` [1], `d(<path>)` of every parameter, the new running
   * statistics by path, and `value:<path>`, the output of every convolution, norm and average pooling and of the
   * classifier, if it `keepsActivations`.
   */
  train(fixture: Fixture): Promise<Values>;
  /** SGD steps as the fixture says. Gives `losses` [steps], then parameters and running statistics by path. */
  curve(fixture: Fixture): Promise<Values>;
  dispose?(): Promise<void>;
}
