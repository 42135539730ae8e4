// infer: in Node, a checkpoint on disk and image files → predictions.
import type { Backend } from "../backends/backend.ts";
import type { Pointer } from "../checkpoint/store.node.ts";
import { decodeImage } from "../data/image.node.ts";
import { InputError } from "../errors.ts";
import { loadClassifier } from "../formats/network.node.ts";
import { choosePreprocessing, type PreprocessingChoice } from "../formats/preprocessing.ts";
import { createPredictor, type PredictOptions, type Predictor, type PredictorOptions } from "./predictor.ts";
import type { Prediction } from "./scores.ts";

/** How a checkpoint becomes a predictor. */
export interface LoadPredictorOptions extends PredictorOptions {
  /** Of a run: which of its checkpoints. Default: the last. */
  readonly pointer?: Pointer;
  /** How images are prepared, where that is to be other than the file says. */
  readonly preprocessing?: PreprocessingChoice;
}

/**
 * A predictor for a run's folder, a checkpoint's folder, a saved .safetensors file, a model that comes with the
 * package, or weights of another tool, as `loadNetwork` takes them. `note` gets what was matched and assumed of the
 * latter, too, a line at a time.
 * @throws InputError when it is none of these or damaged.
 */
export async function loadPredictor(
  checkpoint: string,
  backend: Backend,
  options: LoadPredictorOptions = {},
): Promise<Predictor> {
  const { trained, notes } = await loadClassifier(checkpoint, options.pointer, options.note);
  for (const line of notes) options.note?.(line);
  return createPredictor(choosePreprocessing(trained, options.preprocessing, options.note), backend, options);
}

/** Files decoded at once: enough to keep the device busy, few enough to hold in memory. */
const AT_ONCE = 64;

/** What a file was found to show, or why there is no answer. */
export type FileAnswer =
  | { readonly file: string; readonly top: readonly Prediction[] }
  | { readonly file: string; readonly error: InputError };

/** How image files are classified. */
export interface FileOptions extends PredictOptions {
  /** An image of more pixels is refused. Default 64 million. */
  readonly maxPixels?: number | undefined;
}

/**
 * The best classes of each image file, in order; a file that is no image, does not decode, is too large or has no
 * finite scores gets an error and keeps no other from its answer.
 * @throws InputError for a network that takes no images of files
 * @throws ResourceError when the process or the system has run out of files or memory
 */
export async function* classifyFiles(
  predictor: Predictor,
  files: readonly string[],
  options: FileOptions = {},
): AsyncGenerator<FileAnswer, void, undefined> {
  const { maxPixels } = options;
  const { channels, ...size } = predictor.inputSize;
  if (channels !== 1 && channels !== 3) {
    throw new InputError(`a network of ${channels} input channels cannot take image files, expected 1 or 3`);
  }
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const names = files.slice(start, start + AT_ONCE);
    const decode = (file: string) => decodeImage(file, { channels, ...size }, { maxPixels });
    const decoded = await Promise.all(names.map((file) => decode(file).catch(asInputError)));
    const good = [...decoded.entries()].filter(
      (entry): entry is [number, Uint8Array] => !(entry[1] instanceof InputError),
    );
    const found = await predictEach(predictor, good, names, options);
    for (const [index, file] of names.entries()) {
      const bad = decoded[index];
      const answer = bad instanceof InputError ? bad : found.get(index);
      if (answer === undefined) throw new RangeError(`no answer for ${file}`);
      yield answer instanceof InputError ? { file, error: answer } : { file, top: answer };
    }
  }
}

/** All at once; one by one where one of them has no finite scores. */
async function predictEach(
  predictor: Predictor,
  images: readonly (readonly [number, Uint8Array])[],
  names: readonly string[],
  options: FileOptions,
): Promise<Map<number, Prediction[] | InputError>> {
  const predict = async (some: typeof images): Promise<[number, Prediction[]][]> => {
    const called = some.map(([index]) => names[index] ?? "");
    const pixels = some.map(([, image]) => image);
    const predictions = await predictor.predictPlanar(pixels, { ...options, names: called });
    return some.flatMap(([index], position) => {
      const top = predictions[position];
      return top === undefined ? [] : [[index, top] as [number, Prediction[]]];
    });
  };
  const all = await predict(images).catch(asInputError);
  if (!(all instanceof InputError)) return new Map(all);
  const answers = new Map<number, Prediction[] | InputError>();
  for (const image of images) {
    const one = await predict([image]).catch(asInputError);
    answers.set(image[0], one instanceof InputError ? one : (one[0]?.[1] ?? []));
  }
  return answers;
}

function asInputError(error: unknown): InputError {
  if (error instanceof InputError) return error;
  throw error;
}

/**
 * The best classes of each image file, in order.
 * @throws InputError naming a file that is no image, does not decode, is too large or has no finite scores
 */
export async function predictFiles(
  predictor: Predictor,
  files: readonly string[],
  options: FileOptions = {},
): Promise<Prediction[][]> {
  const predictions: Prediction[][] = [];
  for await (const answer of classifyFiles(predictor, files, options)) {
    if ("error" in answer) throw answer.error;
    predictions.push([...answer.top]);
  }
  return predictions;
}
