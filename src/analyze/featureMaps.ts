// analyze: what the layers of a network make of images: every map pooled to one number, as the network's own head
// would.
//
// A map x becomes mean over positions of relu((x − μ)/σ), with μ and σ of its channel over the first batch: what batch
// norm, ReLU and global average pool make of it before they have learned anything. Maps come from the inference plan,
// which keeps them; no image is computed twice.
import type { Backend } from "../backends/backend.ts";
import { runAhead } from "../backends/runAhead.ts";
import type { TrainedModel } from "../checkpoint/checkpoint.ts";
import type { Dataset } from "../data/dataset.ts";
import { inOrder } from "../data/epoch.ts";
import { UsageError } from "../errors.ts";
import type { Graph, TensorId } from "../graph/graph.ts";
import { EPS } from "../networks/modules.ts";
import { buildGraph } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { placesOf } from "../plan/places.ts";
import type { BufferName, View } from "../plan/plan.ts";
import { planInference } from "../plan/planners.ts";
import { channelLayout } from "../plan/reading.ts";
import type { BatchLoader } from "../train/trainer.ts";
import type { Features } from "./ridge.ts";

export interface PooledMaps {
  /** Where a tensor's channels stand among the features of its buffer. */
  readonly views: ReadonlyMap<string, View>;
  /** Features of the buffers, in the order of the images. */
  readonly train: ReadonlyMap<BufferName, Features>;
  readonly test: ReadonlyMap<BufferName, Features>;
}

/** Of which network, and of which images the maps are read. */
export interface PooledMapsOptions {
  readonly trained: TrainedModel;
  readonly dataset: Dataset;
  readonly backend: Backend;
  readonly loadBatches: BatchLoader;
  /** Of each split at most so many images, evenly spread over it. */
  readonly images: number;
}

const BATCH = 32;

/** The pooled maps of the named tensors of the network's graph, of images of both splits. */
export async function pooledMaps(names: readonly string[], options: PooledMapsOptions): Promise<PooledMaps> {
  const { trained, dataset, backend, loadBatches, images } = options;
  const { model, preprocessing } = trained;
  const { height, width, mean, std } = preprocessing;
  const graph = buildGraph(model.spec, { batch: BATCH, height, width, mode: "inference" });
  const ids = names.map((name) => tensorNamed(graph, name));
  const views = new Map(ids.map((id, at) => [names[at], placesOf(graph).view(id)]));
  const plan = planInference(graph, { keep: ids });
  const buffers = [...new Set([...views.values()].map(({ buffer }) => buffer))];
  const layouts = buffers.map((name) => {
    const buffer = plan.buffers.get(name);
    if (buffer === undefined) throw new RangeError(`the plan has no buffer ${name}`);
    return channelLayout(buffer);
  });
  const executable = await backend.compile({ maps: plan });
  try {
    for (const [path, { data }] of model.state) await executable.write(path, data);
    let norms: readonly Norm[] | undefined;
    const read = async (split: "train" | "val"): Promise<ReadonlyMap<BufferName, Features>> => {
      const indices = spread(dataset[split].length, images);
      if (indices.length === 0) throw new UsageError(`${dataset.name}: its ${split} split is empty`);
      const values = layouts.map(({ channels }) => new Float64Array(indices.length * channels));
      const labels = Int32Array.from(indices, (index) => dataset[split].labels[index]);
      const batches = loadBatches({ ...dataset, mean, std }, split, { ...inOrder(BATCH), indices });
      const workOf = ({ images }: { readonly images: Float32Array }) => ({
        plan: "maps",
        inputs: { [hostBuffers.images]: images },
      });
      let done = 0;
      for await (const { item, found } of runAhead(executable, batches, workOf, buffers)) {
        norms ??= layouts.map((layout, at) => normOf(found[at], layout, item.count));
        for (const [at, layout] of layouts.entries()) {
          pool(found[at], layout, item.count, norms[at], values[at].subarray(done * layout.channels));
        }
        done += item.count;
      }
      return new Map(
        buffers.map((name, at) => [name, { values: values[at], width: layouts[at].channels, labels }] as const),
      );
    };
    const train = await read("train");
    return { views, train, test: await read("val") };
  } finally {
    await executable.dispose();
  }
}

/** @throws RangeError where the graph has no such tensor */
export function tensorNamed(graph: Graph, name: string): TensorId {
  const found = graph.tensors.find((tensor) => tensor.name === name);
  if (found === undefined) throw new RangeError(`the graph has no tensor ${name}`);
  return found.id;
}

/** At most `most` of the positions 0…length − 1, evenly spread: folders are sorted by class. */
export function spread(length: number, most: number): Int32Array {
  const count = Math.min(length, most);
  return Int32Array.from({ length: count }, (_, at) => Math.floor((at * length) / count));
}

/** Of each channel. */
interface Norm {
  readonly mean: Float64Array;
  readonly scale: Float64Array;
}

type Layout = ReturnType<typeof channelLayout>;
type Values = Float32Array | Int32Array;

function normOf(values: Values, { channels, plane }: Layout, images: number): Norm {
  const [mean, scale] = [new Float64Array(channels), new Float64Array(channels)];
  const count = images * plane;
  for (let c = 0; c < channels; c++) {
    for (let n = 0; n < images; n++) {
      const from = (n * channels + c) * plane;
      for (let at = from; at < from + plane; at++) mean[c] += values[at] / count;
    }
    let variance = 0;
    for (let n = 0; n < images; n++) {
      const from = (n * channels + c) * plane;
      for (let at = from; at < from + plane; at++) variance += (values[at] - mean[c]) ** 2 / count;
    }
    scale[c] = 1 / Math.sqrt(variance + EPS);
  }
  return { mean, scale };
}

function pool(
  values: Values,
  { channels, plane }: Layout,
  images: number,
  { mean, scale }: Norm,
  out: Float64Array,
): void {
  for (let n = 0; n < images; n++) {
    for (let c = 0; c < channels; c++) {
      const from = (n * channels + c) * plane;
      let sum = 0;
      for (let at = from; at < from + plane; at++) sum += Math.max(0, values[at] - mean[c]);
      out[n * channels + c] = (sum * scale[c]) / plane;
    }
  }
}
