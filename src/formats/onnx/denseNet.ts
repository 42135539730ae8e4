// formats/onnx: the expression of a network → the tensors of the DenseNet that it is, under torchvision's names. Portable.
//
// Matched from the output back. What reads a whole block reads a concatenation; written out, its leaves are one value
// that comes into the block and the new maps of each layer. Which layer is which follows from how many maps it reads.
// The order in which the graph joins them does not matter: the channels of the weights that read them are put into ours,
// what comes in and then layer by layer.
//
// A norm is whatever stands between a value and its ReLU: a batch norm, one with factors and shifts behind it, or these
// alone. Where nothing does, an exporter has folded the norm into the convolution before it, and the convolution's bias
// is what is left of it.
import { InputError } from "../../errors.ts";
import { EPS } from "../../networks/modules.ts";
import { elementCount, type FileTensor } from "../weightFile.ts";
import { filled, perChannel } from "./constant.ts";
import type { ConvStep, LinearStep, NormStep, Pads, ScaleStep, Sides, Step } from "./steps.ts";

export interface FoundDenseNet {
  /** By the path of torchvision's state dict; a transition without ReLU is numbered as in a Sequential. */
  readonly tensors: ReadonlyMap<string, FileTensor>;
  readonly sigmoid: boolean;
  /** What the graph makes of the image before its first convolution, factor · x + shift, each [channels]. */
  readonly normalization: Scaling | undefined;
  /** Of the last pool where that is an average of a fixed size. */
  readonly lastWindow: Sides | undefined;
  /** Norms of which only the bias of the convolution before them is left: they begin as the identity. */
  readonly foldedNorms: number;
  /** Norms that are a factor and a shift without statistics: they begin with a mean of 0 and a variance of 1. */
  readonly bareNorms: number;
}

/** @throws InputError naming the node that no DenseNet has in its place */
export function findDenseNet(output: Step, source: string): FoundDenseNet {
  return new Matcher(source).match(output);
}

/** More layers than a block has. */
const MAX_LEAVES = 4096;
const MAX_BLOCKS = 64;
/** A batch norm, its factor, its shift, and a bias on its own. */
const MAX_AFFINES = 4;

type Affine = NormStep | ScaleStep;

interface Scaling {
  readonly factor: FileTensor;
  readonly shift: FileTensor;
}

/** Norm → ReLU → convolution. */
interface Composite {
  readonly affines: readonly Affine[];
  readonly relu: boolean;
  /** With what scales its result, before that is joined, multiplied in. */
  readonly convolution: Convolution;
  readonly reads: Step;
}

interface Convolution {
  readonly weight: FileTensor;
  readonly bias: FileTensor | undefined;
}

interface Layer {
  readonly leaf: Step;
  /** One or two, in the order in which they are computed. */
  readonly composites: readonly Composite[];
  readonly reads: Step;
}

interface Block {
  readonly base: Step;
  readonly layers: readonly Layer[];
}

interface Stem {
  readonly convolution: Convolution;
  /** Undefined where none is: between a 3×3 convolution and the first block. */
  readonly affines: readonly Affine[] | undefined;
  readonly image: readonly Affine[];
}

/** Place in the file's order of each channel of ours; undefined where the orders are the same. */
type Order = readonly number[] | undefined;

class Matcher {
  readonly #source: string;
  readonly #tensors = new Map<string, FileTensor>();
  #folded = 0;
  #bare = 0;

  constructor(source: string) {
    this.#source = source;
  }

