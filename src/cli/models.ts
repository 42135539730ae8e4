// cli: `densenet models` — the trained networks that come with the package.
import type { Command } from "commander";
import { formatBytes, formatDuration, formatInteger, formatPercent, table, wilsonInterval } from "../analyze/format.ts";
import { loadModelCard, type ModelCard, pretrainedNames } from "../formats/pretrained.ts";
import { examples, jsonOption } from "./flags.ts";
import { printJson, printLine } from "./output.ts";

export function addModels(program: Command): void {
  program
    .command("models")
    .summary("the trained networks that come with the package")
    .description(
      "Lists the trained networks that come with the package, with their measured errors, or shows the card of one. " +
        "Its name stands for a file of weights in predict, eval, inspect, export, convert and train --init-from.",
    )
    .argument("[name]", `one of ${pretrainedNames.join(", ")}`)
    .addOption(jsonOption("a JSON list of model cards on stdout, or the one asked for"))
    .addHelpText(
      "after",
      examples(
        "densenet models",
        "densenet models bc-40-12.cifar10",
        "densenet predict bc-40-12.cifar10 photo.png",
        "densenet models --json",
      ),
    )
    .action(models);
}

async function models(name: string | undefined, options: { readonly json?: boolean }): Promise<void> {
  if (name !== undefined) {
    const card = await loadModelCard(name);
    if (options.json) printJson(card);
    else printLine(cardText(card));
    return;
  }
  const cards = await Promise.all(pretrainedNames.map((known) => loadModelCard(known)));
  if (options.json) printJson(cards);
  else printLine(listText(cards));
}

function listText(cards: readonly ModelCard[]): string {
  const rows = cards.map(({ name, params, file, measured: { test }, training: { dataset } }) => [
    name,
    dataset,
    formatInteger(params),
    formatBytes(file.bytes),
    formatPercent(test.top1Error, 2),
    formatInteger(test.images),
  ]);
  return table([["model", "trained on", "parameters", "file", "test error", "images"], ...rows], [2, 3, 4, 5]);
}

function cardText({
  name,
  title,
  params,
  file,
  preprocessing,
  classes,
  training,
  measured,
  ...terms
}: ModelCard): string {
  const { test, embedded, unrounded, date, cpu } = measured;
  const [low, high] = wilsonInterval(test.top1Error / 100, test.images);
  const { dataset, images, epochs, epochsPlanned, seconds, startedAt } = training;
  return table([
    [name, title],
    ["parameters", formatInteger(params)],
    ["file", `${formatBytes(file.bytes)}, weights in ${file.weights}, SHA-256 ${file.sha256}`],
    ["images", `${preprocessing.height} × ${preprocessing.width}; of another size they are scaled and cropped`],
    ["classes", classes.join(", ")],
    [
      "training",
      `${epochs === epochsPlanned ? epochs : `${epochs} of ${epochsPlanned}`} epochs on ${formatInteger(images)} ` +
        `images of ${dataset}, ${formatDuration(seconds)} on ${training.cpu}, from ${startedAt.slice(0, 10)}`,
    ],
    ["", training.command],
    [
      "test error",
      `${formatPercent(test.top1Error, 2)} of ${formatInteger(test.images)} images (95 % interval ` +
        `${(100 * low).toFixed(2)}–${formatPercent(100 * high, 2)}), loss ${test.loss.toFixed(4)}; ` +
        `${formatPercent(unrounded.top1Error, 2)} before the weights were rounded`,
    ],
    ["", `${formatPercent(embedded.top1Error, 2)} of the ${formatInteger(embedded.images)} embedded test images`],
    ["", `measured on ${cpu}, ${date}`],
    ["licence", terms.licence],
    ["data", terms.dataTerms],
    ["limits", terms.limits],
  ]);
}
