// networks/densenet: the sizes of a DenseNet (section 3, table 1).
import { type Architecture, type Block, type ImageSize, LayerRows } from "../architecture.ts";
import { bottleneckMaps, compressedMaps, type DenseNetSpec } from "./spec.ts";

/**
 * What is copied are the concatenations: before every layer and behind the last one. With the modules' outputs, S =
 * N·H·W of the stage, `c` a module's input maps and `m` = bottleneckFactor·k a framework so keeps for the backward
 * pass, in numbers:
 *
 *     images                 S·inChannels
 *     stem                   S·k₀ after the convolution; with the ImageNet stem S·k₀ again after norm-ReLU and S/4·k₀
 *     after the pool dense layer            S·(c copied + c activated + m + m activated + k), or S·(2c + k) without
 *     bottleneck transition             S·(c copied + c activated + θc) + S/4·θc
 *     head                   S·(c copied + c activated) + N·(c pooled + classes)
 *
 * which grows with the square of a block's depth.
 */
export function denseNetArchitecture(spec: DenseNetSpec, size: ImageSize): Architecture {
  const { growthRate, blockConfig, compression, bottleneck, stem } = spec;
  const rows = new LayerRows({ channels: spec.inChannels, ...size });
  rows.stem(stem, spec.numInitFeatures);
  const blocks: Block[] = [];
  let copiedNumbers = 0;
  blockConfig.forEach((layers, index) => {
    if (index > 0) {
      rows.transition(`features.transition${index}`, compressedMaps(compression, rows.at.channels));
    }
    const path = `features.denseblock${index + 1}`;
    const input = rows.at;
    const plane = input.height * input.width;
    for (let layer = 1; layer <= layers; layer++) {
      // k₀ + k·(ℓ − 1) maps: the block's input and what the layers before made, concatenated.
      rows.at = { ...input, channels: input.channels + (layer - 1) * growthRate };
      copiedNumbers += rows.at.channels * plane;
      rows.compositeFunction(`${path}.denselayer${layer}`, growthRate, bottleneckMaps(spec));
    }
    rows.at = { ...input, channels: input.channels + layers * growthRate };
    copiedNumbers += rows.at.channels * plane;
    blocks.push({
      path,
      title: `Dense block ${index + 1}`,
      inChannels: input.channels,
      outChannels: rows.at.channels,
      height: input.height,
      width: input.width,
      layers,
      reach: layers,
    });
  });
  rows.head(spec.numClasses);

  const kind = `${bottleneck ? "B" : ""}${compression < 1 ? "C" : ""}` || "basic";
  return {
    layers: rows.rows,
    blocks,
    wiring: "every layer is connected to all before it in its block",
    facts: [
      ["kind", `${kind}, k = ${growthRate}, blocks ${blockConfig.join("-")}, compression ${compression}, ${stem} stem`],
    ],
    copiedNumbers,
  };
}
