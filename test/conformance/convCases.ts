// Test support: cases of the convolution kernels. Channel counts are no multiples of a tile's height, planes none of
// its width.
import type { WindowSize, Write } from "../../src/plan/plan.ts";
import type { Case } from "./case.ts";
import { compositeBackwardFor, compositeFor, features, type Level, placed, showOffset } from "./features.ts";

interface ConvShape {
  readonly from: number;
  readonly to: number;
  readonly plane: readonly [height: number, width: number];
  readonly batch?: number;
  /** Default 3, stride 1, and as much padding as keeps the plane. */
  readonly kernel?: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly xOffset?: number;
  readonly yOffset?: number;
  readonly composite?: boolean;
  readonly level?: Level;
  readonly why?: string;
}

function sizeOf({
  plane: [height, width],
  batch = 1,
  kernel = 3,
  stride = 1,
  padding = (kernel - 1) / 2,
}: ConvShape): WindowSize {
  const out = (extent: number): number => Math.floor((extent + 2 * padding - kernel) / stride) + 1;
  return { batch, height, width, outHeight: out(height), outWidth: out(width), kernel, stride, padding };
}

function nameOf(shape: ConvShape, views: string): string {
  const { batch, height, width, kernel, stride, padding } = sizeOf(shape);
  const window = `k=${kernel}${stride === 1 ? "" : ` stride ${stride}`}${kernel === 2 * padding + 1 ? "" : ` padding ${padding}`}`;
  const composite = shape.composite ? " composite" : "";
  const level = shape.level === "far from 0" ? " |mean|/σ=30" : "";
  return (
    `c=${shape.from}→${shape.to} ${height}×${width} n=${batch} ` +
    `${window}${views}${composite}${level}${shape.why ? ` (${shape.why})` : ""}`
  );
}

/** Stride 1 and padding that keeps the plane: what all three kernels take. */
const samePlane: readonly ConvShape[] = [
  { from: 1, to: 1, plane: [1, 1], kernel: 1 },
  { from: 2, to: 5, plane: [7, 5], kernel: 1, batch: 3, xOffset: 1 },
  { from: 20, to: 12, plane: [7, 5], kernel: 1, batch: 3, xOffset: 8, yOffset: 5, composite: true },
  { from: 13, to: 7, plane: [13, 9], batch: 5, xOffset: 3, yOffset: 20, composite: true },
  { from: 5, to: 13, plane: [33, 31], composite: true },
  { from: 7, to: 2, plane: [7, 5], batch: 37, yOffset: 7, why: "groups of images" },
  { from: 12, to: 24, plane: [9, 13], batch: 37, kernel: 1, xOffset: 12, composite: true, why: "groups of images" },
  { from: 25, to: 41, plane: [57, 61], kernel: 1, yOffset: 2, composite: true, why: "bands" },
  { from: 40, to: 9, plane: [57, 61], xOffset: 5, composite: true, why: "bands" },
  { from: 9, to: 23, plane: [57, 61], batch: 2, why: "bands" },
  { from: 48, to: 12, plane: [8, 8], batch: 37, xOffset: 5, composite: true, why: "Winograd, groups of images" },
  { from: 12, to: 49, plane: [16, 20], batch: 5, yOffset: 3, composite: true, why: "Winograd" },
  { from: 31, to: 33, plane: [31, 33], batch: 2, composite: true, level: "far from 0", why: "Winograd" },
  { from: 40, to: 41, plane: [3, 47], batch: 9, xOffset: 2, yOffset: 1, composite: true, why: "Winograd, flat" },
  { from: 24, to: 17, plane: [47, 4], batch: 7, why: "Winograd, narrow" },
  { from: 130, to: 35, plane: [29, 26], why: "Winograd, bands" },
  { from: 700, to: 5, plane: [13, 9], why: "bands of few rows" },
  { from: 5, to: 700, plane: [9, 13], kernel: 1, composite: true, why: "bands of few rows" },
  { from: 5, to: 7, plane: [7, 5], kernel: 5, batch: 3, composite: true },
  { from: 2, to: 3, plane: [1, 1], batch: 5, composite: true, why: "a pixel in padding" },
  { from: 6, to: 6, plane: [1, 7], batch: 3, xOffset: 6, yOffset: 12 },
  { from: 6, to: 4, plane: [7, 1], batch: 3, kernel: 5 },
  { from: 20, to: 12, plane: [13, 9], batch: 3, xOffset: 4, composite: true, level: "far from 0" },
  { from: 37, to: 11, plane: [8, 8], batch: 4, kernel: 1, composite: true, level: "far from 0" },
];

