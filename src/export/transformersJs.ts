// export: the two JSON files with which transformers.js loads an ONNX classifier. Portable.
//
// transformers.js has no class for DenseNets. It takes any ONNX file for a class of models by `model_type`, and a
// ResNet's is `pixel_values` → `logits` with nothing else asked of it, which is what ours is.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { scalingMargin } from "../data/fitImage.ts";
import { UsageError } from "../errors.ts";

export const TRANSFORMERS_INPUT = "pixel_values";

/** config.json. @throws UsageError for networks that no pipeline of transformers.js runs */
export function transformersConfig({ model, classes, outputs }: TrainedModel): Record<string, unknown> {
  const { spec } = model;
  if (spec.inChannels !== 3) {
    throw new UsageError(
      `transformers.js: its image processor makes 3 channels, the network takes ${spec.inChannels}; write ONNX instead`,
    );
  }
  return {
    model_type: "resnet",
    architectures: ["ResNetForImageClassification"],
    id2label: Object.fromEntries(classes.entries()),
    label2id: Object.fromEntries(classes.map((label, index) => [label, index])),
    num_channels: spec.inChannels,
    ...(outputs === "sigmoid" ? { problem_type: "multi_label_classification" } : {}),
  };
}

/** PIL's numbers of the ways of scaling. */
const RESAMPLE = { bilinear: 2, bicubic: 3 } as const;

/** preprocessor_config.json. */
export function transformersProcessor({ preprocessing }: TrainedModel): Record<string, unknown> {
  const { height, width, mean, std, interpolation = "bicubic" } = preprocessing;
  const margin = scalingMargin(preprocessing);
  // A shortest edge is that of the scaled image: the cut-out fits where it is a square. Others are scaled whole.
  const square = height === width;
  return {
    image_processor_type: "BitImageProcessor",
    do_convert_rgb: true,
    do_resize: true,
    size: square ? { shortest_edge: Math.round(height * margin) } : { height, width },
    resample: RESAMPLE[interpolation],
    do_center_crop: square,
    crop_size: { height, width },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
  };
}
