// analyze: which layers matter, and how much their maps repeat others. A layer is dropped by setting to zero the
// parameters without which it makes nothing: the maps of a dense layer become zero, of a residual unit the shortcut is
// left. The network is not trained again and its running statistics stay, as when stochastic depth drops a layer.
import type { Backend } from "../backends/backend.ts";
import { runAhead } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Dataset } from "../data/dataset.ts";
import { inOrder } from "../data/epoch.ts";
import { anatomyOf, buildGraph } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { placesOf } from "../plan/places.ts";
import { planInference } from "../plan/planners.ts";
import { channelLayout } from "../plan/reading.ts";
import { EvaluationTally, evaluationOutputs, evaluationWork } from "../train/evaluation.ts";
import type { BatchLoader } from "../train/trainer.ts";
import { spread, tensorNamed } from "./featureMaps.ts";
import { type Finding, median } from "./finding.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { html } from "./report/html.ts";
import { plot, toneOf } from "./report/plot.ts";

/** The network without one of its layers. */
export interface DroppedLayer {
  readonly path: string;
  /** Place among all layers, from 1. */
  readonly place: number;
  /** Percent, without this layer. */
  readonly error: number;
  /**
   * How much the layer's maps repeat: the mean over them of the largest |correlation|, over positions and images, with
   * another map that the next layer reads. 0…1.
   */
  readonly redundancy: number;
}

/** What `layerImportance` found. */
export interface LayerImportance {
  readonly images: number;
  readonly classes: number;
  /** Percent, of the whole network on the same images. */
  readonly error: number;
  readonly layers: readonly DroppedLayer[];
  /** Whether layers only add to a shortcut. */
  readonly residual: boolean;
}

/** Of which network, and on which images. */
export interface LayerImportanceOptions {
  readonly trained: TrainedModel;
  readonly dataset: Dataset;
  readonly backend: Backend;
  readonly loadBatches: BatchLoader;
  /** At most so many of the validation split, evenly spread over it. */
  readonly images: number;
}

const BATCH = 50;

/**
 * Measures the network whole and without each of its layers.
 * @throws UsageError for a family that does not say where its layers lie
 */
export async function layerImportance(options: LayerImportanceOptions): Promise<LayerImportance> {
  const { trained, dataset, backend, loadBatches } = options;
  const { model, preprocessing } = trained;
  const { height, width, mean, std } = preprocessing;
  const { layers } = anatomyOf(model.spec);
  const graph = buildGraph(model.spec, { batch: BATCH, height, width, mode: "inference", loss: true });
  const sites = layers.map((layer) => {
    const [maps, state] = [layer.maps, layer.state].map((name) => placesOf(graph).view(tensorNamed(graph, name)));
    return { layer, maps, state };
  });
  const keep = layers.map(({ state }) => tensorNamed(graph, state));
  const plans = { evaluate: planInference(graph), maps: planInference(graph, { keep }) };
  const executable = await backend.compile(plans);
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const indices = spread(dataset.val.length, options.images);
    const how = { ...inOrder(BATCH), indices };
    const batches = await Array.fromAsync(loadBatches({ ...dataset, mean, std }, "val", how));
    const errorNow = async (): Promise<number> => {
      const tally = new EvaluationTally(model.spec.numClasses);
      for await (const { item, found } of runAhead(executable, batches, evaluationWork, evaluationOutputs)) {
        tally.add(item, found);
      }
      return tally.result().top1Error;
    };
    const error = await errorNow();
    const redundancies = await redundancyOf();
    const dropped: DroppedLayer[] = [];
    for (const [index, { layer }] of sites.entries()) {
      for (const path of layer.silencedBy) {
        await executable.write(path, new Float32Array(model.state.get(path)?.data.length ?? 0));
      }
      dropped.push({ path: layer.path, place: index + 1, error: await errorNow(), redundancy: redundancies[index] });
      for (const path of layer.silencedBy) {
        const tensor = model.state.get(path);
        if (tensor !== undefined) await executable.write(path, tensor.data);
      }
    }
    return {
      images: indices.length,
      classes: model.spec.numClasses,
      error,
      layers: dropped,
      residual: layers.some(({ keepProbability }) => keepProbability !== undefined),
    };

    async function redundancyOf(): Promise<number[]> {
      const [first] = batches;
      if (first === undefined) return sites.map(() => Number.NaN);
      await executable.write(hostBuffers.images, first.images, "maps");
      await executable.write(hostBuffers.labels, first.labels, "maps");
      await executable.run("maps");
      const found: number[] = [];
      for (const { maps, state } of sites) {
        const buffer = plans.maps.buffers.get(state.buffer);
        if (buffer === undefined) throw new RangeError(`the plan has no buffer ${state.buffer}`);
        const [values] = await executable.read([state.buffer], "maps");
        const layout = { ...channelLayout(buffer), images: first.count };
        found.push(redundancy(values, layout, maps, state));
      }
      return found;
    }
  } finally {
    await executable.dispose();
  }
}

/** A range of channels of a buffer. */
export interface Channels {
  readonly offset: number;
  readonly channels: number;
}

/**
 * Mean over the channels `own` of the largest |correlation| with another channel of `among`. Constant maps have none.
 */
