// run: what only the machine can say of a run that is to be chosen: how fast it trains, and at which rate.
import { loadBatches } from "../data/loader.node.ts";
import type { MeasuredSpeed } from "../train/choose.ts";
import type { TrainConfig } from "../train/config.ts";
import { type RatePoint, rangeTest, suggestRate } from "../train/rangeTest.ts";
import { openConfiguredDataset } from "./data.node.ts";
import { createConfiguredBackend } from "./device.node.ts";
import { firstState } from "./start.node.ts";

/** What a range test on the run's own images and device found. */
export interface Tuning {
  readonly points: readonly RatePoint[];
  /** See suggestRate. */
  readonly rate?: number | undefined;
  readonly speed: MeasuredSpeed;
}

/** Between rates and how finely, as RangeTestOptions has them; and when to stop. */
export interface TuneOptions {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly updates?: number | undefined;
  readonly initFrom?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Receives sentences for people about the data. */
  readonly report?: ((line: string) => void) | undefined;
}

/** The first updates compile and fill caches. */
const WARM_UP = 3;

/**
 * A range test of the run that `config` describes, on its images, from its first weights. Nothing is kept of what it
 * trains.
 * @throws what runTraining does before its first event
 */
export async function tuneRun(config: TrainConfig, options: TuneOptions = {}): Promise<Tuning> {
  const { from, to, updates, initFrom, signal, report = () => {} } = options;
  const opened = await openConfiguredDataset(config, report);
  signal?.throwIfAborted();
  const backend = await createConfiguredBackend(config);
  try {
    const { model, normalization } = await firstState(config, opened, initFrom, report);
    const dataset = { ...opened, ...normalization };
    const points: RatePoint[] = [];
    let began = performance.now();
    const given = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
    const test = {
      model,
      dataset,
      backend,
      config,
      loadBatches,
      signal,
      ...given,
      ...(updates === undefined ? {} : { updates }),
    };
    for await (const point of rangeTest(test)) {
      points.push(point);
      if (points.length === WARM_UP) began = performance.now();
    }
    signal?.throwIfAborted();
    const seconds = (performance.now() - began) / 1000;
    const images = Math.max(1, points.length - WARM_UP) * Math.min(config.batchSize, dataset.train.length);
    return {
      points,
      rate: suggestRate(points),
      speed: { imagesPerSecond: images / seconds, trainCount: dataset.train.length, valCount: dataset.val.length },
    };
  } finally {
    await backend.dispose();
  }
}
