// infer: what in an image speaks for a class. Portable, on every backend.
import type { Backend } from "../backends/backend.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { InputSize } from "../data/fitImage.ts";
import { InputError, UsageError } from "../errors.ts";
import { buildGraph } from "../networks/registry.ts";
import {
  type ClassMap,
  classActivationMap,
  gradCam,
  mapsOf,
  type OcclusionPatch,
  occlusionMap,
  patchStarts,
} from "./classActivation.ts";
import { createNodeReader, LAST_MAPS, type NodeReader } from "./nodeReader.ts";
import { type Prediction, type Probabilities, probabilitiesOf, topPredictions } from "./scores.ts";

/**
 * cam: exact for these networks, the shares of the logit by position · grad-cam: for any node with positions ·
 * occlusion: slow, and needs nothing but the logits.
 */
export const explainMethods = ["cam", "grad-cam", "occlusion"] as const;
/** An entry of `explainMethods`. */
export type ExplainMethod = (typeof explainMethods)[number];

/** How images are explained. */
export interface ExplainerOptions {
  /** Default cam, and grad-cam where a layer is given. */
  readonly method?: ExplainMethod;
  /** Of grad-cam: a module's path or a tensor's name. Default: the maps that the head pools. */
  readonly layer?: string;
  /** Of occlusion. Default: a fifth of the input's shorter side, moved by half of that. */
  readonly patch?: { readonly side?: number | undefined; readonly stride?: number | undefined };
}

/** Why a network answers as it does. */
export interface Explanation {
  /** The most probable classes, best first. */
  readonly top: readonly Prediction[];
  /** The class that is explained. */
  readonly target: Prediction;
  /** Its logit, before any temperature. */
  readonly logit: number;
  /**
   * Over the network's input, whose edges are the map's. cam: adds up to the logit · grad-cam: from 0 on, of no unit ·
   * occlusion: how much the logit falls where a pixel is covered.
   */
  readonly map: ClassMap;
}

/**
 * Compiles the network on `backend`, which stays the caller's.
 * @throws UsageError for a node that the network does not have, or one without positions, and for a layer with another
 * method than grad-cam
 * @throws InputError for a network that cannot be explained so: grad-cam of one with stochastic depth, cam of one that
 * does not end with a global average pool and a linear classifier
 */
export async function createExplainer(
  trained: TrainedModel,
  backend: Backend,
  options: ExplainerOptions = {},
): Promise<Explainer> {
  const { layer, method = layer === undefined ? "cam" : "grad-cam" } = options;
  if (layer !== undefined && method !== "grad-cam") {
    throw new UsageError(`layer: got ${layer} with method ${method}, expected method grad-cam`, { layer, method });
  }
  const node = layer ?? LAST_MAPS;
  const { height, width } = trained.preprocessing;
  const side = options.patch?.side ?? Math.max(1, Math.round(Math.min(height, width) / 5));
  const stride = options.patch?.stride ?? Math.max(1, side >> 1);
  if (!(Number.isInteger(side) && Number.isInteger(stride) && side >= 1 && stride >= 1 && stride <= side)) {
    throw new UsageError(`patch: got side ${side} and stride ${stride}, expected whole numbers, 1 ≤ stride ≤ side`);
  }
  if (method === "grad-cam") requireDifferentiable(trained);
  const reader = await createNodeReader(trained, backend, {
    nodes: method === "occlusion" ? [] : [node],
    gradients: method === "grad-cam",
    batchSize: method === "occlusion" ? PATCHES_AT_ONCE : 1,
  });
  const shape = reader.shapes.get(node);
  if (shape !== undefined) {
    try {
      mapsOf({ shape: [1, ...shape], data: new Float32Array(0) }, 0, layer ?? "the last maps");
    } catch (error) {
      await reader.dispose();
      throw error;
    }
  }
  return new Explainer(trained, reader, { method, node, patch: { side, stride } });
}

const PATCHES_AT_ONCE = 16;

/** A gate of stochastic depth becomes its expectation in inference, which has no gradient rule. */
function requireDifferentiable({ model, preprocessing: { height, width } }: TrainedModel): void {
  const graph = buildGraph(model.spec, { batch: 1, height, width, mode: "inference" });
  if (graph.nodes.some(({ op }) => op === "expectedGate")) {
    throw new InputError(
      "grad-cam: a network with stochastic depth cannot be differentiated here, expected method cam",
    );
  }
}

interface Chosen {
  readonly method: ExplainMethod;
  readonly node: string;
  readonly patch: OcclusionPatch;
}

/** Made by `createExplainer`; ended by `dispose` or `await using`. */
export class Explainer implements AsyncDisposable {
  readonly classes: readonly string[];
  readonly inputSize: InputSize;
  readonly method: ExplainMethod;
  readonly #reader: NodeReader;
  readonly #chosen: Chosen;
  readonly #probabilities: Probabilities;
  readonly #classifier: Classifier;
  /** What covers a patch: the mean colour of the training images, which is 0 to the network. */
  readonly #grey: Uint8Array; // [C]

