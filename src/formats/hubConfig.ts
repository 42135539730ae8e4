// formats: the config.json of a timm or Hugging Face folder → labels and preprocessing. Portable.
//
// timm keeps what the weights were made with under pretrained_cfg, which a fine-tuned model inherits from its parent;
// so the number of classes is the tensors', and labels count only when they are as many.
import { isRecord } from "../checkpoint/record.ts";
import { interpolations } from "../data/resample.ts";
import { InputError } from "../errors.ts";
import type { FilePreprocessing, WeightFile } from "./weightFile.ts";

/** @throws InputError when `text` is not JSON or a field that is used has another form */
export function readHubConfig(text: string, source: string): Pick<WeightFile, "classes" | "preprocessing" | "origin"> {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${source}: cannot be read as JSON`, { file: source }, { cause });
  }
  if (!isRecord(config)) throw new InputError(`${source}: is no JSON object`, { file: source });
  const inner = isRecord(config.pretrained_cfg) ? config.pretrained_cfg : config;
  const numbers = (field: string, length?: number): number[] | undefined => {
    const value = inner[field];
    if (value === undefined || value === null) return undefined;
    const list = Array.isArray(value) ? value : [value];
    if (
      !list.every((item) => typeof item === "number" && Number.isFinite(item)) ||
      (length ?? list.length) !== list.length
    ) {
      throw new InputError(
        `${source}: ${field} is ${JSON.stringify(value).slice(0, 80)}, expected ${length ?? "some"} numbers`,
        {
          file: source,
          field,
        },
      );
    }
    return list;
  };
  const mean = numbers("mean");
  const std = numbers("std");
  if (std?.some((value) => !(value > 0)))
    throw new InputError(`${source}: std is ${std.join(", ")}, expected numbers above 0`, { file: source });
  const size = numbers("input_size", 3);
  if (size !== undefined && !size.slice(1).every((side) => Number.isInteger(side) && side > 0 && side <= 65_535)) {
    throw new InputError(`${source}: input_size is ${size.slice(1).join("×")}, expected pixels`, { file: source });
  }
  const cropRatio = numbers("crop_pct", 1)?.[0];
  if (cropRatio !== undefined && !(cropRatio > 0))
    throw new InputError(`${source}: crop_pct is ${cropRatio}, expected a number above 0`, { file: source });
  // What timm calls random or lanczos is scaled like bicubic.
  const interpolation = interpolations.find((name) => name === inner.interpolation);
  const preprocessing: FilePreprocessing = {
    ...(size === undefined ? {} : { height: size[1], width: size[2] }),
    ...(mean === undefined ? {} : { mean }),
    ...(std === undefined ? {} : { std }),
    ...(cropRatio === undefined ? {} : { cropRatio: Math.min(1, cropRatio) }),
    ...(interpolation === undefined ? {} : { interpolation }),
  };
  const classes = labels(config) ?? labels(inner);
  return {
    preprocessing,
    ...(classes === undefined ? {} : { classes }),
    ...(typeof config.architecture === "string" ? { origin: config.architecture } : {}),
  };
}

/** timm's `label_names`, transformers' `id2label`. */
function labels(config: Record<string, unknown>): readonly string[] | undefined {
  const { label_names: names, id2label } = config;
  if (Array.isArray(names) && names.every((name) => typeof name === "string")) return names;
  if (!isRecord(id2label)) return undefined;
  const listed = Object.keys(id2label).map((_, index) => id2label[index]);
  return listed.every((name) => typeof name === "string") ? listed : undefined;
}
