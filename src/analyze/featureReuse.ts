// analyze: feature reuse (paper, section 5 and figure 5). How much weight each convolution, transition and the
// classifier of a trained network give to the maps of every earlier layer of the block.
//
// With S the maps of source s, O those that weight W makes and K = kh·kw taps,
//
//     l1         H[s, ℓ] = 1/(|S|·|O|) Σ_{i∈S} Σ_{o∈O} ‖W[o, i, :, :]‖₁     the caption's "average L1 norm"
//     perWeight  H[s, ℓ] / K, the mean |w|: 3×3 layers and 1×1 transitions compare
//     columnMax  H[s, ℓ] / max over s: each column's colours run from 0 to 1, as the figure's do
//
// In a network with bottlenecks the 1×1 convolution is the one that reads the block.
import { UsageError } from "../errors.ts";
import { createNetwork } from "../model/create.ts";
import type { StateDict } from "../model/model.ts";
import { type AnatomyReader, anatomyOf, type NetworkSpec } from "../networks/registry.ts";
import { type Finding, mean, median } from "./finding.ts";
import { type AnalysisSection, findingsTable } from "./report/analysisPage.ts";
import { heatMap, heatScale } from "./report/heatMap.ts";
import { type Html, html } from "./report/html.ts";

/** The three readings of "average weight" that the head of this file defines. */
export const reuseNormalisations = ["l1", "perWeight", "columnMax"] as const;
/** An entry of `reuseNormalisations`. */
export type ReuseNormalisation = (typeof reuseNormalisations)[number];

/** A column of the figure: one weight that reads the maps of a block. */
export interface ReuseColumn {
  readonly weight: string;
  readonly kind: AnatomyReader["kind"];
  /** Place in the block, from 1; the transition or the classifier stands one behind the last layer. */
  readonly index: number;
  /** Of source s = 0 (what enters the block), 1, … index − 1, in each normalisation. */
  readonly values: Readonly<Record<ReuseNormalisation, readonly number[]>>;
}

/** A triangle of the figure. */
export interface ReuseBlock {
  /** From 1. */
  readonly block: number;
  readonly columns: readonly ReuseColumn[];
}

/** Figure 5 as numbers, and the paper's four observations. */
export interface FeatureReuse {
  readonly blocks: readonly ReuseBlock[];
  readonly findings: readonly Finding[];
}

/**
 * @throws UsageError for a network whose layers read no concatenation, so that there is nothing to compare
 */
export function featureReuse({ spec, state }: { readonly spec: NetworkSpec; readonly state: StateDict }): FeatureReuse {
  const { readers } = anatomyOf(spec);
  if (readers.length === 0) {
    throw new UsageError(
      `feature reuse: a layer of this ${spec.family} network reads only what the layer before it made, expected a ` +
        "network whose layers read the maps of several layers, such as a DenseNet",
      { family: spec.family },
    );
  }
  const blocks = blocksOf(readers, state);
  const untrained = observations(blocksOf(readers, createNetwork(spec).state));
  const findings = observations(blocks).map((finding, index) => ({
    ...finding,
    control: `before training: ${untrained[index]?.measured}`,
  }));
  return { blocks, findings };
}

function blocksOf(readers: readonly AnatomyReader[], state: StateDict): ReuseBlock[] {
  return [...new Set(readers.map(({ block }) => block))].map((block) => ({
    block: block + 1,
    columns: readers.filter((reader) => reader.block === block).map((reader) => columnOf(reader, state)),
  }));
}

function columnOf({ weight, kind, index, sources }: AnatomyReader, state: StateDict): ReuseColumn {
  const tensor = state.get(weight);
  if (tensor === undefined) throw new RangeError(`${weight} is not in the state dict`);
  const [outputs, inputs, ...window] = tensor.shape;
  const taps = window.reduce((product, extent) => product * extent, 1);
  const l1: number[] = [];
  let first = 0;
  for (const { channels } of sources) {
    let sum = 0;
    for (let o = 0; o < outputs; o++) {
      const from = (o * inputs + first) * taps;
      for (let at = from; at < from + channels * taps; at++) sum += Math.abs(tensor.data[at]);
    }
    l1.push(sum / (channels * outputs));
    first += channels;
  }
  const largest = Math.max(...l1);
  const values = {
    l1,
    perWeight: l1.map((value) => value / taps),
    columnMax: l1.map((value) => (largest > 0 ? value / largest : 0)),
  };
  return { weight, kind, index, values };
}

/** exp of the entropy of the weight's shares: n where n sources weigh the same, 1 where one has all. */
export function effectiveSources(weights: readonly number[]): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const entropy = weights
    .map((weight) => weight / total)
    .reduce((sum, share) => sum - (share > 0 ? share * Math.log(share) : 0), 0);
  return Math.exp(entropy);
}

/** The least part of its sources over which a layer must spread its weight to count as spread over many. */
const MANY = 0.5;
/** The part of layers for which "consistently" holds. */
const CONSISTENTLY = 0.9;
/** Mean weight on the last third of the sources over that on the first, from which it counts as concentrated. */
const CONCENTRATED = 1.1;

/** The four observations of section 5. */
function observations(blocks: readonly ReuseBlock[]): Finding[] {
  const columns = blocks.flatMap((block) => block.columns);
  const layers = columns.filter(({ kind, index }) => kind === "layer" && index > 1);
  const transitions = columns.filter(({ kind }) => kind === "transition");
  const later = blocks.slice(1).flatMap((block) => block.columns.filter(({ kind }) => kind === "layer"));
  const classifier = columns.find(({ kind }) => kind === "classifier");
  return [
    ...spreads(
      "All layers spread their weights over many inputs within the same block. This indicates that features extracted " +
        "by very early layers are, indeed, directly used by deep layers throughout the same dense block.",
      1,
      "layer",
      layers,
    ),
    ...spreads(
      "The weights of the transition layers also spread their weight across all layers within the preceding dense block.",
      2,
      "transition",
      transitions,
    ),
    ...leastToTransitions(later.filter(({ index }) => index > 1)),
    ...(classifier === undefined ? [] : [towardsTheEnd(classifier.values.l1)]),
  ];
}

