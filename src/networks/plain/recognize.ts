// networks/plain: the spec that the shapes of a state dict imply.
import type { GivenFields } from "../family.ts";

/**
 * The fields of the chain with these shapes by path, as far as they show; what else is wrong with them shows when they
 * are compared with it.
 */
export function recognizePlain(shapes: ReadonlyMap<string, readonly number[]>): GivenFields | undefined {
  const conv0 = shapes.get("features.conv0.weight");
  const classifier = shapes.get("classifier.weight");
  const narrow = shapes.get("features.block1.layer1.conv1.weight");
  if (conv0?.length !== 4 || classifier?.length !== 2 || narrow === undefined) return undefined;
  const wide = shapes.get("features.block1.layer1.conv2.weight");
  const blockConfig: number[] = [];
  const widths: number[] = [];
  const last = wide === undefined ? "conv1" : "conv2";
  for (let block = 1; ; block++) {
    let layers = 0;
    while (shapes.has(`features.block${block}.layer${layers + 1}.${last}.weight`)) layers++;
    if (layers === 0) break;
    blockConfig.push(layers);
    widths.push(shapes.get(`features.block${block}.layer1.${last}.weight`)?.[0] ?? 0);
  }
  return {
    blockConfig,
    widths,
    numInitFeatures: conv0[0],
    bottleneck: wide !== undefined,
    ...(wide === undefined ? {} : { bottleneckFactor: wide[1] / wide[0] }),
    stem: conv0[2] === 7 ? "imagenet" : "cifar",
    inChannels: conv0[1],
    numClasses: classifier[0],
  };
}
