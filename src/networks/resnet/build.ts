// networks/resnet: spec → forward graph of a residual net.
import type { Graph } from "../../graph/graph.ts";
import type { BuildOptions } from "../family.ts";
import { type Features, NetworkBuilder } from "../modules.ts";
import { type ResNetSpec, type Unit, unitsOf } from "./spec.ts";

export function buildResNet(spec: ResNetSpec, options: BuildOptions): Graph {
  const { preActivation, gatePer } = spec;
  const net = new NetworkBuilder(spec, options);
  let features = net.stem("cifar", spec.widths[0]);
  if (!preActivation) features = normalizeRelu(net, "features", 0, features);
  const addUnit = preActivation ? addPreActivationUnit : addOriginalUnit;
  for (const unit of unitsOf(spec)) {
    const gate = (branch: Features): Features => net.gate(`${unit.path}.gate`, branch, unit.keepProbability, gatePer);
    features = addUnit(net, unit, features, gate);
  }
  return preActivation ? net.finish(features) : net.classify(features);
}

function normalizeRelu(net: NetworkBuilder, path: string, number: number, features: Features): Features {
  return net.relu(`${path}.relu${number}`, net.normalize(`${path}.norm${number}`, features));
}

/** relu(gate(norm2(conv2(relu(norm1(conv1(x)))))) + shortcut(x)). */
function addOriginalUnit(
  net: NetworkBuilder,
  { path, width, stride }: Unit,
  input: Features,
  gate: (branch: Features) => Features,
): Features {
  const narrow = normalizeRelu(net, path, 1, net.convolution(`${path}.conv1`, input, width, 3, stride));
  const branch = gate(net.normalize(`${path}.norm2`, net.convolution(`${path}.conv2`, narrow, width, 3)));
  const shortcut = net.identityShortcut(`${path}.shortcut`, input, width, stride);
  return net.relu(`${path}.relu2`, net.add(`${path}.add`, branch, shortcut));
}

/**
 * gate(conv3(relu(norm3(conv2(relu(norm2(conv1(a))))))) + x, a = relu(norm1(x)); where maps are added, + shortcut(a).
 */
function addPreActivationUnit(
  net: NetworkBuilder,
  { path, width, outChannels, stride }: Unit,
  input: Features,
  gate: (branch: Features) => Features,
): Features {
  const activated = normalizeRelu(net, path, 1, input);
  const narrow = normalizeRelu(net, path, 2, net.convolution(`${path}.conv1`, activated, width, 1, stride));
  const spatial = normalizeRelu(net, path, 3, net.convolution(`${path}.conv2`, narrow, width, 3));
  const branch = gate(net.convolution(`${path}.conv3`, spatial, outChannels, 1));
  const projects = stride !== 1 || outChannels !== net.channels(input);
  const shortcut = projects ? net.convolution(`${path}.shortcut`, activated, outChannels, 1, stride) : input;
  return net.add(`${path}.add`, branch, shortcut);
}
