// run: what a finished run shows of itself: its mistakes on the validation images, and some of these images.
import sharp, { type Sharp } from "sharp";
import { reliability } from "../analyze/calibration.ts";
import { formatInteger } from "../analyze/format.ts";
import { mostConfused } from "../analyze/report/confusion.ts";
import type { ReportConfusion, ReportImage } from "../analyze/report/data.ts";
import type { Backend } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Image } from "../data/fitImage.ts";
import { InputError, ResourceError } from "../errors.ts";
import type { ClassMap } from "../infer/classActivation.ts";
import { createExplainer, type Explainer } from "../infer/explainer.ts";
import { overlay } from "../infer/overlay.ts";
import { softmax } from "../infer/scores.ts";
import type { Evaluation } from "../train/evaluation.ts";
import { calibrateRun, labelledLogits } from "./calibrateRun.ts";
import type { ReportResults } from "./report.node.ts";

/** Images of each kind, right and wrong: two rows of a wide page. */
const SHOWN = 14;
/** Larger images are shown at this side; smaller ones keep every pixel. */
const SIDE = 160;

/** Cells of the confusion matrix whose images are shown, and how many of each. */
const CELLS = 6;
const CELL_IMAGES = 4;

/** A network after its last epoch, and what its validation found. */
export interface FinishedNetwork {
  readonly trained: TrainedModel;
  readonly evaluation: Evaluation;
  readonly dataset: Dataset;
  readonly epoch: number;
  /** Computes where the evidence for answers lies. */
  readonly backend: Backend;
}

/**
 * The last validation, with some of its images: the surest mistakes, right answers of as many classes as there are, and
 * images of the cells with the most mistakes.
 */
export async function reportResults(finished: FinishedNetwork): Promise<ReportResults> {
  const { evaluation, dataset, epoch } = finished;
  const { calibration, missing } = calibrateRun(evaluation, dataset);
  const labelled = labelledLogits(evaluation, dataset.val.labels);
  const fitted = calibration && { calibration, measured: reliability(labelled, calibration.temperature) };
  const explainer = await explainerOf(finished);
  const images: ReportImage[] = [];
  const confusions: ReportConfusion[] = [];
  try {
    const shown = (position: number) => reportImage(position, finished, calibration?.temperature, explainer);
    for (const position of chooseImages(evaluation, dataset)) images.push(await shown(position));
    for (const { label, prediction, count } of mostConfused(evaluation.confusion, CELLS)) {
      const some: ReportImage[] = [];
      for (const position of surestOf(label, prediction, evaluation, dataset)) some.push(await shown(position));
      const [is, takenFor] = [label, prediction].map((index) => dataset.classes[index] ?? "");
      confusions.push({ label: is, prediction: takenFor, count, images: some });
    }
  } finally {
    await explainer?.dispose();
  }
  return {
    evaluation: {
      ...evaluation,
      trust: { measured: reliability(labelled), ...(fitted === undefined ? { missing } : { fitted }) },
      caption: `${formatInteger(evaluation.count)} validation images after epoch ${epoch}`,
    },
    images,
    confusions,
  };
}

/** Undefined where the device has no room for it beside the training: the report does without. */
async function explainerOf({ trained, backend }: FinishedNetwork): Promise<Explainer | undefined> {
  try {
    return await createExplainer(trained, backend);
  } catch (error) {
    if (error instanceof ResourceError || error instanceof InputError) return undefined;
    throw error;
  }
}

/** Validation images of a cell, the surest first. */
function surestOf(label: number, prediction: number, { guesses }: Evaluation, { val }: Dataset): number[] {
  return [...guesses.keys()]
    .filter((position) => val.labels[position] === label && guesses[position]?.index === prediction)
    .sort((a, b) => (guesses[b]?.score ?? 0) - (guesses[a]?.score ?? 0))
    .slice(0, CELL_IMAGES);
}

function chooseImages({ guesses }: Evaluation, { val, classes }: Dataset): number[] {
  const positions = guesses.map((_, position) => position);
  const wrong = positions
    .filter((position) => guesses[position]?.index !== val.labels[position])
    .sort((a, b) => (guesses[b]?.score ?? 0) - (guesses[a]?.score ?? 0))
    .slice(0, SHOWN);
  // Round after round one of each class, in the order of the split: chosen without looking.
  const rightOf = classes.map((_, label) =>
    positions.filter((position) => val.labels[position] === label && guesses[position]?.index === label),
  );
  const rounds = Math.max(0, ...rightOf.map((of) => of.length));
  const right = Array.from({ length: Math.min(rounds, SHOWN) }, (_, round) => rightOf.flatMap((of) => of[round] ?? []));
  return [...wrong, ...right.flat().slice(0, SHOWN)];
}

async function reportImage(
  position: number,
  { evaluation: { guesses, logits }, dataset }: FinishedNetwork,
  temperature: number | undefined,
  explainer: Explainer | undefined,
): Promise<ReportImage> {
  const { val, classes, channels, height, width } = dataset;
  const guess = guesses[position];
  if (guess === undefined) throw new RangeError(`no guess for image ${position}`);
  const description = val.describe();
  const scores = softmax(logits.subarray(position * classes.length, (position + 1) * classes.length), temperature);
  const planar = new Uint8Array(channels * height * width);
  await val.pixels(position, planar);
  const image = colourImage(planar, dataset);
  return {
    dataUri: await dataUri(image),
    label: classes[val.labels[position] ?? -1] ?? "",
    prediction: classes[guess.index] ?? "",
    score: scores[guess.index] ?? guess.score,
    name: description.kind === "files" ? (description.files[position] ?? "") : `validation image ${position}`,
    ...(explainer && { evidenceUri: await evidenceUri(image, (await explainer.explain(planar, guess.index)).map) }),
  };
}

/** [C, H, W] of 1 or 3 channels → [H, W, 3]. */
function colourImage(planar: Uint8Array, { channels, height, width }: Dataset): Image {
  const plane = height * width;
  const data = Uint8Array.from(
    { length: 3 * plane },
    (_, at) => planar[(channels === 1 ? 0 : (at % 3) * plane) + Math.floor(at / 3)],
  );
  return { width, height, data };
}

async function dataUri({ data, width, height }: Image): Promise<string> {
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  // Lossless where every pixel shows; a photograph gets away with less.
  if (Math.max(height, width) <= SIDE)
    return `data:image/png;base64,${(await image.png().toBuffer()).toString("base64")}`;
  return jpegUri(image);
}

/** Of small images enlarged, so that the map is smooth. */
async function evidenceUri({ data, width, height }: Image, map: ClassMap): Promise<string> {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const shown = { width: Math.round(width * scale), height: Math.round(height * scale) };
  const factor = Math.max(1, Math.floor(SIDE / Math.max(width, height)));
  const resized = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(shown.width * factor, shown.height * factor, { fit: "fill", kernel: factor > 1 ? "nearest" : "cubic" })
    .raw()
    .toBuffer({ resolveWithObject: true });
  const size = { width: resized.info.width, height: resized.info.height };
  const pixels = overlay({ ...size, data: resized.data }, { left: 0, top: 0, ...size }, map);
  return jpegUri(sharp(pixels, { raw: { ...size, channels: 3 } }));
}

async function jpegUri(image: Sharp): Promise<string> {
  const small = await image.resize(SIDE, SIDE, { fit: "inside" }).jpeg({ quality: 85 }).toBuffer();
  return `data:image/jpeg;base64,${small.toString("base64")}`;
}
