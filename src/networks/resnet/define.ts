// networks/resnet: from a few fields to a complete, checked, frozen ResNetSpec.
import type { GivenFields } from "../family.ts";
import { fieldReader, impossible, usualClasses } from "../fields.ts";
import { type ResNetSpec, resnetRules } from "./spec.ts";

/**
 * A complete spec from `fields`. Defaults: blockConfig [18, 18, 18], widths that double from stage to stage from 16 on,
 * preActivation false, stochasticDepth 1, gatePer "batch", dropRate 0, inChannels 3, numClasses 10.
 * @throws UsageError naming the field, the value given and what was expected.
 */
export function defineResNet(fields: GivenFields): ResNetSpec {
  const field = fieldReader(fields, resnetRules, "ResNet");
  const blockConfig = Object.freeze([...field("blockConfig", [18, 18, 18])]);
  const widths = Object.freeze([
    ...field(
      "widths",
      blockConfig.map((_, index) => 16 * 2 ** index),
    ),
  ]);
  if (widths.length !== blockConfig.length) {
    throw impossible("widths", widths, `a number of feature maps for each of the ${blockConfig.length} stages`);
  }
  const preActivation = field("preActivation", false);
  const narrower = preActivation ? -1 : widths.findIndex((width, index) => index > 0 && width < widths[index - 1]);
  if (narrower > 0) {
    const expected = `at least the ${widths[narrower - 1]} of the stage before, because a shortcut of type A only appends`;
    throw impossible(`widths[${narrower}]`, widths[narrower], expected);
  }
  return Object.freeze({
    family: "resnet",
    blockConfig,
    widths,
    preActivation,
    stochasticDepth: field("stochasticDepth", 1),
    gatePer: field("gatePer", "batch"),
    dropRate: field("dropRate", 0),
    inChannels: field("inChannels", 3),
    numClasses: field("numClasses", usualClasses("cifar")),
  });
}
