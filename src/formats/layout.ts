// formats: the modules of somebody else's DenseNet → which module is which, by shape and place, not by name. Portable.
//
// A dense layer is a group of siblings: two batch norms with a 1×1 and a 3×3 convolution, or one with a 3×3; a
// transition is one with a 1×1, in each case a norm as wide as its convolution's input. The last number before a layer
// is its place, the last one before that its block's. What is left over is the stem's convolution (with a norm when it
// is 7×7), the last norm and the head. Then the channels must add up from the image to the head, or the file is
// refused. So prefixes (`module.`, `densenet121.`) and containers (`layer`, `layers`, `bottle_neck`) say nothing.
import { InputError, UsageError } from "../errors.ts";
import { defineDenseNet } from "../networks/densenet/define.ts";
import type { DenseNetSpec } from "../networks/densenet/spec.ts";
import { commonCompression } from "../networks/densenet/stateDict.ts";
import { showSome, showText } from "../show.ts";
import {
  type BatchNorm,
  type Convolution,
  isCounter,
  type Linear,
  type Module,
  modulesOf,
  nearestKey,
} from "./modules.ts";
import type { WeightFile } from "./weightFile.ts";

/** BN → ReLU → convolution. */
export interface CompositePair {
  readonly norm: BatchNorm;
  readonly convolution: Convolution;
}

export interface LayoutBlock {
  /** One or two pairs per dense layer. */
  readonly layers: readonly (readonly CompositePair[])[];
  readonly transition: (CompositePair & { readonly relu: boolean }) | undefined;
}

export interface Layout {
  /** With one class where the file has no head. */
  readonly spec: DenseNetSpec;
  readonly stem: { readonly convolution: Convolution; readonly norm: BatchNorm | undefined };
  readonly blocks: readonly LayoutBlock[];
  readonly lastNorm: BatchNorm;
  /** Linear, or a 1×1 convolution after the pool; absent in a feature extractor. */
  readonly head: Linear | Convolution | undefined;
  /** Whether the names are those of a port that puts new maps in front of the old ones. */
  readonly namedInFront: boolean;
  /** Keys that no part of the network uses. */
  readonly unexpected: readonly string[];
}

interface Group {
  readonly path: string;
  readonly pairs: readonly CompositePair[];
  readonly members: readonly Module[];
}

/** DenseNet-264 has 1,600; a checkpoint may hold averages and more. */
const MAX_TENSORS = 30_000;

