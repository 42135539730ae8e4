// networks/resnet: where the units lie. A layer is a unit, and its maps are the sum x_ℓ = H(x_{ℓ−1}) + x_{ℓ−1}.
import type { Anatomy } from "../anatomy.ts";
import { type ResNetSpec, unitsOf } from "./spec.ts";

export function resnetAnatomy(spec: ResNetSpec): Anatomy {
  const { preActivation } = spec;
  const counts = new Map<number, number>();
  const layers = unitsOf(spec).map(({ path, stage, keepProbability }) => {
    const index = (counts.get(stage) ?? 0) + 1;
    counts.set(stage, index);
    const maps = preActivation ? `${path}.add:sum` : `${path}.relu2:y`;
    // Without its last convolution, or the affine map behind it, the branch is zero and the shortcut alone is left.
    const silencedBy = preActivation ? [`${path}.conv3.weight`] : [`${path}.norm2.weight`, `${path}.norm2.bias`];
    return { path, block: stage, index, maps, state: maps, silencedBy, keepProbability };
  });
  const first = preActivation ? "features.conv0:y" : "features.relu0:y";
  const blockInputs = spec.blockConfig.map(
    (_, stage) => layers.findLast(({ block }) => block === stage - 1)?.state ?? first,
  );
  return { layers, blockInputs, readers: [] };
}
