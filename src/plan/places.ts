// plan: concatenation is an address. Every tensor of the forward graph gets a view; what is concatenated gets views of
// one buffer.
import type { Graph, GraphNode, TensorId } from "../graph/graph.ts";
import type { View } from "./plan.ts";
import { channelsOf, outputOf, tensorOf } from "./reading.ts";

export interface Places {
  /** Where a tensor lies. The buffer bears the name of the whole concatenation. */
  view(tensor: TensorId): View;
  /** The tensor whose buffer `view(tensor)` lies in. */
  root(tensor: TensorId): TensorId;
}

/** Where the tensors of a whole graph lie, for those who read them after a run (`keep` of the planners). */
export function placesOf(graph: Graph): Places {
  return placeTensors(
    graph,
    graph.nodes.filter(({ op, pass }) => op === "concat" && pass === "forward"),
  );
}

/**
 * Throws RangeError if a tensor would have to lie in two concatenations: that would need a copy, and no DenseNet has
 * it.
 */
export function placeTensors(graph: Graph, concats: readonly GraphNode[]): Places {
  const inside = new Map<TensorId, { readonly whole: TensorId; readonly offset: number }>();
  const channels = (tensor: TensorId): number => channelsOf(tensorOf(graph, tensor));
  for (const concat of concats) {
    const whole = outputOf(concat, 0);
    let offset = 0;
    for (const input of concat.inputs) {
      if (inside.has(input))
        throw new RangeError(`${concat.path}: ${tensorOf(graph, input).name} is concatenated twice`);
      inside.set(input, { whole, offset });
      offset += channels(input);
    }
  }
  const locate = (tensor: TensorId): { root: TensorId; offset: number } => {
    let root = tensor;
    let offset = 0;
    for (let up = inside.get(root); up; up = inside.get(root)) {
      root = up.whole;
      offset += up.offset;
    }
    return { root, offset };
  };
  return {
    view: (tensor) => {
      const { root, offset } = locate(tensor);
      return { buffer: tensorOf(graph, root).name, offset, channels: channels(tensor) };
    },
    root: (tensor) => locate(tensor).root,
  };
}
