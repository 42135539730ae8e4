// networks/plain: spec → forward graph of a chain.
import type { Graph } from "../../graph/graph.ts";
import type { BuildOptions } from "../family.ts";
import { NetworkBuilder } from "../modules.ts";
import { bottleneckMaps, type PlainSpec } from "./spec.ts";

export function buildPlain(spec: PlainSpec, options: BuildOptions): Graph {
  const { blockConfig, widths } = spec;
  const net = new NetworkBuilder(spec, options);
  let features = net.stem(spec.stem, spec.numInitFeatures);
  blockConfig.forEach((layers, index) => {
    if (index > 0) features = net.transition(`features.transition${index}`, features, widths[index]);
    for (let layer = 1; layer <= layers; layer++) {
      const path = `features.block${index + 1}.layer${layer}`;
      features = net.compositeFunction(path, features, widths[index], bottleneckMaps(spec, index));
    }
  });
  return net.finish(features);
}
