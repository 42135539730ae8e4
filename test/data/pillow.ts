// Test support: images that pillow.py draws too, and what Pillow makes of them (pillow.bin).
import { readFileSync } from "node:fs";
import cases from "./pillow.json" with { type: "json" };

export interface PillowCase {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly side: number;
  readonly mode: "RGB" | "RGBA" | "L" | "bilinear";
  readonly expected: Uint8Array; // [C, side, side]
}

/** A disc with hard edges on two ramps and noise: [height, width, channels]. */
export function draw(width: number, height: number, channels: 3 | 4): Uint8Array {
  const data = new Uint8Array(width * height * channels);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [dx, dy] = [2 * x + 1 - width, 2 * y + 1 - height];
      const isInside = (dx * dx + dy * dy) * 16 < Math.min(width, height) ** 2 * 9;
      for (let c = 0; c < channels; c++, at++) {
        const noise = Math.imul(x * 7919 + y * 104_729 + c * 1_299_709 + 1, 2_654_435_761) >>> 24;
        const ramps = [Math.floor((x * 255) / width), Math.floor((y * 255) / height), noise, noise];
        data[at] = isInside ? [255, 0, 30, 255][c] : ramps[c];
      }
    }
  }
  return data;
}

export function pillowCases(): PillowCase[] {
  const bytes = new Uint8Array(readFileSync(new URL("pillow.bin", import.meta.url)));
  let at = 0;
  return (cases as [number, number, number, PillowCase["mode"]][]).map(([width, height, side, mode]) => {
    const length = (mode === "L" ? 1 : 3) * side * side;
    const expected = bytes.subarray(at, at + length);
    at += length;
    return { name: `${mode} ${width}×${height} → ${side}`, width, height, side, mode, expected };
  });
}

/** The largest difference of two lists of grey levels. */
export function apart(found: Uint8Array, expected: Uint8Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  return found.reduce((most, level, i) => Math.max(most, Math.abs(level - expected[i])), 0);
}
