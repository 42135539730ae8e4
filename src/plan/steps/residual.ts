// plan/steps: the end of a residual unit. Batch norm, the gate of stochastic depth, a shortcut that subsamples and
// pads, the sum and the ReLU behind it are one kernel. The same kernel, without a shortcut, stores the composite
// function where more than one step reads it.
import type { GraphNode } from "../../graph/graph.ts";
import type { GateScope } from "../../ops/sampleGate.ts";
import type { Lowering } from "../lowering.ts";
import type { Gate } from "../plan.ts";
import { inputOf, numberAttribute, outputOf } from "../reading.ts";
import { compositeBackward, compositeOf } from "./composite.ts";
import { featureMaps } from "./sizes.ts";
import type { ForwardNodes, Step } from "./step.ts";

/** The branch as it is loaded: its batch norm and its gate, each if it is there. */
interface Branch {
  readonly normalize: GraphNode | undefined;
  readonly gate: GraphNode | undefined;
}

interface ResidualNodes extends Branch {
  /** Absent in front of a composite function that is only stored. */
  readonly add: GraphNode | undefined;
  /** The node that subsamples and pads; absent where the shapes are equal. */
  readonly shortcut: GraphNode | undefined;
  readonly relu: GraphNode | undefined;
}

export function matchResidual(node: GraphNode, graph: ForwardNodes): Step | undefined {
  const nodes = node.op === "add" ? residualUnit(node, graph) : storedComposite(node, graph);
  if (!nodes) return undefined;
  const { normalize, gate, shortcut, add, relu } = nodes;
  const all = [normalize, gate, shortcut, add, relu].filter((one) => one !== undefined);
  // Where the output is normalized, the sum of its gradients belongs to its statistics (statistics.ts).
  const normalized = graph.consumers(outputOf(lastOf(nodes), 0)).some(({ op }) => op === "channelStatistics");
  return {
    nodes: all,
    forward: (lowering) => {
      forward(lowering, nodes, all);
    },
    backward: (lowering) => {
      backward(lowering, nodes, [
        ...lowering.backwardIds(all),
        ...(normalized ? [] : lowering.backwardIds([lastOf(nodes)], ["add"])),
      ]);
    },
  };
}

function residualUnit(add: GraphNode, graph: ForwardNodes): ResidualNodes | undefined {
  if (add.inputs.length !== 2) return undefined;
  const [branch, beside] = [0, 1].map((index) => graph.producer(inputOf(add, index)));
  const gate = branch && isGate(branch) && graph.onlyConsumer(branch, "add") ? branch : undefined;
  const loaded = gate ? graph.producer(inputOf(gate, 0)) : branch;
  const normalize =
    loaded?.op === "normalize" && graph.onlyConsumer(loaded, (gate ?? add).op) !== undefined ? loaded : undefined;
  const shortcut = beside?.op === "identityShortcut" && graph.onlyConsumer(beside, "add") ? beside : undefined;
  return { normalize, gate, shortcut, add, relu: graph.onlyConsumer(add, "relu") };
}

/** relu(normalize(x)) that more than one node reads, so that none of them can apply it while loading x. */
function storedComposite(relu: GraphNode, graph: ForwardNodes): ResidualNodes | undefined {
  if (relu.op !== "relu" || graph.consumers(outputOf(relu, 0)).length < 2) return undefined;
  const normalize = graph.producer(inputOf(relu, 0));
  if (normalize?.op !== "normalize" || !graph.onlyConsumer(normalize, "relu")) return undefined;
  return { normalize, gate: undefined, shortcut: undefined, add: undefined, relu };
}

const isGate = ({ op }: GraphNode): boolean => op === "sampleGate" || op === "expectedGate";

/** The node whose output the step writes. */
function lastOf({ relu, add }: ResidualNodes): GraphNode {
  const last = relu ?? add;
  if (!last) throw new RangeError("a residual step has a sum or a ReLU");
  return last;
}

/** What the branch is loaded from: the input of its first node. */
function sourceOf(nodes: ResidualNodes): number {
  const first = nodes.normalize ?? nodes.gate ?? nodes.add;
  if (!first) throw new RangeError("a residual step without a sum has a normalize");
  return inputOf(first, 0);
}

function gateOf(node: GraphNode): Gate {
  return {
    keepProbability: numberAttribute(node, "keepProbability"),
    stream: numberAttribute(node, "stream"),
    per: node.attrs.per as GateScope, // sampleGate has no other
  };
}

/** What the sum adds to the branch, and how it is read. */
function shortcutOf(lowering: Lowering, { add, shortcut }: ResidualNodes) {
  if (!add) return undefined;
  const source = shortcut ? inputOf(shortcut, 0) : inputOf(add, 1);
  const { height, width } = featureMaps(lowering, source);
  return { source, size: { height, width, stride: shortcut ? numberAttribute(shortcut, "stride") : 1 } };
}

function sizeOf(lowering: Lowering, nodes: ResidualNodes) {
  const { batch, height, width } = featureMaps(lowering, outputOf(lastOf(nodes), 0));
  return { batch, height, width };
}

function forward(lowering: Lowering, nodes: ResidualNodes, all: readonly GraphNode[]): void {
  const { normalize, gate, relu } = nodes;
  const shortcut = shortcutOf(lowering, nodes);
  lowering.plan.call(
    "residualAdd",
    {
      x: lowering.view(sourceOf(nodes)),
      ...(normalize ? { normalize: compositeOf(lowering, normalize) } : {}),
      ...(gate?.op === "sampleGate" ? { gate: gateOf(gate) } : {}),
      scale: gate?.op === "expectedGate" ? numberAttribute(gate, "keepProbability") : 1,
      ...(shortcut ? { shortcut: { x: lowering.view(shortcut.source), ...shortcut.size } } : {}),
      relu: relu !== undefined,
      y: lowering.view(outputOf(lastOf(nodes), 0)),
      ...sizeOf(lowering, nodes),
    },
    { path: lastOf(nodes).path, computes: all.map(({ id }) => id) },
  );
}

function backward(lowering: Lowering, nodes: ResidualNodes, computes: readonly number[]): void {
  const { normalize, gate, relu } = nodes;
  const output = outputOf(lastOf(nodes), 0);
  const shortcut = shortcutOf(lowering, nodes);
  const dx = lowering.gradient(sourceOf(nodes));
  const dShortcut = shortcut && lowering.gradient(shortcut.source);
  lowering.plan.call(
    "residualAddGrad",
    {
      dy: lowering.gradient(output),
      ...(relu ? { y: lowering.view(output) } : {}),
      ...(gate ? { gate: gateOf(gate) } : {}),
      dx,
      write: lowering.writeTo(dx),
      ...(normalize ? { normalize: compositeBackward(lowering, normalize) } : {}),
      ...(dShortcut ? { shortcut: { dx: dShortcut, write: lowering.writeTo(dShortcut), ...shortcut.size } } : {}),
      ...sizeOf(lowering, nodes),
    },
    { path: lastOf(nodes).path, computes },
  );
}
