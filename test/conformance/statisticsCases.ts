// Test support: cases of the per-channel statistics, their gradient and the running averages.
import type { Case, Fill } from "./case.ts";
import { features, placed, showOffset, sigma1 } from "./features.ts";

interface StatisticsShape {
  readonly channels: number;
  readonly plane: readonly [height: number, width: number];
  readonly batch: number;
  readonly offset?: number;
  readonly fill?: Fill;
  readonly why?: string;
}

const shapes: readonly StatisticsShape[] = [
  { channels: 1, plane: [1, 1], batch: 1 },
  { channels: 5, plane: [1, 1], batch: 37, offset: 2 },
  { channels: 13, plane: [7, 5], batch: 3, offset: 8 },
  { channels: 7, plane: [33, 31], batch: 5 },
  { channels: 2, plane: [57, 61], batch: 2, offset: 1 },
  { channels: 20, plane: [13, 9], batch: 5, fill: { center: 30, width: sigma1 }, why: "|mean|/σ=30" },
  { channels: 3, plane: [64, 64], batch: 16, fill: { center: -30, width: sigma1 }, why: "|mean|/σ=30, 65536 values" },
  { channels: 3, plane: [9, 7], batch: 4, fill: { values: [0.1] }, why: "all equal" },
  { channels: 4, plane: [33, 31], batch: 7, offset: 3, why: "a part of five images and one of two" },
];

const describe = ({ channels, plane, batch, offset, why }: StatisticsShape): string =>
  `c=${channels} ${plane.join("×")} n=${batch}${showOffset("x", offset)}${why ? ` (${why})` : ""}`;

function channelStatisticsCase(shape: StatisticsShape): Case<"channelStatistics"> {
  const {
    channels,
    plane: [height, width],
    batch,
    offset,
    fill = features("usual"),
  } = shape;
  const x = placed("x", channels, offset);
  return {
    kernel: "channelStatistics",
    name: describe(shape),
    args: {
      x: x.view,
      mean: { ...x.view, buffer: "mean" },
      variance: { ...x.view, buffer: "variance" },
      batch,
      plane: height * width,
    },
    buffers: { x: { shape: [batch, x.all, height, width] }, mean: { shape: [x.all] }, variance: { shape: [x.all] } },
    inputs: [{ at: x.view, fill }],
  };
}

function statisticsGradCase(shape: StatisticsShape): Case<"statisticsGrad"> {
  const {
    channels,
    plane: [height, width],
    batch,
    offset,
    fill = features("usual"),
  } = shape;
  const x = placed("x", channels, offset);
  const [dx, mean, dMean, dVariance] = ["dx", "mean", "dMean", "dVariance"].map((buffer) => ({ ...x.view, buffer }));
  return {
    kernel: "statisticsGrad",
    name: describe(shape),
    args: { dx, x: x.view, mean, dMean, dVariance, batch, plane: height * width },
    buffers: {
      x: { shape: [batch, x.all, height, width] },
      dx: { shape: [batch, x.all, height, width] },
      mean: { shape: [x.all] },
      dMean: { shape: [x.all] },
      dVariance: { shape: [x.all] },
    },
    inputs: [
      { at: x.view, fill },
      { at: dx, fill: { center: 0, width: 0.1 } },
      { at: mean, fill: "center" in fill ? { center: fill.center, width: 0.1 } : fill },
      { at: dMean, fill: { center: 0, width: 9 } },
      { at: dVariance, fill: { center: 0, width: 9 } },
    ],
  };
}

export const channelStatistics = shapes.map(channelStatisticsCase);
export const statisticsGrad = shapes.map(statisticsGradCase);

/** Consumers of the first c channels of one block, each with running statistics of its own. */
function updateCase(channels: readonly number[], count: number, momentum: number): Case<"updateRunningStatistics"> {
  const offset = 2;
  const all = offset + Math.max(...channels) + 1;
  const entries = channels.map((c, i) => ({
    mean: { buffer: "mean", offset, channels: c },
    variance: { buffer: "variance", offset, channels: c },
    runningMean: `runningMean ${i}`,
    runningVariance: `runningVariance ${i}`,
  }));
  const whole = { offset, channels: Math.max(...channels) };
  return {
    kernel: "updateRunningStatistics",
    name: `c=${channels.join(",")} count=${count} momentum=${momentum}`,
    args: { entries, momentum, count },
    buffers: {
      mean: { shape: [all] },
      variance: { shape: [all] },
      ...Object.fromEntries(
        entries.flatMap(({ runningMean, runningVariance }, i) => [
          [runningMean, { shape: [channels[i]] }],
          [runningVariance, { shape: [channels[i]] }],
        ]),
      ),
    },
    inputs: [
      { at: { buffer: "mean", ...whole }, fill: { center: 0, width: 2 } },
      { at: { buffer: "variance", ...whole }, fill: count === 1 ? { values: [0] } : { center: 1, width: 1.8 } },
      ...entries.flatMap(({ runningMean, runningVariance }) => [
        { at: { buffer: runningMean }, fill: { center: 0, width: 2 } },
        { at: { buffer: runningVariance }, fill: { center: 1, width: 1.8 } },
      ]),
    ],
  };
}

export const updateRunningStatistics = [
  updateCase([1], 2, 0.1),
  updateCase([13, 7, 20], 105, 0.1),
  updateCase([2, 5], 65536, 0.3),
  updateCase([5], 1, 0.1), // no unbiased variance: NaN says so
];
