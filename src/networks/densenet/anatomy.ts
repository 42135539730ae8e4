// networks/densenet: which weights read which layers' maps (figure 5), and where these lie.
import type { Anatomy, AnatomyLayer, AnatomyReader } from "../anatomy.ts";
import { compressedMaps, type DenseNetSpec } from "./spec.ts";

export function denseNetAnatomy(spec: DenseNetSpec): Anatomy {
  const { growthRate, blockConfig, bottleneck, compression, stem } = spec;
  const layers: AnatomyLayer[] = [];
  const blockInputs: string[] = [];
  const readers: AnatomyReader[] = [];
  let entering = spec.numInitFeatures;
  blockConfig.forEach((count, block) => {
    const path = `features.denseblock${block + 1}`;
    blockInputs.push(block > 0 ? `features.transition${block}.pool:y` : stemOutput(stem));
    const sourcesOf = (index: number) => [
      { index: 0, channels: entering },
      ...Array.from({ length: index - 1 }, (_, before) => ({ index: before + 1, channels: growthRate })),
    ];
    for (let index = 1; index <= count; index++) {
      const layer = `${path}.denselayer${index}`;
      const last = bottleneck ? "conv2" : "conv1";
      layers.push({
        path: layer,
        block,
        index,
        maps: `${layer}.${last}:y`,
        state: `${path}:features${index}`,
        silencedBy: [`${layer}.${last}.weight`],
      });
      const sources = sourcesOf(index);
      readers.push({
        weight: `${layer}.conv1.weight`,
        kind: "layer",
        block,
        index,
        sources,
      });
    }
    const sources = sourcesOf(count + 1);
    const end = block === blockConfig.length - 1;
    readers.push({
      weight: end ? "classifier.weight" : `features.transition${block + 1}.conv.weight`,
      kind: end ? "classifier" : "transition",
      block,
      index: count + 1,
      sources,
    });
    entering = compressedMaps(compression, entering + growthRate * count);
  });
  return { layers, blockInputs, readers };
}

const stemOutput = (stem: DenseNetSpec["stem"]): string => (stem === "cifar" ? "features.conv0:y" : "features.pool0:y");
