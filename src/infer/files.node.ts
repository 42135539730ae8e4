// infer: in Node, a checkpoint on disk and image files → predictions.
import type { Backend } from "../backends/backend.ts";
import type { Pointer } from "../checkpoint/store.node.ts";
import { decodeImage } from "../data/image.node.ts";
import { InputError } from "../errors.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { createPredictor, type PredictOptions, type Predictor, type PredictorOptions } from "./predictor.ts";
import type { Prediction } from "./scores.ts";

/**
 * A predictor for a run's folder, a checkpoint's folder, a saved .safetensors file, or weights of another tool: a
 * PyTorch file, a timm folder. `note` gets what was matched and assumed of the latter, a line at a time.
 * @throws InputError when it is none of these or damaged.
 */
export async function loadPredictor(
  checkpoint: string,
  backend: Backend,
  options: PredictorOptions & { readonly pointer?: Pointer; readonly note?: (line: string) => void } = {},
): Promise<Predictor> {
  const { trained, notes } = await loadClassifier(checkpoint, options.pointer);
  for (const line of notes) options.note?.(line);
  return createPredictor(trained, backend, options);
}

/** Files decoded at once: enough to keep the device busy, few enough to hold in memory. */
const AT_ONCE = 64;

/**
 * The best classes of each image file, in order.
 * @param options.maxPixels an image of more pixels is refused; default 64 million
 * @throws InputError naming a file that is no image, does not decode, is too large or has no finite scores
 */
export async function predictFiles(
  predictor: Predictor,
  files: readonly string[],
  options: PredictOptions & { readonly maxPixels?: number | undefined } = {},
): Promise<Prediction[][]> {
  const { maxPixels } = options;
  const { channels, ...size } = predictor.inputSize;
  if (channels !== 1 && channels !== 3) {
    throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
  }
  const predictions: Prediction[][] = [];
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const names = files.slice(start, start + AT_ONCE);
    const images = await Promise.all(names.map((file) => decodeImage(file, { channels, ...size }, { maxPixels })));
    predictions.push(...(await predictor.predictPlanar(images, { ...options, names })));
  }
  return predictions;
}
