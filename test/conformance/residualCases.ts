// Test support: cases of the end of a residual unit and of its gradient.
import type { Gate, Write } from "../../src/plan/plan.ts";
import type { Case, Input } from "./case.ts";
import { compositeBackwardFor, compositeFor, features, type Level, placed, showOffset } from "./features.ts";

interface ResidualShape {
  readonly channels: number;
  /** Of the branch. */
  readonly plane: readonly [height: number, width: number];
  readonly batch: number;
  readonly normalize?: true;
  readonly gate?: Gate;
  /** Of the shortcut: channels, and the side that `stride` leaves the plane's of; `odd`: the last row and column count. */
  readonly shortcut?: { readonly channels: number; readonly stride: number; readonly odd?: true };
  readonly relu?: true;
  readonly offset?: number;
  readonly level?: Level;
}

const perImage = (keepProbability: number, stream = 2): Gate => ({ keepProbability, stream, per: "image" });
const perBatch = (keepProbability: number, stream = 2): Gate => ({ keepProbability, stream, per: "batch" });

const shapes: readonly ResidualShape[] = [
  // A composite function that is stored.
  { channels: 16, plane: [7, 5], batch: 3, normalize: true, relu: true },
  { channels: 5, plane: [13, 9], batch: 5, normalize: true, relu: true, offset: 4, level: "far from 0" },
  // The end of an original unit.
  { channels: 16, plane: [8, 8], batch: 4, normalize: true, shortcut: { channels: 16, stride: 1 }, relu: true },
  {
    channels: 13,
    plane: [7, 5],
    batch: 3,
    normalize: true,
    shortcut: { channels: 13, stride: 1 },
    relu: true,
    offset: 3,
  },
  { channels: 32, plane: [4, 4], batch: 5, normalize: true, shortcut: { channels: 16, stride: 2 }, relu: true },
  {
    channels: 11,
    plane: [7, 5],
    batch: 2,
    normalize: true,
    shortcut: { channels: 4, stride: 2, odd: true },
    relu: true,
    offset: 2,
    level: "far from 0",
  },
  {
    channels: 6,
    plane: [3, 9],
    batch: 3,
    normalize: true,
    shortcut: { channels: 6, stride: 3, odd: true },
    relu: true,
  },
  { channels: 7, plane: [5, 3], batch: 3, normalize: true, shortcut: { channels: 5, stride: 1 }, relu: true },
  // With stochastic depth.
  {
    channels: 9,
    plane: [5, 7],
    batch: 37,
    normalize: true,
    gate: perImage(0.5),
    shortcut: { channels: 9, stride: 1 },
    relu: true,
  },
  {
    channels: 8,
    plane: [4, 3],
    batch: 9,
    normalize: true,
    gate: perImage(0.7, 98),
    shortcut: { channels: 4, stride: 2 },
    relu: true,
    offset: 1,
  },
  {
    channels: 6,
    plane: [7, 5],
    batch: 3,
    normalize: true,
    gate: perBatch(0.99),
    shortcut: { channels: 6, stride: 1 },
    relu: true,
  },
  {
    channels: 5,
    plane: [7, 5],
    batch: 3,
    normalize: true,
    gate: perBatch(0.01),
    shortcut: { channels: 5, stride: 1 },
    relu: true,
  },
  // The end of a pre-activation unit.
  { channels: 12, plane: [9, 13], batch: 3, shortcut: { channels: 12, stride: 1 } },
  { channels: 12, plane: [1, 1], batch: 5, shortcut: { channels: 12, stride: 1 }, offset: 2 },
  { channels: 10, plane: [7, 5], batch: 8, gate: perImage(0.5), shortcut: { channels: 10, stride: 1 } },
  { channels: 4, plane: [57, 61], batch: 2, gate: perBatch(0.99, 7), shortcut: { channels: 4, stride: 1 } },
];

const scalars = { seed: 12345, step: 2 ** 31 + 9 };

const nameOf = ({
  channels,
  plane: [height, width],
  batch,
  normalize,
  gate,
  shortcut,
  relu,
  offset,
  level,
}: ResidualShape) =>
  `c=${channels} ${height}×${width} n=${batch}${normalize ? " normalized" : ""}` +
  `${gate ? ` gate ${gate.keepProbability} per ${gate.per}` : ""}` +
  `${shortcut ? ` shortcut c=${shortcut.channels} s=${shortcut.stride}` : ""}${relu ? " relu" : ""}` +
  `${showOffset("x", offset)}${level ? ` ${level}` : ""}`;

