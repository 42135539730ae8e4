// A run small enough to be repeated many times: images of 16×16 by formula, a net of four convolutions, and everything
// that has state switched on — dropout, augmentation, warm-up, a smaller last batch.

import { bytesSplit, type Dataset, type Split, sharedBytes } from "../../src/data/dataset.ts";
import { createNetwork } from "../../src/model/create.ts";
import type { Model } from "../../src/model/model.ts";
import { lowbias32 } from "../../src/ops/random.ts";
import type { TrainConfig } from "../../src/train/config.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import { configuredSpec, type PartialTrainConfig, resolveConfig } from "../../src/train/resolveConfig.ts";

const SIDE = 16;

/** Images of ten classes that differ in the slope of their brightness, under noise of its size. */
function images(count: number, seed: number): Split {
  const pixels = sharedBytes(count * 3 * SIDE * SIDE);
  const labels = Uint16Array.from({ length: count }, (_, n) => lowbias32(seed + n) % 10);
  for (let i = 0; i < pixels.length; i++) {
    const label = labels[Math.floor(i / (3 * SIDE * SIDE))];
    const [x, y] = [(i % SIDE) - SIDE / 2, (Math.floor(i / SIDE) % SIDE) - SIDE / 2];
    const slope = x * Math.cos(label * 0.63) + y * Math.sin(label * 0.63);
    pixels[i] = 128 + 4 * slope + (lowbias32((seed << 20) + i) % 64) - 32;
  }
  return bytesSplit({ pixels, labels, channels: 3, height: SIDE, width: SIDE });
}

export function tinyDataset(trainCount = 58, valCount = 21): Dataset {
  return {
    name: "tiny",
    classes: Array.from({ length: 10 }, (_, index) => `slope ${index}`),
    channels: 3,
    height: SIDE,
    width: SIDE,
    mean: [0.5, 0.5, 0.5],
    std: [0.12, 0.12, 0.12],
    train: images(trainCount, 1),
    val: images(valCount, 2),
  };
}

/** 58 images in batches of 16: three whole ones and one of 10. */
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
    settings: changes,
  }).config;
}

/** The net of a configuration before training. */
export function tinyModel(config: TrainConfig): Model {
  return createNetwork(configuredSpec(config, { classes: 10, channels: 3 }), {
    seed: config.seed,
    fan: config.initFan,
  });
}

/** What of an event must be the same in every run: all but speed and time. */
export function timeless(event: TrainEvent): unknown {
  const timed = ["seconds", "imagesPerSecond", "etaSeconds"];
  return JSON.parse(JSON.stringify(event, (key, value) => (timed.includes(key) ? undefined : value)));
}

export async function collect(events: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  return Array.fromAsync(events);
}
