// networks/plain: chains without skip connections, for the registry.
import { smallestSide } from "../architecture.ts";
import type { Family } from "../family.ts";
import { plainAnatomy } from "./anatomy.ts";
import { plainArchitecture } from "./architecture.ts";
import { buildPlain } from "./build.ts";
import { definePlain } from "./define.ts";
import { recognizePlain } from "./recognize.ts";
import { type PlainSpec, plainRules } from "./spec.ts";
import { normalisePlain, plainPattern, plainSpellings, plainVariants } from "./variants.ts";

export const plain: Family<PlainSpec> = {
  family: "plain",
  label: "plain network",
  description: "plain chain of convolutions without skip connections",
  citation:
    "the layers of Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, CVPR 2017, " +
    "without their connections",
  fields: plainRules,
  variants: plainVariants,
  spellings: plainSpellings,
  pattern: plainPattern,
  normalise: normalisePlain,
  title: (variant) => variant.replace("plain", "Plain"),
  define: definePlain,
  smallestInput: ({ stem, blockConfig }) => smallestSide(stem, blockConfig.length - 1),
  usualInput: ({ stem }) => (stem === "imagenet" ? 224 : 32),
  architecture: plainArchitecture,
  build: buildPlain,
  currentPath: (path) => path,
  recognize: recognizePlain,
  anatomy: plainAnatomy,
};
