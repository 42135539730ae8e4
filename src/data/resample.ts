// data: bicubic resampling of 8-bit pixels, to the bit as Pillow does it (libImaging/Resample.c), so that a network
// sees in a page, in the command and in Python the same image.
//
// Separable: rows first, rounded and clamped to bytes, then columns. Each output pixel is a weighted mean of the input
// pixels under Keys' cubic convolution kernel with a = −1/2 (IEEE ASSP 29(6), 1981). When shrinking, the kernel is as
// wide as the step, so that nothing aliases; at the border it is cut off and its weights are scaled to sum to 1.
// Weights have 22 binary digits behind the point, sums are int32.

/** Interleaved 8-bit pixels. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray; // [height, width, channels]
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** Ways of scaling, by the names that others use. */
export const interpolations = ["bicubic", "bilinear"] as const;
export type Interpolation = (typeof interpolations)[number];

/**
 * The image is scaled to `scaledWidth` × `scaledHeight`, and `width` × `height` pixels of that from (left, top) on are
 * kept.
 */
export interface Framing {
  readonly scaledWidth: number;
  readonly scaledHeight: number;
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly interpolation: Interpolation;
}

/** @returns [framing.height, framing.width, channels] bytes */
export function resample(source: Pixels, framing: Framing): Pixels {
  const { width, height, channels } = source;
  if (framing.scaledWidth === width && framing.scaledHeight === height) return cut(source, framing);
  const kernel = KERNELS[framing.interpolation];
  const rows = taps(height, framing.scaledHeight, framing.top, framing.height, kernel);
  const firstRow = rows.first[0];
  const lastRow = rows.first[framing.height - 1] + rows.count[framing.height - 1];
  const columns = taps(width, framing.scaledWidth, framing.left, framing.width, kernel);
  const narrow = resampleRows(source, columns, firstRow, lastRow - firstRow);
  const data = resampleColumns(narrow, rows, firstRow, framing.width * channels);
  return { data, width: framing.width, height: framing.height, channels };
}

/** What is kept of an image that is not scaled. */
function cut({ data, width, height, channels }: Pixels, framing: Framing): Pixels {
  if (framing.width === width && framing.height === height) return { data, width, height, channels };
  const stride = framing.width * channels;
  const out = new Uint8Array(framing.height * stride);
  for (let y = 0; y < framing.height; y++) {
    const from = ((framing.top + y) * width + framing.left) * channels;
    out.set(data.subarray(from, from + stride), y * stride);
  }
  return { data: out, width: framing.width, height: framing.height, channels };
}

const PRECISION = 22;

/** What each output pixel along an axis is made of. */
interface Taps {
  readonly size: number;
  /** First input pixel, and how many. */
  readonly first: Int32Array; // [kept]
  readonly count: Int32Array; // [kept]
  readonly weights: Int32Array; // [kept, size], times 2²²; zero beyond count
}

/** For `kept` of the `scaled` pixels that `length` pixels are scaled to, from `from` on. */
function taps(length: number, scaled: number, from: number, kept: number, kernel: Kernel): Taps {
  const step = length / scaled;
  const widening = Math.max(1, step);
  const reach = kernel.support * widening;
  const size = 2 * Math.ceil(reach) + 1;
  const first = new Int32Array(kept);
  const count = new Int32Array(kept);
  const weights = new Int32Array(kept * size);
  const exact = new Float64Array(size);
  for (let i = 0; i < kept; i++) {
    const centre = (from + i + 0.5) * step;
    const low = Math.max(0, Math.trunc(centre - reach + 0.5));
    const high = Math.min(length, Math.trunc(centre + reach + 0.5));
    let total = 0;
    for (let at = low; at < high; at++) {
      const weight = kernel.weight((at - centre + 0.5) * (1 / widening));
      exact[at - low] = weight;
      total += weight;
    }
    for (let k = 0; k < high - low; k++) {
      const weight = (exact[k] / total) * 2 ** PRECISION;
      weights[i * size + k] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    first[i] = low;
    count[i] = high - low;
  }
  return { size, first, count, weights };
}

interface Kernel {
  /** Zero from here on, in pixels. */
  readonly support: number;
  weight(x: number): number;
}

const KERNELS: Readonly<Record<Interpolation, Kernel>> = {
  bicubic: {
    support: 2,
    weight(x) {
      const t = Math.abs(x);
      if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
      if (t < 2) return (((t - 5) * t + 8) * t - 4) * -0.5;
      return 0;
    },
  },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
};

/** Rows `firstRow` … `firstRow + rowCount − 1`, each as wide as `columns` says: [rowCount, kept, channels]. */
function resampleRows(source: Pixels, columns: Taps, firstRow: number, rowCount: number): Uint8ClampedArray {
  const { data, width, channels } = source;
  const { size, first, count, weights } = columns;
  const kept = first.length;
  const out = new Uint8ClampedArray(rowCount * kept * channels);
  for (let row = 0; row < rowCount; row++) {
    const line = (firstRow + row) * width * channels;
    let to = row * kept * channels;
    for (let x = 0; x < kept; x++) {
      const from = line + first[x] * channels;
      const end = x * size + count[x];
      if (channels === 3) {
        let red = HALF;
        let green = HALF;
        let blue = HALF;
        for (let k = x * size, at = from; k < end; k++, at += 3) {
          const weight = weights[k];
          red = (red + Math.imul(data[at], weight)) | 0;
          green = (green + Math.imul(data[at + 1], weight)) | 0;
          blue = (blue + Math.imul(data[at + 2], weight)) | 0;
        }
        out[to] = red >> PRECISION;
        out[to + 1] = green >> PRECISION;
        out[to + 2] = blue >> PRECISION;
      } else {
        for (let channel = 0; channel < channels; channel++) {
          let sum = HALF;
          for (let k = x * size, at = from + channel; k < end; k++, at += channels) {
            sum = (sum + Math.imul(data[at], weights[k])) | 0;
          }
          out[to + channel] = sum >> PRECISION;
        }
      }
      to += channels;
    }
  }
  return out;
}

/** Rounds where the digits behind the point are cut off. */
const HALF = 1 << (PRECISION - 1);

/** `narrow` [rows from firstRow on, stride] → [kept, stride]. */
function resampleColumns(narrow: Uint8ClampedArray, rows: Taps, firstRow: number, stride: number): Uint8ClampedArray {
  const { size, first, count, weights } = rows;
  const out = new Uint8ClampedArray(first.length * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]; k++) {
      const weight = weights[y * size + k];
      const line = (first[y] - firstRow + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] = (sums[i] + Math.imul(narrow[line + i], weight)) | 0;
    }
    for (let i = 0; i < stride; i++) out[y * stride + i] = sums[i] >> PRECISION;
  }
  return out;
}
