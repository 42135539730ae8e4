// infer: a trained network as a function from pictures to labels. Portable; everything it needs comes from the checkpoint's own metadata.
import type { Backend, Executable } from "../backends/backend.ts";
import { runAhead, type Work } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { placeImage, unmoved } from "../data/augment.ts";
import { fitImage, type Image, type InputSize } from "../data/fitImage.ts";
import { normalizationTable } from "../data/normalization.ts";
import { UsageError } from "../errors.ts";
import { requireUsable } from "../model/check.ts";
import { buildGraph } from "../networks/registry.ts";
import { planInference } from "../plan/lower.ts";
import { type Prediction, sigmoid, softmax, topPredictions } from "./scores.ts";

export interface PredictorOptions {
  /** Pictures that go through the network at once when there are many. Default 16. */
  readonly batchSize?: number;
}

export interface PredictOptions {
  /** How many classes to name per picture, best first. Default 5; never more than there are. */
  readonly topK?: number;
}

export class Predictor {
  readonly classes: readonly string[];
  readonly inputSize: InputSize;
  readonly #executable: Executable;
  readonly #probabilities: typeof softmax;
  readonly #batchSize: number;
  /** Pictures that the device works on at once. */
  readonly #atOnce: number;
  readonly #table: Float32Array; // [C, 256]
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(trained: TrainedModel, executable: Executable, batchSize: number, atOnce: number) {
    const { mean: _, std: __, ...size } = trained.preprocessing;
    this.classes = trained.classes;
    this.inputSize = { channels: trained.model.spec.inChannels, ...size };
    this.#probabilities = trained.outputs === "sigmoid" ? sigmoid : softmax;
    this.#table = normalizationTable(trained.preprocessing);
    this.#executable = executable;
    this.#batchSize = batchSize;
    this.#atOnce = atOnce;
  }

  /**
   * Compiles the network on `backend`, which stays the caller's.
   * @throws UsageError for a batch size that is no whole number
   * @throws InputError when a tensor of the model is missing, unexpected, of another shape or holds a number that cannot be
   */
  static async create(trained: TrainedModel, backend: Backend, options: PredictorOptions = {}): Promise<Predictor> {
    const { batchSize = 16 } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new UsageError(`batchSize: got ${batchSize}, expected a whole number of at least 1`, {
        field: "batchSize",
      });
    }
    const { model, preprocessing } = trained;
    requireUsable(model);
    const { height, width } = preprocessing;
    const plan = (batch: number) => planInference(buildGraph(model.spec, { batch, height, width, mode: "inference" }));
    const executable = await backend.compile({ one: plan(1), many: plan(batchSize) });
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const { device, threads } = backend.info;
    return new Predictor(trained, executable, batchSize, device === undefined ? threads : batchSize);
  }

  /** The best classes of each picture. Pictures of any size are scaled and cropped to the network's input. @throws InputError naming what is wrong with a picture. */
  async predict(pictures: readonly Image[], options: PredictOptions = {}): Promise<Prediction[][]> {
    return this.predictPlanar(
      pictures.map((picture) => fitImage(picture, this.inputSize)),
      options,
    );
  }

  /** As predict, for pictures that have the input size: [C, H, W] bytes each. */
  async predictPlanar(pictures: readonly Uint8Array[], { topK = 5 }: PredictOptions = {}): Promise<Prediction[][]> {
    if (!Number.isInteger(topK) || topK < 1) {
      throw new UsageError(`topK: got ${topK}, expected a whole number of at least 1`, { field: "topK", value: topK });
    }
    // Calls take turns: the device has one input buffer.
    const turn = this.#queue.then(() => this.#logits(pictures));
    this.#queue = turn.catch(() => undefined);
    return (await turn).map((logits) => topPredictions(logits, this.classes, topK, this.#probabilities));
  }

  async dispose(): Promise<void> {
    await this.#queue;
    await this.#executable.dispose();
  }

  async #logits(pictures: readonly Uint8Array[]): Promise<Float32Array[]> {
    const logits: Float32Array[] = [];
    const { length } = this.classes;
    const parts = this.#partsOf(pictures);
    for await (const { item, found } of runAhead(this.#executable, parts, (part) => this.#workOf(part), ["logits"])) {
      const [all] = found;
      for (const n of item.pictures.keys()) logits.push(Float32Array.from(all.subarray(n * length, (n + 1) * length)));
    }
    return logits;
  }

  *#partsOf(pictures: readonly Uint8Array[]): Generator<Part> {
    for (let from = 0; from < pictures.length; ) {
      const left = pictures.slice(from, from + this.#batchSize);
      // What works at once shares the pictures of a batch; a small rest is cheaper one by one than filled up.
      const plan = left.length <= this.#batchSize / this.#atOnce && left.length < this.#batchSize ? "one" : "many";
      const part = { plan, pictures: plan === "many" ? left : left.slice(0, 1) } as const;
      yield part;
      from += part.pictures.length;
    }
  }

  #workOf({ plan, pictures }: Part): Work {
    const { channels, height, width } = this.inputSize;
    const stride = channels * height * width;
    const images = new Float32Array((plan === "one" ? 1 : this.#batchSize) * stride);
    for (const [n, pixels] of pictures.entries()) {
      if (pixels.length !== stride) {
        throw new RangeError(
          `a picture of [${channels}, ${height}, ${width}] has ${stride} bytes, got ${pixels.length}`,
        );
      }
      placeImage(pixels, this.inputSize, this.#table, unmoved, images.subarray(n * stride, (n + 1) * stride));
    }
    return { plan, inputs: { images } };
  }
}

/** Pictures that go through the network together. */
interface Part {
  readonly plan: "one" | "many";
  readonly pictures: readonly Uint8Array[];
}
