// formats: a network's weights for other classes and other input channels. Portable.
import { InputError } from "../errors.ts";
import { createNetwork } from "../model/create.ts";
import type { Model, ModelTensor } from "../model/model.ts";
import { type NetworkSpec, networkTitle } from "../networks/registry.ts";
import { show } from "../show.ts";

export interface AdaptedModel {
  readonly model: Model;
  /** What was made anew or changed, one line each. */
  readonly changes: readonly string[];
}

export interface AdaptOptions {
  /** False where the classes are others, though as many. */
  readonly keepHead?: boolean;
  /** False where the model's classifier only fills its place. */
  readonly hasHead?: boolean;
  readonly seed?: number;
  readonly source?: string;
}

/**
 * `model` as the network `spec`, which may differ in classes, input channels and dropout. A new classifier, for another
 * number of classes or when `keepHead` is false, gets first values of `seed`. The first convolution's weights are
 * summed for one channel, else repeated over the channels and scaled by old/new, so that the maps keep their magnitude
 * (as timm does).
 * @throws InputError naming `source` when the layers differ
 */
export function adaptModel(
  model: Model,
  spec: NetworkSpec,
  { keepHead = true, hasHead = true, seed = 0, source = "the model" }: AdaptOptions = {},
): AdaptedModel {
  const { numClasses, inChannels, dropRate } = spec;
  const layers = JSON.stringify({ ...model.spec, numClasses, inChannels, dropRate });
  if (layers !== JSON.stringify({ ...spec })) {
    throw new InputError(
      `${source}: is ${networkTitle(model.spec)} with ${show(model.spec)}, expected ${networkTitle(spec)} with ` +
        `${show(spec)}: only classes and input channels may differ`,
      { source },
    );
  }
  const state = new Map<string, ModelTensor>(model.state);
  const changes: string[] = [];
  if (!keepHead || numClasses !== model.spec.numClasses) {
    for (const [path, tensor] of createNetwork(spec, { seed }).state) {
      if (path.startsWith("classifier.")) state.set(path, tensor);
    }
    const before = hasHead ? `in place of its own for ${model.spec.numClasses}` : "for it has none";
    changes.push(`${source}: a new classifier for ${numClasses} classes, ${before}`);
  }
  const [stem, first] = [...model.state].find(([, { role }]) => role === "convWeight") ?? [];
  if (inChannels !== model.spec.inChannels && stem !== undefined && first !== undefined) {
    state.set(stem, overChannels(first, inChannels));
    changes.push(
      `${source}: the first convolution takes ${inChannels} channels in place of ${model.spec.inChannels}: its ` +
        `weights are ${inChannels === 1 ? "summed" : "repeated and scaled"}`,
    );
  }
  return { model: { ...model, spec, state }, changes };
}

/** [O, I, kh, kw] → [O, `channels`, kh, kw] */
function overChannels({ role, shape, data }: ModelTensor, channels: number): ModelTensor {
  const [outputs, inputs, height, width] = shape;
  const area = height * width;
  const out = new Float32Array(outputs * channels * area);
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < Math.max(inputs, channels); i++) {
      const from = (o * inputs + (i % inputs)) * area;
      const to = (o * channels + (channels === 1 ? 0 : i)) * area;
      if (channels > 1 && i >= channels) break;
      const scale = channels === 1 ? 1 : inputs / channels;
      for (let at = 0; at < area; at++) out[to + at] += scale * data[from + at];
    }
  }
  return { role, shape: [outputs, channels, height, width], data: out };
}
