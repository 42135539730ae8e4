// plan/steps: forward graph → steps. Every forward node must belong to exactly one step, so that no op of a graph can
// be lost.
import type { Graph, GraphNode } from "../../graph/graph.ts";
import { ForwardNodes, type MatchStep, type Step } from "./step.ts";

export interface FoundSteps {
  /** In the order in which they are computed. */
  readonly steps: readonly Step[];
  /** updateRunning nodes, run together at the end of the forward pass. */
  readonly running: readonly GraphNode[];
  /** concat nodes: addresses, no work. */
  readonly concats: readonly GraphNode[];
}

/** @throws RangeError naming the first node that no kind of step matches, or that two steps would compute */
export function findSteps(graph: Graph, kinds: Readonly<Record<string, MatchStep>>): FoundSteps {
  const forward = new ForwardNodes(graph);
  const steps: Step[] = [];
  const claimed = new Set<GraphNode>();
  const claim = (node: GraphNode): void => {
    if (claimed.has(node)) throw new RangeError(`${node.path}: two steps of the plan would compute this ${node.op}`);
    claimed.add(node);
  };
  const [running, concats] = (["updateRunning", "concat"] as const).map((op) =>
    forward.nodes.filter((node) => node.op === op),
  );
  for (const node of [...running, ...concats]) claim(node);
  const matchers = Object.values(kinds);
  for (const node of forward.nodes) {
    if (claimed.has(node)) continue;
    let step: Step | undefined;
    for (const match of matchers) step ??= match(node, forward);
    if (!step) continue; // it may belong to a step whose node comes later, as a composite function does
    step.nodes.forEach(claim);
    steps.push(step);
  }
  const lost = forward.nodes.find((node) => !claimed.has(node));
  if (!lost) return { steps, running, concats };
  const consumers = lost.outputs.flatMap((output) => forward.consumers(output)).map(({ op, path }) => `${op} ${path}`);
  throw new RangeError(
    `${lost.path}: no kind of step computes ${lost.op} read by ${consumers.join(" and ") || "nobody"}; the plan ` +
      `knows ${Object.keys(kinds).join(", ")}`,
  );
}
