// plan: reading a graph. A tensor, an attribute or a dimension that is missing is an error that says where, never a
// default.
import type { Graph, GraphNode, GraphTensor, TensorId } from "../graph/graph.ts";
import { showShape, sizeOf } from "../ops/op.ts";

interface Shaped {
  readonly name: string;
  readonly shape: readonly number[];
}

export const featureMapSides = ["batch", "channels", "height", "width"] as const;

/** The extents of a tensor by the names of its dimensions. @throws RangeError if it has more or fewer dimensions */
export function sidesOf<Side extends string>({ name, shape }: Shaped, sides: readonly Side[]): Record<Side, number> {
  if (shape.length !== sides.length) {
    throw new RangeError(`${name} has shape ${showShape(shape)}, expected [${sides.join(", ")}]`);
  }
  return Object.fromEntries(sides.map((side, i) => [side, shape[i]])) as Record<Side, number>;
}

/** Memory as views see it: images of channels of planes. A vector [C] is one image whose planes are single values. */
export interface ChannelLayout {
  readonly images: number;
  readonly channels: number;
  /** Elements of a channel of an image. */
  readonly plane: number;
}

/** Of [N, C, …] or of a vector [C]. @throws RangeError for a scalar */
export function channelLayout({ name, shape }: Shaped): ChannelLayout {
  const [images, channels, ...sides] = shape.length === 1 ? [1, ...shape] : shape;
  if (images === undefined || channels === undefined) {
    throw new RangeError(`${name} has shape ${showShape(shape)}, which has no channels`);
  }
  return { images, channels, plane: sizeOf(sides) };
}

export const channelsOf = (tensor: Shaped): number => channelLayout(tensor).channels;

export function tensorOf(graph: Graph, id: TensorId): GraphTensor {
  const tensor = graph.tensors[id];
  if (!tensor) throw new RangeError(`the graph has no tensor ${id}`);
  return tensor;
}

export function inputOf({ inputs, op, path }: GraphNode, index: number): TensorId {
  const id = inputs[index];
  if (id === undefined) throw new RangeError(`${path}: ${op} has no input number ${index}`);
  return id;
}

export function outputOf({ outputs, op, path }: GraphNode, index: number): TensorId {
  const id = outputs[index];
  if (id === undefined) throw new RangeError(`${path}: ${op} has no output number ${index}`);
  return id;
}

/** @throws RangeError if the node has no such attribute, or one that is no number */
export function numberAttribute({ attrs, op, path }: GraphNode, name: string): number {
  const value = attrs[name];
  if (typeof value !== "number") throw new RangeError(`${path}: ${op} needs a number ${name}, it has ${String(value)}`);
  return value;
}
