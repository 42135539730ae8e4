// networks/resnet: the published networks by name.
import type { GivenFields } from "../family.ts";

const widths = [16, 32, 64];

/** Depth 6n + 2: three stages of n units of two convolutions, the first convolution and the classifier. */
function original(depth: number): GivenFields {
  const units = (depth - 2) / 6;
  return { blockConfig: [units, units, units], widths, preActivation: false };
}

/** Depth 9n + 2: units of three convolutions. */
function preActivation(depth: number): GivenFields {
  const units = (depth - 2) / 9;
  return { blockConfig: [units, units, units], widths, preActivation: true };
}

export const resnetVariants: ReadonlyMap<string, GivenFields> = new Map([
  ...[20, 32, 44, 56, 110].map((depth) => [`resnet-${depth}`, original(depth)] as const),
  ...[164, 1001].map((depth) => [`preresnet-${depth}`, preActivation(depth)] as const),
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
