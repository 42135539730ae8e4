// infer: which tensor of a network's graph a name means. A module's path, as state dicts have it, stands for what the
// module makes: `features.denseblock3.denselayer5` for the layer's new maps, `features.denseblock3` for all maps at the
// end of the block, `features.norm5` for the normalised maps before their ReLU.
import { InputError, UsageError } from "../errors.ts";
import type { Graph, GraphTensor } from "../graph/graph.ts";
import { nearestName } from "../nearestName.ts";
import { anatomyOf, type NetworkSpec } from "../networks/registry.ts";
import { tensorOf } from "../plan/reading.ts";

/**
 * The tensor that a module's path or a tensor's own name (`features.denseblock3:features5`) stands for.
 * @throws UsageError with the nearest name, where the network has neither
 */
export function nodeTensor(graph: Graph, name: string): GraphTensor {
  const forward = graph.nodes.filter(({ pass }) => pass === "forward");
  const made = forward.flatMap(({ outputs }) => outputs.map((id) => tensorOf(graph, id)));
  const own = made.find((tensor) => tensor.name === name);
  if (own !== undefined) return own;
  const last = forward.findLast(({ path }) => path === name || path.startsWith(`${name}.`));
  const [output] = last?.outputs ?? [];
  if (output !== undefined) return tensorOf(graph, output);
  const nearest = nearestName(name, modulePaths(graph));
  const meant = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  throw new UsageError(
    `the network has no node "${name}", expected a module's path such as those in ${outline(graph).join(", ")}${meant}`,
    { name, ...(nearest === undefined ? {} : { nearest }) },
  );
}

/** Paths of all modules that make something, and of those they lie in. */
function modulePaths(graph: Graph): ReadonlySet<string> {
  return new Set(
    graph.nodes.flatMap(({ path }) => {
      const names = path.split(".");
      return names.map((_, at) => names.slice(0, at + 1).join("."));
    }),
  );
}

/** The paths two levels deep: stem, blocks, transitions, classifier. */
function outline(graph: Graph): string[] {
  return [...new Set(graph.nodes.map(({ path }) => path.split(".").slice(0, 2).join(".")))];
}

/**
 * The maps [N, C, H, W] that the head pools, behind the last batch norm and ReLU: the logits are linear in them.
 * @throws InputError for a network that does not end with a global average pool and a linear classifier
 */
export function lastMaps(graph: Graph): GraphTensor {
  const classifier = graph.nodes.find(({ outputs }) => outputs.includes(graph.logits));
  const pool = graph.nodes.find(
    ({ outputs }) => classifier !== undefined && outputs.includes(classifier.inputs[0] ?? -1),
  );
  const maps = pool?.inputs[0];
  if (classifier?.op !== "linear" || pool?.op !== "globalAvgPool" || maps === undefined) {
    throw new InputError("the network does not end with a global average pool and a linear classifier");
  }
  return tensorOf(graph, maps);
}

/**
 * A feature pyramid: the names of the maps [N, C, H, W] at the end of each block, finest first. At the end of a dense
 * block these are all its maps together.
 * @throws UsageError for a family that does not say where its layers lie
 */
export function pyramidNodes(spec: NetworkSpec): string[] {
  const { layers, blockInputs } = anatomyOf(spec);
  return blockInputs.flatMap((_, block) => layers.findLast((layer) => layer.block === block)?.state ?? []);
}
