// analyze: gradient flow. How large the gradient of the loss still is when it reaches each layer, at the first values
// and along training. "As information about the input or gradient passes through many layers, it can vanish" (section
// 1).
//
// Measured on the device's own training step: its plan keeps the gradient of every layer's maps. With N images and the
// loss their mean, √N·‖∂loss/∂maps‖₂ is the root mean square over images of the gradient of an image's loss, which does
// not depend on N.
import type { Backend } from "../backends/backend.ts";
import type { Dataset } from "../data/dataset.ts";
import { DivergedError, UsageError } from "../errors.ts";
import { differentiate } from "../graph/differentiate.ts";
import type { Graph } from "../graph/graph.ts";
import type { Model } from "../model/model.ts";
import { type AnatomyLayer, anatomyOf, buildGraph, defineSpec } from "../networks/registry.ts";
import { gradientOf, hostBuffers } from "../plan/names.ts";
import { placesOf } from "../plan/places.ts";
import type { BufferName, View } from "../plan/plan.ts";
import { planTraining } from "../plan/planners.ts";
import { channelLayout } from "../plan/reading.ts";
import type { BatchLoader } from "../train/trainer.ts";
import { tensorNamed } from "./featureMaps.ts";
import type { Finding } from "./finding.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { type Html, html } from "./report/html.ts";
import { type PlotSeries, plot, powerOfTen, toneOf } from "./report/plot.ts";

/** Of one layer at one moment. */
export interface LayerGradient {
  readonly path: string;
  /** Place among all layers of the network, from 1. */
  readonly place: number;
  /** Root mean square over images of ‖∂(an image's loss)/∂(the layer's maps)‖₂. */
  readonly norm: number;
  /** ‖∂loss/∂W‖₂ over the layer's convolution weights. */
  readonly weightNorm: number;
}

/** Every layer's gradient after some updates. */
export interface GradientMoment {
  /** Updates done before. */
  readonly step: number;
  /** Mean cross-entropy of the batch, nats. */
  readonly loss: number;
  readonly layers: readonly LayerGradient[];
  /** The first layer's norm over the last layer's. */
  readonly firstOverLast: number;
  /**
   * How many powers of ten the norm changes from a layer to the one before it: negative where the gradient vanishes.
   */
  readonly decadesPerLayer: number;
}

/** What `gradientFlow` measured, moment by moment. */
export interface GradientFlow {
  readonly moments: readonly GradientMoment[];
}

/** What is trained, on what, and when it is measured. */
export interface GradientFlowOptions {
  /** Where it starts. */
  readonly model: Model;
  readonly dataset: Dataset;
  readonly backend: Backend;
  readonly loadBatches: BatchLoader;
  /** Updates before each measurement, rising. Default [0]: only as the model is. */
  readonly moments?: readonly number[];
  /** Images of an update. Default 32. */
  readonly batchSize?: number;
  /** Of SGD with Nesterov momentum 0.9 and weight decay 1e-4. Default 0.1. */
  readonly learningRate?: number;
  /** Chooses the order of the images. Default 0. */
  readonly seed?: number;
}

/**
 * Trains a copy of the model and measures on the way. Images are not augmented and dropout is left out.
 * @throws UsageError for a family that does not say where its layers lie, for images that are not the network's, or for
 * too few of them
 * @throws DivergedError when the loss is no longer finite
 */
