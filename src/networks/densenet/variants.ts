// networks/densenet: the networks of the paper by name (sections 3, 4.2 and tables 1, 2), of its code release and of the memory report.
import { UsageError } from "../../errors.ts";
import { nearestName } from "../../nearestName.ts";
import { defineSpec, type SpecFields } from "./define.ts";
import type { DenseNetSpec } from "./spec.ts";

/** Three equal blocks for 32×32 pictures: depth = 3N + 4 convolution and classifier layers, or 6N + 4 with bottlenecks. */
function cifarNet(depth: number, growthRate: number, bc: boolean): SpecFields {
  const layers = (depth - 4) / (bc ? 6 : 3);
  return {
    growthRate,
    blockConfig: [layers, layers, layers],
    bottleneck: bc,
    compression: bc ? 0.5 : 1,
    stem: "cifar",
  };
}

function imageNet(growthRate: number, ...blockConfig: number[]): SpecFields {
  return { growthRate, blockConfig, bottleneck: true, compression: 0.5, stem: "imagenet" };
}

// 232 and 264 are the names they were published under; their layers count to 233 and 265.
const VARIANTS: ReadonlyMap<string, SpecFields> = new Map([
  ["40-12", cifarNet(40, 12, false)],
  ["100-12", cifarNet(100, 12, false)],
  ["100-24", cifarNet(100, 24, false)],
  ["BC-40-12", cifarNet(40, 12, true)],
  ["BC-100-12", cifarNet(100, 12, true)],
  ["BC-250-24", cifarNet(250, 24, true)],
  ["BC-190-40", cifarNet(190, 40, true)],
  ["BC-40-36", cifarNet(40, 36, true)],
  ["BC-40-48", cifarNet(40, 48, true)],
  ["BC-40-60", cifarNet(40, 60, true)],
  ["121", imageNet(32, 6, 12, 24, 16)],
  ["169", imageNet(32, 6, 12, 32, 32)],
  ["201", imageNet(32, 6, 12, 48, 32)],
  ["264", imageNet(32, 6, 12, 64, 48)],
  ["161", imageNet(48, 6, 12, 36, 24)],
  ["232", imageNet(48, 6, 12, 48, 48)],
  ["264-k48", imageNet(48, 6, 12, 64, 48)],
]);

/** Canonical names, in the order of the paper's tables. */
export const variantNames: readonly string[] = Object.freeze([...VARIANTS.keys()]);

/** One spelling for all: `DenseNet-BC (L=100, k=12)`, `densenet_bc_100_12` and `BC-100-12` become `bc-100-12`. */
function normalise(name: string): string {
  const parts = name
    .toLowerCase()
    .replace(/wide|dense-?net/g, "-")
    .replace(/[lk]\s*=?\s*(?=\d)/g, "-")
    .split(/[^a-z0-9]+/)
    .filter((part) => part !== "");
  const bc = parts.filter((part) => part === "bc");
  return [...bc, ...parts.filter((part) => part !== "bc")].join("-");
}

const CANONICAL: ReadonlyMap<string, string> = new Map(
  [...VARIANTS].flatMap(([name, fields]): [string, string][] => {
    const spelled = normalise(name);
    // ImageNet nets may say their growth rate: 121-k32, densenet161_k48.
    return fields.stem === "imagenet" && !name.includes("k")
      ? [
          [spelled, name],
          [`${spelled}-${fields.growthRate}`, name],
        ]
      : [[spelled, name]];
  }),
);

/** The canonical name that `name` is a spelling of. @throws UsageError with the nearest name. */
export function canonicalName(name: string): string {
  const spelled = normalise(name);
  const canonical = CANONICAL.get(spelled);
  if (canonical !== undefined) return canonical;
  const nearest = nearestSpelling(spelled);
  const suggestion = nearest === undefined ? "" : `did you mean ${nearest}? `;
  throw new UsageError(`no model is named "${name}"; ${suggestion}expected one of ${variantNames.join(", ")}`, {
    name,
    nearest,
    expected: variantNames,
  });
}

/** Also of names whose leading `densenet` is misspelt. */
function nearestSpelling(spelled: string): string | undefined {
  const nearest = nearestName(
    spelled,
    [...CANONICAL.keys()].flatMap((key) => [key, `densenet${key}`, `densenet-${key}`]),
  );
  return nearest === undefined ? undefined : CANONICAL.get(nearest.replace(/^densenet-?/, ""));
}

/**
 * The network of that name, `overrides` put over it. Case, separators and a leading `densenet` do not matter: `densenet121`,
 * `densenet-bc-100-12`, `L40-k12`. Without an override 10 classes for the CIFAR nets, 1000 for the ImageNet ones; numInitFeatures
 * follows an overridden growthRate.
 * @throws UsageError for an unknown name (with the nearest one) or an impossible override.
 */
export function namedSpec(name: string, overrides: SpecFields = {}): DenseNetSpec {
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
  return defineSpec({ ...VARIANTS.get(canonicalName(name)), ...given });
}

/** The name of the variant with this spec's layers; classes, input channels and dropout are free. */
export function variantName(spec: DenseNetSpec): string | undefined {
  const { numClasses, inChannels, dropRate } = spec;
  const sought = JSON.stringify(defineSpec(spec));
  return variantNames.find((name) => JSON.stringify(namedSpec(name, { numClasses, inChannels, dropRate })) === sought);
}
