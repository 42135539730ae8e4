// analyze: implicit deep supervision (paper, section 5). How few convolutions lie between each layer and the loss, and
// how well a linear classifier on each layer's maps alone already tells the classes apart.
import {
  type AnatomyLayer,
  anatomyOf,
  buildGraph,
  defineSpec,
  type NetworkSpec,
  smallestInput,
} from "../networks/registry.ts";
import type { OpName } from "../ops/table.ts";
import { type PooledMapsOptions, pooledMaps, tensorNamed } from "./featureMaps.ts";
import { type Finding, median } from "./finding.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { html } from "./report/html.ts";
import { type PlotSeries, plot, toneOf } from "./report/plot.ts";
import { RidgeProbe } from "./ridge.ts";

const weighted: ReadonlySet<OpName> = new Set(["conv2d", "linear"]);

/** Of one layer: convolutions and classifiers on the shortest way. */
export interface LayerDistance {
  readonly path: string;
  /** Place among all layers, from 1. */
  readonly place: number;
  /** From its maps to the logits, the classifier counted. */
  readonly toLoss: number;
  /** From the image to its maps, its own convolutions counted. */
  readonly toImage: number;
}

/** Shortest ways through the network's graph. @throws UsageError for a family that does not say where its layers lie */
export function lossDistances(spec: NetworkSpec): LayerDistance[] {
  const { layers } = anatomyOf(spec);
  const side = smallestInput(spec);
  const dry = defineSpec({ ...spec, dropRate: 0 });
  const graph = buildGraph(dry, { batch: 1, height: side, width: side, mode: "inference" });
  const [toLoss, toImage] = [new Map([[graph.logits, 0]]), new Map([[graph.images, 0]])];
  const shorten = (of: Map<number, number>, id: number, length: number): void => {
    of.set(id, Math.min(length, of.get(id) ?? Number.POSITIVE_INFINITY));
  };
  for (const { op, inputs, outputs } of graph.nodes) {
    const own = weighted.has(op) ? 1 : 0;
    const lengths = inputs.flatMap((input) => toImage.get(input) ?? []);
    for (const output of outputs) if (lengths.length > 0) shorten(toImage, output, own + Math.min(...lengths));
  }
  for (const { op, inputs, outputs } of graph.nodes.toReversed()) {
    const own = weighted.has(op) ? 1 : 0;
    const lengths = outputs.flatMap((output) => toLoss.get(output) ?? []);
    for (const input of inputs) if (lengths.length > 0) shorten(toLoss, input, own + Math.min(...lengths));
  }
  return layers.map(({ path, maps }, index) => {
    const id = tensorNamed(graph, maps);
    const unreachable = Number.POSITIVE_INFINITY;
    const [before, behind] = [toImage.get(id) ?? unreachable, toLoss.get(id) ?? unreachable];
    return { path, place: index + 1, toLoss: behind, toImage: before };
  });
}

/** Errors of linear classifiers on the maps at one place of the network, percent of the test images. */
export interface Probe {
  readonly path: string;
  /** From 1. */
  readonly block: number;
  /** In the block; 0 is what enters it. */
  readonly index: number;
  /** On what the layer itself made; missing for what enters a block. */
  readonly own?: number;
  /** On all that the next layer reads. */
  readonly state: number;
}

/** What `linearProbes` found, and on how many images. */
export interface LinearProbes {
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes: number;
  readonly probes: readonly Probe[];
}

/**
 * Fits a linear classifier (ridge.ts) to the pooled maps of every layer and of what enters every block, on images of
 * the training split, and measures it on images of the validation split. The network itself is not changed.
 */
export async function linearProbes(options: PooledMapsOptions): Promise<LinearProbes> {
  const { spec } = options.trained.model;
  const { layers, blockInputs } = anatomyOf(spec);
  const names = new Set([...blockInputs, ...layers.flatMap(({ maps, state }) => [maps, state])]);
  const { views, train, test } = await pooledMaps([...names], options);
  const classifiers = new Map(
    [...train].map(([buffer, features]) => [buffer, new RidgeProbe(features, spec.numClasses)]),
  );
  const errorAt = (name: string): number => {
    const view = views.get(name);
    const [classifier, images] = [view && classifiers.get(view.buffer), view && test.get(view.buffer)];
    if (!view || !classifier || !images) throw new RangeError(`no maps of ${name} were read`);
    return classifier.error(images, view.offset, view.offset + view.channels);
  };
  const probes = blockInputs.flatMap((name, block): Probe[] => [
    { path: name.replace(/:.*/, ""), block: block + 1, index: 0, state: errorAt(name) },
    ...layers
      .filter((layer) => layer.block === block)
      .map(({ path, index, maps, state }: AnatomyLayer) => ({
        path,
        block: block + 1,
        index,
        own: errorAt(maps),
        state: errorAt(state),
      })),
  ]);
  const [fitted] = train.values();
  const [measured] = test.values();
  return {
    trainImages: fitted?.labels.length ?? 0,
    testImages: measured?.labels.length ?? 0,
    classes: spec.numClasses,
    probes,
  };
}