/** What is gathered into k² signals a channel. */
const gathered: readonly ConvShape[] = [
  { from: 3, to: 13, plane: [31, 33], batch: 3, kernel: 7, stride: 2, padding: 3 },
  { from: 3, to: 64, plane: [57, 61], batch: 2, kernel: 7, stride: 2, padding: 3, xOffset: 2, why: "bands" },
  { from: 5, to: 7, plane: [13, 9], batch: 3, stride: 2, yOffset: 7 },
  { from: 5, to: 4, plane: [7, 5], batch: 5, kernel: 1, stride: 2 },
  { from: 4, to: 5, plane: [7, 9], batch: 2, padding: 0, xOffset: 3 },
];

/** In the middle of a residual net. */
const strided: readonly ConvShape[] = [
  { from: 16, to: 32, plane: [16, 16], batch: 5, stride: 2, why: "from stage to stage" },
  { from: 16, to: 32, plane: [15, 9], batch: 3, stride: 2, xOffset: 3, yOffset: 1 },
  { from: 33, to: 17, plane: [16, 12], batch: 2, kernel: 1, stride: 2, why: "a projection" },
  { from: 3, to: 4, plane: [11, 10], batch: 2, stride: 3 },
];

function convCase(shape: ConvShape): Case<"conv"> {
  const { from, to, xOffset, yOffset, kernel = 3, level = "usual" } = shape;
  const size = sizeOf(shape);
  const { batch, height, width, outHeight, outWidth } = size;
  const x = placed("x", from, xOffset);
  const y = placed("y", to, yOffset);
  const normalize = shape.composite ? compositeFor(x, level) : undefined;
  return {
    kernel: "conv",
    name: nameOf(shape, showOffset("x", xOffset) + showOffset("y", yOffset)),
    args: { x: x.view, weight: "weight", y: y.view, size, ...(normalize ? { composite: normalize.composite } : {}) },
    buffers: {
      x: { shape: [batch, x.all, height, width] },
      weight: { shape: [to, from, kernel, kernel] },
      y: { shape: [batch, y.all, outHeight, outWidth] },
      ...normalize?.buffers,
    },
    inputs: [
      { at: x.view, fill: features(level) },
      { at: { buffer: "weight" }, fill: { center: 0, width: 1 } },
      ...(normalize?.inputs ?? []),
    ],
  };
}

function convGradWeightCase(shape: ConvShape): Case<"convGradWeight"> {
  const { from, to, xOffset, yOffset, kernel = 3, level = "usual" } = shape;
  const size = sizeOf(shape);
  const { batch, height, width, outHeight, outWidth } = size;
  const x = placed("x", from, xOffset);
  const dy = placed("dy", to, yOffset);
  const normalize = shape.composite ? compositeFor(x, level) : undefined;
  return {
    kernel: "convGradWeight",
    name: nameOf(shape, showOffset("x", xOffset) + showOffset("dy", yOffset)),
    args: {
      x: x.view,
      dy: dy.view,
      dWeight: "dWeight",
      size,
      ...(normalize ? { composite: normalize.composite } : {}),
    },
    buffers: {
      x: { shape: [batch, x.all, height, width] },
      dy: { shape: [batch, dy.all, outHeight, outWidth] },
      dWeight: { shape: [to, from, kernel, kernel] },
      ...normalize?.buffers,
    },
    inputs: [
      { at: x.view, fill: features(level) },
      { at: dy.view, fill: { center: 0, width: 2 } },
      ...(normalize?.inputs ?? []),
    ],
  };
}

