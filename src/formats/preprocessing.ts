// formats: how images become a network's input, in words and as somebody asks for it. Portable.
import type { Preprocessing, TrainedModel } from "../checkpoint/checkpoint.ts";
import { UsageError } from "../errors.ts";
import type { ModelTensor } from "../model/model.ts";

/** What is to be other than a file says. */
export interface PreprocessingChoice extends Partial<Omit<Preprocessing, "mean" | "std">> {
  /** Of pixels in 0…1: one value, or one for each channel in the network's order. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** Of the network's input. BGR (Caffe, OpenCV) is taken into the first convolution. */
  readonly channelOrder?: "rgb" | "bgr";
}

/** One line: `mean 0.485, 0.456, 0.406, deviation 0.229, 0.224, 0.225, 224×224, the centre's 0.875, bilinear`. */
export function preprocessingText({ mean, std, height, width, cropRatio, interpolation }: Preprocessing): string {
  const listed = (values: readonly number[]): string => values.map((value) => Number(value.toPrecision(4))).join(", ");
  return [
    `mean ${listed(mean)}`,
    `deviation ${listed(std)}`,
    `${height}×${width}`,
    ...(cropRatio === undefined ? [] : [cropRatio === 1 ? "uncropped" : `the centre's ${cropRatio}`]),
    ...(interpolation === undefined ? [] : [interpolation]),
  ].join(", ");
}

/**
 * `trained` with images prepared as `choice` says, and otherwise as before; `note` gets what then holds.
 * @throws UsageError for a list of another length than the channels, and for BGR where there are not three
 */
export function choosePreprocessing(
  trained: TrainedModel,
  choice: PreprocessingChoice = {},
  note?: (line: string) => void,
): TrainedModel {
  if (Object.keys(choice).length === 0) return trained;
  const { channelOrder, mean, std, ...rest } = choice;
  const { inChannels } = trained.model.spec;
  const bgr = channelOrder === "bgr";
  if (bgr && inChannels !== 3) {
    throw new UsageError(`--channel-order: got bgr for a network of ${inChannels} input channels, expected 3`, {
      flag: "--channel-order",
    });
  }
  const perChannel = (values: readonly number[], flag: string): readonly number[] => {
    if (values.length !== 1 && values.length !== inChannels) {
      throw new UsageError(`${flag}: got ${values.length} values, expected 1 or ${inChannels}, one for each channel`, {
        flag,
      });
    }
    const all = values.length === 1 ? new Array<number>(inChannels).fill(values[0]) : values;
    return bgr ? all.toReversed() : all;
  };
  const preprocessing: Preprocessing = {
    ...trained.preprocessing,
    ...rest,
    ...(mean === undefined ? {} : { mean: perChannel(mean, "--mean") }),
    ...(std === undefined ? {} : { std: perChannel(std, "--std") }),
  };
  note?.(`input, as asked: ${preprocessingText(preprocessing)}${bgr ? "; BGR" : ""}`);
  return { ...trained, preprocessing, ...(bgr ? { model: readingBgr(trained.model) } : {}) };
}

/** The network that computes of RGB what `model` computes of BGR: its first convolution's inputs are reversed. */
function readingBgr(model: TrainedModel["model"]): TrainedModel["model"] {
  const state = new Map<string, ModelTensor>(model.state);
  const [path, first] = [...model.state].find(([, { role }]) => role === "convWeight") ?? [];
  if (path === undefined || first === undefined) return model;
  const { role, shape, data } = first;
  const [outputs, inputs, height, width] = shape;
  const area = height * width;
  const reversed = new Float32Array(data.length);
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      const from = (o * inputs + i) * area;
      reversed.set(data.subarray(from, from + area), (o * inputs + inputs - 1 - i) * area);
    }
  }
  state.set(path, { role, shape, data: reversed });
  return { ...model, state };
}
