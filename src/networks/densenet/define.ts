// networks/densenet: from a few fields to a complete, checked, frozen DenseNetSpec. Everything after it may trust a
// spec blindly.
import type { GivenFields } from "../family.ts";
import { fieldReader, impossible, usualClasses } from "../fields.ts";
import { compressedMaps, type DenseNetSpec, denseNetRules } from "./spec.ts";

/**
 * A complete spec from `fields`. Without fields it is DenseNet-BC-100-12 for 10 classes. Defaults: growthRate 12,
 * blockConfig [16, 16, 16], bottleneck true with factor 4, compression 0.5, dropRate 0, stem "cifar", inChannels 3,
 * numClasses 10 ("cifar") or 1000 ("imagenet"), numInitFeatures 2·growthRate for DenseNet-BC and the ImageNet stem and
 * 16 otherwise (sections 3 and 4.2).
 * @throws UsageError naming the field, the value given and what was expected.
 */
export function defineDenseNet(fields: GivenFields): DenseNetSpec {
  const field = fieldReader(fields, denseNetRules, "DenseNet");
  const growthRate = field("growthRate", 12);
  const blockConfig = Object.freeze([...field("blockConfig", [16, 16, 16])]);
  const bottleneck = field("bottleneck", true);
  const bottleneckFactor = field("bottleneckFactor", 4);
  const compression = field("compression", 0.5);
  const dropRate = field("dropRate", 0);
  const stem = field("stem", "cifar");
  const wideStem = stem === "imagenet" || (bottleneck && compression < 1);
  const numInitFeatures = field("numInitFeatures", wideStem ? 2 * growthRate : 16);
  const inChannels = field("inChannels", 3);
  const numClasses = field("numClasses", usualClasses(stem));

  let maps = numInitFeatures;
  for (const [index, layers] of blockConfig.entries()) {
    maps += layers * growthRate;
    if (index + 1 === blockConfig.length) break;
    const kept = compressedMaps(compression, maps);
    if (kept === 0) {
      const why = `which leaves one of the ${maps} feature maps after block ${index + 1}`;
      throw impossible("compression", compression, `at least ${1 / maps}, ${why}`);
    }
    maps = kept;
  }
  return Object.freeze({
    family: "densenet",
    growthRate,
    blockConfig,
    numInitFeatures,
    bottleneck,
    bottleneckFactor,
    compression,
    dropRate,
    stem,
    inChannels,
    numClasses,
  });
}
