// train: settings for a folder of somebody's own images, from facts about the folder. Each choice is a function of its
// own and comes with its reason in words; whatever the person says outweighs it. The paper's data sets keep the paper's
// settings.
import type { FolderFacts } from "../data/dataset.ts";
import type { TrainConfig } from "./config.ts";
import { usualRates } from "./optimizer.ts";
import type { PartialTrainConfig } from "./resolveConfig.ts";

/** A setting that was chosen. */
export interface Choice {
  /** Dotted path of the setting, such as `data.imageSize`. */
  readonly path: string;
  readonly value: string | number | boolean;
  /** Why, as a clause for people. */
  readonly reason: string;
}

const INPUT_SIZES = [32, 48, 64, 96, 128, 160, 192, 224] as const;
/** Larger inputs cost time with the square of the side, and few images do not teach a network what they show more. */
const MANY_IMAGES = 20_000;
const SIZE_OF_FEW = 128;

/** The largest usual size that no more than half of the images must be enlarged to. */
export function chooseImageSize({ counts, side }: FolderFacts): Choice {
  const images = total(counts);
  const most = images < MANY_IMAGES ? SIZE_OF_FEW : 224;
  const value = INPUT_SIZES.findLast((size) => size <= Math.min(side, most)) ?? INPUT_SIZES[0];
  const reason =
    side < INPUT_SIZES[0]
      ? `the smallest usual size; the shorter side of half of the images is at most ${side} pixels`
      : side > most
        ? `enough for ${count(images)} images; larger ones take longer and teach little more`
        : `the shorter side of half of the images is at least ${side} pixels`;
  return { path: "data.imageSize", value, reason };
}

/** From this size on the 3×3 stem's feature maps cost more than what they show is worth. */
const LARGE_INPUT = 64;

/** The paper's stems: that of its ImageNet networks for larger images, that of its CIFAR networks for small ones. */
export function chooseStem(imageSize: number): Choice {
  return imageSize >= LARGE_INPUT
    ? {
        path: "model.stem",
        value: "imagenet",
        reason: "quarters the side first, so that an image takes a sixteenth of the time",
      }
    : { path: "model.stem", value: "cifar", reason: `keeps all ${imageSize} pixels of each side` };
}

/** From so many images on a network with four times the parameters learns more than it memorises. */
const LARGE_NETWORK_IMAGES = 20_000;

export function chooseNetwork({ counts }: FolderFacts): Choice {
  const images = total(counts);
  return images < LARGE_NETWORK_IMAGES
    ? { path: "model.variant", value: "BC-40-12", reason: `small, for ${count(images)} images` }
    : { path: "model.variant", value: "BC-100-12", reason: `of the paper, for ${count(images)} images` };
}

/**
 * Random crops where an image has pixels to spare. On photos-10 (2,000 photographs of 64×64) BC-40-12 with the ImageNet
 * stem came to 21.6 % error in 100 epochs with crops and label smoothing (16 % on the training images themselves), and
 * to 24.2 % in 60 with shifts (1 %; one seed each, 2026-11-25).
 */
export function chooseAugment(imageSize: number): Choice {
  return imageSize >= LARGE_INPUT
    ? { path: "data.augment", value: "imagenet", reason: "crops, mirrors and colours, so that no image is seen twice" }
    : { path: "data.augment", value: "standard", reason: "shifts and mirrors; crops of so few pixels show too little" };
}

/** Below so many images a batch of 64 leaves too few updates. */
const SMALL_SET = 5000;
const LEAST_UPDATES = 8;

/** 64 as in the paper, less where an epoch would have few updates; a power of two of at least 8. */
export function chooseBatchSize({ counts }: FolderFacts): Choice {
  const images = total(counts);
  if (images >= SMALL_SET) return { path: "batchSize", value: 64, reason: "the paper's" };
  let value = 32;
  while (value > 8 && images / value < LEAST_UPDATES) value /= 2;
  return {
    path: "batchSize",
    value,
    reason: `${count(Math.ceil(images / value))} updates in an epoch of ${count(images)} images`,
  };
}

/** Images that are shown in all, without a limit of time: what networks of this size took to stop improving. */
const SHOWN_IMAGES = 200_000;
/** Of the paper (section 4.2); more of them only cost time. */
const MOST_EPOCHS = 300;
const LEAST_EPOCHS = 20;

export function chooseEpochs({ counts }: FolderFacts): Choice {
  const images = total(counts);
  const value = Math.min(MOST_EPOCHS, Math.max(LEAST_EPOCHS, Math.round(SHOWN_IMAGES / images)));
  return {
    path: "epochs",
    value,
    reason: `shows ${count(value * images)} images; --minutes chooses as many as fit into a time`,
  };
}

/** How fast a network trains on a data set, as measured. */
export interface MeasuredSpeed {
  readonly imagesPerSecond: number;
  readonly trainCount: number;
  readonly valCount: number;
}

/** Validation is the forward pass alone, a third of the work. */
const VALIDATION_COST = 1 / 3;
/** Of the time that there is, what epochs are planned for: the rest is for checkpoints and the report. */
const PLANNED = 0.95;

