// A run small enough to be repeated many times: real pictures cut to 16×16, a net of four convolutions, and everything that has state
// switched on — dropout, augmentation, warm-up, a smaller last batch.

import { makeBatch } from "../../src/data/batch.ts";
import { bytesSplit, type Dataset, type Split, sharedBytes } from "../../src/data/dataset.ts";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { epochOrder } from "../../src/data/loader.node.ts";
import { normalizationTable } from "../../src/data/normalization.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import { type PartialTrainConfig, resolveConfig } from "../../src/train/resolveConfig.ts";
import type { BatchLoader } from "../../src/train/trainer.ts";

const SIDE = 16;

async function cut(split: Split, count: number): Promise<Split> {
  const pixels = sharedBytes(count * 3 * SIDE * SIDE);
  const labels = new Uint16Array(count);
  const whole = new Uint8Array(3 * 32 * 32);
  for (let n = 0; n < count; n++) {
    // Spread over the split, which is ordered by class.
    const index = Math.floor((n * split.length) / count);
    await split.pixels(index, whole);
    labels[n] = split.labels[index];
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < SIDE; y++) {
        const from = (channel * 32 + y + 8) * 32 + 8;
        pixels.set(whole.subarray(from, from + SIDE), ((n * 3 + channel) * SIDE + y) * SIDE);
      }
    }
  }
  return bytesSplit({ kind: "bytes", pixels, labels, channels: 3, height: SIDE, width: SIDE });
}

export async function tinyDataset(trainCount = 58, valCount = 21): Promise<Dataset> {
  const whole = await readEmbedded();
  return {
    ...whole,
    name: "tiny",
    height: SIDE,
    width: SIDE,
    train: await cut(whole.train, trainCount),
    val: await cut(whole.val, valCount),
  };
}

/** 58 pictures in batches of 16: three whole ones and one of 10. */
export function tinyConfig(changes: PartialTrainConfig = {}): TrainConfig {
  return resolveConfig({
    file: {
      model: { variant: "BC-40-12", blockConfig: [1, 1], growthRate: 4 },
      data: { dir: "tiny", augment: "standard" },
      epochs: 3,
      batchSize: 16,
      schedule: "cosine",
      warmupEpochs: 0.5,
      dropRate: 0.1,
      seed: 7,
      threads: 1,
      keepCheckpoints: 1,
    },
    flags: changes,
  }).config;
}

/** What of an event must be the same in every run: all but speed and time. */
export function timeless(event: TrainEvent): unknown {
  const timed = ["seconds", "imagesPerSecond", "etaSeconds"];
  return JSON.parse(JSON.stringify(event, (key, value) => (timed.includes(key) ? undefined : value)));
}

/** The loader's batches without its thread, whose start takes longer than such an epoch. */
export const loadInline: BatchLoader = async function* (dataset, split, options) {
  const { batchSize, startBatch = 0, padTo } = options;
  const order = epochOrder(dataset[split].length, options);
  const recipe = { ...dataset, ...options, table: normalizationTable(dataset) };
  for (let from = startBatch * batchSize; from < order.length; from += batchSize) {
    yield await makeBatch(dataset[split], order.slice(from, from + batchSize), recipe, padTo);
  }
};

export async function collect(events: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  return Array.fromAsync(events);
}
