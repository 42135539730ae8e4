// networks: checks of a spec's fields, one sentence each, for the families to compose.
import { UsageError } from "../errors.ts";
import { nearestName } from "../nearestName.ts";
import { show } from "../show.ts";
import type { CommonSpec, GivenFields } from "./family.ts";

/** Counts beyond this cannot be meant; it keeps every product in the size arithmetic exact. */
const MAX_COUNT = 1_000_000;
const MAX_LAYERS = 10_000;

export function impossible(field: string, value: unknown, expected: string): UsageError {
  return new UsageError(`${field}: got ${show(value)}, expected ${expected}`, { field, value, expected });
}

/** `label`: "DenseNet". @throws UsageError for a field that the family does not have, with the nearest one it has */
export function requireKnownFields(fields: GivenFields, known: readonly string[], label: string): void {
  for (const [field, value] of Object.entries(fields)) {
    if (known.includes(field) || value === undefined) continue;
    const nearest = nearestName(field, known);
    const expected = nearest ? `did you mean ${nearest}?` : `its fields are ${known.join(", ")}`;
    throw new UsageError(`${field}: a ${label} has no such field; ${expected}`, {
      field,
      value,
      expected: `nothing, as a ${label} has no such field; ${expected}`,
    });
  }
}

export function count(field: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > MAX_COUNT) {
    throw impossible(field, value, `a whole number from 1 to ${MAX_COUNT}`);
  }
  return value;
}

export function flag(field: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw impossible(field, value, "true or false");
  return value;
}

/** A frozen copy of a list with a count for every block. */
export function counts(field: string, value: unknown, such: string): readonly number[] {
  if (!Array.isArray(value) || value.length === 0) throw impossible(field, value, such);
  return Object.freeze(value.map((item: unknown, index) => count(`${field}[${index}]`, item)));
}

/** Layers of each block. */
export function blocks(field: string, value: unknown): readonly number[] {
  const config = counts(field, value, "a list of at least one number of layers, such as [16, 16, 16]");
  const total = config.reduce((sum, layers) => sum + layers, 0);
  if (total > MAX_LAYERS) throw impossible(field, value, `at most ${MAX_LAYERS} layers in all`);
  return config;
}

export function dropRate(value: unknown): number {
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw impossible("dropRate", value, "a probability of at least 0 and below 1");
}

/** `cifar`: one 3×3 convolution. `imagenet`: 7×7 stride 2, batch norm, ReLU, 3×3 max pool stride 2. */
export type Stem = "cifar" | "imagenet";

export function stem(value: unknown): Stem {
  if (value === "cifar" || value === "imagenet") return value;
  throw impossible("stem", value, '"cifar" or "imagenet"');
}

/** Channels, classes and dropout; where no number of classes is given, that of the images the stem is for. */
export function commonFields(fields: GivenFields, stem: Stem): Omit<CommonSpec, "family"> {
  return {
    dropRate: dropRate(fields.dropRate ?? 0),
    inChannels: count("inChannels", fields.inChannels ?? 3),
    numClasses: count("numClasses", fields.numClasses ?? (stem === "imagenet" ? 1000 : 10)),
  };
}
