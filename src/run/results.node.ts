// run: what a finished run shows of itself: its mistakes on the validation images, and some of these images.
import sharp from "sharp";
import { reliability } from "../analyze/calibration.ts";
import { formatInteger } from "../analyze/format.ts";
import type { ReportImage } from "../analyze/report/data.ts";
import type { Dataset } from "../data/dataset.ts";
import { softmax } from "../infer/scores.ts";
import type { Evaluation } from "../train/evaluation.ts";
import { calibrateRun, labelledLogits } from "./calibrateRun.ts";
import type { ReportResults } from "./report.node.ts";

/** Images of each kind, right and wrong: two rows of a wide page. */
const SHOWN = 14;
/** Larger images are shown at this side; smaller ones keep every pixel. */
const SIDE = 160;

/**
 * The last validation, with some of its images: the surest mistakes, and right answers of as many classes as there are.
 */
export async function reportResults(evaluation: Evaluation, dataset: Dataset, epoch: number): Promise<ReportResults> {
  const chosen = chooseImages(evaluation, dataset);
  const { calibration, missing } = calibrateRun(evaluation, dataset);
  const images = labelledLogits(evaluation, dataset.val.labels);
  const fitted = calibration && { calibration, measured: reliability(images, calibration.temperature) };
  return {
    evaluation: {
      ...evaluation,
      trust: { measured: reliability(images), ...(fitted === undefined ? { missing } : { fitted }) },
      caption: `${formatInteger(evaluation.count)} validation images after epoch ${epoch}`,
    },
    images: await Promise.all(
      chosen.map((position) => reportImage(position, evaluation, dataset, calibration?.temperature)),
    ),
  };
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
  { guesses, logits }: Evaluation,
  dataset: Dataset,
  temperature: number | undefined,
): Promise<ReportImage> {
  const { val, classes } = dataset;
  const guess = guesses[position];
  if (guess === undefined) throw new RangeError(`no guess for image ${position}`);
  const description = val.describe();
  const scores = softmax(logits.subarray(position * classes.length, (position + 1) * classes.length), temperature);
  return {
    dataUri: await dataUri(position, dataset),
    label: classes[val.labels[position] ?? -1] ?? "",
    prediction: classes[guess.index] ?? "",
    score: scores[guess.index] ?? guess.score,
    name: description.kind === "files" ? (description.files[position] ?? "") : `validation image ${position}`,
  };
}

async function dataUri(position: number, { val, channels, height, width }: Dataset): Promise<string> {
  const planar = new Uint8Array(channels * height * width);
  await val.pixels(position, planar);
  const plane = height * width;
  const interleaved = new Uint8Array(planar.length);
  for (let at = 0; at < planar.length; at++)
    interleaved[(at % plane) * channels + Math.floor(at / plane)] = planar[at] ?? 0;
  const image = sharp(interleaved, { raw: { width, height, channels: channels === 1 ? 1 : 3 } });
  // Lossless where every pixel shows; a photograph gets away with less.
  if (Math.max(height, width) <= SIDE)
    return `data:image/png;base64,${(await image.png().toBuffer()).toString("base64")}`;
  const small = await image.resize(SIDE, SIDE, { fit: "inside" }).jpeg({ quality: 85 }).toBuffer();
  return `data:image/jpeg;base64,${small.toString("base64")}`;
}
