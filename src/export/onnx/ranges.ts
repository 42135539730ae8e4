// export/onnx: calibration of a static quantisation: what range each quantised tensor takes on images. Portable.
//
// Convolutions run on the backend, which keeps what they leave; the cheap ops between them run here by their
// references, because a plan never stores what a convolution reads (it normalises while it loads).
import type { Backend } from "../../backends/backend.ts";
import { runAhead } from "../../backends/runAhead.ts";
import type { TrainedModel } from "../../checkpoint/checkpoint.ts";
import type { Batch } from "../../data/dataset.ts";
import { InputError } from "../../errors.ts";
import type { Graph, TensorId } from "../../graph/graph.ts";
import { buildGraph } from "../../networks/registry.ts";
import { applyOp, type Real, sizeOf, type Tensor } from "../../ops/op.ts";
import { opOf } from "../../ops/table.ts";
import { hostBuffers } from "../../plan/names.ts";
import { placesOf } from "../../plan/places.ts";
import { planInference } from "../../plan/planners.ts";
import { type ActivationRanges, poolFirst, quantizableNetwork } from "./quantize.ts";

/** Images that go through the network together; every feature map of theirs is held. */
export const CALIBRATION_BATCH = 4;

/**
 * Ranges of everything that `encodeOnnxModel` stores as uint8, from `batches` of CALIBRATION_BATCH normalised images of
 * the network's size.
 * @throws InputError where there is no image, or a feature map is not finite
 */
export async function activationRanges(
  { model, preprocessing }: TrainedModel,
  batches: AsyncIterable<Batch>,
  backend: Backend,
): Promise<ActivationRanges> {
  const { height, width } = preprocessing;
  const graph = buildGraph(model.spec, { batch: CALIBRATION_BATCH, height, width, mode: "inference" });
  const reordered = poolFirst(graph);
  const { quantized } = quantizableNetwork(graph, model.state);
  const convolved = reordered.nodes.filter(({ op }) => op === "conv2d").map(({ outputs }) => outputs[0]);
  const places = placesOf(graph);
  const views = new Map(convolved.map((id) => [id, places.view(id)]));
  const buffers = [...new Set([...views.values()].map(({ buffer }) => buffer))];
  const plan = planInference(graph, { keep: convolved });
  const executable = await backend.compile({ maps: plan });
  const histograms = new Map([...quantized].map((id) => [id, new ValueHistogram()]));
  let count = 0;
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    const workOf = ({ images }: Batch) => ({ plan: "maps", inputs: { [hostBuffers.images]: images } });
    for await (const { item, found } of runAhead(executable, batches, workOf, buffers)) {
      count += item.count;
      const given = new Map<TensorId, Tensor>([[graph.images, shaped(reordered, graph.images, item.images)]]);
      for (const [id, { buffer, offset }] of views) {
        const whole = plan.buffers.get(buffer)?.shape ?? [];
        given.set(id, slice(found[buffers.indexOf(buffer)], whole, reordered.tensors[id].shape, offset));
      }
      for (const [id, { data, shape }] of featureMaps(reordered, model.state, given)) {
        histograms.get(id)?.add(data.subarray(0, item.count * sizeOf(shape.slice(1))));
      }
    }
  } finally {
    await executable.dispose();
  }
  if (count === 0) throw new InputError("there is no calibration image, so nothing says what ranges int8 needs");
  return new Map([...histograms].map(([id, histogram]) => [reordered.tensors[id].name, histogram.range()]));
}

const shaped = (graph: Graph, id: TensorId, data: Float32Array): Tensor => ({ shape: graph.tensors[id].shape, data });

/** Channels `offset`… of a buffer [N, C, H, W] as a tensor of `shape`. */
function slice(
  data: Float32Array | Int32Array,
  [, channels]: readonly number[],
  shape: readonly number[],
  offset: number,
): Tensor {
  const [batch, own, height, width] = shape;
  const plane = height * width;
  const out = new Float32Array(sizeOf(shape));
  for (let n = 0; n < batch; n++) {
    const from = (n * channels + offset) * plane;
    out.set(data.subarray(from, from + own * plane), n * own * plane);
  }
  return { shape, data: out };
}

