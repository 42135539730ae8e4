// cli: the network of a verb that looks inside it, with images prepared as the flags say.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { choosePreprocessing } from "../formats/preprocessing.ts";
import { say } from "./output.ts";
import { type PreprocessingFlags, preprocessingChoice } from "./preprocessingFlags.ts";

export interface NetworkFlags extends PreprocessingFlags {
  readonly best?: boolean;
}

/** @throws InputError for what is no network that classifies */
export async function openNetwork(checkpoint: string, flags: NetworkFlags): Promise<TrainedModel> {
  const { trained, notes } = await loadClassifier(checkpoint, flags.best ? "best" : "last", say);
  for (const line of notes) say(line);
  return choosePreprocessing(trained, preprocessingChoice(flags), say);
}
