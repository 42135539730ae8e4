// networks/densenet: from a few fields to a complete, checked, frozen DenseNetSpec. Everything after it may trust a spec blindly.
import { UsageError } from "../../errors.ts";
import { nearestName } from "../../nearestName.ts";
import type { DenseNetSpec } from "./spec.ts";

/** Channel counts beyond this cannot be meant; it keeps every product in the size arithmetic exact. */
const MAX_COUNT = 1_000_000;
const MAX_LAYERS = 10_000;

const FIELDS = [
  "growthRate",
  "blockConfig",
  "numInitFeatures",
  "bottleneck",
  "bottleneckFactor",
  "compression",
  "dropRate",
  "stem",
  "inChannels",
  "numClasses",
] as const satisfies readonly (keyof DenseNetSpec)[];

/** Fields given as undefined count as not given. */
export type SpecFields = { readonly [F in keyof DenseNetSpec]?: DenseNetSpec[F] | undefined };

/** ⌊θ·m⌋ in double arithmetic, as the authors' code and torchvision compute it (section 3, "Compression"). */
export function compressedMaps(compression: number, maps: number): number {
  return Math.floor(compression * maps);
}

/**
 * A complete spec from `fields`. Without fields it is DenseNet-BC-100-12 for 10 classes. Defaults: growthRate 12, blockConfig
 * [16, 16, 16], bottleneck true with factor 4, compression 0.5, dropRate 0, stem "cifar", inChannels 3, numClasses 10 ("cifar") or
 * 1000 ("imagenet"), numInitFeatures 2·growthRate for DenseNet-BC and the ImageNet stem and 16 otherwise (sections 3 and 4.2).
 * @throws UsageError naming the field, the value given and what was expected.
 */
export function defineSpec(fields: SpecFields = {}): DenseNetSpec {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new UsageError(`a spec must be an object of fields, got ${show(fields)}`, { value: fields });
  }
  for (const name of Object.keys(fields)) {
    if (!(FIELDS as readonly string[]).includes(name)) {
      const nearest = nearestName(name, FIELDS);
      throw new UsageError(
        `${name}: a spec has no such field${nearest ? `; did you mean ${nearest}?` : `; its fields are ${FIELDS.join(", ")}`}`,
        { field: name },
      );
    }
  }
  const growthRate = count("growthRate", fields.growthRate ?? 12);
  const blockConfig = blocks(fields.blockConfig ?? [16, 16, 16]);
  const bottleneck = flag("bottleneck", fields.bottleneck ?? true);
  const bottleneckFactor = count("bottleneckFactor", fields.bottleneckFactor ?? 4);
  const compression = fields.compression ?? 0.5;
  if (typeof compression !== "number" || !(compression > 0 && compression <= 1)) {
    throw impossible("compression", compression, "a number above 0 and at most 1");
  }
  const dropRate = fields.dropRate ?? 0;
  if (typeof dropRate !== "number" || !(dropRate >= 0 && dropRate < 1)) {
    throw impossible("dropRate", dropRate, "a probability of at least 0 and below 1");
  }
  const stem = fields.stem ?? "cifar";
  if (stem !== "cifar" && stem !== "imagenet") {
    throw impossible("stem", stem, '"cifar" or "imagenet"');
  }
  const wideStem = stem === "imagenet" || (bottleneck && compression < 1);
  const numInitFeatures = count("numInitFeatures", fields.numInitFeatures ?? (wideStem ? 2 * growthRate : 16));
  const inChannels = count("inChannels", fields.inChannels ?? 3);
  const numClasses = count("numClasses", fields.numClasses ?? (stem === "imagenet" ? 1000 : 10));

  let maps = numInitFeatures;
  for (const [index, layers] of blockConfig.entries()) {
    maps += layers * growthRate;
    if (index + 1 === blockConfig.length) break;
    const kept = compressedMaps(compression, maps);
    if (kept === 0) {
      throw new UsageError(
        `compression: ${compression} leaves none of the ${maps} feature maps after block ${index + 1}; expected at least ${1 / maps}`,
        { field: "compression", value: compression },
      );
    }
    maps = kept;
  }
  return Object.freeze({
    growthRate,
    blockConfig,
    numInitFeatures,
    bottleneck,
    bottleneckFactor,
    compression,
    dropRate,
    stem,
    inChannels,
    numClasses,
  });
}

function blocks(value: unknown): readonly number[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw impossible("blockConfig", value, "a list of at least one number of layers, such as [16, 16, 16]");
  }
  const config = value.map((layers: unknown, index) => count(`blockConfig[${index}]`, layers));
  const total = config.reduce((sum, layers) => sum + layers, 0);
  if (total > MAX_LAYERS) {
    throw impossible("blockConfig", value, `at most ${MAX_LAYERS} layers in all`);
  }
  return Object.freeze(config);
}

function count(field: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > MAX_COUNT) {
    throw impossible(field, value, `a whole number from 1 to ${MAX_COUNT}`);
  }
  return value;
}

function flag(field: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw impossible(field, value, "true or false");
  return value;
}

function impossible(field: string, value: unknown, expected: string): UsageError {
  return new UsageError(`${field}: got ${show(value)}, expected ${expected}`, { field, value, expected });
}

function show(value: unknown): string {
  return typeof value === "number" || value === undefined ? String(value) : (JSON.stringify(value) ?? String(value));
}