/** @throws InputError saying what was found and what does not add up */
export function layoutOf(file: WeightFile, source: string): Layout {
  const { size } = file.tensors;
  if (size > MAX_TENSORS)
    throw new InputError(`${source}: names ${size} tensors, expected at most ${MAX_TENSORS}`, { file: source });
  const { modules, suspicious, unexpected } = modulesOf(file.tensors);
  const fail = (what: string): InputError => notADenseNet(file, [...suspicious, ...unexpected], source, what);
  const { layers, transitions, others } = grouped(modules);
  if (layers.length === 0) {
    throw fail("no group of batch norms and convolutions in it is a dense layer");
  }
  const unfinished = unfinishedLayer(layers, others);
  if (unfinished !== undefined) throw fail(unfinished);
  if (suspicious.length > 0) throw fail("some belong to no batch norm, convolution or linear layer");
  const blocks = blocksOf(layers, transitions, fail);
  const growthRate = outputs(blocks[0].layers[0]);
  const bottleneck = blocks[0].layers[0].length === 2;

  const convolutions = others.filter((module) => module.kind === "convolution");
  const norms = others.filter((module) => module.kind === "batchNorm");
  const [first] = inputsOf(blocks[0].layers[0]);
  const stems = convolutions.filter(({ weight }) => weight.shape[0] === first && weight.shape[2] > 1);
  if (stems.length !== 1 || !/^(3,3|7,7)$/.test(stems[0].weight.shape.slice(2).join())) {
    throw fail(
      `its first dense layer reads ${first} maps, expected them from one 3×3 or 7×7 convolution, found ` +
        `${stems.map(shown).join(" and ") || "none"}`,
    );
  }
  const stem = stems[0];
  const imagenet = stem.weight.shape[2] === 7;

  let maps = first;
  const compressions: [number, number][] = [];
  for (const { layers: denseLayers, transition } of blocks) {
    for (const pairs of denseLayers) {
      const { path } = pairs[0].convolution;
      if (inputsOf(pairs)[0] !== maps)
        throw fail(`${showText(path)} reads ${inputsOf(pairs)[0]} maps where ${maps} come in`);
      if (outputs(pairs) !== growthRate || (pairs.length === 2) !== bottleneck) {
        throw fail(
          `${path} belongs to a layer of ${pairs.length} convolutions that adds ${outputs(pairs)} maps, the first ` +
            `one has ${blocks[0].layers[0].length} and adds ${growthRate}`,
        );
      }
      maps += growthRate;
    }
    if (transition === undefined) break;
    const [out, into] = transition.convolution.weight.shape;
    if (into !== maps) throw fail(`${showText(transition.convolution.path)} reads ${into} maps where ${maps} come in`);
    compressions.push([maps, out]);
    maps = out;
  }

  const wide = norms.filter((norm) => channels(norm) === maps);
  const narrow = imagenet ? norms.filter((norm) => channels(norm) === first) : [];
  // Where both are as wide, the file's order decides: a stem comes before the last norm.
  const stemNorm = narrow[0];
  const lastNorm = wide.findLast((norm) => norm !== stemNorm);
  if (imagenet && stemNorm === undefined)
    throw fail(`there is no batch norm of ${first} maps behind its 7×7 convolution`);
  if (lastNorm === undefined) throw fail(`there is no last batch norm of ${maps} maps`);

  const heads = others.filter(
    (module): module is Linear | Convolution =>
      module !== stem && (module.kind === "linear" || (module.kind === "convolution" && isPointwise(module))),
  );
  if (heads.length > 1 || (heads.length === 1 && heads[0].weight.shape[1] !== maps)) {
    throw fail(`expected one classifier that reads ${maps} features, found ${heads.map(shown).join(" and ")}`);
  }
  const [head] = heads;
  const used = new Set<Module>([stem, lastNorm, ...(stemNorm === undefined ? [] : [stemNorm]), ...heads]);
  const spare = others.filter((module) => !used.has(module));
  if (spare.length > 0) throw fail(`a DenseNet has no place for ${showSome(spare.map(shown))}`);

  const narrowMaps = bottleneck ? blocks[0].layers[0][0].convolution.weight.shape[0] : 4 * growthRate;
  if (narrowMaps % growthRate !== 0) {
    throw fail(`its bottlenecks have ${narrowMaps} maps, expected a multiple of the ${growthRate} that a layer adds`);
  }
  const compression = commonCompression(compressions);
  if (compression === undefined) {
    const pairs = compressions.map(([into, out]) => `${into} → ${out}`);
    throw fail(`no one compression makes its transitions: ${pairs.join(", ")}`);
  }
  const spec = defined(
    {
      growthRate,
      blockConfig: blocks.map((block) => block.layers.length),
      numInitFeatures: first,
      bottleneck,
      bottleneckFactor: narrowMaps / growthRate,
      compression,
      stem: imagenet ? "imagenet" : "cifar",
      inChannels: stem.weight.shape[1],
      numClasses: head?.weight.shape[0] ?? 1,
    },
    fail,
  );
  return {
    spec,
    stem: { convolution: stem, norm: stemNorm },
    blocks,
    lastNorm,
    head,
    namedInFront: isNamedInFront(blocks, head),
    unexpected,
  };
}

type Fail = (what: string) => InputError;

/** What is impossible in a spec is wrong in the file here. */
function defined(fields: Parameters<typeof defineDenseNet>[0], fail: Fail): DenseNetSpec {
  try {
    return defineDenseNet(fields);
  } catch (error) {
    if (error instanceof UsageError) throw fail(error.message);
    throw error;
  }
}

