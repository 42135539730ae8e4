// backends/webgpu: mean and variance of channels, their gradient, and the running statistics.
import type { KernelTable, RunningEntry } from "../../plan/plan.ts";
import { type Dispatch, f32, f32Bits, forEach, loneLanes, type Operand, totalOf } from "./dispatch.ts";
import type { Addresses, Emit } from "./kernel.ts";

/** Values that one workgroup looks at, at least: fewer are not worth a part of their own. */
const leastPart = 4096;

/**
 * Mean and variance of channels of `count` values from the moments (mean, sum of squared deviations from it) of their
 * parts [C, parts, 2]. A part is of `partCount` values, the last of what is left. Σ(x − mean)² = Σ over parts of
 * squares + values·(own mean − mean)².
 */
export function mergeMoments(
  moments: Operand,
  { mean, variance }: Readonly<Pick<KernelTable["channelStatistics"], "mean" | "variance">>,
  partCount: number,
  count: number,
  at: Addresses,
): Dispatch {
  return {
    label: "statistics merged",
    operands: { moments, mean: at.view(mean), variance: at.view(variance) },
    numbers: { parts: Math.ceil(count / partCount), partCount, count },
    code: `${totalOf("f32", loneLanes)}
fn values(part: u32) -> f32 { return f32(min(call.partCount, call.count - part * call.partCount)); }
fn body(c: u32, lane: u32) {
  let first = c * call.parts;
  var own = 0.0;
  for (var i = lane; i < call.parts; i += ${loneLanes}u) { own = fma(load_moments(2u * (first + i)), values(i), own); }
  let mean = total(own, lane) / f32(call.count);
  var squares = 0.0;
  for (var i = lane; i < call.parts; i += ${loneLanes}u) {
    let away = load_moments(2u * (first + i)) - mean;
    squares += fma(away * away, values(i), load_moments(2u * (first + i) + 1u));
  }
  squares = total(squares, lane);
  if (lane > 0u) { return; }
  store_mean(c, mean);
  store_variance(c, squares / f32(call.count));
}`,
    size: loneLanes,
    groups: mean.channels,
  };
}

/** Maps that a kernel reads, or makes, while it finds their moments. */
export interface Measured {
  readonly label: string;
  /** The operand that holds them; its batch stride is the number of the same name with "Stride". */
  readonly maps: "x" | "y";
  readonly batch: number;
  readonly plane: number;
  readonly operands: Dispatch["operands"];
  readonly numbers: Dispatch["numbers"];
  /** WGSL of what `first` calls. */
  readonly code?: string;
  /**
   * WGSL that reads the value at an index of the operand, or stores it there and returns what was stored: of channel
   * `c`, image `first + i / plane`, pixel `i % plane`.
   */
  readonly first: (index: string) => string;
}

/** A workgroup finds the moments of some images of a channel in two passes, so that nothing cancels when |mean| ≫ σ. */
export function emitMoments(
  { label, maps, batch, plane, operands, numbers, code = "", first }: Measured,
  { mean, variance }: Readonly<Pick<KernelTable["channelStatistics"], "mean" | "variance">>,
  at: Addresses,
): readonly Dispatch[] {
  const images = Math.min(batch, Math.max(1, Math.ceil(leastPart / plane)));
  const parts = Math.ceil(batch / images);
  const moments = at.scratch(mean.channels * parts * 2);
  const index = `base + i / ${plane}u * call.${maps}Stride + i % ${plane}u`;
  return [
    {
      label,
      operands: { ...operands, moments },
      numbers: { ...numbers, parts },
      code: `${totalOf("f32", loneLanes)}${code}
fn body(group: u32, lane: u32) {
  let c = group / call.parts;
  let first = group % call.parts * ${images}u;
  let count = ${plane}u * (min(first + ${images}u, ${batch}u) - first);
  let base = first * call.${maps}Stride + c * ${plane}u;
  var own = 0.0;
  for (var i = lane; i < count; i += ${loneLanes}u) { own += ${first(index)}; }
  let mean = total(own, lane) / f32(count);
  var squares = 0.0;
  for (var i = lane; i < count; i += ${loneLanes}u) {
    let away = load_${maps}(${index}) - mean;
    squares = fma(away, away, squares);
  }
  squares = total(squares, lane);
  if (lane > 0u) { return; }
  store_moments(2u * group, mean);
  store_moments(2u * group + 1u, squares);
}`,
      size: loneLanes,
      groups: mean.channels * parts,
    },
    mergeMoments(moments, { mean, variance }, images * plane, batch * plane, at),
  ];
}

