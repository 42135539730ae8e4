// networks/densenet: which image sizes a network can take. Each transition halves the maps and drops a rest; a map must never vanish (paper, table 1).
import { UsageError } from "../../errors.ts";
import { smallestInput } from "./architecture.ts";
import type { DenseNetSpec } from "./spec.ts";

/** The first layer of the net that has too few pixels left to work on, if any. */
function firstVanishing(spec: DenseNetSpec, imageExtent: number): { layer: string; extent: number } | undefined {
  let extent = imageExtent;
  if (extent < 1) return { layer: "features.conv0", extent };
  if (spec.stem === "imagenet") {
    extent = Math.floor((extent + 6 - 7) / 2) + 1;
    extent = Math.floor((extent + 2 - 3) / 2) + 1;
  }
  for (let transition = 1; transition < spec.blockConfig.length; transition++) {
    if (extent < 2) return { layer: `features.transition${transition}.pool`, extent };
    extent = Math.floor(extent / 2);
  }
  return undefined;
}

/** @throws UsageError that names the layer where the feature map would vanish and the smallest size that works. */
export function requireImageSize(spec: DenseNetSpec, height: number, width: number): void {
  const vanishing = firstVanishing(spec, Math.min(height, width));
  if (!vanishing) return;
  const smallest = smallestInput(spec);
  const { layer, extent } = vanishing;
  throw new UsageError(
    `${layer}: images of ${height}×${width} leave a feature map ${extent} high or wide, too small for this layer; the smallest images that work are ${smallest}×${smallest}`,
    { layer, height, width, smallest },
  );
}
