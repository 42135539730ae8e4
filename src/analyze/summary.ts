// analyze: what a network costs, before anything runs: parameters, multiply-adds, connections, activation memory.
import { UsageError } from "../errors.ts";
import {
  type Architecture,
  architecture,
  type Block,
  connectionsIn,
  depthOf,
  familyFacts,
  type ImageSize,
  type NetworkSpec,
  runningStatisticsCount,
  variantName,
} from "../networks/registry.ts";

const FLOAT_BYTES = 4;

/** One module of the network, as tables show it. Sizes are those of its output, in pixels. */
export interface SummaryLayer {
  readonly path: string;
  readonly kind: string;
  readonly inChannels: number;
  readonly outChannels: number;
  /** Of the output. */
  readonly height: number;
  readonly width: number;
  readonly params: number;
  /** Multiply-adds per image. */
  readonly macs: number;
}

/** What `summarize` finds of a network: sizes, parameters, multiply-adds and memory. */
export interface Summary {
  /** Set when the spec is one of the named variants. */
  readonly name?: string;
  readonly spec: NetworkSpec;
  /** The family, for sentences: "densely connected network". And where such networks are described. */
  readonly description: string;
  readonly citation: string;
  /** What else there is to say, by name, for people. */
  readonly facts: Architecture["facts"];
  /** What the figures below hold for. */
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly params: number;
  readonly runningStatistics: number;
  /** Multiply-adds per image, convolutions and classifier. */
  readonly macs: number;
  readonly connections: number;
  readonly connectionsPerBlock: readonly number[];
  readonly depth: number;
  readonly classifierFeatures: number;
  /** See `activationBytesNaive`. */
  readonly activationBytesNaive: number;
  /** What this package's own plan needs instead; set when the caller gives it. */
  readonly activationBytesPlanned?: number;
  readonly blocks: readonly Block[];
  /** How layers are connected within a block, for people. */
  readonly wiring: string;
  readonly layers: readonly SummaryLayer[];
}

/**
 * Bytes of f32 activations that a framework keeps for the backward pass of one batch when it copies every concatenation
 * and stores every activated input and every convolution output (section 2 of the memory report, arXiv 1707.06990): the
 * images, every module's output and what the family says is copied to hand it on.
 * A ReLU works in place on the batch norm's output; dropout masks are not counted.
 */
function activationBytesNaive({ layers, copiedNumbers }: Architecture, imageNumbers: number, batch: number): number {
  const outputs = layers.reduce((numbers, layer) => numbers + layer.outChannels * layer.height * layer.width, 0);
  return (imageNumbers + outputs + copiedNumbers) * batch * FLOAT_BYTES;
}

/**
 * All facts of a network at an image size and batch. `activationBytesPlanned` is the caller's `plan.arenaBytes` for the
 * same batch.
 * @throws UsageError when the images are too small or the batch is not a positive whole number.
 */
export function summarize(
  spec: NetworkSpec,
  options: ImageSize & { readonly batch: number; readonly activationBytesPlanned?: number },
): Summary {
  const { height, width, batch, activationBytesPlanned } = options;
  if (!Number.isInteger(batch) || batch < 1) {
    throw new UsageError(`batch: got ${batch}, expected a whole number of at least 1`, {
      field: "batch",
      value: batch,
    });
  }
  const shape = architecture(spec, { height, width });
  const { blocks, wiring, facts } = shape;
  const layers = shape.layers.map(
    ({ path, kind, inChannels, outChannels, height, width, params, macs }): SummaryLayer => ({
      path,
      kind,
      inChannels,
      outChannels,
      height,
      width,
      params,
      macs,
    }),
  );
  const name = variantName(spec);
  const connectionsPerBlock = blocks.map(connectionsIn);
  return {
    ...(name === undefined ? {} : { name }),
    spec,
    ...familyFacts(spec),
    facts,
    batch,
    height,
    width,
    params: layers.reduce((total, layer) => total + layer.params, 0),
    runningStatistics: runningStatisticsCount(spec),
    macs: layers.reduce((total, layer) => total + layer.macs, 0),
    connections: connectionsPerBlock.reduce((total, connections) => total + connections, 0),
    connectionsPerBlock,
    depth: depthOf(shape),
    classifierFeatures: layers.at(-1)?.inChannels ?? 0,
    activationBytesNaive: activationBytesNaive(shape, spec.inChannels * height * width, batch),
    ...(activationBytesPlanned === undefined ? {} : { activationBytesPlanned }),
    blocks,
    wiring,
    layers,
  };
}
