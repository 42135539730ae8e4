// infer: in Node, a checkpoint on disk and image files → predictions.
import type { Backend } from "../backends/backend.ts";
import { loadCheckpoint, type Pointer } from "../checkpoint/store.node.ts";
import { decodeImage } from "../data/image.node.ts";
import { InputError } from "../errors.ts";
import { createPredictor, type PredictOptions, type Predictor, type PredictorOptions } from "./predictor.ts";
import type { Prediction } from "./scores.ts";

/** A predictor for a run's folder, a checkpoint's folder or a saved .safetensors file. @throws InputError when it is none of these or damaged. */
export async function loadPredictor(
  checkpoint: string,
  backend: Backend,
  options: PredictorOptions & { readonly pointer?: Pointer } = {},
): Promise<Predictor> {
  const { trained } = await loadCheckpoint(checkpoint, options.pointer);
  return createPredictor(trained, backend, options);
}

/** Files decoded at once: enough to keep the device busy, few enough to hold in memory. */
const AT_ONCE = 64;

/** The best classes of each image file (PNG, JPEG, WebP), in order. @throws InputError naming a file that does not decode, or has no finite scores. */
export async function predictFiles(
  predictor: Predictor,
  files: readonly string[],
  options: PredictOptions = {},
): Promise<Prediction[][]> {
  const { channels, ...size } = predictor.inputSize;
  if (channels !== 1 && channels !== 3) {
    throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
  }
  const predictions: Prediction[][] = [];
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const part = files.slice(start, start + AT_ONCE);
    const images = await Promise.all(part.map((file) => decodeImage(file, { channels, ...size })));
    predictions.push(...(await predictor.predictPlanar(images, { ...options, names: part })));
  }
  return predictions;
}
