// networks/plain: the sizes of a chain.
import { type Architecture, type Block, type ImageSize, LayerRows } from "../architecture.ts";
import { bottleneckMaps, type PlainSpec } from "./spec.ts";

export function plainArchitecture(spec: PlainSpec, size: ImageSize): Architecture {
  const { blockConfig, widths, stem } = spec;
  const rows = new LayerRows({ channels: spec.inChannels, ...size });
  rows.stem(stem, spec.numInitFeatures);
  const blocks: Block[] = [];
  blockConfig.forEach((layers, index) => {
    if (index > 0) rows.transition(`features.transition${index}`, widths[index]);
    const path = `features.block${index + 1}`;
    const input = rows.at;
    for (let layer = 1; layer <= layers; layer++) {
      rows.compositeFunction(`${path}.layer${layer}`, widths[index], bottleneckMaps(spec, index));
    }
    blocks.push({
      path,
      title: `Block ${index + 1}`,
      inChannels: input.channels,
      outChannels: rows.at.channels,
      height: input.height,
      width: input.width,
      layers,
      reach: 1,
    });
  });
  rows.head(spec.numClasses);
  const bottleneck = spec.bottleneck ? `bottlenecks of ${spec.bottleneckFactor} times the width` : "no bottlenecks";
  return {
    layers: rows.rows,
    blocks,
    wiring: "every layer reads the one before it",
    facts: [
      ["kind", `plain, widths ${widths.join("-")}, blocks ${blockConfig.join("-")}, ${bottleneck}, ${stem} stem`],
    ],
    copiedNumbers: 0,
  };
}
