// model: first values of parameters and running statistics. He et al. 2015 for convolutions (paper, section 4.2).
//
// Each tensor draws from its own counter-based stream, keyed by its path, so its values depend on seed, path and shape alone.

import type { Graph, GraphTensor } from "../graph/graph.ts";
import { sizeOf } from "../ops/op.ts";
import { lowbias32 } from "../ops/random.ts";

export interface InitializeOptions {
  /** Unsigned 32-bit. */
  readonly seed: number;
  /** `out`: variance 2/(k²·outChannels), the official code. `in`: 2/(k²·inChannels), as torchvision. */
  readonly fan: "out" | "in";
}

export interface InitialTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** FNV-1a over UTF-16 code units: a 32-bit name for a path. */
function hashPath(path: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < path.length; i++) hash = Math.imul(hash ^ path.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Random words of one tensor. Two mixing rounds with two keys: the streams of two tensors are not permutations of each other. */
function wordsOf(path: string, seed: number): (index: number) => number {
  const inner = lowbias32(seed ^ lowbias32(hashPath(path)));
  const outer = lowbias32(inner ^ 0x9e3779b9);
  return (index) => lowbias32((lowbias32(index ^ inner) + outer) >>> 0);
}

/** Standard normal numbers by Box and Muller, two words each. */
function normals(path: string, seed: number): (index: number) => number {
  const word = wordsOf(path, seed);
  return (index) => {
    const radius = Math.sqrt(-2 * Math.log((word(2 * index) + 1) / 2 ** 32));
    return radius * Math.cos((2 * Math.PI * word(2 * index + 1)) / 2 ** 32);
  };
}

/** Value of element i of a tensor, by what its path and rank say it is. */
function rule({ name, shape }: GraphTensor, { seed, fan }: InitializeOptions): (index: number) => number {
  if (name.endsWith(".running_var")) return () => 1;
  if (name.endsWith(".running_mean") || name.endsWith(".bias")) return () => 0;
  if (shape.length === 1) return () => 1; // gamma
  if (shape.length === 2) {
    // The classifier: PyTorch's default for linear layers, uniform in ±1/√features.
    const word = wordsOf(name, seed);
    const bound = 1 / Math.sqrt(shape[1]);
    return (index) => bound * ((2 * (word(index) + 0.5)) / 2 ** 32 - 1);
  }
  const [outChannels, inChannels, kernel] = shape;
  const deviation = Math.sqrt(2 / (kernel * kernel * (fan === "out" ? outChannels : inChannels)));
  const normal = normals(name, seed);
  return (index) => deviation * normal(index);
}

/** All parameters and running statistics of a graph by path. Convolutions He normal, gamma 1, beta 0, running mean 0 and variance 1. */
export function initializeParameters(graph: Graph, options: InitializeOptions): Map<string, InitialTensor> {
  const initial = new Map<string, InitialTensor>();
  for (const tensor of graph.tensors) {
    if (tensor.kind !== "parameter" && tensor.kind !== "state") continue;
    const value = rule(tensor, options);
    const data = Float32Array.from({ length: sizeOf(tensor.shape) }, (_, index) => value(index));
    initial.set(tensor.name, { shape: tensor.shape, data });
  }
  return initial;
}