export const emitChannelStatistics: Emit<"channelStatistics"> = ({ x, mean, variance, batch, plane }, at) => {
  const [operands, numbers] = [{ x: at.view(x) }, { xStride: at.batchStride(x) }];
  const first = (index: string): string => `load_x(${index})`;
  return emitMoments(
    { label: "statistics", maps: "x", batch, plane, operands, numbers, first },
    { mean, variance },
    at,
  );
};

export const emitStatisticsGrad: Emit<"statisticsGrad"> = (args, at) => {
  const { dx, x, mean, dMean, dVariance, batch, plane } = args;
  const share = f32(1 / (batch * plane));
  return [
    forEach(batch * x.channels * plane, {
      label: "statisticsGrad",
      operands: {
        dx: at.view(dx),
        x: at.view(x),
        mean: at.view(mean),
        dMean: at.view(dMean),
        dVariance: at.view(dVariance),
      },
      numbers: { channels: x.channels, xStride: at.batchStride(x), dxStride: at.batchStride(dx) },
      code: `fn each(i: u32) {
  let c = i / ${plane}u % call.channels;
  let image = i / (${plane}u * call.channels);
  let at = c * ${plane}u + i % ${plane}u;
  let to = image * call.dxStride + at;
  let slope = 2.0 * load_dVariance(c) * ${share};
  let through = fma(load_x(image * call.xStride + at) - load_mean(c), slope, load_dMean(c) * ${share});
  store_dx(to, load_dx(to) + through);
}`,
    }),
  ];
};

/** The smallest operand of one space that holds all of them. */
function hull(operands: readonly Operand[]): Operand {
  const [{ space }] = operands as readonly [Operand];
  const start = Math.min(...operands.map((operand) => operand.start));
  return { space, start, words: Math.max(...operands.map((operand) => operand.start + operand.words)) - start };
}

interface Located {
  readonly batch: readonly [mean: Operand, variance: Operand];
  readonly running: readonly [mean: Operand, variance: Operand];
  readonly channels: number;
}

function locate(at: Addresses, { mean, variance, runningMean, runningVariance }: RunningEntry): Located {
  return {
    batch: [at.view(mean), at.view(variance)],
    running: [at.buffer(runningMean), at.buffer(runningVariance)],
    channels: mean.channels,
  };
}

/**
 * All consumers' running statistics at once, through a table of addresses; in several dispatches only where a binding
 * cannot show all.
 */
export const emitUpdateRunningStatistics: Emit<"updateRunningStatistics"> = (args, at, { bindingBytes }) => {
  const { entries, momentum, count } = args;
  const groups: Located[][] = [];
  const hulls = (group: readonly Located[]): readonly [Operand, Operand] => [
    hull(group.flatMap(({ batch }) => batch)),
    hull(group.flatMap(({ running }) => running)),
  ];
  for (const entry of entries.map((one) => locate(at, one))) {
    const last = groups.at(-1);
    if (last && hulls([...last, entry]).every(({ words }) => words * 4 <= bindingBytes / 2)) last.push(entry);
    else groups.push([entry]);
  }
  return groups.map((group): Dispatch => {
    const [batch, running] = hulls(group);
    const rows = group.flatMap((entry) =>
      Array.from({ length: entry.channels }, (_, c) => [
        ...entry.batch.map(({ start }) => start - batch.start + c),
        ...entry.running.map(({ start }) => start - running.start + c),
      ]),
    );
    return forEach(rows.length, {
      label: "updateRunningStatistics",
      operands: { batch, running, places: at.table(rows.flat()) },
      // A single value's unbiased variance is ∞·0, and WGSL has no word for ∞.
      numbers: { unbiased: f32Bits(count / (count - 1)) },
      code: `fn each(i: u32) {
  let mean = load_places(4u * i + 2u);
  let variance = load_places(4u * i + 3u);
  let newMean = load_batch(load_places(4u * i));
  let newVariance = load_batch(load_places(4u * i + 1u)) * bitcast<f32>(call.unbiased);
  store_running(mean, fma(load_running(mean), ${f32(1 - momentum)}, ${f32(momentum)} * newMean));
  store_running(variance, fma(load_running(variance), ${f32(1 - momentum)}, ${f32(momentum)} * newVariance));
}`,
    });
  });
};
