// model: a network with its first values (He initialisation, section 4.2).
import { buildGraph, type NetworkSpec, smallestInput } from "../networks/registry.ts";
import { type InitializeOptions, initializeParameters } from "./initialize.ts";
import type { Model } from "./model.ts";

/**
 * The network `spec` before training, a function of spec, seed and fan alone. Convolutions He normal (by default with
 * the fan-out of the official code), gamma 1, beta 0, classifier uniform in ±1/√features, running mean 0 and variance
 * 1.
 * @throws UsageError when `spec` is no network's spec, such as a name: `namedSpec` makes one of it.
 */
export function createNetwork(spec: NetworkSpec, options: Partial<InitializeOptions> = {}): Model {
  const { seed = 0, fan = "out" } = options;
  const side = smallestInput(spec);
  const graph = buildGraph(spec, { batch: 1, height: side, width: side, mode: "inference" });
  return { spec, state: initializeParameters(graph, { seed, fan }), batchesTracked: 0 };
}
