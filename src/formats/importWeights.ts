// formats: somebody else's DenseNet, laid out → a model of ours that computes the same. Portable.
//
// Our network has no bias in its convolutions, a ReLU in every transition and new maps behind the old ones. Where a
// file differs, the difference is carried exactly into the batch norms that read it: a constant o that our maps lack is
// taken from their running means, since γ(x + o − μ)/σ + β = γ(x − (μ − o))/σ + β; maps in another order are put into
// ours.
import { InputError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import { importStateDict } from "../model/stateDict.ts";
import type { Tensor } from "../model/tensor.ts";
import { type CompositePair, type Layout, layoutOf } from "./layout.ts";
import type { BatchNorm, Convolution, Linear } from "./modules.ts";
import type { FileTensor, WeightFile } from "./weightFile.ts";

export interface ImportedWeights {
  readonly model: Model;
  /** Whether the file had a classifier; without one the model's is zero and has one class. */
  readonly hasHead: boolean;
  /** Whether the classifier is CheXNet's by name: Linear and Sigmoid in a Sequential. */
  readonly sigmoid: boolean;
  /** Tensors that the network uses. */
  readonly matched: number;
  /** Keys that it does not. */
  readonly unexpected: readonly string[];
  /** What was done to the weights so that they mean the same here, one line each. */
  readonly changes: readonly string[];
}

/**
 * The network in `file`, its spec read from shapes.
 * @throws InputError when its tensors are no DenseNet or hold numbers that no network has
 */
export function importWeights(file: WeightFile, source: string): ImportedWeights {
  const layout = layoutOf(file, source);
  checkRoom(layout, file.bytes, source);
  const builder = new Builder(layout);
  builder.build();
  const counters = normsOf(layout).flatMap(({ batches }) => (batches === undefined ? [] : [counted(batches)]));
  const tracked = Math.max(0, ...counters.filter((count) => Number.isSafeInteger(count)));
  for (const path of [...builder.tensors.keys()].filter((key) => key.endsWith(".running_var"))) {
    const counter = path.replace(/running_var$/, "num_batches_tracked");
    builder.tensors.set(counter, { dtype: "I64", shape: [], data: BigInt64Array.of(BigInt(tracked)) });
  }
  return {
    model: importStateDict(builder.tensors, { spec: layout.spec, source }).model,
    hasHead: layout.head !== undefined,
    sigmoid: layout.head !== undefined && /(^|\.)densenet\d+\.classifier\.0$/.test(layout.head.path),
    matched: file.tensors.size - layout.unexpected.length,
    unexpected: layout.unexpected,
    changes: builder.changes,
  };
}

/** Other tools keep the counter as they like; it is only carried on. */
function counted(batches: FileTensor): number {
  return /^(F|BF|I64|I32)/.test(batches.dtype) ? (batches.read()[0] ?? 0) : 0;
}

/** A small file can name one storage thousands of times: what is read may not be much more than what the file holds. */
function checkRoom(layout: Layout, fileBytes: number, source: string): void {
  const all = [...convolutionsOf(layout), ...(layout.head === undefined ? [] : [layout.head])];
  const numbers = all.reduce((sum, { weight }) => sum + weight.shape.reduce((product, size) => product * size, 1), 0);
  const most = fileBytes + 2 ** 20;
  if (numbers > most) {
    throw new InputError(`${source}: names ${numbers} weights in ${fileBytes} bytes, expected at most one per byte`, {
      file: source,
    });
  }
}

function normsOf({ stem, blocks, lastNorm }: Layout): BatchNorm[] {
  return [
    ...(stem.norm === undefined ? [] : [stem.norm]),
    ...blocks.flatMap((block) =>
      [...block.layers.flat(), ...(block.transition ? [block.transition] : [])].map(({ norm }) => norm),
    ),
    lastNorm,
  ];
}

function convolutionsOf({ stem, blocks }: Layout): Convolution[] {
  return [
    stem.convolution,
    ...blocks.flatMap((block) =>
      [...block.layers.flat(), ...(block.transition ? [block.transition] : [])].map(({ convolution }) => convolution),
    ),
  ];
}

/** Where each of our maps stands among the file's, and what our map lacks of the file's. */
interface Maps {
  readonly from: number[];
  readonly offset: number[];
}

/** σ of a norm beyond which no map is expected: what a ReLU must not cut off is lifted by so many. */
const LIFT = 32;

class Builder {
  readonly tensors = new Map<string, Tensor>();
  readonly changes: string[] = [];
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  build(): void {
    const { spec, stem, blocks, lastNorm, head } = this.#layout;
    const inFront = this.#newMapsInFront();
    if (inFront) this.changes.push("new maps stand in front of the old ones there: put behind them");
    const biased = convolutionsOf(this.#layout).filter(({ bias }) => bias !== undefined).length;
    if (biased > 0) this.changes.push(`biases of ${biased} convolutions taken into the batch norms behind them`);

    let maps = this.#convolution("features.conv0", stem.convolution, undefined);
    if (stem.norm !== undefined) {
      this.#norm("features.norm0", stem.norm, maps);
      maps = plainMaps(spec.numInitFeatures);
    }
    for (const [b, block] of blocks.entries()) {
      for (const [l, pairs] of block.layers.entries()) {
        const path = `features.denseblock${b + 1}.denselayer${l + 1}`;
        let inner = maps;
        for (const [p, { norm, convolution }] of pairs.entries()) {
          this.#norm(`${path}.norm${p + 1}`, norm, inner);
          inner = this.#convolution(`${path}.conv${p + 1}`, convolution, inner.from);
        }
        maps = joined(maps, inner, inFront);
      }
      if (block.transition === undefined) continue;
      maps = this.#transition(`features.transition${b + 1}`, block.transition, maps);
    }
    this.#norm("features.norm5", lastNorm, maps);
    const lifted = blocks.filter(({ transition }) => transition?.relu === false).length;
    if (lifted > 0) {
      this.changes.push(
        `${lifted} transitions have no ReLU there: their maps are lifted above zero by ${LIFT} standard deviations, ` +
          "which the next norms take back",
      );
    }
    this.#head(head, maps);
  }

  #convolution(path: string, { weight, bias }: Convolution, from: readonly number[] | undefined): Maps {
    const [outputs, inputs, height, width] = weight.shape;
    const data = reordered(weight.read(), outputs, inputs, height * width, from);
    this.#put(`${path}.weight`, [outputs, inputs, height, width], data);
    return {
      ...plainMaps(outputs),
      offset: bias === undefined ? new Array<number>(outputs).fill(0) : [...bias.read()],
    };
  }

  /** @param lift added to β, in units of |γ| over what β itself takes below zero */
  #norm(path: string, norm: BatchNorm, { from, offset }: Maps, lift = 0): Float32Array {
    const size = from.length;
    const gamma = norm.gamma?.read() ?? new Float32Array(size).fill(1);
    const beta = norm.beta?.read() ?? new Float32Array(size);
    const mean = norm.mean.read();
    const variance = norm.variance.read();
    const lifts = Float32Array.from(from, (at) => (lift === 0 ? 0 : lift * Math.abs(gamma[at]) + Math.abs(beta[at])));
    this.#put(
      `${path}.weight`,
      [size],
      Float32Array.from(from, (at) => gamma[at]),
    );
    this.#put(
      `${path}.bias`,
      [size],
      Float32Array.from(from, (at, i) => beta[at] + lifts[i]),
    );
    this.#put(
      `${path}.running_mean`,
      [size],
      Float32Array.from(from, (at, i) => mean[at] - offset[i]),
    );
    this.#put(
      `${path}.running_var`,
      [size],
      Float32Array.from(from, (at) => variance[at]),
    );
    return lifts;
  }

  #transition(path: string, { norm, convolution, relu }: CompositePair & { relu: boolean }, maps: Maps): Maps {
    const lifts = this.#norm(`${path}.norm`, norm, maps, relu ? 0 : LIFT);
    const out = this.#convolution(`${path}.conv`, convolution, maps.from);
    const weight = this.tensors.get(`${path}.conv.weight`)?.data;
    // What the lift adds to each of the convolution's outputs is a constant, which our maps have and the file's lack.
    const offset = out.offset.map((bias, o) => {
      let lifted = 0;
      for (const [i, lift] of lifts.entries()) lifted += lift * Number(weight?.[o * lifts.length + i]);
      return bias - lifted;
    });
    return { ...out, offset };
  }

  #head(head: Linear | Convolution | undefined, { from }: Maps): void {
    const classes = this.#layout.spec.numClasses;
    const size = from.length;
    const weight = head === undefined ? new Float32Array(size) : reordered(head.weight.read(), classes, size, 1, from);
    this.#put("classifier.weight", [classes, size], weight);
    this.#put("classifier.bias", [classes], head?.bias?.read() ?? new Float32Array(classes));
  }

  #put(path: string, shape: readonly number[], data: Float32Array): void {
    this.tensors.set(path, { dtype: "F32", shape, data });
  }

  /**
   * Whether layers compute cat([new, old]). All norms of a block see the same maps in training, so a map's running mean
   * is the same number in each of them: the statistics of one layer are found in the next one's at 0, or behind the new
   * maps. Where they say nothing, names do.
   */
  #newMapsInFront(): boolean {
    const { blocks, spec, namedInFront } = this.#layout;
    let behind = 0;
    let inFront = 0;
    for (const { layers } of blocks) {
      for (const [l, [{ norm }]] of layers.entries()) {
        if (l === 0) continue;
        const before = layers[l - 1][0].norm.mean.read();
        const now = norm.mean.read();
        for (const [i, mean] of before.entries()) {
          behind += Math.abs(now[i] - mean);
          inFront += Math.abs(now[i + spec.growthRate] - mean);
        }
      }
    }
    if (behind < CLEARLY * inFront) return false;
    return inFront < CLEARLY * behind || namedInFront;
  }
}

/** Statistics of the same map differ by rounding only; those of two maps by as much as they are. */
const CLEARLY = 0.05;

function plainMaps(count: number): Maps {
  return { from: Array.from({ length: count }, (_, i) => i), offset: new Array<number>(count).fill(0) };
}

/** Our order is always old, then new. */
function joined(old: Maps, added: Maps, inFront: boolean): Maps {
  const shift = inFront ? added.from.length : 0;
  const start = inFront ? 0 : old.from.length;
  return {
    from: [...old.from.map((at) => at + shift), ...added.from.map((at) => at + start)],
    offset: [...old.offset, ...added.offset],
  };
}

/** [outputs, inputs, area] with input i taken from the file's `from[i]`. */
function reordered(
  data: Float32Array<ArrayBuffer>,
  outputs: number,
  inputs: number,
  area: number,
  from: readonly number[] | undefined,
): Float32Array<ArrayBuffer> {
  if (from === undefined || from.every((at, i) => at === i)) return data;
  const out = new Float32Array(data.length);
  for (let o = 0; o < outputs; o++) {
    for (const [i, at] of from.entries()) {
      const start = (o * inputs + at) * area;
      out.set(data.subarray(start, start + area), (o * inputs + i) * area);
    }
  }
  return out;
}
