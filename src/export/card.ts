// export: the model card of an exported network: README.md with the YAML that Hugging Face's hub reads. Portable.
import { formatCount, formatInteger } from "../analyze/format.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { scalingMargin } from "../data/fitImage.ts";
import { familyFacts, macs, networkTitle, parameterCount } from "../networks/registry.ts";

export interface CardOptions {
  /** The hub's name of the library that loads the folder. */
  readonly library: string;
  /** The lines that load it, and their language. */
  readonly usage: readonly [language: string, ...lines: string[]];
  /** What the files hold, such as the type of their numbers. */
  readonly notes?: readonly string[];
}

/** Labels that a card lists; the files name all. */
const LISTED = 20;

export function modelCard(trained: TrainedModel, { library, usage, notes = [] }: CardOptions): string {
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
---

# ${networkTitle(spec)}, ${formatInteger(spec.numClasses)} classes

A ${description} (${citation}).

| | |
|---|---|
| trained on | ${plain(dataset)} |
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

const rounded = (values: readonly number[]): string => values.map((value) => Number(value.toPrecision(6))).join(", ");

/** Somebody's text as a cell of a table. */
const plain = (text: string): string => text.replace(/[\p{Cc}|<>`]/gu, " ");