/** One network of the comparison. */
export interface NetworkSupervision {
  readonly name: string;
  readonly distances: readonly LayerDistance[];
  /** Of trained networks. */
  readonly linear?: LinearProbes;
}

/** Convolutions between a layer and the classifier, up to which the paper's sentence holds. */
const FEW = 3;

/** The paper's sentences on implicit deep supervision (section 5), the first network's being the claim. */
export function supervisionFindings(networks: readonly NetworkSupervision[]): Finding[] {
  const farthest = ({ distances }: NetworkSupervision): number =>
    Math.max(...distances.map(({ toLoss }) => toLoss - 1));
  const [first] = networks;
  if (first === undefined) return [];
  const found: Finding[] = [
    {
      claim:
        "DenseNets perform a similar deep supervision in an implicit fashion: a single classifier on top of the network " +
        "provides direct supervision to all layers through at most two or three transition layers.",
      place: "section 5, implicit deep supervision",
      criterion: `no layer of the first network has more than ${FEW} convolutions between its maps and the classifier`,
      measured: networks.map((network) => `${network.name}: at most ${farthest(network)}`).join("; "),
      found: farthest(first) <= FEW,
    },
  ];
  if (first.linear === undefined) return found;
  const { probes, classes, testImages } = first.linear;
  const own = probes.flatMap((probe) => probe.own ?? []);
  const chance = 100 * (1 - 1 / classes);
  // Two standard errors of guessing.
  const margin = 200 * Math.sqrt(((1 / classes) * (1 - 1 / classes)) / testImages);
  const better = own.filter((error) => error < chance - margin).length;
  const ends = probes.filter(({ index }, at) => index > 0 && (probes[at + 1]?.index ?? 0) === 0);
  return [
    ...found,
    {
      claim:
        "One explanation for the improved accuracy of dense convolutional networks may be that individual layers receive " +
        "additional supervision from the loss function through the shorter connections.",
      place: "section 5, implicit deep supervision",
      criterion:
        "the maps of every single layer of the first network, alone, tell the classes apart better than chance, by more " +
        "than two standard errors",
      measured:
        `${better} of ${own.length} layers are better than ${(chance - margin).toFixed(1)} % error; a layer's own maps ` +
        `${median(own).toFixed(1)} % in the median; after the blocks ${ends.map(({ state }) => `${state.toFixed(1)} %`).join(", ")}`,
      found: better === own.length,
    },
  ];
}

/** Distances to the loss and probes, as a section of a page. */
export function deepSupervisionSection(networks: readonly NetworkSupervision[]): AnalysisSection {
  const percent = (value: number): string => `${Number(value.toFixed(1))} %`;
  const distances = plot({
    title: "Convolutions to the logits, on the shortest way",
    description: networks
      .map(({ name, distances: [start] }) => `${name}: ${start?.toLoss} from the first layer`)
      .join(", "),
    series: networks.map(({ name, distances }, index) => ({
      name,
      tone: toneOf(index),
      marks: "line",
      points: distances.map(({ place, toLoss, path }) => ({
        x: place,
        y: toLoss,
        title: `${name}, ${path}: ${toLoss}`,
      })),
    })),
    x: { label: "layer, from the image on", scale: "linear", format: String },
    y: { label: "convolutions and classifier", scale: "linear", format: String },
  });
  const probed = networks.flatMap(({ name, linear }, index) => (linear === undefined ? [] : [{ name, linear, index }]));
  const charts = probed.map(({ name, linear, index }) => {
    const pointsOf = (of: (probe: Probe) => number | undefined) =>
      linear.probes.flatMap((probe, place) => {
        const error = of(probe);
        const what = probe.index === 0 ? `entering block ${probe.block}` : probe.path;
        return error === undefined ? [] : [{ x: place, y: error, title: `${what}: ${error.toFixed(1)} %` }];
      });
    const series: PlotSeries[] = [
      {
        name: "all that the next layer reads",
        tone: toneOf(index),
        marks: "both",
        points: pointsOf(({ state }) => state),
      },
      {
        name: "the layer's own maps",
        tone: toneOf(index),
        marks: "both",
        dashed: true,
        points: pointsOf(({ own }) => own),
      },
    ];
    return plot({
      title: `Linear probes, ${name}`,
      description: `error of linear classifiers, from ${series[0]?.points[0]?.y.toFixed(1)} % to ${series[0]?.points.at(-1)?.y.toFixed(1)} %.`,
      series,
      x: { label: "place, from the stem on", scale: "linear", format: String },
      y: { label: "test error", scale: "linear", format: percent },
    });
  });
  const counts = probed[0]?.linear;
  return {
    id: "deep-supervision",
    title: "Implicit deep supervision",
    lede: html`How many convolutions lie between a layer's maps and the logits on the shortest way, and what a linear classifier on each layer's maps, normalised, rectified and pooled to one number each, gets wrong. ${counts === undefined ? undefined : `The classifiers are fitted in closed form (ridge regression) to ${counts.trainImages} training images and measured on ${counts.testImages} others.`}`,
    figures: [html`<div class="charts">${distances}${charts}</div>`],
    findings: supervisionFindings(networks),
  };
}