/** Modules whose paths differ in their last name only are siblings. */
function grouped(modules: readonly Module[]): { layers: Group[]; transitions: Group[]; others: Module[] } {
  const siblings = Map.groupBy(modules, ({ path }) => path.slice(0, Math.max(0, path.lastIndexOf("."))));
  const layers: Group[] = [];
  const transitions: Group[] = [];
  const others: Module[] = [];
  for (const [path, members] of siblings) {
    const pairs = pairsOf(members);
    if (pairs === undefined) others.push(...members);
    else if (pairs.length === 1 && isPointwise(pairs[0].convolution)) transitions.push({ path, pairs, members });
    else layers.push({ path, pairs, members });
  }
  return { layers, transitions, others };
}

/** What is wrong with siblings that stand where a layer does but are none. */
function unfinishedLayer(layers: readonly Group[], others: readonly Module[]): string | undefined {
  const places = new Set(layers.map(({ path }) => place(path).before).filter((before) => before !== ""));
  const parentOf = ({ path }: Module): string => path.slice(0, Math.max(0, path.lastIndexOf(".")));
  const odd = others.find((module) => places.has(place(parentOf(module)).before));
  if (odd === undefined) return undefined;
  const parent = parentOf(odd);
  const siblings = others.filter((module) => parentOf(module) === parent);
  return (
    `${showText(parent)} has ${showSome(siblings.map(shown))}, expected as many batch norms as 1×1 and 3×3 ` +
    "convolutions, each as wide as what it feeds"
  );
}

/**
 * The composite functions of a group of siblings, or undefined when they are none. Files need not keep an order, so
 * shapes decide.
 */
function pairsOf(members: readonly Module[]): CompositePair[] | undefined {
  const norms = members.filter((module) => module.kind === "batchNorm");
  const convolutions = members.filter((module) => module.kind === "convolution");
  if (norms.length !== convolutions.length || norms.length + convolutions.length !== members.length) return undefined;
  if (convolutions.length === 1) {
    const [convolution] = convolutions;
    const [norm] = norms;
    const square = isPointwise(convolution) || isThreeByThree(convolution);
    return square && channels(norm) === convolution.weight.shape[1] ? [{ norm, convolution }] : undefined;
  }
  if (convolutions.length !== 2) return undefined;
  const narrow = convolutions.find(isPointwise);
  const wide = convolutions.find(isThreeByThree);
  if (narrow === undefined || wide === undefined || narrow.weight.shape[0] !== wide.weight.shape[1]) return undefined;
  const [first, second] = [...norms].sort((a, b) => naturally(a.path, b.path));
  const [into, between] = narrow.weight.shape.slice(0, 2).reverse();
  for (const [before, behind] of [
    [first, second],
    [second, first],
  ]) {
    if (channels(before) === into && channels(behind) === between) {
      return [
        { norm: before, convolution: narrow },
        { norm: behind, convolution: wide },
      ];
    }
  }
  return undefined;
}

function blocksOf(layers: readonly Group[], transitions: readonly Group[], fail: Fail): LayoutBlock[] {
  const places = Map.groupBy(layers, ({ path }) => place(path).before);
  const ordered = [...places].sort(([a], [b]) => place(a).number - place(b).number);
  const blocks = ordered.map(([, group]) => group.sort((a, b) => place(a.path).number - place(b.path).number));
  for (const [i, [name]] of ordered.entries()) {
    if (i > 0 && place(ordered[i - 1][0]).number === place(name).number) {
      throw fail(
        `${showText(ordered[i - 1][0])}* and ${showText(name)}* are both block ${place(name).number}: expected the ` +
          "weights of one network",
      );
    }
    const numbers = blocks[i].map(({ path }) => place(path).number);
    const gap = numbers.findIndex((number, at) => number !== numbers[0] + at);
    if (gap > 0)
      throw fail(`${showText(name)}* goes from layer ${numbers[gap - 1]} to ${numbers[gap]}: one is missing`);
  }
  if (transitions.length !== blocks.length - 1) {
    throw fail(
      `${blocks.length} dense blocks have ${transitions.length} transitions between them ` +
        `(${showSome(transitions.map(({ path }) => showText(path))) || "none"}), expected ${blocks.length - 1}`,
    );
  }
  const between = [...transitions].sort((a, b) => place(a.path).number - place(b.path).number);
  return blocks.map((group, i) => ({
    layers: group.map(({ pairs }) => pairs),
    transition: between[i] === undefined ? undefined : { ...between[i].pairs[0], relu: hasRelu(between[i].pairs[0]) },
  }));
}

