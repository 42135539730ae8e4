// export: the model card of an exported network: README.md with the YAML that Hugging Face's hub reads. Portable.
import { formatCount, formatInteger, formatPercent } from "../analyze/format.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { scalingMargin } from "../data/fitImage.ts";
import { familyFacts, macs, networkTitle, parameterCount } from "../networks/registry.ts";

/** Where a network comes from, as far as its file says. */
export interface Provenance {
  /** Error in per cent and mean cross-entropy in nats; `on` which images. `split`: of the data set, where it is known. */
  readonly measured?: {
    readonly top1Error: number;
    readonly loss: number;
    readonly on: string;
    readonly split?: string;
  };
  readonly recipe?: string;
  /** `id`: the hub's name of it. */
  readonly licence?: { readonly id?: string; readonly text: string };
}

export interface CardOptions {
  /** The hub's name of the library that loads the folder. */
  readonly library: string;
  /** The lines that load it, and their language. */
  readonly usage: readonly [language: string, ...lines: string[]];
  /** What the files hold, such as the type of their numbers. */
  readonly notes?: readonly string[];
  readonly provenance?: Provenance;
}

/** Labels that a card lists; the files name all. */
const LISTED = 20;

export function modelCard(trained: TrainedModel, options: CardOptions): string {
  const { library, usage, notes = [], provenance = {} } = options;
  const { measured, recipe, licence } = provenance;
  const { model, preprocessing, classes, dataset, outputs } = trained;
  const { spec } = model;
  const { height, width, mean, std, interpolation = "bicubic" } = preprocessing;
  const { description, citation } = familyFacts(spec);
  const scaled = [height, width].map((side) => Math.round(side * scalingMargin(preprocessing)));
  const [language, ...lines] = usage;
  const listed = classes.slice(0, LISTED).map(plain).join(", ");
  return `---
library_name: ${library}
pipeline_tag: image-classification
tags:
- image-classification
- ${spec.family}
${licence?.id === undefined ? "" : `license: ${licence.id}\n`}${resultsYaml(trained, measured)}---

# ${networkTitle(spec)}, ${formatInteger(spec.numClasses)} classes

A ${description} (${citation}).

| | |
|---|---|
| trained on | ${plain(dataset)} |
| recipe | ${recipe === undefined ? "not known" : plain(recipe)} |
| measured | ${measured === undefined ? "not measured" : plain(measuredText(measured))} |
| licence | ${licence === undefined ? UNLICENSED : plain(licence.text)} |
| parameters | ${formatInteger(parameterCount(spec))} |
| multiply-adds | ${formatCount(macs(spec, preprocessing))} an image of ${height}×${width} |
| input | ${spec.inChannels} ${spec.inChannels === 1 ? "channel" : "channels"}, ${height}×${width}: the centre of an image scaled (${interpolation}) to cover ${scaled.join("×")} |
| mean | ${rounded(mean)} of pixels in 0…1 |
| standard deviation | ${rounded(std)} |
| output | ${outputs === "sigmoid" ? "a logit for each label; a sigmoid makes it a probability" : "logits; a softmax makes them probabilities"} |
| labels | ${listed}${classes.length > LISTED ? ` and ${classes.length - LISTED} more` : ""} |

${notes.map((note) => `${note}\n\n`).join("")}\`\`\`${language}
${lines.join("\n")}
\`\`\`

Written by [densenet](https://www.npmjs.com/package/densenet).
`;
}

const UNLICENSED = "none is stated: whoever publishes the weights decides, within the terms of the training data";

const measuredText = ({ top1Error, loss, on }: NonNullable<Provenance["measured"]>): string =>
  `${formatPercent(top1Error, 2)} top-1 error on ${on}; mean cross-entropy ${loss.toFixed(4)}`;

/** The measurement as the hub's model-index; texts in quotation marks, as JSON has them, are YAML. */
function resultsYaml({ model, dataset }: TrainedModel, measured: Provenance["measured"]): string {
  if (measured === undefined) return "";
  const slug = dataset.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return `model-index:
- name: ${JSON.stringify(networkTitle(model.spec))}
  results:
  - task:
      type: image-classification
    dataset:
      type: ${JSON.stringify(slug)}
      name: ${JSON.stringify(plain(dataset))}
${measured.split === undefined ? "" : `      split: ${measured.split}\n`}    metrics:
    - type: accuracy
      name: "top-1 accuracy on ${plain(measured.on)}"
      value: ${Number((1 - measured.top1Error / 100).toFixed(6))}
`;
}

const rounded = (values: readonly number[]): string => values.map((value) => Number(value.toPrecision(6))).join(", ");

/** Somebody's text as a cell of a table, and in quotation marks. */
const plain = (text: string): string => text.replace(/[\p{Cc}|<>`"\\]/gu, " ");
