// networks/densenet: spec → forward graph of a DenseNet (paper, sections 3 and 4), with torchvision's module paths.
import type { Graph } from "../../graph/graph.ts";
import type { BuildOptions } from "../family.ts";
import { NetworkBuilder } from "../modules.ts";
import { bottleneckMaps, compressedMaps, type DenseNetSpec } from "./spec.ts";

export function buildDenseNet(spec: DenseNetSpec, options: BuildOptions): Graph {
  const { growthRate, blockConfig, compression } = spec;
  const net = new NetworkBuilder(spec, options);
  let features = net.stem(spec.stem, spec.numInitFeatures);
  blockConfig.forEach((layers, index) => {
    if (index > 0) {
      const kept = compressedMaps(compression, net.channels(features));
      features = net.transition(`features.transition${index}`, features, kept);
    }
    const path = `features.denseblock${index + 1}`;
    for (let layer = 1; layer <= layers; layer++) {
      const layerPath = `${path}.denselayer${layer}`;
      const added = net.compositeFunction(layerPath, features, growthRate, bottleneckMaps(spec));
      features = net.join(path, layer, features, added);
    }
  });
  return net.finish(features);
}
