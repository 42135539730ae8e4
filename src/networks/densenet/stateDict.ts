// networks/densenet: a DenseNet's state dict: torchvision's keys, old and new, and the spec that its shapes imply.
import type { GivenFields } from "../family.ts";
import { compressedMaps } from "./spec.ts";

/**
 * The published files of 2017 say `denselayer1.norm.1.weight` for `denselayer1.norm1.weight` (torchvision's own
 * pattern).
 */
const OLD_KEY =
  /^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var|num_batches_tracked))$/;

export function currentDenseNetPath(path: string): string {
  return path.replace(OLD_KEY, "$1$2");
}

/**
 * The fields of the DenseNet with these shapes by path, as far as they show; what else is wrong with them shows when
 * they are compared with it.
 */
export function recognizeDenseNet(shapes: ReadonlyMap<string, readonly number[]>): GivenFields | undefined {
  const conv0 = shapes.get("features.conv0.weight");
  const classifier = shapes.get("classifier.weight");
  const first = shapes.get("features.denseblock1.denselayer1.conv1.weight");
  if (conv0?.length !== 4 || classifier?.length !== 2 || first?.length !== 4) return undefined;
  const second = shapes.get("features.denseblock1.denselayer1.conv2.weight");
  const growthRate = (second ?? first)[0];

  const blockConfig: number[] = [];
  const transitions: (readonly [inMaps: number, outMaps: number])[] = [];
  for (const [path, shape] of shapes) {
    const [, block, layer] = /^features\.denseblock(\d+)\.denselayer(\d+)\.conv1\.weight$/.exec(path) ?? [];
    if (block !== undefined) {
      const index = Number(block) - 1;
      blockConfig[index] = Math.max(blockConfig[index] ?? 0, Number(layer));
    }
    if (/^features\.transition\d+\.conv\.weight$/.test(path)) transitions.push([shape[1], shape[0]]);
  }
  const compression = commonCompression(transitions);
  // A block that is missing between two others is a hole in the list.
  const everyBlock = Array.from(blockConfig, (layers) => layers ?? 0);
  if (compression === undefined || everyBlock.includes(0)) return undefined;
  return {
    growthRate,
    blockConfig: everyBlock,
    numInitFeatures: conv0[0],
    bottleneck: second !== undefined,
    ...(second === undefined ? {} : { bottleneckFactor: second[1] / growthRate }),
    compression,
    stem: conv0[2] === 7 ? "imagenet" : "cifar",
    inChannels: conv0[1],
    numClasses: classifier[0],
  };
}

/** A θ that turns every transition's m maps into its ⌊θ·m⌋: the paper's two first, else the smallest that does. */
export function commonCompression(transitions: readonly (readonly [number, number])[]): number | undefined {
  const smallest = Math.max(...transitions.map(([inMaps, outMaps]) => outMaps / inMaps));
  // out/in may round to just below itself; one part in 10^12 more changes no other floor.
  return [0.5, 1, smallest, smallest * (1 + 1e-12)].find((compression) =>
    transitions.every(([inMaps, outMaps]) => compressedMaps(compression, inMaps) === outMaps),
  );
}