/** Side of the shortcut's maps: the smallest or the largest that the stride brings to this one. */
const sideBefore = (side: number, stride: number, odd: boolean): number =>
  odd ? (side - 1) * stride + 1 : side * stride;

function shortcutSize({ plane: [height, width], shortcut }: ResidualShape) {
  if (!shortcut) return undefined;
  const { stride, odd = false } = shortcut;
  return { height: sideBefore(height, stride, odd), width: sideBefore(width, stride, odd), stride };
}

function addCase(shape: ResidualShape, scale = 1): Case<"residualAdd"> {
  const { channels, plane, batch, gate, relu = false, offset, level = "usual" } = shape;
  const [height, width] = plane;
  const x = placed("x", channels, offset);
  const y = placed("y", channels, offset && offset + 1);
  const size = shortcutSize(shape);
  const beside = placed("shortcut", shape.shortcut?.channels ?? 0, offset && offset + 2);
  const normalize = shape.normalize ? compositeFor(x, level) : undefined;
  return {
    kernel: "residualAdd",
    name: `${nameOf(shape)}${scale === 1 ? "" : ` scaled by ${scale}`}`,
    args: {
      x: x.view,
      ...(normalize ? { normalize: normalize.composite } : {}),
      ...(gate ? { gate } : {}),
      scale,
      ...(size ? { shortcut: { x: beside.view, ...size } } : {}),
      relu,
      y: y.view,
      batch,
      height,
      width,
    },
    buffers: {
      x: { shape: [batch, x.all, height, width] },
      y: { shape: [batch, y.all, height, width] },
      ...(size ? { shortcut: { shape: [batch, beside.all, size.height, size.width] } } : {}),
      ...normalize?.buffers,
    },
    inputs: [
      { at: x.view, fill: features(level) },
      ...(size ? [{ at: beside.view, fill: { center: 0.5, width: 3 } }] : []),
      ...(normalize?.inputs ?? []),
    ],
    scalars,
  };
}

/** `sums`: of dMean and dVariance. */
function gradCase(shape: ResidualShape, write: Write, shortcutWrite: Write, sums: Write): Case<"residualAddGrad"> {
  const { channels, plane, batch, gate, relu, offset, level = "usual" } = shape;
  const [height, width] = plane;
  const dx = placed("dx", channels, offset);
  const dy = placed("dy", channels, offset && offset + 1);
  const y = { ...dy.view, buffer: "y" };
  const size = shortcutSize(shape);
  const beside = placed("dShortcut", shape.shortcut?.channels ?? 0, offset && offset + 2);
  const maps = [batch, dx.all, height, width];
  const back = shape.normalize ? compositeBackwardFor(dx, level, sums, maps) : undefined;
  const earlier = (at: Input["at"], how: Write): readonly Input[] =>
    how === "accumulate" ? [{ at, fill: { center: 0, width: 4 } }] : [];
  return {
    kernel: "residualAddGrad",
    name:
      `${nameOf(shape)} ${write}${size ? `, shortcut ${shortcutWrite}` : ""}` +
      `${back && sums !== write ? `, sums ${sums}` : ""}`,
    args: {
      dy: dy.view,
      ...(relu ? { y } : {}),
      ...(gate ? { gate } : {}),
      dx: dx.view,
      write,
      ...(back ? { normalize: back.composite } : {}),
      ...(size ? { shortcut: { dx: beside.view, write: shortcutWrite, ...size } } : {}),
      batch,
      height,
      width,
    },
    buffers: {
      dy: { shape: [batch, dy.all, height, width] },
      ...(relu ? { y: { shape: [batch, dy.all, height, width] } } : {}),
      dx: { shape: maps },
      ...(size ? { dShortcut: { shape: [batch, beside.all, size.height, size.width] } } : {}),
      ...back?.buffers,
    },
    inputs: [
      { at: dy.view, fill: { center: 0, width: 2 } },
      // As ReLU leaves it: half zeros, none below.
      ...(relu ? [{ at: y, fill: { values: [0, 0.3, 1.5, 0, 0, 2.25, 1e-30] } }] : []),
      ...earlier(dx.view, write),
      ...(size ? earlier(beside.view, shortcutWrite) : []),
      ...(back?.inputs ?? []),
    ],
    scalars,
  };
}

export const residualAdd = [
  ...shapes.map((shape) => addCase(shape)),
  ...shapes.filter(({ gate, shortcut }) => !gate && shortcut).map((shape) => addCase(shape, 0.6)),
];
export const residualAddGrad = shapes.flatMap((shape, index) => [
  gradCase(shape, "overwrite", "overwrite", "overwrite"),
  gradCase(shape, index % 3 ? "overwrite" : "accumulate", "accumulate", "accumulate"),
]);