  /**
   * `reader`: of what the method takes; the explainer disposes of it.
   * @internal
   */
  constructor(trained: TrainedModel, reader: NodeReader, chosen: Chosen) {
    this.classes = trained.classes;
    this.inputSize = reader.inputSize;
    this.method = chosen.method;
    this.#reader = reader;
    this.#chosen = chosen;
    this.#probabilities = probabilitiesOf(trained);
    this.#classifier = classifierOf(trained);
    this.#grey = Uint8Array.from(trained.preprocessing.mean, (mean) => Math.round(255 * mean));
  }

  /**
   * Explains `target`, by default the most probable class.
   * @param image [C, H, W] bytes of the input size, as `fitImage` and `decodeImage` give them
   * @param target index of a class
   * @param name what messages call the image
   * @throws UsageError for a class that the network does not have
   * @throws InputError for an image for which the network gives scores that are not finite
   */
  async explain(image: Uint8Array, target?: number, name = "image"): Promise<Explanation> {
    if (target !== undefined && this.classes[target] === undefined) {
      throw new UsageError(`class ${target}: the network has classes 0 to ${this.classes.length - 1}`, { target });
    }
    const { logits, values } = await this.#reader.read([image]);
    const odd = logits.data.findIndex((logit) => !Number.isFinite(logit));
    if (odd !== -1) {
      throw new InputError(`${name}: the network's score for class "${this.classes[odd]}" is ${logits.data[odd]}`, {
        name,
      });
    }
    const all = topPredictions(logits.data, this.classes, this.classes.length, this.#probabilities);
    const found = all.find(({ index }) => index === (target ?? all[0]?.index));
    if (found === undefined) throw new RangeError("no class to explain");
    const logit = logits.data[found.index];
    const map = await this.#mapOf(image, found.index, logit, values);
    return { top: all.slice(0, MOST_NAMED), target: found, logit, map };
  }

  /** Frees what the explainer holds of the device; the backend stays the caller's. */
  dispose(): Promise<void> {
    return this.#reader.dispose();
  }

  /** Calls `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #mapOf(
    image: Uint8Array,
    index: number,
    logit: number,
    values: Awaited<ReturnType<NodeReader["read"]>>["values"],
  ): Promise<ClassMap> {
    const { method, node, patch } = this.#chosen;
    if (method === "occlusion") return this.#occlude(image, index, logit, patch);
    if (method === "grad-cam") {
      const found = await this.#reader.gradient([image], [index]);
      return gradCam(mapsOf(found.values, 0, node), mapsOf(found.gradient, 0, node));
    }
    const maps = values.get(node);
    if (maps === undefined) throw new RangeError(`no values of ${node}`);
    const { weight, bias, features } = this.#classifier;
    const row = weight.subarray(index * features, (index + 1) * features);
    return classActivationMap(mapsOf(maps, 0, node), row, bias[index]);
  }

  async #occlude(image: Uint8Array, index: number, logit: number, patch: OcclusionPatch): Promise<ClassMap> {
    const { height, width } = this.inputSize;
    const corners = patchStarts(height, patch).flatMap((top) =>
      patchStarts(width, patch).map((left) => ({ top, left })),
    );
    const drops = new Float64Array(corners.length);
    for (let from = 0; from < corners.length; from += PATCHES_AT_ONCE) {
      const some = corners.slice(from, from + PATCHES_AT_ONCE);
      const { logits } = await this.#reader.read(some.map((corner) => this.#covered(image, corner, patch.side)));
      for (const at of some.keys()) drops[from + at] = logit - logits.data[at * this.classes.length + index];
    }
    return occlusionMap({ height, width }, patch, drops);
  }

  #covered(image: Uint8Array, corner: { readonly top: number; readonly left: number }, side: number): Uint8Array {
    const { channels, height, width } = this.inputSize;
    const covered = image.slice();
    const right = Math.min(width, corner.left + side);
    for (let channel = 0; channel < channels; channel++) {
      for (let y = corner.top; y < Math.min(height, corner.top + side); y++) {
        const line = (channel * height + y) * width;
        covered.fill(this.#grey[channel], line + corner.left, line + right);
      }
    }
    return covered;
  }
}

/** Classes that an explanation names. */
const MOST_NAMED = 5;

interface Classifier {
  readonly weight: Float32Array; // [K, features]
  readonly bias: Float32Array; // [K]
  readonly features: number;
}

function classifierOf({ model }: TrainedModel): Classifier {
  const [weight, bias] = ["classifier.weight", "classifier.bias"].map((path) => model.state.get(path));
  if (weight === undefined || bias === undefined) throw new InputError("the network has no linear classifier");
  return { weight: weight.data, bias: bias.data, features: weight.shape[1] };
}
