// train: what a run needs at least, by arithmetic alone, so that what cannot be is refused before a graph is built or a
// byte is allocated.
import { ResourceError, UsageError } from "../errors.ts";
import { architecture, depthOf, type ImageSize, type Layer, type NetworkSpec } from "../networks/registry.ts";
import { show } from "../show.ts";
import type { TrainConfig } from "./config.ts";

/** Lower bounds. */
export interface Footprint {
  readonly parameters: number;
  /** Convolutions and the classifier. */
  readonly depth: number;
  /** Parameters, their gradients and moments. */
  readonly weightBytes: number;
  /** The image and the feature maps that the backward pass needs of it. */
  readonly bytesPerImage: number;
}

/** WebAssembly addresses are 32-bit. */
const WASM_BYTES = 2 ** 32;
/** 1 TiB, more than any one device has. */
const LARGEST_BYTES = 2 ** 40;
/**
 * Planning's time grows with the square of the depth: 3 s for 3,600 convolutions, 9 s for 6,000 (one core of an AMD
 * EPYC, 2026-11-25).
 */
const DEEPEST = 4000;

export function footprint(
  spec: NetworkSpec,
  size: ImageSize,
  { recompute, activationDtype, optimizer }: Pick<TrainConfig, "recompute" | "activationDtype" | "optimizer">,
): Footprint {
  const shape = architecture(spec, size);
  const { layers } = shape;
  const parameters = layers.reduce((sum, { params }) => sum + params, 0);
  const kept = layers.reduce((sum, layer, index) => sum + keptNumbers(layer, layers[index + 1], recompute), 0);
  return {
    parameters,
    depth: depthOf(shape),
    weightBytes: (optimizer === "adamw" ? 4 : 3) * 4 * parameters,
    bytesPerImage: 4 * spec.inChannels * size.height * size.width + (activationDtype === "f16" ? 2 : 4) * kept,
  };
}

/**
 * Every convolution's output is kept; that of a transition's after pooling, which comes first; of other 1×1
 * convolutions only where none is recomputed.
 */
function keptNumbers(layer: Layer, next: Layer | undefined, recompute: TrainConfig["recompute"]): number {
  if (layer.kind !== "convolution") return 0;
  const { height, width } = next?.kind === "averagePool" ? next : layer;
  const isRecomputed = recompute === "bottleneck" && layer.kernel === 1;
  return isRecomputed ? 0 : layer.outChannels * height * width;
}

/**
 * Refuses a run that cannot be, whatever the machine. `size`: of the images, or the least that they can be.
 * @throws UsageError for a network too deep to be planned
 * @throws ResourceError naming `model`, `data.imageSize` or `batchSize`, whichever needs too much memory: more than 1
 * TiB, or on `wasm` 4 GiB
 */
export function requireFit(config: TrainConfig, spec: NetworkSpec, size: ImageSize, device?: string): void {
  const { parameters, depth, weightBytes, bytesPerImage } = footprint(spec, size, config);
  if (depth > DEEPEST) {
    const message = `model: ${modelWords(config)} has ${depth} layers with weights, expected at most ${DEEPEST}`;
    throw new UsageError(message, { field: "model", value: config.model });
  }
  const limit = device === "wasm" ? WASM_BYTES : LARGEST_BYTES;
  const refusal = (field: string, what: string, bytes: number): ResourceError =>
    new ResourceError(
      `${field}: ${what} needs at least ${gibibytes(bytes)} of memory, expected at most ` +
        `${gibibytes(limit)}${device === "wasm" ? ", which wasm can address" : ""}`,
      { field, bytes, limit },
    );
  if (weightBytes > limit) {
    const what = `${modelWords(config)}, of ${parameters} parameters with gradients and momenta,`;
    throw refusal("model", what, weightBytes);
  }
  const { height, width } = size;
  if (weightBytes + bytesPerImage > limit) {
    throw refusal(
      "data.imageSize",
      `${modelWords(config)} on an image of ${height}×${width}`,
      weightBytes + bytesPerImage,
    );
  }
  const images = config.batchSize / config.accumulationSteps;
  const bytes = weightBytes + images * bytesPerImage;
  if (bytes > limit) {
    const what = `${modelWords(config)} on ${images} images of ${height}×${width} at once`;
    throw refusal("batchSize", what, bytes);
  }
}

/** `BC-40-12 with growthRate 4096` */
function modelWords({ model: { variant, ...changes } }: TrainConfig): string {
  const words = Object.entries(changes).map(([field, value]) => `${field} ${show(value)}`);
  return words.length === 0 ? variant : `${variant} with ${words.join(", ")}`;
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
