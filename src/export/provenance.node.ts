// export: where a network comes from, for its model card: how it was trained, what it was measured at, on what terms.
import { existsSync } from "node:fs";
import { formatInteger } from "../analyze/format.ts";
import type { LoadedNetwork } from "../formats/network.node.ts";
import { isPretrainedName, loadModelCard } from "../formats/pretrained.ts";
import { parseRunState } from "../train/runState.ts";
import type { Provenance } from "./card.ts";

/** What `network`, which was loaded from `source`, says of its training; nothing of another tool's weights. */
export async function provenanceOf(
  { training, own }: Pick<LoadedNetwork, "training" | "own">,
  source: string,
): Promise<Provenance> {
  if (training !== undefined) return runProvenance(training.run, source);
  if (!own || !isPretrainedName(source) || existsSync(source)) return {};
  const { training: recipe, measured, licence, dataTerms } = await loadModelCard(source);
  const { images, top1Error, loss } = measured.test;
  return {
    measured: { top1Error, loss, on: `${formatInteger(images)} test images of ${recipe.dataset}`, split: "test" },
    recipe: `${recipe.epochs} epochs on ${formatInteger(recipe.images)} images: ${recipe.command}`,
    licence: { ...(licence.startsWith("MIT") ? { id: "mit" } : {}), text: `${licence}. ${dataTerms}` },
  };
}

function runProvenance(run: unknown, source: string): Provenance {
  const { config, history, running, trainCount } = parseRunState(run, source);
  const { schedule, lr, batchSize, weightDecay, seed, epochs } = config;
  const last = history.at(-1);
  const { valSplit, augment } = config.data;
  // Without --val-split a run is validated with what its data brings along, which may be its test images.
  const images = valSplit === 0 ? "the images it was validated with" : `images held out (--val-split ${valSplit})`;
  return {
    // In the middle of an epoch the weights are others than those that were measured.
    ...(last === undefined || running.count > 0
      ? {}
      : {
          measured: {
            top1Error: last.valTop1Error,
            loss: last.valLoss,
            on: `${images}, after epoch ${last.epoch}`,
            ...(valSplit === 0 ? {} : { split: "validation" }),
          },
        }),
    recipe:
      `${last?.epoch ?? 0} of ${epochs} epochs on ${formatInteger(trainCount)} images, augmentation ${augment}, schedule ${schedule}, learning ` +
      `rate ${lr}, batch ${batchSize}, weight decay ${weightDecay}, seed ${seed}`,
  };
}
