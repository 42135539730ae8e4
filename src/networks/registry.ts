// networks: the only place that lists the families, and what everything after it may ask of a network of any family.
//
// A network is its spec, frozen plain data with the name of its family in it; its graph is what plans, backends and
// training see of it.
import { UsageError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { editDistance, nearestName } from "../nearestName.ts";
import { show } from "../show.ts";
import type { Anatomy } from "./anatomy.ts";
import type { Architecture, ImageSize, Layer } from "./architecture.ts";
import { densenet } from "./densenet/family.ts";
import { smallDenseNet } from "./densenet/variants.ts";
import type { BuildOptions, CommonSpec, Family, GivenFields } from "./family.ts";
import { commonRules, type FieldRule } from "./fields.ts";
import type { NamedFields } from "./namePattern.ts";
import { plain } from "./plain/family.ts";
import { resnet } from "./resnet/family.ts";

export type { Anatomy, AnatomyLayer, AnatomyReader, AnatomySource } from "./anatomy.ts";
export { type Architecture, type Block, connectionsIn, depthOf, type ImageSize, type Layer } from "./architecture.ts";
export type { BuildOptions } from "./family.ts";
export type { FieldRule } from "./fields.ts";

const families = { densenet, plain, resnet };

type FamilyName = keyof typeof families;

/** A network of any family; `family` discriminates. */
export type NetworkSpec = ReturnType<(typeof families)[FamilyName]["define"]>;

type KeyOf<S> = S extends unknown ? keyof S : never;
type ValueOf<S, K> = S extends unknown ? (K extends keyof S ? S[K] : never) : never;

/** Fields of a spec of any family; those given as undefined count as not given. */
export type SpecFields = { readonly [K in KeyOf<NetworkSpec>]?: ValueOf<NetworkSpec, K> | undefined };

/** Fields that shape the layers: all but the family's name and what data and training decide. */
export type ModelFields = Omit<SpecFields, keyof CommonSpec>;

const everyFamily: readonly Family<NetworkSpec>[] = Object.values(families);

/**
 * What the fields of ModelFields may hold, whichever family has them. `namedSpec` refuses those that the network's own
 * family lacks.
 */
export const modelRules = Object.fromEntries(
  everyFamily.flatMap(({ fields }) => Object.entries(fields)).filter(([field]) => !(field in commonRules)),
) as Readonly<Record<keyof ModelFields, FieldRule>>;

/** @throws UsageError when `spec` is not the spec of a network */
function familyOf(spec: NetworkSpec): Family<NetworkSpec> {
  const given: unknown = spec;
  if (typeof given !== "object" || given === null) {
    const hint = typeof given === "string" ? `; namedSpec(${show(given)}) makes the spec of that name` : "";
    throw new UsageError(
      `spec: got ${show(given)}, expected a network's spec, as namedSpec and defineSpec make it${hint}`,
    );
  }
  const found = everyFamily.find(({ family }) => family === spec.family);
  if (found) return found;
  throw spec.family === undefined
    ? new UsageError("spec: has no family, expected a network's spec; defineSpec completes one that was saved without")
    : unknownFamily(spec.family);
}

function unknownFamily(family: unknown): UsageError {
  return new UsageError(`family: got ${show(family)}, expected one of ${Object.keys(families).join(", ")}`, {
    field: "family",
    value: family,
  });
}

/**
 * A complete, checked, frozen spec from some of its fields: of the family that `family` names, of a DenseNet where none
 * is named (specs that were saved before there was a choice). What a family's fields are when they are not given stands
 * with its `define`; without any it is DenseNet-BC-100-12.
 * @throws UsageError naming the field, the value given and what was expected
 */
export function defineSpec(fields: SpecFields = {}): NetworkSpec {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new UsageError(`a spec must be an object of fields, got ${show(fields)}`, { value: fields });
  }
  const { family = "densenet", ...rest } = fields;
  const found = everyFamily.find((candidate) => candidate.family === family);
  if (!found) throw unknownFamily(family);
  return found.define(rest);
}

/** Canonical names of the published networks, family by family. */
export const variantNames: readonly string[] = Object.freeze(
  everyFamily.flatMap(({ variants }) => [...variants.keys()]),
);

