// export: the config.json by which timm makes a network and hub readers its preprocessing. Portable.
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import { scalingMargin } from "../data/fitImage.ts";
import { UsageError } from "../errors.ts";
import { type NetworkSpec, variantName } from "../networks/registry.ts";

/** The config.json of `timm.create_model("local-dir:…")`. @throws UsageError for networks that timm cannot make */
export function timmConfig({ model, preprocessing, classes, outputs }: TrainedModel): Record<string, unknown> {
  const { spec } = model;
  const { height, width, mean, std, interpolation = "bicubic" } = preprocessing;
  const inputSize = [spec.inChannels, height, width];
  return {
    ...timmArchitecture(spec),
    num_classes: spec.numClasses,
    num_features: model.state.get("classifier.weight")?.shape[1],
    label_names: classes,
    pretrained_cfg: {
      tag: "densenet",
      custom_load: false,
      input_size: inputSize,
      fixed_input_size: false,
      interpolation,
      crop_pct: 1 / scalingMargin(preprocessing),
      crop_mode: "center",
      mean,
      std,
      num_classes: spec.numClasses,
      pool_size: [Math.max(1, height >> 5), Math.max(1, width >> 5)],
      first_conv: "features.conv0",
      classifier: "classifier",
      ...(outputs === undefined ? {} : { outputs }),
    },
  };
}

/** timm's DenseNet has a 7×7 stem of 2k maps, bottlenecks and transitions that halve. */
function timmArchitecture(spec: NetworkSpec): { architecture: string; model_args?: object } {
  const refuse = (what: string): UsageError =>
    new UsageError(`timm: makes no network with ${what}; write safetensors or ONNX instead`, { spec });
  if (spec.family !== "densenet") throw refuse(`the layers of the family ${spec.family}`);
  const { growthRate, blockConfig, bottleneckFactor, inChannels } = spec;
  if (spec.stem !== "imagenet") throw refuse("the 3×3 stem for CIFAR");
  if (!spec.bottleneck) throw refuse("dense layers without a bottleneck");
  if (spec.compression !== 0.5) throw refuse(`a compression of ${spec.compression}, its transitions halve`);
  if (spec.numInitFeatures !== 2 * growthRate) {
    throw refuse(`a stem of ${spec.numInitFeatures} maps for a growth rate of ${growthRate}, its stem has twice that`);
  }
  const named = variantName(spec);
  const channels = inChannels === 3 ? {} : { in_chans: inChannels };
  if (["121", "161", "169", "201"].some((variant) => variant === named)) {
    return { architecture: `densenet${named}`, ...(inChannels === 3 ? {} : { model_args: channels }) };
  }
  const layers = { growth_rate: growthRate, block_config: blockConfig, bn_size: bottleneckFactor };
  return { architecture: "densenet121", model_args: { ...layers, ...channels } };
}
