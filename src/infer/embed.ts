// infer: images → vectors in which alike images lie near each other: a node's maps, averaged over their positions.
import type { NodeReader, NodeTensor } from "./nodeReader.ts";

/** What an image looks like to a network. */
export interface Embedding {
  /**
   * The node's C channels, averaged over positions. Of the default node these are the pooled features that the
   * classifier reads: 1024 of a DenseNet-121, 132 of a BC-40-12, from 0 on.
   */
  readonly vector: Float32Array; // [C]
  readonly logits: Float32Array; // [K]
}

/**
 * The vector of each image, with its logits.
 * @param reader of one node
 * @param images [C, H, W] bytes each, of the input size, as `fitImage` and `decodeImage` give them
 */
export async function embed(reader: NodeReader, images: readonly Uint8Array[]): Promise<Embedding[]> {
  const { logits, values } = await reader.read(images);
  const [maps] = values.values();
  if (maps === undefined) throw new RangeError("embed: the node reader reads no node");
  const vectors = averaged(maps);
  return images.map((_, n) => ({ vector: rowOf(vectors, n), logits: rowOf(logits, n) }));
}

/** [N, C, H, W] → [N, C]; what has no positions stays. */
function averaged({ shape, data }: NodeTensor): NodeTensor {
  const [images, channels, height = 1, width = 1] = shape;
  const plane = height * width;
  const means = Float32Array.from({ length: images * channels }, (_, row) => {
    let sum = 0;
    for (let at = row * plane; at < (row + 1) * plane; at++) sum += data[at];
    return sum / plane;
  });
  return { shape: [images, channels], data: means };
}

function rowOf({ shape: [, length], data }: NodeTensor, n: number): Float32Array {
  return data.slice(n * length, (n + 1) * length);
}
