// networks/densenet: the networks of the paper by name (sections 3, 4.2 and tables 1, 2), of its code release and of
// the memory report.
import type { GivenFields } from "../family.ts";
import { type DepthRule, type NamePattern, unitsOf } from "../namePattern.ts";
import type { DenseNetSpec } from "./spec.ts";

type Fields = Partial<DenseNetSpec> & GivenFields;

/** The four kinds of section 3: with bottlenecks (B), with compression 0.5 (C), both, none. */
type Kind = "BC" | "B" | "C" | "";

/** Two transitions, the first convolution and the classifier; and what each layer of the three blocks has. */
const depthRule = (kind: Kind): DepthRule => ({ each: kind.startsWith("B") ? 6 : 3, others: 4 });

/**
 * Three equal blocks for 32×32 images: depth = 3N + 4 convolution and classifier layers, or 6N + 4 with bottlenecks.
 */
function cifarNet(depth: number, growthRate: number, kind: Kind): Fields {
  const layers = unitsOf(nameOf(kind, depth, growthRate), depth, depthRule(kind));
  return {
    growthRate,
    blockConfig: [layers, layers, layers],
    bottleneck: kind.startsWith("B"),
    compression: kind.endsWith("C") ? 0.5 : 1,
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
  ["40-12", cifarNet(40, 12, "")],
  ["100-12", cifarNet(100, 12, "")],
  ["100-24", cifarNet(100, 24, "")],
  ["BC-40-12", cifarNet(40, 12, "BC")],
  ["BC-100-12", cifarNet(100, 12, "BC")],
  ["BC-250-24", cifarNet(250, 24, "BC")],
  ["BC-190-40", cifarNet(190, 40, "BC")],
  ["BC-40-36", cifarNet(40, 36, "BC")],
  ["BC-40-48", cifarNet(40, 48, "BC")],
  ["BC-40-60", cifarNet(40, 60, "BC")],
  ["121", imageNet(32, 6, 12, 24, 16)],
  ["169", imageNet(32, 6, 12, 32, 32)],
  ["201", imageNet(32, 6, 12, 48, 32)],
  ["264", imageNet(32, 6, 12, 64, 48)],
  ["161", imageNet(48, 6, 12, 36, 24)],
  ["232", imageNet(48, 6, 12, 48, 48)],
  ["264-k48", imageNet(48, 6, 12, 64, 48)],
  ["BC-28-12", cifarNet(28, 12, "BC")],
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
  const isKind = (word: string): boolean => ["bc", "b", "c"].includes(word);
  return [...words.filter(isKind), ...words.filter((word) => !isKind(word))].join("-");
}

/** ImageNet nets may say their growth rate: 121-k32, densenet161_k48. */
export const densenetSpellings: ReadonlyMap<string, string> = new Map(
  [...densenetVariants].flatMap(([name, { stem, growthRate }]): [string, string][] => {
    const spelled = normaliseDenseNet(name);
    const withRate = stem === "imagenet" && !name.includes("k") ? [`${spelled}-${growthRate}`] : [];
    return [spelled, ...withRate].map((spelling) => [spelling, name]);
  }),
);

/** Networks for 32×32 images of any depth and growth rate: 22-12, B-40-12, C-40-12, BC-58-24. */
export const densenetPattern: NamePattern<DenseNetSpec> = {
  forms: ["L-k", "B-L-k", "C-L-k", "BC-L-k"],
  read(spelling) {
    const found = /^(?:(bc|b|c)-)?([1-9]\d{0,4})-([1-9]\d{0,3})$/.exec(spelling);
    // 121-48 would be taken for the ImageNet net of that depth.
    if (found === null || densenetSpellings.has(found[2])) return undefined;
    const kind = (found[1] ?? "").toUpperCase() as Kind;
    const [depth, growthRate] = [Number(found[2]), Number(found[3])];
    return { name: nameOf(kind, depth, growthRate), fields: cifarNet(depth, growthRate, kind) };
  },
  nameOf({ blockConfig, bottleneck, compression, growthRate }) {
    const kind: Kind = bottleneck ? (compression < 1 ? "BC" : "B") : compression < 1 ? "C" : "";
    const { each, others } = depthRule(kind);
    return nameOf(kind, others + each * (blockConfig[0] ?? 0), growthRate);
  },
};

function nameOf(kind: Kind, depth: number, growthRate: number): string {
  return [...(kind === "" ? [] : [kind]), depth, growthRate].join("-");
}
