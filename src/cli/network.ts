// cli: the network of a verb that looks inside it, with images prepared as the flags say.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { type LoadedNetwork, loadClassifier, loadNetwork } from "../formats/network.node.ts";
import { choosePreprocessing } from "../formats/preprocessing.ts";
import { say } from "./output.ts";
import { type PreprocessingFlags, preprocessingChoice } from "./preprocessingFlags.ts";

export interface NetworkFlags extends PreprocessingFlags {
  readonly best?: boolean;
}

/** @throws InputError for what is no network that classifies */
export async function openNetwork(checkpoint: string, flags: NetworkFlags): Promise<TrainedModel> {
  return prepared(await loadClassifier(checkpoint, pointerOf(flags), say), flags);
}

/**
 * As openNetwork, but it need not classify: weights of a feature extractor, too.
 * @throws InputError for what is no network
 */
export async function openFeatures(
  checkpoint: string,
  flags: NetworkFlags,
): Promise<{ readonly trained: TrainedModel; readonly hasHead: boolean }> {
  const network = await loadNetwork(checkpoint, pointerOf(flags), say);
  return { trained: prepared(network, flags), hasHead: network.hasHead };
}

const pointerOf = ({ best }: NetworkFlags) => (best ? "best" : "last");

function prepared({ trained, notes }: Pick<LoadedNetwork, "trained" | "notes">, flags: NetworkFlags): TrainedModel {
  for (const line of notes) say(line);
  return choosePreprocessing(trained, preprocessingChoice(flags), say);
}