/** Each tensor of the graph as it is computed, from images and the results of convolutions; freed after its last use. */
function* featureMaps(
  { nodes, tensors }: Graph,
  state: TrainedModel["model"]["state"],
  given: ReadonlyMap<TensorId, Tensor>,
): Generator<[TensorId, Tensor & { readonly data: Real }]> {
  const lastUse = new Map(nodes.flatMap(({ inputs }, at) => inputs.map((id) => [id, at])));
  const values = new Map(given);
  for (const entry of given) yield entry as [TensorId, Tensor & { readonly data: Real }];
  for (const [at, { op, inputs, outputs, attrs }] of nodes.entries()) {
    if (op !== "conv2d" && op !== "linear") {
      const operands = inputs.map((id) => values.get(id) ?? (state.get(tensors[id].name) as Tensor));
      const [output] = applyOp(opOf(op), operands, attrs, "f32");
      values.set(outputs[0], output);
      yield [outputs[0], output];
    }
    for (const id of inputs) if (lastUse.get(id) === at) values.delete(id);
  }
}

/** Bins on either side of zero. */
const BINS = 2048;

/** How often values lie where: bins of one width around zero, which doubles when a value lies beyond them. */
export class ValueHistogram {
  readonly #counts = new Float64Array(2 * BINS);
  #binWidth = 2 ** -20;
  #min = 0;
  #max = 0;

  /** @throws InputError for a value that is not finite */
  add(values: Real): void {
    let [min, max] = [this.#min, this.#max];
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (value < min) min = value;
      // A NaN is not below either.
      else if (!(value <= max)) max = Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
    }
    if (!Number.isFinite(max - min)) {
      throw new InputError("a feature map of the calibration images is not finite, so it has no range to quantise");
    }
    [this.#min, this.#max] = [min, max];
    while (Math.max(-min, max) >= BINS * this.#binWidth) this.#double();
    const counts = this.#counts;
    const perBin = 1 / this.#binWidth;
    // Zero is stored as it is, whatever the range.
    for (let i = 0; i < values.length; i++) if (values[i] !== 0) counts[BINS + Math.floor(values[i] * perBin)]++;
  }

  #double(): void {
    const counts = this.#counts;
    for (let to = 0; to < BINS / 2; to++) {
      counts[BINS + to] = counts[BINS + 2 * to] + counts[BINS + 2 * to + 1];
      counts[BINS - 1 - to] = counts[BINS - 1 - 2 * to] + counts[BINS - 2 - 2 * to];
    }
    counts.fill(0, 0, BINS / 2);
    counts.fill(0, BINS + BINS / 2);
    this.#binWidth *= 2;
  }

  /** The part of least…greatest that eight bits store with the least mean squared error. */
  range(): { readonly min: number; readonly max: number } {
    let best = { min: this.#min, max: this.#max, error: Number.POSITIVE_INFINITY };
    for (let share = 100; share >= 20; share--) {
      const [min, max] = [(this.#min * share) / 100, (this.#max * share) / 100];
      const error = this.#squaredError(min, max);
      if (error < best.error) best = { min, max, error };
    }
    return { min: best.min, max: best.max };
  }

  /** Rounding leaves step²/12 of values inside, saturation the distance of those outside. */
  #squaredError(min: number, max: number): number {
    const rounding = ((max - min) / 255) ** 2 / 12;
    let sum = 0;
    for (const [bin, count] of this.#counts.entries()) {
      if (count === 0) continue;
      const value = (bin - BINS + 0.5) * this.#binWidth;
      const outside = Math.max(value - max, min - value, 0);
      sum += count * (outside > 0 ? outside ** 2 : rounding);
    }
    return sum;
  }
}
