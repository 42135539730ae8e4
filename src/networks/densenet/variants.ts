// networks/densenet: the networks of the paper by name (sections 3, 4.2 and tables 1, 2), of its code release and of
// the memory report.
import type { GivenFields } from "../family.ts";
import type { DenseNetSpec } from "./spec.ts";

type Fields = Partial<DenseNetSpec> & GivenFields;

/**
 * Three equal blocks for 32×32 images: depth = 3N + 4 convolution and classifier layers, or 6N + 4 with bottlenecks.
 */
function cifarNet(depth: number, growthRate: number, bc: boolean): Fields {
  const layers = (depth - 4) / (bc ? 6 : 3);
  return {
    growthRate,
    blockConfig: [layers, layers, layers],
    bottleneck: bc,
    compression: bc ? 0.5 : 1,
    stem: "cifar",
  };
}

function imageNet(growthRate: number, ...blockConfig: number[]): Fields {
  return { growthRate, blockConfig, bottleneck: true, compression: 0.5, stem: "imagenet" };
}

/**
 * In the order of the paper's tables, then one for a first run. 232 and 264 are the names they were published under;
 * their layers count to 233 and 265.
 */
export const densenetVariants: ReadonlyMap<string, Fields> = new Map([
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
  ["BC-28-12", cifarNet(28, 12, true)],
]);

/** So small that any device computes a training step of it in a moment. */
export const smallDenseNet: Fields = { growthRate: 5, blockConfig: [2, 3] };

/** One spelling for all: `DenseNet-BC (L=100, k=12)`, `densenet_bc_100_12` and `BC-100-12` become `bc-100-12`. */
export function normaliseDenseNet(name: string): string {
  const words = name
    .toLowerCase()
    .replace(/wide|dense-?net/g, "-")
    .replace(/[lk]\s*=?\s*(?=\d)/g, "-")
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
  const bc = words.filter((word) => word === "bc");
  return [...bc, ...words.filter((word) => word !== "bc")].join("-");
}

/** ImageNet nets may say their growth rate: 121-k32, densenet161_k48. */
export const densenetSpellings: ReadonlyMap<string, string> = new Map(
  [...densenetVariants].flatMap(([name, { stem, growthRate }]): [string, string][] => {
    const spelled = normaliseDenseNet(name);
    const withRate = stem === "imagenet" && !name.includes("k") ? [`${spelled}-${growthRate}`] : [];
    return [spelled, ...withRate].map((spelling) => [spelling, name]);
  }),
);