export async function gradientFlow(options: GradientFlowOptions): Promise<GradientFlow> {
  const { model, dataset, backend, loadBatches, moments = [0], batchSize = 32, learningRate = 0.1, seed = 0 } = options;
  const { height, width, channels, classes } = dataset;
  if (model.spec.inChannels !== channels || model.spec.numClasses !== classes.length) {
    throw new UsageError(
      `gradient flow: the network takes ${model.spec.inChannels} channels and has ${model.spec.numClasses} classes, ` +
        `${dataset.name} has ${channels} and ${classes.length}`,
    );
  }
  const spec = defineSpec({ ...model.spec, dropRate: 0 });
  const { layers } = anatomyOf(spec);
  const graph = differentiate(buildGraph(spec, { batch: batchSize, height, width, mode: "training" }));
  const tensors = layers.map((layer) => tensorNamed(graph, layer.maps));
  const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
  const plan = planTraining(graph, { recompute: "none", optimizer, keep: tensors });
  const executable = await backend.compile({ step: plan });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const views = tensors.map((id) => placesOf(graph).view(id));
    const sites = layers.map((layer, at): Site => ({ layer, view: views[at], weights: weightsOf(graph, layer) }));
    const found: GradientMoment[] = [];
    const last = Math.max(...moments);
    let step = 0;
    for (let epoch = 0; step <= last; epoch++) {
      const how = { batchSize, seed, epoch, shuffle: true, augment: "none" } as const;
      const before = step;
      for await (const { images, labels, count } of loadBatches(dataset, "train", how)) {
        if (count < batchSize || step > last) break;
        await executable.write(hostBuffers.images, images, "step");
        await executable.write(hostBuffers.labels, labels, "step");
        await executable.run("step", { learningRate, seed, step });
        if (moments.includes(step)) found.push(await measure(step));
        step++;
      }
      if (step === before) {
        throw new UsageError(
          `gradient flow: ${dataset.train.length} training images do not fill a batch of ${batchSize}`,
        );
      }
    }
    return { moments: found };

    async function measure(at: number): Promise<GradientMoment> {
      const buffers = new Set<BufferName>([hostBuffers.sampleLoss]);
      for (const { view, weights } of sites) {
        buffers.add(gradientOf(view.buffer));
        for (const weight of weights) buffers.add(gradientOf(weight));
      }
      const names = [...buffers];
      const values = await executable.read(names, "step");
      const read = new Map(names.map((name, index) => [name, values[index]]));
      const dataOf = (name: BufferName): ArrayLike<number> => read.get(name) ?? [];
      const losses = Array.from(dataOf(hostBuffers.sampleLoss));
      const loss = losses.reduce((sum, value) => sum + value, 0) / batchSize;
      if (!Number.isFinite(loss)) throw new DivergedError(`gradient flow: the loss is ${loss} after ${at} updates`);
      const measured = sites.map(({ layer, view, weights }, index): LayerGradient => {
        const buffer = plan.buffers.get(gradientOf(view.buffer));
        if (buffer === undefined) throw new RangeError(`the plan has no gradient of ${layer.maps}`);
        const squares = viewSquares(dataOf(buffer.name), channelLayout(buffer), view);
        const weightSquares = weights.map((weight) => sumOfSquares(dataOf(gradientOf(weight))));
        return {
          path: layer.path,
          place: index + 1,
          norm: Math.sqrt(batchSize * squares),
          weightNorm: Math.sqrt(weightSquares.reduce((sum, value) => sum + value, 0)),
        };
      });
      return { step: at, loss, layers: measured, ...trendOf(measured) };
    }
  } finally {
    await executable.dispose();
  }
}

interface Site {
  readonly layer: AnatomyLayer;
  readonly view: View;
  /** Of the layer's convolutions, by state-dict path. */
  readonly weights: readonly string[];
}

function weightsOf({ tensors }: Graph, { path }: AnatomyLayer): string[] {
  return tensors.flatMap((tensor) =>
    tensor.kind === "parameter" && tensor.role === "convWeight" && tensor.name.startsWith(`${path}.`)
      ? [tensor.name]
      : [],
  );
}

function sumOfSquares(values: ArrayLike<number>, from = 0, to = values.length): number {
  let sum = 0;
  for (let at = from; at < to; at++) sum += (values[at] ?? 0) ** 2;
  return sum;
}

/** Of the channels of a view of a buffer [N, C, H, W]. */
function viewSquares(
  values: ArrayLike<number>,
  { images, channels, plane }: ReturnType<typeof channelLayout>,
  view: View,
): number {
  let sum = 0;
  for (let n = 0; n < images; n++) {
    const from = (n * channels + view.offset) * plane;
    sum += sumOfSquares(values, from, from + view.channels * plane);
  }
  return sum;
}

function trendOf(layers: readonly LayerGradient[]): Pick<GradientMoment, "firstOverLast" | "decadesPerLayer"> {
  const firstOverLast = (layers[0]?.norm ?? Number.NaN) / (layers.at(-1)?.norm ?? Number.NaN);
  // Least squares of log₁₀ norm against the place; towards the image is towards smaller places.
  const meanPlace = (layers.length + 1) / 2;
  const logs = layers.map(({ norm }) => Math.log10(norm));
  const slope =
    logs.reduce((sum, log, index) => sum + (index + 1 - meanPlace) * log, 0) /
    logs.reduce((sum, _, index) => sum + (index + 1 - meanPlace) ** 2, 0);
  return { firstOverLast, decadesPerLayer: -slope };
}

/** A network's gradients along training, and where it was trained already, at the weights that it has. */
export interface NetworkGradients {
  readonly name: string;
  readonly fromStart: GradientFlow;
  readonly trained?: GradientFlow;
}

