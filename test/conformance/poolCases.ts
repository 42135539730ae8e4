// Test support: cases of the pooling kernels: halving with leftover rows and columns, whole planes, other windows;
// overlapping maxima.
import type { PoolSize, WindowSize, Write } from "../../src/plan/plan.ts";
import type { Case, Fill } from "./case.ts";
import { compositeBackwardFor, compositeFor, features, type Level, placed, showOffset } from "./features.ts";

interface PoolShape {
  readonly channels: number;
  readonly plane: readonly [height: number, width: number];
  readonly batch?: number;
  readonly window: readonly [height: number, width: number];
  readonly xOffset?: number;
  readonly yOffset?: number;
  readonly composite?: boolean;
  readonly level?: Level;
}

const averages: readonly PoolShape[] = [
  { channels: 1, plane: [1, 1], window: [1, 1] },
  { channels: 7, plane: [7, 5], window: [2, 2], batch: 3, xOffset: 4, composite: true },
  { channels: 13, plane: [13, 9], window: [2, 2], batch: 5, yOffset: 2 },
  { channels: 5, plane: [33, 31], window: [2, 2], composite: true, yOffset: 11 },
  { channels: 3, plane: [2, 2], window: [2, 2], batch: 37, composite: true },
  { channels: 13, plane: [7, 5], window: [7, 5], batch: 3, xOffset: 2, composite: true },
  { channels: 20, plane: [8, 8], window: [8, 8], batch: 5, composite: true, level: "far from 0" },
  { channels: 2, plane: [57, 61], window: [57, 61], batch: 2 },
  { channels: 5, plane: [13, 9], window: [3, 2], batch: 3, xOffset: 5, yOffset: 1, composite: true },
  { channels: 5, plane: [7, 10], window: [7, 3], batch: 2, composite: true },
  { channels: 1, plane: [57, 61], window: [2, 2], batch: 1, composite: true },
];

function averageSize({ plane: [height, width], window: [windowHeight, windowWidth], batch = 1 }: PoolShape): PoolSize {
  const outHeight = Math.floor(height / windowHeight);
  const outWidth = Math.floor(width / windowWidth);
  return { batch, height, width, outHeight, outWidth, windowHeight, windowWidth };
}

function describe({ channels, plane, batch = 1, window, composite, level }: PoolShape): string {
  const suffix = `${composite ? " composite" : ""}${level === "far from 0" ? " |mean|/σ=30" : ""}`;
  return `c=${channels} ${plane.join("×")} n=${batch} window ${window.join("×")}${suffix}`;
}

function avgPoolCase(shape: PoolShape): Case<"avgPool"> {
  const { channels, xOffset, yOffset, level = "usual" } = shape;
  const size = averageSize(shape);
  const x = placed("x", channels, xOffset);
  const y = placed("y", channels, yOffset);
  const normalize = shape.composite ? compositeFor(x, level) : undefined;
  return {
    kernel: "avgPool",
    name: describe(shape) + showOffset("x", xOffset) + showOffset("y", yOffset),
    args: { x: x.view, y: y.view, size, ...(normalize ? { composite: normalize.composite } : {}) },
    buffers: {
      x: { shape: [size.batch, x.all, size.height, size.width] },
      y: { shape: [size.batch, y.all, size.outHeight, size.outWidth] },
      ...normalize?.buffers,
    },
    inputs: [{ at: x.view, fill: features(level) }, ...(normalize?.inputs ?? [])],
  };
}

function avgPoolGradCase(shape: PoolShape, write: Write): Case<"avgPoolGrad"> {
  const { channels, xOffset, yOffset, level = "usual" } = shape;
  const size = averageSize(shape);
  const dx = placed("dx", channels, xOffset);
  const dy = placed("dy", channels, yOffset);
  const plane = [size.batch, dx.all, size.height, size.width];
  const back = shape.composite ? compositeBackwardFor(dx, level, write, plane) : undefined;
  return {
    kernel: "avgPoolGrad",
    name: `${describe(shape)}${showOffset("dx", xOffset)}${showOffset("dy", yOffset)} ${write}`,
    args: { dy: dy.view, dx: dx.view, write, size, ...(back ? { composite: back.composite } : {}) },
    buffers: {
      dy: { shape: [size.batch, dy.all, size.outHeight, size.outWidth] },
      dx: { shape: plane },
      ...back?.buffers,
    },
    inputs: [
      { at: dy.view, fill: { center: 0, width: 2 } },
      ...(write === "accumulate" ? [{ at: dx.view, fill: { center: 0, width: 4 } }] : []),
      ...(back?.inputs ?? []),
    ],
  };
}

export const avgPool = averages.map(avgPoolCase);
export const avgPoolGrad = averages.flatMap((shape) =>
  shape.composite
    ? [avgPoolGradCase(shape, "overwrite"), avgPoolGradCase(shape, "accumulate")]
    : [avgPoolGradCase(shape, "overwrite")],
);