  match(output: Step): FoundDenseNet {
    const last = output.op === "softmax" || output.op === "sigmoid" ? output.input : output;
    const { head, features, window } = this.#head(last);
    const { affines, relu, input } = this.#beforeReading(features);
    if (head !== undefined && !relu)
      throw this.#fail(features, "is averaged without a ReLU, which a DenseNet has there");

    const blocks: Block[] = [];
    const transitions: Composite[] = [];
    let stem: Stem | undefined;
    for (let reads = input; stem === undefined; reads = transitions[0].reads) {
      if (blocks.length === MAX_BLOCKS) throw this.#fail(reads, `has more than ${MAX_BLOCKS} blocks behind it`);
      const block = this.#block(reads);
      blocks.unshift(block);
      stem = this.#stem(block.base);
      if (stem === undefined) transitions.unshift(this.#transition(block.base));
      else break;
    }

    this.#putStem(stem);
    for (const [b, block] of blocks.entries()) {
      for (const [l, layer] of block.layers.entries()) {
        this.#putLayer(`features.denseblock${b + 1}.denselayer${l + 1}`, layer, this.#order(layer.reads, block, l));
      }
      const transition = transitions[b];
      if (transition === undefined) continue;
      const path = `features.transition${b + 1}`;
      const [norm, conv] = transition.relu ? ["norm", "conv"] : ["0", "1"];
      const order = this.#order(transition.reads, block, block.layers.length);
      this.#putNorm(`${path}.${norm}`, transition.affines, channelsOf(transition.reads), order);
      this.#putConvolution(`${path}.${conv}`, transition.convolution, order);
    }
    const block = blocks[blocks.length - 1];
    const order = this.#order(input, block, block.layers.length);
    this.#putNorm("features.norm5", affines, channelsOf(input), order);
    if (head !== undefined) this.#putConvolution("classifier", head, order);
    return {
      tensors: this.#tensors,
      sigmoid: output.op === "sigmoid",
      normalization: stem.image.length === 0 ? undefined : scalingOf(stem.image, channelsOf(stem.image[0])),
      lastWindow: window,
      foldedNorms: this.#folded,
      bareNorms: this.#bare,
    };
  }

  #fail({ node }: Step, what: string): InputError {
    return new InputError(
      `${this.#source}: its node ${node} ${what}: the network is no DenseNet, and others of ONNX are not run`,
      { file: this.#source, node },
    );
  }

  /** Linear, or a 1×1 convolution, after the global pool; or neither, perhaps not even the pool. */
  #head(last: Step): { head: Convolution | undefined; features: Step; window: Sides | undefined } {
    const { affines, input } = this.#affines(last);
    if (input.op === "linear" || (input.op === "conv" && input.input.op === "globalPool")) {
      const pool = input.input;
      if (pool.op !== "globalPool") throw this.#fail(input, "reads no average of feature maps");
      return { head: scaled(input, affines), features: pool.input, window: pool.window };
    }
    return { head: undefined, features: last.op === "globalPool" ? last.input : last, window: undefined };
  }

