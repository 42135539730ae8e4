// cli: flags that say how images become the network's input, where the file is silent or wrong.
import { Option } from "commander";
import { interpolations } from "../data/resample.ts";
import { UsageError } from "../errors.ts";
import type { PreprocessingChoice } from "../formats/preprocessing.ts";
import { numberFlag } from "./flags.ts";

export interface PreprocessingFlags {
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly cropPct?: number;
  readonly interpolation?: PreprocessingChoice["interpolation"];
  readonly inputSize?: { readonly height: number; readonly width: number };
  readonly channelOrder?: "rgb" | "bgr";
}

export function preprocessingOptions(): readonly Option[] {
  return [
    new Option(
      "--mean <list>",
      "of pixels in 0…1, one value or one for each channel: 0.485,0.456,0.406 (default: the checkpoint's)",
    ).argParser(listFlag("--mean")),
    new Option("--std <list>", "deviation of pixels in 0…1, likewise (default: the checkpoint's)").argParser(
      listFlag("--std", 0),
    ),
    new Option(
      "--crop-pct <p>",
      "side of the centre that is cut out over the side of the scaled image, above 0 and at most 1 (default: the " +
        "checkpoint's)",
    ).argParser(cropFlag),
    new Option("--interpolation <name>", "how images are scaled (default: the checkpoint's)").choices(interpolations),
    new Option(
      "--input-size <n>",
      "pixels, such as 224, or 224x320 for height and width (default: the checkpoint's)",
    ).argParser(sizeFlag),
    new Option(
      "--channel-order <order>",
      "of the network's input, --mean and --std; bgr for weights of Caffe and OpenCV (default: rgb)",
    ).choices(["rgb", "bgr"]),
  ];
}

export function preprocessingChoice({
  mean,
  std,
  cropPct,
  interpolation,
  inputSize,
  channelOrder,
}: PreprocessingFlags): PreprocessingChoice {
  return {
    ...inputSize,
    ...(mean === undefined ? {} : { mean }),
    ...(std === undefined ? {} : { std }),
    ...(cropPct === undefined ? {} : { cropRatio: cropPct }),
    ...(interpolation === undefined ? {} : { interpolation }),
    ...(channelOrder === undefined ? {} : { channelOrder }),
  };
}

function listFlag(flag: string, above = Number.NEGATIVE_INFINITY): (text: string) => number[] {
  return (text) => {
    const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
    if (values.every((value) => Number.isFinite(value) && value > above)) return values;
    const range = above === 0 ? " above 0" : "";
    throw new UsageError(`${flag}: got "${text}", expected numbers${range} with commas between them`, { flag });
  };
}

function cropFlag(text: string): number {
  const value = numberFlag("--crop-pct")(text);
  if (value > 0 && value <= 1) return value;
  throw new UsageError(`--crop-pct: got "${text}", expected a number above 0 and at most 1`, { flag: "--crop-pct" });
}

/** @throws UsageError for sides that no network takes */
function sizeFlag(text: string): { height: number; width: number } {
  const [, height = "", width = height] = /^(\d+)(?:[x×](\d+))?$/.exec(text) ?? [];
  const sides = { height: Number(height), width: Number(width) };
  if (height !== "" && Object.values(sides).every((side) => side >= 1 && side <= 4096)) return sides;
  throw new UsageError(`--input-size: got "${text}", expected pixels from 1 to 4096, such as 224 or 224x320`, {
    flag: "--input-size",
  });
}
