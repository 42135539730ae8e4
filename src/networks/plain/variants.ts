// networks/plain: the chains to compare DenseNets with, by the DenseNet's name.
//
// plain-40-12 has the depth, blocks, stem, transitions and composite functions of DenseNet-40-12. Its layers' width is
// chosen so that a layer has as many convolution weights, and so multiply-adds, as the average dense layer of the same
// block. That one reads c̄ = c₀ + k·(L − 1)/2 maps, where c₀ enter a block of L layers, and makes k: 9·k·c̄ weights, or
// f·k·c̄ + 9·f·k² behind a bottleneck of f·k maps. A layer of a chain reads w maps and makes w: 9·w², or f·w² + 9·f·w².
// Equal at w = √(k·c̄), the geometric mean of what a dense layer reads and makes, or at √((k·c̄ + 9·k²)/10).
import type { GivenFields } from "../family.ts";
import { type NamePattern, unitsOf } from "../namePattern.ts";
import type { PlainSpec } from "./spec.ts";

/** The DenseNet of the name. `theta`: what its transitions keep of their maps. */
interface Origin {
  readonly growthRate: number;
  readonly blockConfig: readonly number[];
  readonly numInitFeatures: number;
  readonly bottleneck: boolean;
  readonly theta: number;
  readonly stem: PlainSpec["stem"];
}

function chain({ growthRate: k, blockConfig, numInitFeatures, bottleneck, theta, stem }: Origin): GivenFields {
  let entering = numInitFeatures;
  const widths = blockConfig.map((layers) => {
    const read = entering + (k * (layers - 1)) / 2;
    entering = Math.floor(theta * (entering + k * layers));
    return Math.round(Math.sqrt(bottleneck ? (k * read + 9 * k * k) / 10 : k * read));
  });
  return { blockConfig, widths, numInitFeatures, bottleneck, stem };
}

/** Three equal blocks for 32×32 images, as in the DenseNets of these names. */
function cifarChain(depth: number, growthRate: number, bc: boolean): GivenFields {
  const layers = unitsOf(nameOf(depth, growthRate, bc), depth, { each: bc ? 6 : 3, others: 4 });
  return chain({
    growthRate,
    blockConfig: [layers, layers, layers],
    numInitFeatures: bc ? 2 * growthRate : 16,
    bottleneck: bc,
    theta: bc ? 0.5 : 1,
    stem: "cifar",
  });
}

function nameOf(depth: number, growthRate: number, bc: boolean): string {
  return `plain-${bc ? "BC-" : ""}${depth}-${growthRate}`;
}

export const plainVariants: ReadonlyMap<string, GivenFields> = new Map([
  ["plain-40-12", cifarChain(40, 12, false)],
  ["plain-100-12", cifarChain(100, 12, false)],
  ["plain-BC-40-12", cifarChain(40, 12, true)],
  ["plain-BC-100-12", cifarChain(100, 12, true)],
  [
    "plain-121",
    chain({
      growthRate: 32,
      blockConfig: [6, 12, 24, 16],
      numInitFeatures: 64,
      bottleneck: true,
      theta: 0.5,
      stem: "imagenet",
    }),
  ],
]);

/** One spelling for all: `Plain-BC (L=100, k=12)`, `plain_bc_100_12` and `plain-BC-100-12` become `plain-bc-100-12`. */
export function normalisePlain(name: string): string {
  return name
    .toLowerCase()
    .replace(/plain/g, "plain-")
    .replace(/[lk]\s*=?\s*(?=\d)/g, "-")
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "")
    .join("-");
}

export const plainSpellings: ReadonlyMap<string, string> = new Map(
  [...plainVariants.keys()].map((name) => [normalisePlain(name), name]),
);

/** Chains like the DenseNets for 32×32 images of any depth and growth rate: plain-58-12, plain-BC-58-24. */
export const plainPattern: NamePattern<PlainSpec> = {
  forms: ["plain-L-k", "plain-BC-L-k"],
  read(spelling) {
    const found = /^plain-(bc-)?([1-9]\d{0,4})-([1-9]\d{0,3})$/.exec(spelling);
    if (found === null) return undefined;
    const [depth, growthRate, bc] = [Number(found[2]), Number(found[3]), found[1] !== undefined];
    return { name: nameOf(depth, growthRate, bc), fields: cifarChain(depth, growthRate, bc) };
  },
  /** Its spec does not hold the growth rate. */
  nameOf: () => undefined,
};