  /** What is scaled and shifted, and by what, in the order in which that is computed. */
  #affines(step: Step): { affines: readonly Affine[]; input: Step } {
    const affines: Affine[] = [];
    let input = step;
    while (input.op === "norm" || input.op === "scale") {
      if (affines.length === MAX_AFFINES) throw this.#fail(input, "is one of many factors and shifts in a row");
      affines.unshift(input);
      input = input.input;
    }
    return { affines, input };
  }

  /** What a convolution or the last pool reads: norm → ReLU of `input`. */
  #beforeReading(step: Step): { affines: readonly Affine[]; relu: boolean; input: Step } {
    const relu = step.op === "relu";
    return { ...this.#affines(relu ? step.input : step), relu };
  }

  #composite(convolution: ConvStep, affinesBehind: readonly Affine[], read: Step): Composite {
    const { affines, relu, input } = this.#beforeReading(read);
    return { affines, relu, convolution: scaled(convolution, affinesBehind), reads: input };
  }

  /** The leaves of the concatenation that `features` is, in its order. */
  #leaves(features: Step): readonly Step[] {
    const leaves: Step[] = [];
    const open = [features];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      if (step.op === "concat") open.push(...step.inputs.toReversed());
      else leaves.push(step);
      if (leaves.length + open.length > MAX_LEAVES) throw this.#fail(features, `joins more than ${MAX_LEAVES} values`);
    }
    return leaves;
  }

  #block(features: Step): Block {
    const leaves = new Set(this.#leaves(features));
    const layers: Layer[] = [];
    const bases: Step[] = [];
    for (const leaf of leaves) {
      const layer = this.#layer(leaf, leaves);
      if (layer === undefined) bases.push(leaf);
      else layers.push(layer);
    }
    if (layers.length === 0) throw this.#fail(features, "joins no new maps of dense layers");
    if (bases.length !== 1) {
      throw this.#fail(bases[1] ?? features, "is joined with others, but is no dense layer's 3×3 convolution");
    }
    return { base: bases[0], layers: layers.sort((a, b) => channelsOf(a.reads) - channelsOf(b.reads)) };
  }

  /** The dense layer whose new maps are `leaf`; undefined where it is none. */
  #layer(leaf: Step, leaves: ReadonlySet<Step>): Layer | undefined {
    const { affines, input } = this.#affines(leaf);
    if (input.op !== "conv" || !isConvolution(input, 3, 1, 1)) return undefined;
    const { input: read } = unpadded(input);
    if (this.#affines(read).input.op === "image") return undefined;
    const wide = this.#composite(input, affines, read);
    const narrow = wide.reads;
    const bottleneck = narrow.op === "conv" && !leaves.has(narrow) && isConvolution(narrow, 1, 1, 0);
    const composites = bottleneck ? [this.#composite(narrow, [], narrow.input), wide] : [wide];
    const without = composites.findIndex(({ relu }) => !relu);
    if (without >= 0)
      throw this.#fail(input, `belongs to a dense layer without ReLU before convolution ${without + 1}`);
    return { leaf, composites, reads: composites[0].reads };
  }

  /** 1×1 convolution and 2×2 average pool, in either order. */
  #transition(base: Step): Composite {
    const pooled = base.op === "averagePool" ? base.input : base;
    const { affines, input } = this.#affines(pooled);
    if (input.op === "conv" && isConvolution(input, 1, 1, 0)) {
      const pool = base.op === "averagePool" ? base : input.input;
      const read = base.op === "averagePool" ? input.input : pool.op === "averagePool" ? pool.input : undefined;
      if (read !== undefined && isPool(pool, "averagePool", 2, 2, 0)) return this.#composite(input, affines, read);
    }
    throw this.#fail(
      base,
      "comes into a block, but is neither a transition's (1×1 convolution, 2×2 average) nor the stem's",
    );
  }

  #stem(base: Step): Stem | undefined {
    if (base.op === "maxPool") {
      const { input: relu } = unpadded(base);
      const { affines, input } = this.#affines(relu.op === "relu" ? relu.input : relu);
      if (input.op !== "conv") return undefined;
      const { affines: image, input: first } = this.#affines(unpadded(input).input);
      if (first.op !== "image") return undefined;
      // Zeros are as good as nothing around maps that are not negative.
      const fits = relu.op === "relu" && isPool(base, "maxPool", 3, 2, 1) && isConvolution(input, 7, 2, 3);
      if (!fits) {
        throw this.#fail(
          base,
          `belongs to a stem of ${windowText(input)} and ${windowText(base)}, expected a 7×7 convolution with stride 2 and pads of 3, ReLU, and a 3×3 maximum with stride 2 and pads of 1`,
        );
      }
      return { convolution: input, affines, image };
    }
    const { affines, input } = this.#affines(base);
    if (input.op !== "conv") return undefined;
    const { affines: image, input: first } = this.#affines(unpadded(input).input);
    if (first.op !== "image") return undefined;
    if (!isConvolution(input, 3, 1, 1))
      throw this.#fail(
        input,
        `is a stem of ${windowText(input)}, expected a 3×3 convolution with stride 1 and pads of 1`,
      );
    return { convolution: scaled(input, affines), affines: undefined, image };
  }

  /** The order of the channels of `features`, which are what comes into `block` and the maps of its first layers. */
  #order(features: Step, { base, layers }: Block, count: number): Order {
    const leaves = this.#leaves(features);
    const ours = [base, ...layers.slice(0, count).map(({ leaf }) => leaf)];
    const starts = new Map<Step, number>();
    let channels = 0;
    for (const leaf of leaves) {
      starts.set(leaf, channels);
      channels += channelsOf(leaf);
    }
    if (leaves.length !== ours.length || ours.some((leaf) => !starts.has(leaf))) {
      throw this.#fail(
        features,
        `joins ${leaves.length} values where a dense layer reads all ${ours.length} before it`,
      );
    }
    if (leaves.every((leaf, i) => leaf === ours[i])) return undefined;
    return ours.flatMap((leaf) => Array.from({ length: channelsOf(leaf) }, (_, i) => (starts.get(leaf) ?? 0) + i));
  }

  #putStem({ convolution, affines }: Stem): void {
    const folded = affines?.length === 0;
    this.#putConvolution("features.conv0", folded ? { ...convolution, bias: undefined } : convolution, undefined);
    if (affines === undefined) return;
    this.#putNorm("features.norm0", affines, convolution.weight.shape[0], undefined, convolution.bias);
  }

  #putLayer(path: string, { composites, reads }: Layer, order: Order): void {
    let [channels, before]: [number, Order] = [channelsOf(reads), order];
    let bias: FileTensor | undefined;
    for (const [c, { affines, convolution }] of composites.entries()) {
      this.#putNorm(`${path}.norm${c + 1}`, affines, channels, before, bias);
      const folded = composites[c + 1]?.affines.length === 0;
      this.#putConvolution(`${path}.conv${c + 1}`, folded ? { ...convolution, bias: undefined } : convolution, before);
      [channels, before, bias] = [convolution.weight.shape[0], undefined, convolution.bias];
    }
  }

  /** `bias`: of the convolution before it, which is the norm where no other is left. */
  #putNorm(path: string, affines: readonly Affine[], channels: number, order: Order, bias?: FileTensor): void {
    const [first, ...rest] = affines;
    const norm = first?.op === "norm" && rest.every(({ op }) => op === "scale") ? first : undefined;
    const { factor, shift } =
      norm === undefined
        ? affines.length === 0 && bias !== undefined
          ? { factor: filled(channels, 1), shift: bias }
          : scalingOf(affines, channels)
        : scalingOf(rest, channels, { factor: norm.gamma, shift: norm.beta });
    if (affines.length === 0) this.#folded++;
    else if (norm === undefined) this.#bare++;
    const put = (field: string, tensor: FileTensor): void => {
      this.#tensors.set(`${path}.${field}`, order === undefined ? tensor : picked(tensor, order));
    };
    put("weight", factor);
    put("bias", shift);
    put("running_mean", norm?.mean ?? filled(channels, 0));
    put("running_var", norm?.variance ?? filled(channels, 1 - EPS));
  }

  #putConvolution(path: string, { weight, bias }: Convolution, order: Order): void {
    this.#tensors.set(`${path}.weight`, order === undefined ? weight : picked(weight, order));
    if (bias !== undefined) this.#tensors.set(`${path}.bias`, bias);
  }
}

