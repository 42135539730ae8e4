// analyze: memory of a training step against depth (the memory report's figure, arXiv 1707.06990). Four ways to keep
// the same features, by arithmetic and by this package's own plans; nothing is run.
//
//     naive            every module's output and every copied concatenation, each with a gradient of its size
//     sharedGradients  the same, but gradients share one buffer, as large as the largest module's input and output
//     shared           this package's plan: a block is one buffer, what batch norm and ReLU make is not stored
//     recomputed       the plan that computes the outputs of bottleneck convolutions again
import { differentiate } from "../graph/differentiate.ts";
import {
  architecture,
  buildGraph,
  depthOf,
  type ImageSize,
  type NetworkSpec,
  parameterCount,
} from "../networks/registry.ts";
import { planTraining } from "../plan/planners.ts";
import type { Finding } from "./finding.ts";
import { memoryByDepth } from "./paper/tables.ts";
import type { AnalysisSection } from "./report/analysisPage.ts";
import { html } from "./report/html.ts";
import { plot, toneOf } from "./report/plot.ts";
import { summarize } from "./summary.ts";

/**
 * What a training step keeps: every module's output and its gradient (naive); outputs, and two gradients at a time
 * (sharedGradients); what our plans keep (shared), and keep where bottlenecks are recomputed (recomputed).
 */
export const memoryStrategies = ["naive", "sharedGradients", "shared", "recomputed"] as const;
/** An entry of `memoryStrategies`. */
export type MemoryStrategy = (typeof memoryStrategies)[number];

/** Bytes for feature maps and their gradients, f32, of one training step. */
export interface DepthMemory {
  /** Convolutions and the classifier. */
  readonly depth: number;
  readonly params: number;
  readonly bytes: Readonly<Record<MemoryStrategy, number>>;
}

/** What `featureMemory` found: bytes by depth, and how fast they grow. */
export interface FeatureMemory {
  readonly batch: number;
  readonly depths: readonly DepthMemory[];
  /** d log(bytes) / d log(depth), least squares over the depths from the fourth part of the greatest on. */
  readonly exponents: Readonly<Record<MemoryStrategy, number>>;
}

/** Of networks that differ in depth, at one batch size. @throws UsageError when the images are too small for one */
export function featureMemory(
  specs: readonly NetworkSpec[],
  { batch, ...size }: ImageSize & { readonly batch: number },
): FeatureMemory {
  const depths = specs.map((spec): DepthMemory => {
    const shape = architecture(spec, size);
    const forward = summarize(spec, { ...size, batch }).activationBytesNaive;
    const moduleNumbers = shape.layers.map(
      ({ inChannels, inHeight, inWidth, outChannels, height, width }) =>
        inChannels * inHeight * inWidth + outChannels * height * width,
    );
    const graph = differentiate(buildGraph(spec, { ...size, batch, mode: "training" }));
    const planned = (recompute: "none" | "bottleneck"): number => planTraining(graph, { recompute }).arenaBytes;
    return {
      depth: depthOf(shape),
      params: parameterCount(spec),
      bytes: {
        naive: 2 * forward,
        sharedGradients: forward + 4 * batch * Math.max(...moduleNumbers),
        shared: planned("none"),
        recomputed: planned("bottleneck"),
      },
    };
  });
  const exponents = Object.fromEntries(
    memoryStrategies.map((strategy) => [strategy, exponentOf(depths, strategy)]),
  ) as Record<MemoryStrategy, number>;
  return { batch, depths, exponents };
}

function exponentOf(depths: readonly DepthMemory[], strategy: MemoryStrategy): number {
  const deepest = Math.max(...depths.map(({ depth }) => depth));
  const points = depths
    .filter(({ depth }) => 4 * depth >= deepest)
    .map(({ depth, bytes }) => [Math.log(depth), Math.log(bytes[strategy])] as const);
  const [meanX, meanY] = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  return (
    points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) /
    points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
  );
}