/** How others are named by depth and width: "BC-L-k". */
export const nameForms: readonly string[] = Object.freeze(everyFamily.flatMap(({ pattern }) => pattern.forms));

/** The canonical name that `name` is a spelling of. @throws UsageError with the nearest name */
export function canonicalName(name: string): string {
  return findVariant(name).name;
}

function findVariant(name: string): NamedFields & { readonly family: Family<NetworkSpec> } {
  for (const family of everyFamily) {
    const spelling = family.normalise(name);
    const published = family.spellings.get(spelling);
    if (published !== undefined) return { family, name: published, fields: family.variants.get(published) ?? {} };
    const patterned = family.pattern.read(spelling);
    if (patterned !== undefined) return { family, ...patterned };
  }
  const nearest = nearestVariant(name);
  const suggestion = nearest === undefined ? "" : `did you mean ${nearest}? `;
  throw new UsageError(
    `no model is named "${name}"; ${suggestion}expected one of ${variantNames.join(", ")}, or ${nameForms.join(", ")} with L layers`,
    {
      name,
      nearest,
      expected: variantNames,
    },
  );
}

/** Also of names whose family's name, before the variant's, is misspelt. */
function nearestVariant(name: string): string | undefined {
  const known = new Map<string, string>();
  for (const { family, spellings } of everyFamily) {
    for (const [spelling, variant] of spellings) {
      for (const written of [spelling, `${family}${spelling}`, `${family}-${spelling}`]) known.set(written, variant);
    }
  }
  const guesses = everyFamily.flatMap(({ normalise }) => {
    const written = normalise(name);
    const nearest = nearestName(written, known.keys());
    return nearest === undefined ? [] : [{ variant: known.get(nearest), edits: editDistance(written, nearest) }];
  });
  return guesses.sort((a, b) => a.edits - b.edits)[0]?.variant;
}

/**
 * The network of that name, `overrides` put over it. Case, separators and a leading `densenet` do not matter:
 * `densenet121`, `densenet-bc-100-12`, `L40-k12`. Without an override 10 classes for the CIFAR nets, 1000 for the
 * ImageNet ones; fields that follow others by default follow overridden ones.
 * @throws UsageError for an unknown name (with the nearest one) or an impossible override
 */
export function namedSpec(name: string, overrides: SpecFields = {}): NetworkSpec {
  const { family, fields } = findVariant(name);
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined);
  return family.define({ ...fields, ...Object.fromEntries(given) });
}

/** A network so small that any device computes a training step of it in a moment, for self-checks. */
export function smallSpec(numClasses: number): NetworkSpec {
  return densenet.define({ ...smallDenseNet, numClasses });
}

/** The name of the network with this spec's layers; classes, input channels and dropout are free. */
export function variantName(spec: NetworkSpec): string | undefined {
  const { define, variants, pattern } = familyOf(spec);
  const { family: _family, ...fields } = spec;
  const { numClasses, inChannels, dropRate } = spec;
  const sought = JSON.stringify(define(fields));
  const isSought = (variant: GivenFields | undefined): boolean =>
    JSON.stringify(define({ ...variant, numClasses, inChannels, dropRate })) === sought;
  for (const [name, variant] of variants) {
    if (isSought(variant)) return name;
  }
  const name = pattern.nameOf(spec);
  return name !== undefined && isSought(pattern.read(name.toLowerCase())?.fields) ? name : undefined;
}

/**
 * What to call a network in a title: "DenseNet-BC-40-12", "ResNet-110 with stochastic depth", or "A DenseNet like
 * BC-40-12" where it was made from `origin` and changed.
 */
export function networkTitle(spec: NetworkSpec, origin?: string): string {
  const { label, title, define, trainedWith } = familyOf(spec);
  const training = trainedWith?.(spec);
  const { family: _family, ...fields } = spec;
  const name = variantName(training === undefined ? spec : define({ ...fields, ...training.without }));
  if (name !== undefined) return training === undefined ? title(name) : `${title(name)} ${training.words}`;
  return origin === undefined ? `A ${label}` : `A ${label} like ${origin}`;
}

/** For sentences, after "a": "densely connected network". And where such networks are described. */
export function familyFacts(spec: NetworkSpec): Pick<Family<NetworkSpec>, "description" | "citation"> {
  const { description, citation } = familyOf(spec);
  return { description, citation };
}

