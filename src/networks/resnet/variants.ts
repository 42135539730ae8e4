// networks/resnet: the published networks by name.
import type { GivenFields } from "../family.ts";
import { type DepthRule, type NamePattern, unitsOf } from "../namePattern.ts";
import type { ResNetSpec } from "./spec.ts";

const widths = [16, 32, 64];

/** Depth 6n + 2: three stages of n units of two convolutions, the first one and the classifier; 9n + 2 of three. */
const depthRule = (preActivation: boolean): DepthRule => ({ each: preActivation ? 9 : 6, others: 2 });

function resNet(depth: number, preActivation: boolean): GivenFields {
  const units = unitsOf(nameOf(depth, preActivation), depth, depthRule(preActivation));
  return { blockConfig: [units, units, units], widths, preActivation };
}

function nameOf(depth: number, preActivation: boolean): string {
  return `${preActivation ? "pre" : ""}resnet-${depth}`;
}

export const resnetVariants: ReadonlyMap<string, GivenFields> = new Map([
  ...[20, 32, 44, 56, 110].map((depth) => [`resnet-${depth}`, resNet(depth, false)] as const),
  ...[164, 1001].map((depth) => [`preresnet-${depth}`, resNet(depth, true)] as const),
]);

/** One spelling for all: `ResNet110`, `resnet (L=110)` and `resnet_110`; `pre-act ResNet-164` and `preresnet164`. */
export function normaliseResNet(name: string): string {
  return name
    .toLowerCase()
    .replace(/res-?net/g, "resnet-")
    .replace(/pre(-?act(ivation)?)?[^a-z0-9]*(?=resnet)/g, "pre")
    .replace(/l\s*=?\s*(?=\d)/g, "-")
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "")
    .join("-");
}

export const resnetSpellings: ReadonlyMap<string, string> = new Map(
  [...resnetVariants.keys()].map((name) => [normaliseResNet(name), name]),
);

/** The same authors' nets for ImageNet, which a name without more would be taken for. */
const imageNetDepths = ["18", "34", "50", "101", "152"];

/** Networks of any depth: resnet-68, preresnet-83. */
export const resnetPattern: NamePattern<ResNetSpec> = {
  forms: ["resnet-L", "preresnet-L"],
  read(spelling) {
    const found = /^(pre)?resnet-([1-9]\d{0,4})$/.exec(spelling);
    if (found === null || imageNetDepths.includes(found[2])) return undefined;
    return { name: spelling, fields: resNet(Number(found[2]), found[1] !== undefined) };
  },
  nameOf({ blockConfig, preActivation }) {
    const { each, others } = depthRule(preActivation);
    return nameOf(others + each * (blockConfig[0] ?? 0), preActivation);
  },
};