/** dx and the sums of the statistics each accumulate or overwrite. */
function convGradInputCase(shape: ConvShape, write: Write, sums: Write): Case<"convGradInput"> {
  const { from, to, xOffset, yOffset, kernel = 3, level = "usual" } = shape;
  const size = sizeOf(shape);
  const { batch, height, width, outHeight, outWidth } = size;
  const dx = placed("dx", from, xOffset);
  const dy = placed("dy", to, yOffset);
  const plane = [batch, dx.all, height, width];
  const back = shape.composite ? compositeBackwardFor(dx, level, sums, plane) : undefined;
  const earlier = write === "accumulate" ? [{ at: dx.view, fill: { center: 0, width: 4 } }] : [];
  return {
    kernel: "convGradInput",
    name:
      `${nameOf(shape, showOffset("dx", xOffset) + showOffset("dy", yOffset))} ` +
      `${write}${back && sums !== write ? `, sums ${sums}` : ""}`,
    args: { dy: dy.view, weight: "weight", dx: dx.view, write, size, ...(back ? { composite: back.composite } : {}) },
    buffers: {
      dy: { shape: [batch, dy.all, outHeight, outWidth] },
      weight: { shape: [to, from, kernel, kernel] },
      dx: { shape: plane },
      ...back?.buffers,
    },
    inputs: [
      { at: dy.view, fill: { center: 0, width: 2 } },
      { at: { buffer: "weight" }, fill: { center: 0, width: 1 } },
      ...earlier,
      ...(back?.inputs ?? []),
    ],
  };
}

/** Both gradients at once; with `statistics`, dy is completed while it is loaded. */
function convGradCase(shape: ConvShape, write: Write, statistics: boolean): Case<"convGrad"> {
  const { from, to, xOffset, yOffset, level = "usual" } = shape;
  const size = sizeOf(shape);
  const { batch, height, width } = size;
  const dx = placed("dx", from, xOffset);
  const dy = placed("dy", to, yOffset);
  const back = compositeBackwardFor(dx, level, write, [batch, dx.all, height, width]);
  const through = ["y", "yMean", "dYMean", "dYVariance"].map((buffer) => ({ ...dy.view, buffer }));
  const [y, mean, dMean, dVariance] = through;
  const vectors = ["yMean", "dYMean", "dYVariance"].map((buffer) => [buffer, { shape: [dy.all] }] as const);
  const count = batch * height * width;
  return {
    kernel: "convGrad",
    name:
      `${nameOf(shape, showOffset("dx", xOffset) + showOffset("dy", yOffset))} ` +
      `${write}${statistics ? ", statistics of y" : ""}`,
    args: {
      dy: dy.view,
      ...(statistics ? { dyStatistics: { y, mean, dMean, dVariance } } : {}),
      weight: "weight",
      dWeight: "dWeight",
      dx: dx.view,
      write,
      size,
      composite: back.composite,
    },
    buffers: {
      dy: { shape: [batch, dy.all, height, width] },
      weight: { shape: [to, from, 1, 1] },
      dWeight: { shape: [to, from, 1, 1] },
      dx: { shape: [batch, dx.all, height, width] },
      ...back.buffers,
      ...(statistics ? { y: { shape: [batch, dy.all, height, width] }, ...Object.fromEntries(vectors) } : {}),
    },
    inputs: [
      { at: dy.view, fill: { center: 0, width: 2 } },
      { at: { buffer: "weight" }, fill: { center: 0, width: 1 } },
      ...(write === "accumulate" ? [{ at: dx.view, fill: { center: 0, width: 4 } }] : []),
      ...back.inputs,
      ...(statistics
        ? [
            { at: y, fill: features(level) },
            { at: mean, fill: { center: level === "far from 0" ? 30 : 0.3, width: 0.6 } },
            { at: dMean, fill: { center: 0, width: count } },
            { at: dVariance, fill: { center: 0, width: count } },
          ]
        : []),
    ],
  };
}

export const conv = [...samePlane, ...gathered, ...strided].map(convCase);
export const convGradWeight = [...samePlane, ...gathered, ...strided].map(convGradWeightCase);
// The 7×7 ones read images, which need no gradient.
const differentiated = [...samePlane, ...gathered.filter(({ kernel }) => kernel !== 7), ...strided];
export const convGradInput = differentiated.flatMap((shape, i) =>
  shape.composite
    ? [
        convGradInputCase(shape, "overwrite", i % 2 ? "accumulate" : "overwrite"),
        convGradInputCase(shape, "accumulate", "accumulate"),
      ]
    : [
        convGradInputCase(shape, "overwrite", "overwrite"),
        ...(i % 3 === 0 ? [convGradInputCase(shape, "accumulate", "accumulate")] : []),
      ],
);
export const convGrad = samePlane
  .filter(({ kernel, composite }) => kernel === 1 && composite)
  .flatMap((shape) => [convGradCase(shape, "overwrite", false), convGradCase(shape, "accumulate", true)]);