interface MaxShape {
  readonly channels: number;
  readonly plane: readonly [height: number, width: number];
  readonly batch?: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly xOffset?: number;
  readonly yOffset?: number;
  /** Instead of features of the usual level. */
  readonly fill?: Fill;
  readonly why?: string;
}

const maxima: readonly MaxShape[] = [
  { channels: 1, plane: [1, 1], kernel: 1, stride: 1, padding: 0 },
  { channels: 7, plane: [7, 5], batch: 3, kernel: 3, stride: 2, padding: 1, xOffset: 2 },
  { channels: 13, plane: [33, 31], kernel: 3, stride: 2, padding: 1, yOffset: 3 },
  { channels: 2, plane: [57, 61], batch: 2, kernel: 3, stride: 2, padding: 1 },
  { channels: 5, plane: [13, 9], batch: 5, kernel: 2, stride: 2, padding: 0, xOffset: 1, yOffset: 1 },
  { channels: 5, plane: [9, 13], batch: 2, kernel: 3, stride: 1, padding: 1, why: "overlapping windows" },
  { channels: 3, plane: [13, 9], batch: 2, kernel: 5, stride: 3, padding: 2 },
  {
    channels: 6,
    plane: [7, 5],
    batch: 3,
    kernel: 3,
    stride: 2,
    padding: 1,
    fill: { values: [0.5, 1.5, 1.5, -0.5, 0.25] },
    why: "equal maxima",
  },
];

function maximumSize({ plane: [height, width], batch = 1, kernel, stride, padding }: MaxShape): WindowSize {
  const out = (extent: number): number => Math.floor((extent + 2 * padding - kernel) / stride) + 1;
  return { batch, height, width, outHeight: out(height), outWidth: out(width), kernel, stride, padding };
}

const describeMaximum = ({ channels, plane, batch = 1, kernel, stride, padding, why }: MaxShape): string =>
  `c=${channels} ${plane.join("×")} n=${batch} k=${kernel} stride ${stride} padding ` +
  `${padding}${why ? ` (${why})` : ""}`;

function maxPoolCase(shape: MaxShape): Case<"maxPool"> {
  const { channels, xOffset, yOffset, fill = features("usual") } = shape;
  const size = maximumSize(shape);
  const x = placed("x", channels, xOffset);
  const y = placed("y", channels, yOffset);
  const normalize = compositeFor(x, "usual");
  return {
    kernel: "maxPool",
    name: describeMaximum(shape) + showOffset("x", xOffset) + showOffset("y", yOffset),
    args: { x: x.view, y: y.view, size, composite: normalize.composite },
    buffers: {
      x: { shape: [size.batch, x.all, size.height, size.width] },
      y: { shape: [size.batch, y.all, size.outHeight, size.outWidth] },
      ...normalize.buffers,
    },
    inputs: [{ at: x.view, fill }, ...normalize.inputs],
  };
}

function maxPoolGradCase(shape: MaxShape, write: Write): Case<"maxPoolGrad"> {
  const { channels, xOffset, yOffset, fill } = shape;
  const size = maximumSize(shape);
  const dx = placed("dx", channels, xOffset);
  const dy = placed("dy", channels, yOffset);
  const plane = [size.batch, dx.all, size.height, size.width];
  const back = compositeBackwardFor(dx, "usual", write, plane);
  const inputs = back.inputs.map((input) => (input.at.buffer === "x" && fill ? { ...input, fill } : input));
  return {
    kernel: "maxPoolGrad",
    name: `${describeMaximum(shape)}${showOffset("dx", xOffset)}${showOffset("dy", yOffset)} ${write}`,
    args: { dy: dy.view, dx: dx.view, write, size, composite: back.composite },
    buffers: {
      dy: { shape: [size.batch, dy.all, size.outHeight, size.outWidth] },
      dx: { shape: plane },
      ...back.buffers,
    },
    inputs: [
      { at: dy.view, fill: { center: 0, width: 2 } },
      ...(write === "accumulate" ? [{ at: dx.view, fill: { center: 0, width: 4 } }] : []),
      ...inputs,
    ],
  };
}

/** A broken image must not look whole: NaN wins over numbers, wherever in a window it stands. */
const withNaN: MaxShape = {
  channels: 2,
  plane: [7, 5],
  batch: 2,
  kernel: 3,
  stride: 2,
  padding: 1,
  fill: { values: [0.5, 1.5, -1, Number.NaN, 0.25, 2, 1, -0.5, 0.75, 1.25, -2] },
  why: "some NaN",
};

export const maxPool = [...maxima, withNaN].map(maxPoolCase);
export const maxPoolGrad = maxima.flatMap((shape) => [
  maxPoolGradCase(shape, "overwrite"),
  maxPoolGradCase(shape, "accumulate"),
]);
