// infer: a trained network as a function from images to labels. Portable; everything it needs comes from the
// checkpoint's own metadata.
import type { Backend, Executable } from "../backends/backend.ts";
import { Lifetime } from "../backends/lifetime.ts";
import { runAhead, type Work } from "../backends/runAhead.ts";
import type { Calibration } from "../checkpoint/calibration.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { fitImage, type Image, type InputSize } from "../data/fitImage.ts";
import { normalizationTable } from "../data/normalization.ts";
import { InputError, UsageError } from "../errors.ts";
import { requireUsable } from "../model/check.ts";
import type { Model } from "../model/model.ts";
import { buildGraph } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { planInference } from "../plan/planners.ts";
import { inputMismatch, MOST_COMPARED } from "./inputCheck.ts";
import { networkInput } from "./networkInput.ts";
import { type Prediction, type Probabilities, probabilitiesOf, topPredictions } from "./scores.ts";

/** How a predictor compiles its network. */
export interface PredictorOptions {
  /** Images that go through the network at once when there are many. Default 16. */
  readonly batchSize?: number;
  /** Gets a warning, once, where the first images are far from what the network was trained on. */
  readonly note?: (line: string) => void;
}

/** How many classes are named, and what messages call the images. */
export interface PredictOptions {
  /** How many classes to name per image, best first. Default 5; never more than there are. */
  readonly topK?: number;
  /** What messages call the images, such as their files. Default `images[0]`, `images[1]`, … */
  readonly names?: readonly string[];
}

/**
 * Compiles the network on `backend`, which stays the caller's.
 * @throws UsageError for a batch size that is no whole number
 * @throws InputError when a tensor of the model is missing, unexpected, of another shape or holds a number that cannot
 * be
 */
export async function createPredictor(
  trained: TrainedModel,
  backend: Backend,
  options: PredictorOptions = {},
): Promise<Predictor> {
  const { batchSize = 16 } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new UsageError(`batchSize: got ${batchSize}, expected a whole number of at least 1`, {
      field: "batchSize",
    });
  }
  const { model, preprocessing } = trained;
  requireUsable(model);
  const { height, width } = preprocessing;
  const { activationDtype } = backend.info;
  const plan = (batch: number) =>
    planInference(buildGraph(model.spec, { batch, height, width, mode: "inference" }), { activationDtype });
  const executable = await backend.compile({ one: plan(1), many: plan(batchSize) });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
  } catch (error) {
    await executable.dispose();
    throw error;
  }
  const { device, threads } = backend.info;
  return new Predictor(trained, executable, batchSize, device === undefined ? threads : batchSize, options.note);
}

/**
 * Made by `createPredictor`; ended by `dispose` or `await using`, after which predictions reject with a DisposedError,
 * those that are pending too.
 */
export class Predictor implements AsyncDisposable {
  readonly classes: readonly string[];
  readonly inputSize: InputSize;
  readonly #life = new Lifetime("predictor");
  readonly #executable: Executable;
  /** Fitted on validation images, where the checkpoint holds it; every probability is with its temperature. */
  readonly calibration: Calibration | undefined;
  readonly #probabilities: Probabilities;
  readonly #batchSize: number;
  /** Images that the device works on at once. */
  readonly #atOnce: number;
  readonly #table: Float32Array; // [C, 256]
  readonly #model: Model;
  /** Until the first images have been compared with the training's. */
  #note: PredictorOptions["note"];
  #queue: Promise<void> = Promise.resolve();

  /** `executable`: the plans `one` and `many` with the network's state; the predictor disposes of it. */
  constructor(
    trained: TrainedModel,
    executable: Executable,
    batchSize: number,
    atOnce: number,
    note?: PredictorOptions["note"],
  ) {
    this.#model = trained.model;
    this.#note = note;
    const { mean: _, std: __, ...size } = trained.preprocessing;
    this.classes = trained.classes;
    this.inputSize = { channels: trained.model.spec.inChannels, ...size };
    this.calibration = trained.calibration;
    this.#probabilities = probabilitiesOf(trained);
    this.#table = normalizationTable(trained.preprocessing);
    this.#executable = executable;
    this.#batchSize = batchSize;
    this.#atOnce = atOnce;
  }

