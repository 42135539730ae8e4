// networks/densenet: from a few fields to a complete, checked, frozen DenseNetSpec. Everything after it may trust a spec blindly.
import type { GivenFields } from "../family.ts";
import { blocks, commonFields, count, flag, impossible, requireKnownFields, stem as stemField } from "../fields.ts";
import { compressedMaps, type DenseNetSpec, densenetFields } from "./spec.ts";

/**
 * A complete spec from `fields`. Without fields it is DenseNet-BC-100-12 for 10 classes. Defaults: growthRate 12, blockConfig
 * [16, 16, 16], bottleneck true with factor 4, compression 0.5, dropRate 0, stem "cifar", inChannels 3, numClasses 10 ("cifar") or
 * 1000 ("imagenet"), numInitFeatures 2·growthRate for DenseNet-BC and the ImageNet stem and 16 otherwise (sections 3 and 4.2).
 * @throws UsageError naming the field, the value given and what was expected.
 */
export function defineDenseNet(fields: GivenFields): DenseNetSpec {
  requireKnownFields(fields, densenetFields, "DenseNet");
  const growthRate = count("growthRate", fields.growthRate ?? 12);
  const blockConfig = blocks("blockConfig", fields.blockConfig ?? [16, 16, 16]);
  const bottleneck = flag("bottleneck", fields.bottleneck ?? true);
  const bottleneckFactor = count("bottleneckFactor", fields.bottleneckFactor ?? 4);
  const compression = fields.compression ?? 0.5;
  if (typeof compression !== "number" || !(compression > 0 && compression <= 1)) {
    throw impossible("compression", compression, "a number above 0 and at most 1");
  }
  const stem = stemField(fields.stem ?? "cifar");
  const wideStem = stem === "imagenet" || (bottleneck && compression < 1);
  const numInitFeatures = count("numInitFeatures", fields.numInitFeatures ?? (wideStem ? 2 * growthRate : 16));
  const common = commonFields(fields, stem);

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
    stem,
    ...common,
  });
}