/** As many epochs as fit into `seconds`, validation included: at least 1, at most the paper's 300. */
export function epochsWithin(seconds: number, { imagesPerSecond, trainCount, valCount }: MeasuredSpeed): Choice {
  const epochSeconds = (trainCount + VALIDATION_COST * valCount) / imagesPerSecond;
  const fitting = Math.floor((PLANNED * seconds) / epochSeconds);
  const value = Math.min(MOST_EPOCHS, Math.max(1, fitting));
  const speed = `at ${count(Math.round(imagesPerSecond))} images a second`;
  const reason =
    fitting < 1
      ? `the least there is; at ${count(Math.round(imagesPerSecond))} images a second it takes ${count(Math.ceil(epochSeconds))} seconds`
      : fitting > MOST_EPOCHS
        ? `the paper's; ${count(fitting)} would fit into the time ${speed}`
        : `as many as fit into the time ${speed}`;
  return { path: "epochs", value, reason };
}

/**
 * Of an optimizer's usual rate, what trains with batch norm; a test of few updates can err beyond it. On photos-10 it
 * said 0.085 with one seed and 0.024 with another, and the run came to 21.6 % error with 0.1 and to 24.6 % with 0.024
 * (100 epochs, one seed each, 2026-11-25).
 */
const [LOWEST_SHARE, HIGHEST_SHARE] = [0.5, 3];
/** What the usual rates are for. */
const PAPER_BATCH = 64;

/** `suggested`: by a range test; undefined where it found none. */
export function chooseRate(
  suggested: number | undefined,
  { batchSize, optimizer }: Pick<TrainConfig, "batchSize" | "optimizer">,
): Choice {
  const usual = usualRates[optimizer].lr;
  const round = (rate: number): number => Number(rate.toPrecision(2));
  if (suggested === undefined) {
    const value = round((usual * batchSize) / PAPER_BATCH);
    return {
      path: "lr",
      value,
      reason: "the usual one for this batch size; in the range test no rate made the loss fall",
    };
  }
  const [lowest, highest] = [round(LOWEST_SHARE * usual), round(HIGHEST_SHARE * usual)];
  const value = Math.min(highest, Math.max(lowest, suggested));
  const said = value === suggested ? "" : ` (which said ${suggested}; only ${lowest} to ${highest} are trusted)`;
  return { path: "lr", value, reason: `the highest at which the loss still fell in a range test${said}` };
}

const WARMUP_EPOCHS = 1;

/** One epoch, less of a short run. */
export function chooseWarmup(epochs: number): Choice {
  const value = Math.min(WARMUP_EPOCHS, epochs / 10);
  return { path: "warmupEpochs", value, reason: "the first updates are the wildest" };
}

/** From this ratio on the total error hides the rare classes (as `densenet data check` says). */
const UNEVEN = 3;

/** undefined where classes are even enough. */
export function chooseBalance({ counts }: FolderFacts): Choice | undefined {
  const ratio = Math.max(...counts) / Math.min(...counts);
  if (ratio < UNEVEN) return undefined;
  return {
    path: "data.balance",
    value: true,
    reason: `the largest class has ${ratio.toFixed(1)} times as many images as the smallest`,
  };
}

/**
 * Every choice for a folder, in the order in which they are said, but for what the person `said`, by dotted path.
 * `epochs`, `rate`: where they were measured.
 */
export function chooseSettings(
  facts: FolderFacts,
  said: ReadonlyMap<string, unknown> = new Map(),
  {
    epochs = chooseEpochs(facts),
    rate,
  }: { readonly epochs?: Choice | undefined; readonly rate?: Choice | undefined } = {},
): readonly Choice[] {
  const size = chooseImageSize(facts);
  const balance = chooseBalance(facts);
  const saidOr = ({ path, value }: Choice): number => Number(said.get(path) ?? value);
  const choices = [
    size,
    chooseNetwork(facts),
    // A network that was named has its own.
    ...(said.has("model.variant") ? [] : [chooseStem(saidOr(size))]),
    chooseAugment(saidOr(size)),
    {
      path: "labelSmoothing",
      value: 0.1,
      reason: "few images are learned by heart; this keeps answers from growing too sure",
    },
    ...(balance === undefined ? [] : [balance]),
    chooseBatchSize(facts),
    epochs,
    ...(rate === undefined ? [] : [rate]),
    { path: "schedule", value: "cosine", reason: "the rate falls over the whole run, however short it is" },
    chooseWarmup(saidOr(epochs)),
  ];
  return choices.filter(({ path }) => !said.has(path));
}

/** The choices as a layer of `resolveConfig`. */
export function chosenConfig(choices: readonly Choice[]): PartialTrainConfig {
  const of = (group: string): Record<string, unknown> =>
    Object.fromEntries(
      choices.flatMap(({ path, value }) => {
        const [key = path, holder = ""] = path.split(".").reverse();
        return holder === group ? [[key, value]] : [];
      }),
    );
  return { ...of(""), model: of("model"), data: of("data") };
}

const total = (counts: readonly number[]): number => counts.reduce((sum, n) => sum + n, 0);
const count = (value: number): string => value.toLocaleString("en-US");
