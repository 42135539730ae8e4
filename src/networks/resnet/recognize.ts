// networks/resnet: the spec that the shapes of a state dict imply.
import type { GivenFields } from "../family.ts";

/**
 * The fields of the residual net with these shapes by path, as far as they show; what else is wrong with them shows
 * when they are compared with it.
 */
export function recognizeResNet(shapes: ReadonlyMap<string, readonly number[]>): GivenFields | undefined {
  const conv0 = shapes.get("features.conv0.weight");
  const classifier = shapes.get("classifier.weight");
  if (conv0?.length !== 4 || classifier?.length !== 2) return undefined;
  const blockConfig: number[] = [];
  const widths: number[] = [];
  for (let stage = 1; ; stage++) {
    let units = 0;
    while (shapes.has(`features.stage${stage}.unit${units + 1}.conv2.weight`)) units++;
    if (units === 0) break;
    blockConfig.push(units);
    widths.push(shapes.get(`features.stage${stage}.unit1.conv2.weight`)?.[0] ?? 0);
  }
  if (blockConfig.length === 0) return undefined;
  return {
    blockConfig,
    widths,
    preActivation: shapes.has("features.stage1.unit1.conv3.weight"),
    inChannels: conv0[1],
    numClasses: classifier[0],
  };
}
