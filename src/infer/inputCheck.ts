// infer: whether images are prepared as the network's weights expect. Portable.
//
// A network carries what its input looked like: the first batch norm's running statistics are those of the first
// convolution's output in training. Pixels that were not divided by 255, another mean or another range change that
// output many times over; other images of the same kind do not. The convolution is computed at a few places of each
// image only.
import type { Model, ModelTensor } from "../model/model.ts";
import { EPS } from "../networks/modules.ts";

export interface NormalizedImages {
  readonly images: Float32Array; // [N, C, height, width]
  readonly count: number;
  readonly height: number;
  readonly width: number;
}

/** Per image. */
const PLACES = 48;

/** Images that are compared. */
export const MOST_COMPARED = 16;

/**
 * Factors beyond which the distance from the mean is no chance: a few images may all be dim or flat. Values in 0…1 for
 * normalised ones are 4 times too near, values in 0…255 57 times too far.
 */
const FEW = 4;
const FACTOR = 3;
const FACTOR_OF_FEW = 8;

/** A sentence when the statistics of `input` are far from those in training, else undefined. */
export function inputMismatch(model: Model, input: NormalizedImages): string | undefined {
  const [convolution, mean, variance] = (["convWeight", "mean", "variance"] as const).map((role) =>
    [...model.state.values()].find((tensor) => tensor.role === role),
  );
  if (convolution === undefined || mean === undefined || variance === undefined) return undefined;
  if (mean.shape[0] !== convolution.shape[0] || isUntrained(mean, variance)) return undefined;
  const count = Math.min(input.count, MOST_COMPARED);
  const distance = typicalDistance(convolution, mean, variance, { ...input, count });
  const limit = count < FEW ? FACTOR_OF_FEW : FACTOR;
  if (!(distance > limit || distance < 1 / limit)) return undefined;
  const times = distance > 1 ? distance.toPrecision(2) : `1/${(1 / distance).toPrecision(2)}`;
  return (
    `the first layer's values for ${count === 1 ? "the first image" : `the first ${count} images`} are ${times} times ` +
    "as far from their mean as in training: mean and deviation, or the images, are probably not what these weights expect"
  );
}

/** As it was created: no batch has changed it. */
function isUntrained(mean: ModelTensor, variance: ModelTensor): boolean {
  return mean.data.every((value) => value === 0) && variance.data.every((value) => value === 1);
}

/** Root of the median over maps of the mean square of (y − μ)/σ, which is 1 in training. */
function typicalDistance(
  { shape: [maps, channels, kernelHeight, kernelWidth], data: weight }: ModelTensor,
  { data: mean }: ModelTensor,
  { data: variance }: ModelTensor,
  { images, count, height, width }: NormalizedImages,
): number {
  if (height < kernelHeight || width < kernelWidth) return 1;
  const sums = new Float64Array(maps);
  const area = kernelHeight * kernelWidth;
  for (let n = 0; n < count; n++) {
    for (let place = 0; place < PLACES; place++) {
      // Golden-ratio steps in both directions spread over the image without a pattern.
      const y = Math.floor(((place * 0.7548776662) % 1) * (height - kernelHeight + 1));
      const x = Math.floor(((place * 0.5698402909) % 1) * (width - kernelWidth + 1));
      for (let map = 0; map < maps; map++) {
        let value = 0;
        for (let channel = 0; channel < channels; channel++) {
          const from = ((n * channels + channel) * height + y) * width + x;
          const taps = (map * channels + channel) * area;
          for (let row = 0; row < kernelHeight; row++) {
            for (let column = 0; column < kernelWidth; column++) {
              value += weight[taps + row * kernelWidth + column] * images[from + row * width + column];
            }
          }
        }
        sums[map] += (value - mean[map]) ** 2 / (variance[map] + EPS);
      }
    }
  }
  const sorted = sums.sort();
  return Math.sqrt(sorted[maps >> 1] / (count * PLACES));
}
