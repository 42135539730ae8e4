// analyze: a linear classifier in closed form, so that a probe has no learning rate and no luck: ridge regression of
// one-hot classes on standardised features. With Z = (X − mean)/deviation of the training images,
//
//     W = (ZᵀZ/n + λI)⁻¹ Zᵀ(Y − mean(Y))/n,   class = argmax of z·W + mean(Y)
//
// which NumPy computes in three lines. Any run of features can be probed alone; products are summed once for all.

/** Of the regression, in units of a standardised feature's variance. */
export const RIDGE = 0.01;
/** A feature that hardly varies is left out: standardised it would be noise. */
const CONSTANT = 1e-12;

/** Features of images, [count, width] row by row. */
export interface Features {
  readonly values: Float64Array;
  readonly width: number;
  readonly labels: ArrayLike<number>;
}

export class RidgeProbe {
  readonly #width: number;
  readonly #classes: number;
  readonly #mean: Float64Array; // [width]
  readonly #scale: Float64Array; // [width], 1/deviation
  readonly #gram: Float64Array; // [width, width], ZᵀZ/n, lower triangle
  readonly #target: Float64Array; // [width, classes], Zᵀ(Y − mean(Y))/n
  readonly #share: Float64Array; // [classes], mean(Y)

  constructor({ values, width, labels }: Features, classes: number) {
    const count = labels.length;
    this.#width = width;
    this.#classes = classes;
    this.#mean = new Float64Array(width);
    this.#scale = new Float64Array(width);
    const squares = new Float64Array(width);
    for (let n = 0; n < count; n++) for (let f = 0; f < width; f++) this.#mean[f] += values[n * width + f] / count;
    for (let n = 0; n < count; n++) {
      for (let f = 0; f < width; f++) squares[f] += (values[n * width + f] - this.#mean[f]) ** 2 / count;
    }
    for (let f = 0; f < width; f++) this.#scale[f] = squares[f] > CONSTANT ? 1 / Math.sqrt(squares[f]) : 0;
    this.#share = new Float64Array(classes);
    for (let n = 0; n < count; n++) this.#share[labels[n]] += 1 / count;
    this.#gram = new Float64Array(width * width);
    this.#target = new Float64Array(width * classes);
    const z = new Float64Array(width);
    for (let n = 0; n < count; n++) {
      for (let f = 0; f < width; f++) z[f] = (values[n * width + f] - this.#mean[f]) * this.#scale[f];
      for (let f = 0; f < width; f++) {
        const left = z[f] / count;
        for (let g = 0; g <= f; g++) this.#gram[f * width + g] += left * z[g];
        for (let c = 0; c < classes; c++) this.#target[f * classes + c] -= left * this.#share[c];
        this.#target[f * classes + labels[n]] += left;
      }
    }
  }

  /** Error in percent on other images of the classifier that sees the features from `from` to before `to` alone. */
  error({ values, labels }: Features, from = 0, to = this.#width): number {
    const weights = this.#solve(from, to);
    const classes = this.#classes;
    const size = to - from;
    const scores = new Float64Array(classes);
    let wrong = 0;
    for (let n = 0; n < labels.length; n++) {
      scores.set(this.#share);
      for (let f = 0; f < size; f++) {
        const z = (values[n * this.#width + from + f] - this.#mean[from + f]) * this.#scale[from + f];
        for (let c = 0; c < classes; c++) scores[c] += z * weights[f * classes + c];
      }
      let best = 0;
      for (let c = 1; c < classes; c++) if (scores[c] > scores[best]) best = c;
      if (best !== labels[n]) wrong++;
    }
    return (100 * wrong) / labels.length;
  }

  /** [to − from, classes], by Cholesky. */
  #solve(from: number, to: number): Float64Array {
    const size = to - from;
    const classes = this.#classes;
    const lower = new Float64Array(size * size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = this.#gram[(from + i) * this.#width + from + j] + (i === j ? RIDGE : 0);
        for (let k = 0; k < j; k++) sum -= lower[i * size + k] * lower[j * size + k];
        lower[i * size + j] = i === j ? Math.sqrt(sum) : sum / lower[j * size + j];
      }
    }
    const x = this.#target.slice(from * classes, to * classes);
    for (let c = 0; c < classes; c++) {
      for (let i = 0; i < size; i++) {
        for (let k = 0; k < i; k++) x[i * classes + c] -= lower[i * size + k] * x[k * classes + c];
        x[i * classes + c] /= lower[i * size + i];
      }
      for (let i = size - 1; i >= 0; i--) {
        for (let k = i + 1; k < size; k++) x[i * classes + c] -= lower[k * size + i] * x[k * classes + c];
        x[i * classes + c] /= lower[i * size + i];
      }
    }
    return x;
  }
}
