// data: per-channel mean and standard deviation, in units of pixels in 0…1. Published constants, and measuring them.
import { InputError } from "../errors.ts";
import type { Split } from "./dataset.ts";

/** Mean and standard deviation of each channel [C], in units of pixels in 0…1. */
export interface Normalization {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

const of255 = (values: readonly number[]): readonly number[] => Object.freeze(values.map((value) => value / 255));

/** The authors' Lua code, on pixels in 0…255. */
export const cifar10Normalization: Normalization = {
  mean: of255([125.3, 123.0, 113.9]),
  std: of255([63.0, 62.1, 66.7]),
};
/** As cifar10Normalization, for CIFAR-100. */
export const cifar100Normalization: Normalization = {
  mean: of255([129.3, 124.1, 112.4]),
  std: of255([68.2, 65.4, 70.4]),
};
/** SVHN: pixels / 255, nothing else (section 4.1 of the paper). */
export const svhnNormalization: Normalization = { mean: [0, 0, 0], std: [1, 1, 1] };
/** fb.resnet.torch, which the paper's ImageNet runs use; torchvision's too. */
export const imagenetNormalization: Normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** A constant channel has no deviation to divide by; half a grey level keeps it finite. */
const SMALLEST_STD = 0.5 / 255;

/**
 * Mean and standard deviation of every channel over all pixels of `split`, or of at most `atMost` images spread evenly
 * over it. Sums of integers, so exact and independent of order up to 2⁵³.
 */
export async function computeMeanStd(
  split: Split,
  size: { readonly channels: number; readonly height: number; readonly width: number },
  atMost: number = split.length,
): Promise<Normalization> {
  const plane = size.height * size.width;
  const sums = new Float64Array(size.channels);
  const squares = new Float64Array(size.channels);
  const images = Math.min(atMost, split.length);
  const concurrent = 16;
  for (let start = 0; start < images; start += concurrent) {
    const chosen = Array.from({ length: Math.min(concurrent, images - start) }, (_, i) => start + i);
    const decoded = await Promise.all(
      chosen.map(async (i) => {
        const bytes = new Uint8Array(size.channels * plane);
        await split.pixels(Math.floor((i * split.length) / images), bytes);
        return bytes;
      }),
    );
    for (const bytes of decoded) {
      for (let channel = 0; channel < size.channels; channel++) {
        let sum = 0;
        let square = 0;
        for (let i = channel * plane; i < (channel + 1) * plane; i++) {
          sum += bytes[i];
          square += bytes[i] * bytes[i];
        }
        sums[channel] += sum;
        squares[channel] += square;
      }
    }
  }
  const count = images * plane;
  const mean = Array.from(sums, (sum) => sum / count);
  // E[x²] − E[x]² of bytes is safe in f64: at worst 8 bits against 53.
  const std = mean.map((value, channel) => Math.sqrt(Math.max(0, squares[channel] / count - value * value)));
  return {
    mean: mean.map((value) => value / 255),
    std: std.map((value) => Math.max(value / 255, SMALLEST_STD)),
  };
}

/**
 * Normalised value of every byte: table[channel · 256 + byte] = (byte/255 − mean)/std, rounded to f32 once.
 * @throws InputError when mean and std cannot be of pixels in 0…1, such as those of pixels in 0…255
 */
export function normalizationTable({ mean, std }: Normalization): Float32Array {
  for (const [channel, value] of mean.entries()) {
    const deviation = std[channel];
    if (value >= 0 && value <= 1 && deviation > 0 && deviation <= 1) continue;
    throw new InputError(
      `preprocessing: channel ${channel} has mean ${value} and std ${deviation}, expected a mean from 0 to 1 and a ` +
        "std above 0 and at most 1: pixels are in 0…1 here, so divide by 255 what was measured on 0…255",
      { channel, mean: value, std: deviation },
    );
  }
  const table = new Float32Array(mean.length * 256);
  for (let channel = 0; channel < mean.length; channel++) {
    for (let byte = 0; byte < 256; byte++) table[channel * 256 + byte] = (byte / 255 - mean[channel]) / std[channel];
  }
  return table;
}
