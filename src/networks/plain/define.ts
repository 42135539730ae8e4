// networks/plain: from a few fields to a complete, checked, frozen PlainSpec.
import type { GivenFields } from "../family.ts";
import { fieldReader, impossible, usualClasses } from "../fields.ts";
import { type PlainSpec, plainRules } from "./spec.ts";

/**
 * A complete spec from `fields`. Defaults: blockConfig [12, 12, 12], widths that double from block to block from 16 on,
 * numInitFeatures the first block's width, bottleneck false (with factor 4), dropRate 0, stem "cifar", inChannels 3,
 * numClasses 10 ("cifar") or 1000 ("imagenet").
 * @throws UsageError naming the field, the value given and what was expected.
 */
export function definePlain(fields: GivenFields): PlainSpec {
  const field = fieldReader(fields, plainRules, "plain network");
  const blockConfig = Object.freeze([...field("blockConfig", [12, 12, 12])]);
  const doubling = blockConfig.map((_, index) => 16 * 2 ** index);
  const widths = Object.freeze([...field("widths", doubling)]);
  if (widths.length !== blockConfig.length) {
    throw impossible("widths", widths, `a number of feature maps for each of the ${blockConfig.length} blocks`);
  }
  const stem = field("stem", "cifar");
  return Object.freeze({
    family: "plain",
    blockConfig,
    widths,
    numInitFeatures: field("numInitFeatures", widths[0]),
    bottleneck: field("bottleneck", false),
    bottleneckFactor: field("bottleneckFactor", 4),
    dropRate: field("dropRate", 0),
    stem,
    inChannels: field("inChannels", 3),
    numClasses: field("numClasses", usualClasses(stem)),
  });
}
