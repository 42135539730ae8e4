// run: what TensorBoard shows of a run, in an event file in the run's folder (`tensorboard --logdir runs` finds it). A
// resumed run adds a file of its own, whose start makes void what came after the checkpoint.
import { closeSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import type { ReportImage } from "../analyze/report/data.ts";
import { writeFailure } from "../checkpoint/writeFailure.ts";
import type { Model } from "../model/model.ts";
import type { StartEvent, TrainEvent } from "../train/events.ts";
import { encodeRecord, histogramOf, type SummaryValue } from "./tensorBoard.ts";

export class TensorBoardFile {
  readonly #path: string;
  readonly #file: number;
  readonly #stepsPerEpoch: number;

  /** @throws ResourceError when there can be no file in the folder */
  constructor(folder: string, { resumedAtStep, stepsPerEpoch }: StartEvent) {
    this.#stepsPerEpoch = stepsPerEpoch;
    const name = `events.out.tfevents.${Math.floor(Date.now() / 1000)}.${hostname()}.${process.pid}`;
    this.#path = join(folder, name);
    try {
      this.#file = openSync(this.#path, "a");
    } catch (error) {
      throw writeFailure(this.#path, error);
    }
    this.#append(encodeRecord({ kind: "version", seconds: Date.now() / 1000 }));
    // Of its step on: the first update that this process reports.
    if (resumedAtStep > 0) {
      this.#append(encodeRecord({ kind: "start", seconds: Date.now() / 1000, step: resumedAtStep + 1 }));
    }
  }

  /** The scalars of an update or an epoch; at the end of an epoch the weights of `model` too, as histograms. */
  record(event: TrainEvent, model: Model): void {
    if (event.type === "step") {
      this.#add(event.step, [
        { tag: "loss/update", scalar: event.loss },
        { tag: "learning rate", scalar: event.learningRate },
        { tag: "images per second", scalar: event.imagesPerSecond },
      ]);
    }
    if (event.type === "epoch") {
      // Kernels only: those of batch norm and biases are as many again, and small.
      const kernels = [...model.state].filter(([, { shape }]) => shape.length > 1);
      this.#add(event.epoch * this.#stepsPerEpoch, [
        { tag: "loss/training", scalar: event.trainLoss },
        { tag: "loss/validation", scalar: event.valLoss },
        { tag: "top-1 error/training", scalar: event.trainTop1Error },
        { tag: "top-1 error/validation", scalar: event.valTop1Error },
        { tag: "top-5 error/validation", scalar: event.valTop5Error },
        ...kernels.map(([path, { data }]) => ({ tag: path, histogram: histogramOf(data) })),
      ]);
    }
  }

  /** Images of the validation with the network's answers. */
  async recordImages(step: number, images: readonly ReportImage[]): Promise<void> {
    const values = images.map(async ({ dataUri, label, prediction }, index): Promise<SummaryValue> => {
      const bytes = Buffer.from(dataUri.slice(dataUri.indexOf(",") + 1), "base64");
      const { height, width, channels } = await sharp(bytes).metadata();
      const kind = label === prediction ? `right/${label}` : `wrong/${label} taken for ${prediction}`;
      return { tag: `${kind} ${index + 1}`, image: { height, width, channels, bytes } };
    });
    this.#add(step, await Promise.all(values));
  }

  close(): void {
    closeSync(this.#file);
  }

  #add(step: number, values: readonly SummaryValue[]): void {
    this.#append(encodeRecord({ kind: "values", seconds: Date.now() / 1000, step, values }));
  }

  #append(record: Uint8Array): void {
    try {
      writeSync(this.#file, record);
    } catch (error) {
      throw writeFailure(this.#path, error);
    }
  }
}
