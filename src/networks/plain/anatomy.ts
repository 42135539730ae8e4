// networks/plain: where the layers of a chain lie.
import type { Anatomy } from "../anatomy.ts";
import type { PlainSpec } from "./spec.ts";

export function plainAnatomy({ blockConfig, bottleneck, stem }: PlainSpec): Anatomy {
  const last = bottleneck ? "conv2" : "conv1";
  const layers = blockConfig.flatMap((count, block) =>
    Array.from({ length: count }, (_, before) => {
      const path = `features.block${block + 1}.layer${before + 1}`;
      const maps = `${path}.${last}:y`;
      return { path, block, index: before + 1, maps, state: maps, silencedBy: [`${path}.${last}.weight`] };
    }),
  );
  const first = stem === "cifar" ? "features.conv0:y" : "features.pool0:y";
  const blockInputs = blockConfig.map((_, block) => (block > 0 ? `features.transition${block}.pool:y` : first));
  return { layers, blockInputs, readers: [] };
}