export function redundancy(
  values: ArrayLike<number>,
  { images, channels, plane }: { readonly images: number; readonly channels: number; readonly plane: number },
  own: Channels,
  among: Channels,
): number {
  const count = images * plane;
  /** Centred, of length 1; zeros for a constant map. */
  const standardised = Array.from({ length: among.channels }, (_, place) => {
    const map = new Float64Array(count);
    for (let n = 0; n < images; n++) {
      const from = (n * channels + among.offset + place) * plane;
      for (let at = 0; at < plane; at++) map[n * plane + at] = values[from + at];
    }
    const mean = map.reduce((sum, value) => sum + value, 0) / count;
    const length = Math.sqrt(map.reduce((sum, value) => sum + (value - mean) ** 2, 0));
    return map.map((value) => (length > 0 ? (value - mean) / length : 0));
  });
  const largest = Array.from({ length: own.channels }, (_, place) => {
    const self = own.offset - among.offset + place;
    const map = standardised[self];
    return standardised.reduce((most, other, index) => {
      if (index === self) return most;
      let product = 0;
      for (let at = 0; at < count; at++) product += map[at] * other[at];
      return Math.max(most, Math.abs(product));
    }, 0);
  });
  return largest.reduce((sum, value) => sum + value, 0) / own.channels;
}

/** One network of the comparison. */
export interface NetworkImportance {
  readonly name: string;
  readonly importance: LayerImportance;
}

/** Points of error that dropping a layer may cost where it "contributes very little". */
const LITTLE = 1;
/** |Correlation| from which a map counts as the repetition of another. */
const REPEATED = 0.5;

/** The paper's sentences on which layers matter, the first network's being the claim. */
export function importanceFindings(networks: readonly NetworkImportance[]): Finding[] {
  const [first] = networks;
  if (first === undefined) return [];
  const rises = ({ layers, error }: LayerImportance): number[] => layers.map((layer) => layer.error - error);
  const words = ({ name, importance }: NetworkImportance): string =>
    `${name}: ${importance.error.toFixed(1)} % whole, ${median(rises(importance)).toFixed(1)} points more without the ` +
    `median layer, ${Math.max(...rises(importance)).toFixed(1)} without the one that matters most`;
  const residual = networks.filter(({ importance }) => importance.residual);
  const { classes, images, layers } = first.importance;
  const chance = 100 * (1 - 1 / classes);
  const margin = 200 * Math.sqrt(((1 / classes) * (1 - 1 / classes)) / images);
  const alive = layers.filter(({ error }) => error < chance - margin).length;
  const repeats = ({ importance }: NetworkImportance): number =>
    median(importance.layers.map((layer) => layer.redundancy));
  return [
    ...(residual.length === 0
      ? []
      : [
          {
            claim:
              "Recent variations of ResNets show that many layers contribute very little and can in fact be randomly " +
              "dropped during training.",
            place: "section 1",
            criterion: `without the median unit every residual network here has at most ${LITTLE} point more error`,
            measured: residual.map(words).join("; "),
            found: residual.every(({ importance }) => median(rises(importance)) <= LITTLE),
          },
        ]),
    {
      claim:
        "One explanation for this is that each layer has access to all the preceding feature-maps in its block and, " +
        "therefore, to the network's “collective knowledge”.",
      place: "section 3, growth rate",
      criterion:
        "without any single one of its layers the first network still does better than chance, by more than two " +
        "standard errors",
      measured: `${alive} of ${layers.length} layers can be missing; ${networks.map(words).join("; ")}`,
      found: alive === layers.length,
    },
    {
      claim:
        "It requires fewer parameters than traditional convolutional networks, as there is no need to re-learn redundant " +
        "feature-maps.",
      place: "section 1",
      criterion: `the median layer of the first network has maps whose largest |correlation| with another map that the next layer reads is below ${REPEATED} in the mean`,
      measured: networks.map((network) => `${network.name}: ${repeats(network).toFixed(2)}`).join("; "),
      found: repeats(first) < REPEATED,
    },
  ];
}

/** Error without each layer, as a section of a page. */
export function layerImportanceSection(networks: readonly NetworkImportance[]): AnalysisSection {
  const percent = (value: number): string => `${Number(value.toFixed(1))} %`;
  const charts = [
    plot({
      title: "Error without one layer",
      description: networks.map(({ name, importance }) => `${name}: ${percent(importance.error)} whole`).join(", "),
      series: networks.flatMap(({ name, importance: { error, layers } }, index) => [
        {
          name,
          tone: toneOf(index),
          marks: "both" as const,
          points: layers.map(({ place, path, error }) => ({
            x: place,
            y: error,
            title: `${name} without ${path}: ${percent(error)}`,
          })),
        },
        {
          name: "whole",
          tone: toneOf(index),
          marks: "line" as const,
          dashed: true,
          points: [1, layers.length].map((x) => ({ x, y: error, title: `${name}, whole: ${percent(error)}` })),
        },
      ]),
      x: { label: "dropped layer, from the image on", scale: "linear", format: String },
      y: { label: "error", scale: "linear", format: percent },
    }),
    plot({
      title: "Redundancy of maps",
      description: "the largest absolute correlation of a map with another one, mean over a layer's maps.",
      series: networks.map(({ name, importance: { layers } }, index) => ({
        name,
        tone: toneOf(index),
        marks: "both" as const,
        points: layers.map(({ place, path, redundancy }) => ({
          x: place,
          y: redundancy,
          title: `${name}, ${path}: ${redundancy.toFixed(2)}`,
        })),
      })),
      x: { label: "layer, from the image on", scale: "linear", format: String },
      y: { label: "largest |correlation|", scale: "linear", format: (value) => String(Number(value.toFixed(2))) },
    }),
  ];
  const images = networks[0]?.importance.images ?? 0;
  return {
    id: "layer-importance",
    title: "Which layers matter",
    lede: html`The error on ${images} images of the validation split when one layer is dropped: the maps of a dense layer are zero, of a residual unit only the shortcut is left, a chain is cut. Nothing is trained again. Beside it how much each layer's maps repeat others that the next layer reads.`,
    figures: [html`<div class="charts">${charts}</div>`],
    findings: importanceFindings(networks),
  };
}