/**
 * The last number of a path and what stands before it: `features.denseblock1.denselayer12` →
 * `features.denseblock1.denselayer`, 12.
 */
function place(path: string): { before: string; number: number } {
  const match = /^(.*?)(\d+)\D*$/s.exec(path);
  return match === null ? { before: "", number: 0 } : { before: match[1], number: Number(match[2]) };
}

/**
 * In a Sequential the ReLU has a number of its own: a norm and a convolution with neighbouring numbers have none
 * between them.
 */
function hasRelu({ norm, convolution }: CompositePair): boolean {
  const [before, behind] = [norm, convolution].map(({ path }) => path.slice(path.lastIndexOf(".") + 1));
  return !(/^\d+$/.test(before) && /^\d+$/.test(behind) && Number(behind) === Number(before) + 1);
}

/**
 * kuangliu/pytorch-cifar's names, whose layers compute cat([new, old]); its copies differ from it in at least one of
 * them.
 */
function isNamedInFront(blocks: readonly LayoutBlock[], head: Linear | Convolution | undefined): boolean {
  const { path } = blocks[0].layers[0][0].convolution;
  const transition = blocks[0].transition;
  return (
    /(^|\.)dense\d+\.\d+\.conv1$/.test(path) &&
    (head === undefined || /(^|\.)linear$/.test(head.path)) &&
    (transition === undefined || /(^|\.)trans\d+\.conv$/.test(transition.convolution.path))
  );
}

function inputsOf(pairs: readonly CompositePair[]): number[] {
  return pairs.map(({ convolution }) => convolution.weight.shape[1]);
}

function outputs(pairs: readonly CompositePair[]): number {
  return pairs[pairs.length - 1].convolution.weight.shape[0];
}

function channels(norm: BatchNorm): number {
  return norm.mean.shape[0];
}

function isPointwise({ weight }: Convolution): boolean {
  return weight.shape[2] === 1 && weight.shape[3] === 1;
}

function isThreeByThree({ weight }: Convolution): boolean {
  return weight.shape[2] === 3 && weight.shape[3] === 3;
}

/** `norm2` before `norm10`. */
function naturally(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function shown(module: Module): string {
  const shape = module.kind === "batchNorm" ? module.mean.shape : module.weight.shape;
  return `${module.path === "" ? "the root" : showText(module.path)} [${shape.join(", ")}]`;
}

function notADenseNet(
  { format, tensors }: WeightFile,
  odd: readonly string[],
  source: string,
  what: string,
): InputError {
  const shownFirst = [...tensors].filter(([key]) => !isCounter(key)).slice(0, 3);
  const keys = shownFirst.map(([key, { shape }]) => `${showText(key)} [${shape.join(", ")}]`);
  const notUnderstood = odd.slice(0, 3).map((key) => {
    const nearest = nearestKey(key);
    return nearest === undefined ? showText(key) : `${showText(key)} (${showText(nearest)}?)`;
  });
  return new InputError(
    `${source}: ${format} whose ${tensors.size} tensors are no DenseNet: ` +
      `${what}${keys.length === 0 ? "" : `; the first are ${keys.join(", ")}`}${odd.length === 0 ? "" : `; not understood: ${showSome([...notUnderstood, ...odd.slice(3)])}`}`,
    { file: source, odd },
  );
}
