// networks: what a family of networks is to everything else. A family is a folder that exports one of these and stands
// in registry.ts.
import type { Graph } from "../graph/graph.ts";
import type { Anatomy } from "./anatomy.ts";
import type { Architecture, ImageSize } from "./architecture.ts";
import type { FieldRule } from "./fields.ts";
import type { NamePattern } from "./namePattern.ts";

/** What every network has, whatever its family. Specs are frozen plain data, JSON both ways. */
export interface CommonSpec {
  readonly family: string;
  /** Of the images. */
  readonly inChannels: number;
  readonly numClasses: number;
  /** Dropout probability in [0, 1) after each convolution but the first. */
  readonly dropRate: number;
}

/** The batch and image size, in pixels, that a graph is built for, and what for. */
export interface BuildOptions {
  /** Images per step. */
  readonly batch: number;
  /** Image height in pixels. */
  readonly height: number;
  readonly width: number;
  /**
   * `training`: batch statistics, running statistics updated, dropout, a loss. `inference`: running statistics, logits.
   */
  readonly mode: "training" | "inference";
  /** Whether labels and a loss belong to the graph. Default: in training. In inference it serves evaluation. */
  readonly loss?: boolean;
  /** Of that loss: what all classes share of the label's probability, in [0, 1). Default 0. */
  readonly labelSmoothing?: number;
}

/** Fields from outside, not yet trusted; those that are undefined count as not given. */
export type GivenFields = Readonly<Record<string, unknown>>;

/** Methods, not function properties, so that a family of its own spec is also a family of the union of all specs. */
export interface Family<S extends CommonSpec> {
  readonly family: S["family"];
  /** For titles, after "A": "DenseNet". */
  readonly label: string;
  /** For sentences, after "a": "densely connected network". */
  readonly description: string;
  /** Where such networks are described. */
  readonly citation: string;
  /** What the fields of the spec may hold, `family` left out. */
  readonly fields: Readonly<Record<Exclude<keyof S & string, "family">, FieldRule>>;
  /** Fields of the named networks, by canonical name. */
  readonly variants: ReadonlyMap<string, GivenFields>;
  /** Canonical name by normalised spelling. */
  readonly spellings: ReadonlyMap<string, string>;
  readonly pattern: NamePattern<S>;
  /** One spelling for all the ways to write a name. */
  normalise(name: string): string;
  /** The name of a variant as a title: "DenseNet-BC-40-12". */
  title(variant: string): string;
  /**
   * Where the spec has something that only training knows: the fields without it, and the words for a title, "with
   * stochastic depth".
   */
  trainedWith?(spec: S): { readonly words: string; readonly without: GivenFields } | undefined;
  /** A complete, checked, frozen spec. @throws UsageError naming the field, the value given and what was expected */
  define(fields: GivenFields): S;
  /** Smallest height and width in pixels that leave every feature map at least one. */
  smallestInput(spec: S): number;
  /** Side in pixels of the images that such a network is published for. */
  usualInput(spec: S): number;
  /**
   * The sizes that the spec implies. Sizes that are too small for the network give feature maps of 0 pixels or fewer.
   */
  architecture(spec: S, size: ImageSize): Architecture;
  /** images [N, inChannels, height, width] → logits [N, numClasses], and loss [] with labels [N]. */
  build(spec: S, options: BuildOptions): Graph;
  /** Today's state-dict path of a tensor that earlier publications may have under another name. */
  currentPath(path: string): string;
  /**
   * The fields of the network whose tensors have these shapes by today's paths, if it looks like one of this family.
   */
  recognize(shapes: ReadonlyMap<string, readonly number[]>): GivenFields | undefined;
  /** Where layers and their connections lie, for analyses; a family without it cannot be analysed layer by layer. */
  anatomy?(spec: S): Anatomy;
}
