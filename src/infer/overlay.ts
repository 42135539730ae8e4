// infer: a class map laid back over the image that it explains. Portable.
import type { Box } from "../data/augment.ts";
import type { Image } from "../data/fitImage.ts";
import type { ClassMap } from "./classActivation.ts";

/** Matplotlib's inferno, perceptually even and readable in grey, from no evidence to the map's maximum. */
const COLOURS = [
  [0, 0, 4],
  [40, 11, 84],
  [101, 21, 110],
  [159, 42, 99],
  [212, 72, 66],
  [245, 125, 21],
  [250, 193, 39],
  [252, 255, 164],
] as const;

/** How much of the colour covers the image where the map has its maximum. */
const OPACITY = 0.8;
/** Of the image's brightness outside of what the network saw. */
const UNSEEN = 0.45;

/** RGB of a share in 0…1. */
function colourOf(share: number): readonly [number, number, number] {
  const at = Math.min(1, Math.max(0, share)) * (COLOURS.length - 1);
  const from = Math.min(COLOURS.length - 2, Math.floor(at));
  const [low, high] = [COLOURS[from], COLOURS[from + 1]];
  const mix = (channel: 0 | 1 | 2): number => low[channel] + (high[channel] - low[channel]) * (at - from);
  return [mix(0), mix(1), mix(2)];
}

/**
 * The image in grey with the map's evidence in colour, transparent where there is none, opaque and bright at its
 * maximum; what speaks against the class (below zero) stays grey. The map is interpolated linearly between the centres
 * of its positions. What the network did not see is darker.
 * @param box what the network saw, in the image's pixels (`centreBox`); its edges are the map's
 * @returns [height, width, 3] bytes
 */
export function overlay(image: Image, box: Box, map: ClassMap): Uint8Array {
  const { width, height, data } = image;
  const stride = data.length / (width * height);
  const most = map.values.reduce((a, b) => Math.max(a, b), 0);
  const columns = Array.from({ length: width }, (_, x) => between((x + 0.5 - box.left) / box.width, map.width));
  const out = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = between((y + 0.5 - box.top) / box.height, map.height);
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const grey = greyAt(data, at * stride, stride);
      const column = columns[x];
      if (row === undefined || column === undefined) {
        out.fill(UNSEEN * grey, 3 * at, 3 * at + 3);
        continue;
      }
      const share = most > 0 ? Math.max(0, interpolated(map, row, column) / most) : 0;
      const opacity = OPACITY * Math.sqrt(share);
      const colour = colourOf(share);
      for (let channel = 0; channel < 3; channel++) {
        out[3 * at + channel] = Math.round(grey * (1 - opacity) + colour[channel] * opacity);
      }
    }
  }
  return out;
}

/** Rec. 601, on white where it is transparent. */
function greyAt(data: Image["data"], at: number, stride: number): number {
  const grey = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  if (stride === 3) return grey;
  const alpha = data[at + 3] / 255;
  return grey * alpha + 255 * (1 - alpha);
}

/** The two positions that a point lies between, and how far on the way from the first to the second. */
interface Between {
  readonly low: number;
  readonly high: number;
  readonly share: number;
}

/** `part`: 0…1 along a side of `count` positions; undefined outside. */
function between(part: number, count: number): Between | undefined {
  if (!(part >= 0 && part <= 1)) return undefined;
  const at = Math.min(count - 1, Math.max(0, part * count - 0.5));
  const low = Math.floor(at);
  return { low, high: Math.min(count - 1, low + 1), share: at - low };
}

function interpolated({ width, values }: ClassMap, row: Between, column: Between): number {
  const along = (y: number): number => {
    const [left, right] = [values[y * width + column.low], values[y * width + column.high]];
    return left + (right - left) * column.share;
  };
  const [top, bottom] = [along(row.low), along(row.high)];
  return top + (bottom - top) * row.share;
}

/**
 * What the evidence concentrates on: the connected positions around the map's maximum with at least half of it, as a
 * box in the image's pixels; undefined where nothing speaks for the class.
 * @param box what the network saw, in the image's pixels
 */
export function peakBox({ width, height, values }: ClassMap, box: Box): Box | undefined {
  let peak = 0;
  for (const [at, value] of values.entries()) if (value > values[peak]) peak = at;
  const least = values[peak] / 2;
  if (!(least > 0)) return undefined;
  const seen = new Set([peak]);
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (const at of seen) {
    const [x, y] = [at % width, Math.floor(at / width)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    const around = [x > 0 && at - 1, x < width - 1 && at + 1, y > 0 && at - width, y < height - 1 && at + width];
    for (const next of around) if (next !== false && values[next] >= least) seen.add(next);
  }
  const [unitX, unitY] = [box.width / width, box.height / height];
  return {
    left: Math.round(box.left + left * unitX),
    top: Math.round(box.top + top * unitY),
    width: Math.round((right - left + 1) * unitX),
    height: Math.round((bottom - top + 1) * unitY),
  };
}