const NAMES: Readonly<Record<MemoryStrategy, string>> = {
  naive: "naive",
  sharedGradients: "naive, gradients shared",
  shared: "shared: this package",
  recomputed: "shared and recomputed: this package",
};

/** Exponents up to which growth counts as linear, and from which as quadratic. */
const LINEAR = 1.2;
const QUADRATIC = 1.5;

/** The two sentences of the memory report’s abstract. */
export function memoryFindings({ exponents, depths, batch }: FeatureMemory): Finding[] {
  const deepest = depths.at(-1);
  if (deepest === undefined) return [];
  const ratio = deepest.bytes.naive / deepest.bytes.recomputed;
  const words = memoryStrategies.map((strategy) => `${NAMES[strategy]} ${exponents[strategy].toFixed(2)}`).join("; ");
  return [
    {
      claim:
        "If not properly managed, pre-activation batch normalization and contiguous convolution operations can produce feature maps that grow quadratically with network depth.",
      place: "memory report, abstract",
      criterion: `the naive way's memory grows with at least the power ${QUADRATIC} of the depth`,
      measured: `exponents: ${words}`,
      found: exponents.naive >= QUADRATIC,
    },
    {
      claim:
        "Through the use of shared memory allocations, we reduce the memory cost for storing feature maps from quadratic to linear.",
      place: "memory report, abstract",
      criterion: `both of this package's plans grow with at most the power ${LINEAR} of the depth`,
      measured: `exponents ${exponents.shared.toFixed(2)} and ${exponents.recomputed.toFixed(2)}; at ${deepest.depth} layers and ${batch} images ${gigabytes(deepest.bytes.recomputed)} for ${gigabytes(deepest.bytes.naive)}, ${ratio.toFixed(1)} times less`,
      found: exponents.shared <= LINEAR && exponents.recomputed <= LINEAR,
    },
  ];
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** Memory against depth, as a section of a page. */
export function featureMemorySection(memory: FeatureMemory): AnalysisSection {
  const axes = {
    x: { label: "layers", scale: "linear", format: String },
    y: { label: "GB", scale: "linear", format: String },
  } as const;
  const ours = plot({
    title: `Feature maps and gradients, ${memory.batch} images`,
    description: memoryStrategies
      .map((strategy) => `${NAMES[strategy]}: exponent ${memory.exponents[strategy].toFixed(2)}`)
      .join(", "),
    series: memoryStrategies.map((strategy, index) => ({
      name: NAMES[strategy],
      tone: toneOf(index === 2 ? 0 : index === 0 ? 1 : index === 1 ? 5 : 3),
      marks: "both",
      points: memory.depths.map(({ depth, bytes, params }) => ({
        x: depth,
        y: bytes[strategy] / 1e9,
        title: `${NAMES[strategy]}, ${depth} layers, ${(params / 1e6).toFixed(2)} M parameters: ${gigabytes(bytes[strategy])}`,
      })),
    })),
    ...axes,
  });
  const theirs = plot({
    title: "The memory report's figure, read off",
    description: "memory of a 12 GB card by layers, five implementations.",
    series: memoryByDepth.map(({ implementation, points }, index) => ({
      name: implementation,
      tone: toneOf([1, 5, 2, 3, 0][index] ?? 4),
      marks: "both",
      points: points.map(([x, y]) => ({ x, y })),
    })),
    ...axes,
  });
  return {
    id: "memory",
    title: "Memory against depth",
    lede: html`Bytes for feature maps and their gradients in a training step, f32: what a framework stores that copies every concatenation and keeps what batch norm and ReLU make, and what this package's plans allocate. Arithmetic and plans; nothing was run. Beside it the report's measurements of whole processes.`,
    figures: [html`<div class="charts">${ours}${theirs}</div>`],
    findings: memoryFindings(memory),
  };
}
