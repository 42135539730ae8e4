// networks/resnet: the sizes of a residual net.
import { type Architecture, type Block, type ImageSize, LayerRows, type Maps } from "../architecture.ts";
import { type ResNetSpec, type Unit, unitsOf } from "./spec.ts";

export function resnetArchitecture(spec: ResNetSpec, size: ImageSize): Architecture {
  const { blockConfig, widths, preActivation, stochasticDepth } = spec;
  const rows = new LayerRows({ channels: spec.inChannels, ...size });
  rows.convolution("features.conv0", widths[0], 3);
  if (!preActivation) rows.batchNorm("features.norm0");
  const addUnit = preActivation ? addPreActivationUnit : addOriginalUnit;
  const units = unitsOf(spec);
  const blocks = blockConfig.map((layers, stage): Block => {
    const input = rows.at;
    for (const unit of units) if (unit.stage === stage) addUnit(rows, unit);
    const { channels, height, width } = rows.at;
    return {
      path: `features.stage${stage + 1}`,
      title: `Stage ${stage + 1}`,
      inChannels: input.channels,
      outChannels: channels,
      height,
      width,
      layers,
      reach: 1,
    };
  });
  if (preActivation) rows.head(spec.numClasses);
  else rows.classifier(spec.numClasses);
  const kind = preActivation ? "pre-activation bottleneck units" : "original units, shortcuts without parameters";
  const depth = stochasticDepth < 1 ? `, stochastic depth down to ${stochasticDepth} per ${spec.gatePer}` : "";
  return {
    layers: rows.rows,
    blocks,
    wiring: "every unit adds to what the one before it made",
    facts: [["kind", `${kind}, widths ${widths.join("-")}, units ${blockConfig.join("-")}${depth}`]],
    copiedNumbers: 0,
  };
}

function addOriginalUnit(rows: LayerRows, { path, width, stride }: Unit): void {
  rows.convolution(`${path}.conv1`, width, 3, stride);
  rows.batchNorm(`${path}.norm1`);
  rows.convolution(`${path}.conv2`, width, 3);
  rows.batchNorm(`${path}.norm2`);
}

function addPreActivationUnit(rows: LayerRows, { path, width, outChannels, stride }: Unit): void {
  const input: Maps = rows.at;
  rows.batchNorm(`${path}.norm1`);
  rows.convolution(`${path}.conv1`, width, 1, stride);
  rows.batchNorm(`${path}.norm2`);
  rows.convolution(`${path}.conv2`, width, 3);
  rows.batchNorm(`${path}.norm3`);
  rows.convolution(`${path}.conv3`, outChannels, 1);
  if (stride === 1 && input.channels === outChannels) return;
  rows.at = input;
  rows.projection(`${path}.shortcut`, outChannels, stride);
}
