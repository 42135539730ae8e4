// infer: where in an image the evidence for a class lies, as a map over the maps' positions.
import { UsageError } from "../errors.ts";
import type { NodeTensor } from "./nodeReader.ts";

/** Evidence for a class by position: [height, width], row-major, from the image's top left corner. */
export interface ClassMap {
  readonly height: number;
  readonly width: number;
  readonly values: Float64Array;
}

/** Maps of one image, [C, height, width], with the name of their node for messages. */
interface Maps {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

/** @throws UsageError for a node without positions, such as the pooled features */
export function mapsOf({ shape, data }: NodeTensor, image: number, name: string): Maps {
  const [, channels, height, width] = shape;
  if (shape.length !== 4 || height * width < 2) {
    const found = shape.slice(1).join("×");
    throw new UsageError(`${name}: has ${found} values for an image, expected feature maps of more than one position`, {
      name,
    });
  }
  const length = channels * height * width;
  return { channels, height, width, data: data.subarray(image * length, (image + 1) * length) };
}

/**
 * The class activation map (Zhou et al. 2016). The logit is bias + Σ_k weight_k · mean_xy f_k(x, y), so
 * map(x, y) = (bias + Σ_k weight_k · f_k(x, y)) / (height · width) adds up to the logit: each position's share of it.
 * @param maps what the head pools, f, behind the last batch norm and ReLU
 * @param weight the class's row of the classifier [C]
 */
export function classActivationMap(maps: Maps, weight: ArrayLike<number>, bias: number): ClassMap {
  const values = weightedMaps(maps, weight);
  const plane = values.length;
  return { ...sizeOf(maps), values: values.map((value) => (value + bias) / plane) };
}

/**
 * Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): relu(Σ_k α_k A_k), α_k the mean over positions of the logit's
 * gradient with respect to A_k.
 * @param maps a node's values A
 * @param gradient of the logit with respect to them, of the same shape
 */
export function gradCam(maps: Maps, gradient: Maps): ClassMap {
  const plane = maps.height * maps.width;
  const alpha = Float64Array.from({ length: maps.channels }, (_, k) => {
    let sum = 0;
    for (let at = k * plane; at < (k + 1) * plane; at++) sum += gradient.data[at];
    return sum / plane;
  });
  return { ...sizeOf(maps), values: weightedMaps(maps, alpha).map((value) => Math.max(0, value)) };
}

/** Patches of an occlusion, in pixels of the network's input. */
export interface OcclusionPatch {
  /** Side of the square that is covered. */
  readonly side: number;
  /** From one patch to the next. */
  readonly stride: number;
}

/** Where patches lie along a side: every `stride` pixels, and one at the end, so that all pixels are covered. */
export function patchStarts(length: number, { side, stride }: OcclusionPatch): number[] {
  const last = Math.max(0, length - side);
  return [...Array.from({ length: Math.ceil(last / stride) }, (_, at) => at * stride), last];
}

/**
 * Occlusion (Zeiler & Fergus 2014): how much the logit falls where a grey patch covers the image. Each pixel has the
 * mean over the patches that cover it.
 * @param size of the network's input
 * @param drops logit of the whole image − logit with the patch, rows of patches as patchStarts gives them
 */
export function occlusionMap(
  { height, width }: { readonly height: number; readonly width: number },
  patch: OcclusionPatch,
  drops: ArrayLike<number>,
): ClassMap {
  const sums = new Float64Array(height * width);
  const counts = new Int32Array(height * width);
  let index = 0;
  for (const top of patchStarts(height, patch)) {
    for (const left of patchStarts(width, patch)) {
      for (let y = top; y < Math.min(height, top + patch.side); y++) {
        for (let at = y * width + left; at < y * width + Math.min(width, left + patch.side); at++) {
          sums[at] += drops[index];
          counts[at]++;
        }
      }
      index++;
    }
  }
  return { height, width, values: sums.map((sum, at) => sum / counts[at]) };
}

/** Σ_k weight_k · maps_k, by position. */
function weightedMaps({ channels, height, width, data }: Maps, weight: ArrayLike<number>): Float64Array {
  const plane = height * width;
  const values = new Float64Array(plane);
  for (let k = 0; k < channels; k++) for (let at = 0; at < plane; at++) values[at] += weight[k] * data[k * plane + at];
  return values;
}

const sizeOf = ({ height, width }: Maps) => ({ height, width });