  /**
   * The best classes of each image. Images of any size are scaled and cropped to the network's input.
   * @throws InputError naming what is wrong with an image, or an image for which the network gives scores that are not
   * finite
   */
  async predict(images: readonly Image[], options: PredictOptions = {}): Promise<Prediction[][]> {
    return this.predictPlanar(
      images.map((image) => fitImage(image, this.inputSize)),
      options,
    );
  }

  /** As predict, for images that have the input size: [C, H, W] bytes each. */
  async predictPlanar(images: readonly Uint8Array[], options: PredictOptions = {}): Promise<Prediction[][]> {
    const { topK = 5, names } = options;
    if (!Number.isInteger(topK) || topK < 1) {
      throw new UsageError(`topK: got ${topK}, expected a whole number of at least 1`, { field: "topK", value: topK });
    }
    const logits = await this.#life.during(() => {
      // Calls take turns: the device has one input buffer.
      const turn = this.#queue.then(() => this.#logits(images));
      const done = (): void => {};
      this.#queue = turn.then(done, done);
      return turn;
    });
    return logits.map((scores, index) => {
      this.#requireFinite(scores, names?.[index] ?? `images[${index}]`);
      return topPredictions(scores, this.classes, topK, this.#probabilities);
    });
  }

  /** Frees what the predictor holds of the device; the backend stays the caller's. */
  dispose(): Promise<void> {
    return this.#life.end(() => this.#executable.dispose());
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #requireFinite(scores: Float32Array, name: string): void {
    const odd = scores.findIndex((score) => !Number.isFinite(score));
    if (odd === -1) return;
    throw new InputError(
      `${name}: the network's score for class "${this.classes[odd]}" is ${scores[odd]}, expected a finite number; ` +
        "its weights, mean or std cannot be right",
      { name, class: odd },
    );
  }

  async #logits(images: readonly Uint8Array[]): Promise<Float32Array[]> {
    this.#compare(images);
    const logits: Float32Array[] = [];
    const { length } = this.classes;
    const runs = this.#runsOf(images);
    for await (const { item, found } of runAhead(this.#executable, runs, (run) => this.#workOf(run), [
      hostBuffers.logits,
    ])) {
      const [all] = found;
      for (const n of item.images.keys()) logits.push(Float32Array.from(all.subarray(n * length, (n + 1) * length)));
    }
    return logits;
  }

  /** The first images with those in training. */
  #compare(images: readonly Uint8Array[]): void {
    const note = this.#note;
    if (note === undefined || images.length === 0) return;
    this.#note = undefined;
    const few = images.slice(0, MOST_COMPARED);
    const { height, width } = this.inputSize;
    const input = networkInput(few, this.inputSize, this.#table);
    const mismatch = inputMismatch(this.#model, { images: input, count: few.length, height, width });
    if (mismatch !== undefined) note(`warning: ${mismatch}`);
  }

  *#runsOf(images: readonly Uint8Array[]): Generator<Run> {
    for (let from = 0; from < images.length; ) {
      const left = images.slice(from, from + this.#batchSize);
      // What works at once shares the images of a batch; few leftover images are cheaper one by one than filled up.
      const plan = left.length <= this.#batchSize / this.#atOnce && left.length < this.#batchSize ? "one" : "many";
      const run = { plan, images: plan === "many" ? left : left.slice(0, 1) } as const;
      yield run;
      from += run.images.length;
    }
  }

  #workOf({ plan, images }: Run): Work {
    const input = networkInput(images, this.inputSize, this.#table, plan === "one" ? 1 : this.#batchSize);
    return { plan, inputs: { [hostBuffers.images]: input } };
  }
}

/** Images that go through the network together. */
interface Run {
  readonly plan: "one" | "many";
  readonly images: readonly Uint8Array[];
}