/**
 * Smallest height and width in pixels that leave every feature map at least one. 29 for the four-block ImageNet nets.
 */
export function smallestInput(spec: NetworkSpec): number {
  return familyOf(spec).smallestInput(spec);
}

/** Side in pixels of the images that such a network is published for: 32 or 224. */
export function usualInput(spec: NetworkSpec): number {
  return familyOf(spec).usualInput(spec);
}

/**
 * @throws UsageError when the size is not whole, or naming the layer where a feature map would vanish and the smallest
 * size that works
 */
export function architecture(spec: NetworkSpec, size: ImageSize): Architecture {
  const { height, width } = size;
  const family = familyOf(spec);
  for (const side of ["height", "width"] as const) {
    if (Number.isInteger(size[side])) continue;
    const expected = "a whole number of pixels";
    throw new UsageError(`${side}: got ${show(size[side])}, expected ${expected}`, { field: side, value: size[side] });
  }
  const found = family.architecture(spec, size);
  const vanishing = found.layers.find((layer) => layer.height < 1 || layer.width < 1);
  if (!vanishing) return found;
  const smallest = smallestInput(spec);
  const { path, inHeight, inWidth } = vanishing;
  throw new UsageError(
    `${path}: images of ${height}×${width} leave a feature map ${Math.min(inHeight, inWidth)} high or wide, too ` +
      `small for this layer; the smallest images that work are ${smallest}×${smallest}`,
    { layer: path, height, width, smallest },
  );
}

/**
 * The network as a graph: images [N, inChannels, height, width] → logits [N, numClasses], and loss [] with labels [N].
 * @throws UsageError if the images are too small for the network, or if a batch norm would see one value per channel in
 * training.
 */
export function buildGraph(spec: NetworkSpec, options: BuildOptions): Graph {
  architecture(spec, options);
  return familyOf(spec).build(spec, options);
}

/**
 * Learned numbers: convolution weights, γ and β, the classifier's weight and bias. Running statistics are not among
 * them.
 */
export function parameterCount(spec: NetworkSpec): number {
  return sum(layersOf(spec), ({ params }) => params);
}

/** Running means and variances: two numbers per channel of every batch norm. */
export function runningStatisticsCount(spec: NetworkSpec): number {
  return sum(layersOf(spec), ({ kind, outChannels }) => (kind === "batchNorm" ? 2 * outChannels : 0));
}

/**
 * Multiply-adds per image of the convolutions and the classifier, the transition convolution at its size before
 * pooling, as the paper counts.
 */
export function macs(spec: NetworkSpec, size: ImageSize): number {
  return sum(architecture(spec, size).layers, (layer) => layer.macs);
}

/**
 * Where the layers of the network lie and what they read.
 * @throws UsageError for a family that does not say
 */
export function anatomyOf(spec: NetworkSpec): Anatomy {
  const family = familyOf(spec);
  const found = family.anatomy?.(spec);
  if (found !== undefined) return found;
  throw new UsageError(`a ${family.label} does not say where its layers lie, so it cannot be analysed layer by layer`, {
    family: spec.family,
  });
}

/** Today's state-dict path of a tensor that earlier publications of the network may have under another name. */
export function currentPath(spec: NetworkSpec, path: string): string {
  return familyOf(spec).currentPath(path);
}

/**
 * The network whose tensors have these shapes, by today's paths or earlier ones, if a family recognises it. Dropout
 * leaves no trace and is 0.
 */
export function recognizedSpec(shapes: ReadonlyMap<string, readonly number[]>): NetworkSpec | undefined {
  for (const family of everyFamily) {
    const fields = family.recognize(new Map([...shapes].map(([path, shape]) => [family.currentPath(path), shape])));
    if (fields === undefined) continue;
    try {
      return family.define(fields);
    } catch (error) {
      // Shapes that no spec of the family can have.
      if (!(error instanceof UsageError)) throw error;
    }
  }
  return undefined;
}

/** At any size: what they learn does not depend on it. */
function layersOf(spec: NetworkSpec): readonly Layer[] {
  const side = smallestInput(spec);
  return architecture(spec, { height: side, width: side }).layers;
}

function sum(layers: readonly Layer[], of: (layer: Layer) => number): number {
  return layers.reduce((total, layer) => total + of(layer), 0);
}
