// train: a network with its first values (He initialisation, section 4.2).
import type { Model } from "../checkpoint/stateDict.ts";
import { buildGraph } from "../graph/build.ts";
import { type InitializeOptions, initializeParameters } from "../graph/initialize.ts";
import { smallestInput } from "../spec/architecture.ts";
import type { DenseNetSpec } from "../spec/spec.ts";

/**
 * The network `spec` before training, a function of spec, seed and fan alone. Convolutions He normal (by default with the fan-out of the
 * official code), gamma 1, beta 0, classifier uniform in ±1/√features, running mean 0 and variance 1.
 */
export function createDenseNet(spec: DenseNetSpec, options: Partial<InitializeOptions> = {}): Model {
  const { seed = 0, fan = "out" } = options;
  const side = smallestInput(spec);
  const graph = buildGraph(spec, { batch: 1, height: side, width: side, mode: "inference" });
  return { spec, state: initializeParameters(graph, { seed, fan }), batchesTracked: 0 };
}