/** The first layer's part of the last layer's gradient under which it counts as vanished, and as kept. */
const VANISHED = 0.01;
const KEPT = 0.1;

/** Of the first network what the paper says of DenseNets; of all of them that gradients can vanish. */
export function gradientFindings(networks: readonly NetworkGradients[]): Finding[] {
  const worst = networks.map(({ name, fromStart }) => {
    const moment = fromStart.moments.reduce((low, next) => (next.firstOverLast < low.firstOverLast ? next : low));
    return { name, moment };
  });
  const words = ({ name, moment }: (typeof worst)[number]): string =>
    `${name} ${moment.firstOverLast.toPrecision(2)} after ${moment.step} updates`;
  const [first] = worst;
  if (first === undefined) return [];
  const atStart = networks.map(
    ({ name, fromStart }) => `${name} ${(fromStart.moments[0]?.firstOverLast ?? Number.NaN).toPrecision(2)}`,
  );
  const control = `at the first values, where batch norm makes gradients grow towards the image: ${atStart.join("; ")}`;
  const vanishes: Finding = {
    claim:
      "As information about the input or gradient passes through many layers, it can vanish and “wash out” by the time " +
      "it reaches the end (or beginning) of the network.",
    place: "section 1",
    criterion: `in one of the networks the gradient at the first layer falls below ${VANISHED} of that at the last`,
    measured: `first layer over last, at the lowest: ${worst.map(words).join("; ")}`,
    control,
    found: worst.some(({ moment }) => moment.firstOverLast < VANISHED),
  };
  // Alleviated is what another network has.
  if (worst.length === 1) return [vanishes];
  return [
    vanishes,
    {
      claim: "DenseNets … alleviate the vanishing-gradient problem.",
      place: "abstract",
      criterion:
        `the first network's gradient at its first layer never falls below ${KEPT} of that at its last, and another ` +
        "network's does",
      measured: `at the lowest ${words(first)}`,
      control,
      found: first.moment.firstOverLast >= KEPT && worst.slice(1).some(({ moment }) => moment.firstOverLast < KEPT),
    },
  ];
}

/** Gradients by layer and by update, as a section of a page. */
export function gradientFlowSection(networks: readonly NetworkGradients[]): AnalysisSection {
  const steps = networks[0]?.fromStart.moments.map(({ step }) => step) ?? [];
  const shown = [...new Set([steps[0], steps[Math.floor(steps.length / 2)], steps.at(-1)])];
  const profile = (title: string, of: (network: NetworkGradients) => GradientMoment | undefined): Html =>
    plot({
      title,
      description: networks
        .map((network) => `${network.name}: first layer over last ${of(network)?.firstOverLast.toPrecision(2) ?? "–"}`)
        .join(", "),
      series: networks.flatMap((network, index): PlotSeries[] => {
        const moment = of(network);
        if (moment === undefined) return [];
        const points = moment.layers.map(({ place, norm, path }) => ({
          x: place,
          y: norm,
          title: `${network.name}, ${path}: ${norm.toPrecision(3)}`,
        }));
        return [{ name: network.name, tone: toneOf(index), marks: "line", points }];
      }),
      x: { label: "layer, from the image on", scale: "linear", format: String },
      y: { label: "norm of the gradient", scale: "log", format: powerOfTen },
    });
  const course = plot({
    title: "First layer over last, along training",
    description: "the gradient's norm at the first layer over that at the last.",
    series: networks.map(({ name, fromStart }, index) => ({
      name,
      tone: toneOf(index),
      marks: "both",
      points: fromStart.moments.map(({ step, firstOverLast }) => ({ x: step, y: firstOverLast })),
    })),
    x: { label: "updates", scale: "linear", format: String },
    y: { label: "first over last", scale: "log", format: powerOfTen },
  });
  const trained = networks.some((network) => network.trained !== undefined)
    ? [profile("With the trained weights", (network) => network.trained?.moments[0])]
    : [];
  return {
    id: "gradient-flow",
    title: "Gradient flow",
    lede: html`The norm of the gradient of the loss with respect to each layer's maps, from the training step's own backward pass; with respect to one image's loss, in the mean square over the images of a batch. All networks train on the same batches with the same settings.`,
    figures: [
      html`<div class="charts">${shown.map((step) =>
        profile(step === 0 ? "At the first values" : `After ${step} updates`, ({ fromStart }) =>
          fromStart.moments.find((moment) => moment.step === step),
        ),
      )}${course}${trained}</div>`,
    ],
    findings: gradientFindings(networks),
  };
}
