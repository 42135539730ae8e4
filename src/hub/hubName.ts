// hub: names of weights on the Hugging Face hub, and of the files there. Portable.
import { InputError } from "../errors.ts";
import { showText } from "../show.ts";

export interface HubName {
  /** `timm/densenet121.ra_in1k` */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

/** Torchvision's own weights (IMAGENET1K_V1) have these names on the hub. */
const TORCHVISION: ReadonlyMap<string, string> = new Map(
  [121, 161, 169, 201].map((depth) => [`densenet${depth}`, `timm/densenet${depth}.tv_in1k`]),
);

/** Files of weights in the order of preference; of shards their index names the files. */
export const HUB_WEIGHTS: readonly string[] = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];

/** Says labels and preprocessing. */
export const HUB_CONFIG = "config.json";

const HUB = "hf:";
const VISION = "torchvision:";

export function isHubName(name: string): boolean {
  return name.startsWith(HUB) || name.startsWith(VISION);
}

/** @throws InputError for what follows the prefix and is no name there */
export function parseHubName(name: string): HubName {
  if (name.startsWith(VISION)) {
    const repo = TORCHVISION.get(name.slice(VISION.length));
    if (repo !== undefined) return { repo, revision: "main" };
    throw new InputError(
      `${showText(name)}: expected one of ${[...TORCHVISION.keys()].map((key) => VISION + key).join(", ")}`,
      {
        name,
      },
    );
  }
  const [, repo, revision = "main"] = /^hf:([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(name) ?? [];
  if (repo === undefined || name.includes("..") || name.includes("--")) {
    throw new InputError(
      `${showText(name)}: expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION, such as hf:timm/densenet121.ra_in1k`,
      { name },
    );
  }
  return { repo, revision };
}