/** Of everything but an image, which no block is made of. */
function channelsOf({ channels = Number.NaN }: Step): number {
  return channels;
}

/** What a window reads when the zeros around that are its own. */
function unpadded({ input, pads }: Extract<Step, { readonly pads: Pads }>): { input: Step; pads: Pads } {
  if (input.op !== "pad") return { input, pads };
  const [top, left, bottom, right] = input.pads;
  return { input: input.input, pads: [pads[0] + top, pads[1] + left, pads[2] + bottom, pads[3] + right] };
}

function isConvolution(step: ConvStep, side: number, stride: number, pad: number): boolean {
  return isWindow(step.weight.shape.slice(2), step, side, stride, pad);
}

function isPool(step: Step, op: "averagePool" | "maxPool", side: number, stride: number, pad: number): boolean {
  return step.op === op && isWindow(step.kernel, step, side, stride, pad);
}

function isWindow(
  kernel: readonly number[],
  step: Extract<Step, { readonly strides: Sides }>,
  side: number,
  stride: number,
  pad: number,
): boolean {
  const { pads } = unpadded(step);
  return (
    kernel.every((size) => size === side) &&
    step.strides.every((size) => size === stride) &&
    pads.every((size) => size === pad)
  );
}

function windowText(step: Extract<Step, { readonly strides: Sides }>): string {
  const kernel = step.op === "conv" ? step.weight.shape.slice(2) : step.kernel;
  return `${kernel.join("×")} with strides ${step.strides.join(", ")} and pads ${unpadded(step).pads.join(", ")}`;
}

/** One factor and shift for all of `affines`, behind `before`. */
function scalingOf(
  affines: readonly Affine[],
  channels: number,
  before: Scaling = { factor: filled(channels, 1), shift: filled(channels, 0) },
): Scaling {
  return affines.reduce(({ factor, shift }, affine) => {
    const next = affine.op === "scale" ? affine : scalingOfNorm(affine, channels);
    return {
      factor: perChannel(channels, [factor, next.factor], (a, b) => a * b),
      shift: perChannel(channels, [shift, next.factor, next.shift], (a, f, s) => a * f + s),
    };
  }, before);
}

function scalingOfNorm({ gamma, beta, mean, variance }: NormStep, channels: number): Scaling {
  const factorOf = (g: number, v: number): number => g / Math.sqrt(v + EPS);
  return {
    factor: perChannel(channels, [gamma, variance], factorOf),
    shift: perChannel(channels, [beta, mean, gamma, variance], (b, m, g, v) => b - m * factorOf(g, v)),
  };
}

/** The convolution or linear layer with what scales and shifts its result. */
function scaled({ weight, bias }: ConvStep | LinearStep, affines: readonly Affine[]): Convolution {
  if (affines.length === 0) return { weight, bias };
  const outputs = weight.shape[0];
  const { factor, shift } = scalingOf(affines, outputs);
  const each = elementCount(weight.shape) / outputs;
  return {
    weight: {
      ...weight,
      read: () => {
        const factors = factor.read();
        return weight.read().map((value, i) => value * factors[Math.floor(i / each)]);
      },
    },
    bias: perChannel(outputs, [factor, shift, bias ?? filled(outputs, 0)], (f, s, b) => f * b + s),
  };
}

/** Channels in another order: of a norm's numbers [C], or of what a weight [out, C, …] reads. */
function picked(tensor: FileTensor, order: readonly number[]): FileTensor {
  const { shape } = tensor;
  const [outputs, area] = shape.length === 1 ? [1, 1] : [shape[0], elementCount(shape.slice(2))];
  const read = (): Float32Array<ArrayBuffer> => {
    const from = tensor.read();
    const out = new Float32Array(from.length);
    for (let o = 0; o < outputs; o++) {
      for (const [i, at] of order.entries()) {
        const start = (o * order.length + at) * area;
        out.set(from.subarray(start, start + area), (o * order.length + i) * area);
      }
    }
    return out;
  };
  return { ...tensor, read };
}
