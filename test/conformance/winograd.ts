// Beside the line: how far Winograd's F(4×4, 3×3) may be from the exact convolution (src/backends/wasm/winogradTransforms.ts).
//
// Y = Aᵀ[Σ_c (G g Gᵀ) ⊙ (Bᵀ d B)]A. Every rounding on the way is relative to a value whose magnitude is at most that of the same expression
// with absolute values everywhere, M = |Aᵀ|[Σ_c (|G||g||Gᵀ|) ⊙ (|Bᵀ||d||B|)]|A|. Roundings that a term passes, without FMA: Bᵀ at most 3
// in each direction; G at most 4 (two sums, the constant, the product); the chain over the channels 8 (DESIGN.md's rule); Aᵀ at most 4 in each
// direction. Together 6 + 8 + 8 + 8 = 30 if all fell to one side, which they don't: measured in the suite's cases below 0.7u·M. Allowed: 8u·M.

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

interface Maps {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** M of x [N, C, H, W] and kernels: `kernel(o, c)` gives nine numbers. → [N, O, H, W]. */
export function winogradMagnitude(
  { shape: [batch, channels, height, width], data }: Maps,
  outputs: number,
  kernel: (output: number, channel: number) => readonly number[],
): Float64Array {
  const kernels = Array.from({ length: outputs }, (_, o) =>
    Array.from({ length: channels }, (_, c) => sandwich(kernelMatrix, kernel(o, c).map(Math.abs))),
  );
  const result = new Float64Array(batch * outputs * height * width);
  const at = (n: number, c: number, y: number, x: number): number =>
    y < 0 || y >= height || x < 0 || x >= width ? 0 : Math.abs(data[((n * channels + c) * height + y) * width + x]);
  for (let n = 0; n < batch; n++) {
    for (let top = 0; top < height; top += 4) {
      for (let left = 0; left < width; left += 4) {
        const patches = Array.from({ length: channels }, (_, c) =>
          sandwich(
            inputMatrix,
            Float64Array.from({ length: 36 }, (_, i) => at(n, c, top - 1 + Math.floor(i / 6), left - 1 + (i % 6))),
          ),
        );
        for (let o = 0; o < outputs; o++) {
          const products = new Float64Array(36);
          patches.forEach((patch, c) => {
            for (let i = 0; i < 36; i++) products[i] += patch[i] * kernels[o][c][i];
          });
          const block = sandwich(outputMatrix, products);
          for (let y = top; y < Math.min(top + 4, height); y++) {
            for (let x = left; x < Math.min(left + 4, width); x++) {
              result[((n * outputs + o) * height + y) * width + x] = block[(y - top) * 4 + x - left];
            }
          }
        }
      }
    }
  }
  return result;
}
