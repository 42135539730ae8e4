// model: a network with its numbers. Every tensor carries the role that the network's family gave it, so nobody guesses
// it from a name or a rank.
import type { StatisticRole, TensorRole } from "../graph/graph.ts";
import { persistentTensors } from "../graph/graph.ts";
import { buildGraph, type NetworkSpec, smallestInput } from "../networks/registry.ts";

/** Numbers in row-major order, with their shape. */
export interface StateTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Tensors by path (`features.conv0.weight`, `features.norm5.running_mean`), in the network's order. */
export type StateDict = ReadonlyMap<string, StateTensor>;

/** A parameter or running statistic, with what it is. */
export interface ModelTensor extends StateTensor {
  /** The bias of a linear layer is a `shift`, as β is. */
  readonly role: TensorRole;
}

/**
 * Made by `createNetwork`, `importStateDict` or `decodeModel`; one made by hand is checked where it is used
 * (`requireUsable`).
 */
export interface Model {
  readonly spec: NetworkSpec;
  /** Parameters and running statistics. */
  readonly state: ReadonlyMap<string, ModelTensor>;
  /** Training batches that the running statistics have seen: every batch norm's num_batches_tracked. */
  readonly batchesTracked: number;
}

/** Role and shape of every parameter and running statistic of the network, by path, in its order. */
export function networkTensors(
  spec: NetworkSpec,
): ReadonlyMap<string, { readonly role: TensorRole; readonly shape: readonly number[] }> {
  const side = smallestInput(spec);
  const graph = buildGraph(spec, { batch: 1, height: side, width: side, mode: "inference" });
  return new Map(persistentTensors(graph).map(({ name, role, shape }) => [name, { role, shape }]));
}

/** Running statistics are state, not parameters: they have no gradient and no momentum. */
export function isStatistic(role: TensorRole): role is StatisticRole {
  return role === "mean" || role === "variance";
}
