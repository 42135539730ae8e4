// Test support: how far Winograd's F(4×4, 3×3) may be from the exact convolution
// (src/backends/wasm/winogradTransforms.ts).
//
// Y = Aᵀ[Σ_c (G g Gᵀ) ⊙ (Bᵀ d B)]A. Every rounding on the way is relative to a value whose magnitude is at most that of
// the same expression with absolute values everywhere, M = |Aᵀ|[Σ_c (|G||g||Gᵀ|) ⊙ (|Bᵀ||d||B|)]|A|. Roundings that a
// term passes, without FMA: Bᵀ at most 3 in each direction; G at most 4 (two sums, the constant, the product); the
// chain over the channels 8 (the rule for sums in bounds.ts); Aᵀ at most 4 in each direction. Together 6 + 8 + 8 + 8 =
// 30 if all fell to one side, which they don't: measured in the suite's cases below 0.7u·M. Allowed: 8u·M.

interface Maps {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

type Matrix = readonly (readonly number[])[];

const inputMatrix: Matrix = [
  [4, 0, -5, 0, 1, 0],
  [0, -4, -4, 1, 1, 0],
  [0, 4, -4, -1, 1, 0],
  [0, -2, -1, 2, 1, 0],
  [0, 2, -1, -2, 1, 0],
  [0, 4, 0, -5, 0, 1],
];
const kernelMatrix: Matrix = [
  [1 / 4, 0, 0],
  [-1 / 6, -1 / 6, -1 / 6],
  [-1 / 6, 1 / 6, -1 / 6],
  [1 / 24, 1 / 12, 1 / 6],
  [1 / 24, -1 / 12, 1 / 6],
  [0, 0, 1],
];
const outputMatrix: Matrix = [
  [1, 1, 1, 1, 1, 0],
  [0, 1, -1, 2, -2, 0],
  [0, 1, 1, 4, 4, 0],
  [0, 1, -1, 8, -8, 1],
];

const transposed = (matrix: Matrix): Matrix => matrix[0].map((_, x) => matrix.map((row) => row[x]));

/** |left|·values·|left|ᵀ of a square of values, row by row. */
function sandwich(left: Matrix, values: ArrayLike<number>): Float64Array {
  const inner = left[0].length;
  const half = left.map((row) =>
    Array.from({ length: inner }, (_, x) => row.reduce((sum, m, y) => sum + Math.abs(m) * values[y * inner + x], 0)),
  );
  return Float64Array.from(
    half.flatMap((row) => left.map((column) => column.reduce((sum, m, x) => sum + Math.abs(m) * row[x], 0))),
  );
}

/** The square of `side` values from (top, left) of a plane, zeros outside. */
function square(
  { shape: [, channels, height, width], data }: Maps,
  [n, c]: readonly [number, number],
  [top, left]: readonly [number, number],
  side: number,
): Float64Array {
  return Float64Array.from({ length: side * side }, (_, i) => {
    const y = top + Math.floor(i / side);
    const x = left + (i % side);
    const inside = y >= 0 && y < height && x >= 0 && x < width;
    return inside ? Math.abs(data[((n * channels + c) * height + y) * width + x]) : 0;
  });
}

/**
 * |Gᵀ|[Σ over tiles of (|A||dY||Aᵀ|) ⊙ (|Bᵀ||d||B|)]|G|, the same for the gradient of the kernels: x [N, C, H, W], dy
 * [N, O, H, W] → [O, C, 3, 3].
 */
export function winogradGradMagnitude(x: Maps, dy: Maps): Float64Array {
  const [batch, channels, height, width] = x.shape;
  const outputs = dy.shape[1];
  const [gradientMatrix, backMatrix] = [transposed(outputMatrix), transposed(kernelMatrix)];
  const sums = Array.from({ length: outputs * channels }, () => new Float64Array(36));
  for (let n = 0; n < batch; n++) {
    for (let top = 0; top < height; top += 4) {
      for (let left = 0; left < width; left += 4) {
        const patches = Array.from({ length: channels }, (_, c) =>
          sandwich(inputMatrix, square(x, [n, c], [top - 1, left - 1], 6)),
        );
        for (let o = 0; o < outputs; o++) {
          const block = sandwich(gradientMatrix, square(dy, [n, o], [top, left], 4));
          patches.forEach((patch, c) => {
            const sum = sums[o * channels + c];
            for (let i = 0; i < 36; i++) sum[i] += block[i] * patch[i];
          });
        }
      }
    }
  }
  return Float64Array.from(sums.flatMap((sum) => Array.from(sandwich(backMatrix, sum))));
}

/** M of x [N, C, H, W] and kernels: `kernel(o, c)` gives nine numbers. → [N, O, H, W]. */
export function winogradMagnitude(
  x: Maps,
  outputs: number,
  kernel: (output: number, channel: number) => readonly number[],
): Float64Array {
  const [batch, channels, height, width] = x.shape;
  const kernels = Array.from({ length: outputs }, (_, o) =>
    Array.from({ length: channels }, (_, c) => sandwich(kernelMatrix, kernel(o, c).map(Math.abs))),
  );
  const result = new Float64Array(batch * outputs * height * width);
  for (let n = 0; n < batch; n++) {
    for (let top = 0; top < height; top += 4) {
      for (let left = 0; left < width; left += 4) {
        const patches = Array.from({ length: channels }, (_, c) =>
          sandwich(inputMatrix, square(x, [n, c], [top - 1, left - 1], 6)),
        );
        for (let o = 0; o < outputs; o++) {
          const products = new Float64Array(36);
          patches.forEach((patch, c) => {
            for (let i = 0; i < 36; i++) products[i] += patch[i] * kernels[o][c][i];
          });
          const block = sandwich(outputMatrix, products);
          for (let y = top; y < Math.min(top + 4, height); y++) {
            for (let column = left; column < Math.min(left + 4, width); column++) {
              result[((n * outputs + o) * height + y) * width + column] = block[(y - top) * 4 + column - left];
            }
          }
        }
      }
    }
  }
  return result;
}