function spreads(claim: string, observation: number, what: string, columns: readonly ReuseColumn[]): Finding[] {
  if (columns.length === 0) return [];
  const parts = columns.map(({ values }) => effectiveSources(values.l1) / values.l1.length);
  const few = parts.filter((part) => part < MANY).length;
  const early = columns.map(({ values: { l1 } }) => {
    const half = l1.slice(0, Math.ceil(l1.length / 2));
    return (mean(half) * half.length) / (mean(l1) * l1.length);
  });
  return [
    {
      claim,
      place: `section 5, observation ${observation}`,
      criterion:
        `the effective number of sources (exp of the entropy of the weight's shares) of every ${what} is at least ` +
        `${MANY} of their number`,
      measured:
        `${columns.length - few} of ${columns.length} ${what}s; the effective number is at least ` +
        `${percent(Math.min(...parts))} of the sources, ${percent(median(parts))} in the median; the earlier half of the ` +
        `sources has ${percent(median(early))} of the weight in the median`,
      found: few === 0,
    },
  ];
}

function leastToTransitions(columns: readonly ReuseColumn[]): Finding[] {
  if (columns.length === 0) return [];
  const least = columns.filter(({ values: { l1 } }) => l1[0] === Math.min(...l1)).length;
  const ratios = columns.map(({ values: { l1 } }) => l1[0] / mean(l1.slice(1)));
  return [
    {
      claim:
        "The layers within the second and third dense block consistently assign the least weight to the outputs of the " +
        "transition layer (the top row of the triangles), indicating that the transition layer outputs many redundant " +
        "features (with low weight on average).",
      place: "section 5, observation 3",
      criterion: `the transition's outputs have the least of all sources in at least ${percent(CONSISTENTLY)} of the layers behind the first block`,
      measured:
        `least in ${least} of ${columns.length} layers; the median layer gives them ${median(ratios).toFixed(2)} of ` +
        "what it gives the other sources in the mean",
      found: least >= CONSISTENTLY * columns.length,
    },
  ];
}

function towardsTheEnd(weights: readonly number[]): Finding {
  const third = Math.max(1, Math.floor(weights.length / 3));
  const ratio = mean(weights.slice(-third)) / mean(weights.slice(0, third));
  return {
    claim:
      "Although the final classification layer also uses weights across the entire dense block, there seems to be a " +
      "concentration towards final feature-maps, suggesting that there may be some more high-level features produced " +
      "late in the network.",
    place: "section 5, observation 4",
    criterion: `the last third of the sources has at least ${CONCENTRATED} times the mean weight of the first third`,
    measured: `${ratio.toFixed(2)} times, with ${third} sources in a third`,
    found: ratio >= CONCENTRATED,
  };
}

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;

const NAMES: Readonly<Record<ReuseNormalisation, string>> = {
  l1: "mean L1 norm of the filters, per input and output map",
  perWeight: "mean absolute weight",
  columnMax: "mean L1 norm, each column divided by its largest",
};

/** The figure of each network in one normalisation, with what was found of the first. */
export function featureReuseSection(
  networks: readonly { readonly name: string; readonly reuse: FeatureReuse }[],
  shown: ReuseNormalisation,
): AnalysisSection {
  const drawn = networks.map(({ name, reuse }) => {
    const values = reuse.blocks.flatMap(({ columns }) => columns.flatMap((column) => column.values[shown]));
    const range = { low: 0, high: Math.max(...values) };
    const format = (value: number): string => Number(value.toPrecision(2)).toString();
    return html`<h3 class="network-name">${name}</h3>
<div class="heats">${reuse.blocks.map((block) => blockMap(block, shown, range))}</div>
${heatScale(range.low, range.high, NAMES[shown], format)}
${findingsTable(reuse.findings)}`;
  });
  return {
    id: "feature-reuse",
    title: "Feature reuse",
    lede: html`How much weight a layer ℓ gives to the maps of each earlier layer s of its block (figure 5): ${NAMES[shown]}. Row 0 is what enters the block; framed columns are the transition (T) or the classifier (C) behind the block, so three blocks have three. A 1×1 or classifier weight has one tap, a 3×3 has nine: across columns only the mean absolute weight compares.`,
    figures: drawn,
    findings: [],
  };
}

function blockMap(
  { block, columns }: ReuseBlock,
  shown: ReuseNormalisation,
  range: { readonly low: number; readonly high: number },
): Html {
  const names = columns.map(({ kind, index }) =>
    kind === "layer" ? String(index) : kind === "transition" ? "T" : "C",
  );
  const sources = Math.max(...columns.map(({ values }) => values[shown].length));
  return heatMap({
    title: `Block ${block}`,
    description: `weights of ${columns.length} columns over ${sources} sources.`,
    columns: names,
    rows: Array.from({ length: sources }, (_, source) => String(source)),
    cells: columns.flatMap(({ weight, values }, column) =>
      values[shown].map((value, row) => ({
        column,
        row,
        value,
        title: `${weight}, source ${row}: ${value.toPrecision(3)}`,
      })),
    ),
    framed: columns.flatMap(({ kind }, column) => (kind === "layer" ? [] : [column])),
    xLabel: "target layer ℓ",
    yLabel: "source layer s",
    ...range,
  });
}
