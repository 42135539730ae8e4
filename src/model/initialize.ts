// model: first values of parameters and running statistics. He et al. 2015 for convolutions (paper, section 4.2).
//
// Each tensor draws from its own counter-based stream, keyed by its path, so its values depend on seed, path and shape
// alone.

import { type Graph, type PersistentTensor, persistentTensors, type TensorRole } from "../graph/graph.ts";
import { sizeOf } from "../ops/op.ts";
import { lowbias32 } from "../ops/random.ts";
import type { ModelTensor } from "./model.ts";

/** How weights are drawn (He et al., 2015). */
export interface InitializeOptions {
  /** Unsigned 32-bit. */
  readonly seed: number;
  /** `out`: variance 2/(k²·outChannels), the official code. `in`: 2/(k²·inChannels), as torchvision. */
  readonly fan: "out" | "in";
}

/** Element index → value. */
type Values = (index: number) => number;

/** FNV-1a over UTF-16 code units: a 32-bit name for a path. */
function hashPath(path: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < path.length; i++) hash = Math.imul(hash ^ path.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/**
 * Random words of one tensor. Two mixing rounds with two keys: the streams of two tensors are not permutations of each
 * other.
 */
function wordsOf(path: string, seed: number): Values {
  const inner = lowbias32(seed ^ lowbias32(hashPath(path)));
  const outer = lowbias32(inner ^ 0x9e3779b9);
  return (index) => lowbias32((lowbias32(index ^ inner) + outer) >>> 0);
}

/** Standard normal numbers by Box and Muller, two words each. */
function normals(path: string, seed: number): Values {
  const word = wordsOf(path, seed);
  return (index) => {
    const radius = Math.sqrt(-2 * Math.log((word(2 * index) + 1) / 2 ** 32));
    return radius * Math.cos((2 * Math.PI * word(2 * index + 1)) / 2 ** 32);
  };
}

/** Value of element i of a tensor of each role. */
const rules: Readonly<Record<TensorRole, (tensor: PersistentTensor, options: InitializeOptions) => Values>> = {
  convWeight: ({ name, shape: [outChannels, inChannels, kernel] }, { seed, fan }) => {
    const deviation = Math.sqrt(2 / (kernel * kernel * (fan === "out" ? outChannels : inChannels)));
    const normal = normals(name, seed);
    return (index) => deviation * normal(index);
  },
  // PyTorch's default for linear layers, uniform in ±1/√features.
  linearWeight: ({ name, shape: [, features] }, { seed }) => {
    const word = wordsOf(name, seed);
    const bound = 1 / Math.sqrt(features);
    return (index) => bound * ((2 * (word(index) + 0.5)) / 2 ** 32 - 1);
  },
  scale: () => () => 1,
  shift: () => () => 0,
  mean: () => () => 0,
  variance: () => () => 1,
};

/**
 * All parameters and running statistics of a graph by path. Convolutions He normal, gamma 1, beta 0, running mean 0 and
 * variance 1.
 */
export function initializeParameters(graph: Graph, options: InitializeOptions): Map<string, ModelTensor> {
  const initial = new Map<string, ModelTensor>();
  for (const tensor of persistentTensors(graph)) {
    const { name, role, shape } = tensor;
    const value = rules[role](tensor, options);
    const data = Float32Array.from({ length: sizeOf(shape) }, (_, index) => value(index));
    initial.set(name, { role, shape, data });
  }
  return initial;
}
