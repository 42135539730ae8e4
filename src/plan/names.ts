// plan: what buffers are called. Everyone who makes or seeks a name of these asks here. Parameters and running
// statistics are called by their state-dict path, what a node computes by its tensor's name in the graph.
import type { BufferName } from "./plan.ts";

/** What the host writes before a run (images, labels) and reads after it, by the same names in every plan. */
export const hostBuffers = {
  /** [N, C, H, W] */
  images: "images",
  /** [N] i32 */
  labels: "labels",
  /** [N, classes] */
  logits: "logits",
  /** [N] */
  sampleLoss: "sampleLoss",
  /** [N] */
  sampleRank: "sampleRank",
} as const satisfies Readonly<Record<string, BufferName>>;

/** The gradient with respect to a buffer, of the same shape; so are the next three. */
export const gradientOf = (buffer: BufferName): BufferName => `d(${buffer})`;
/** Of a parameter: the sum of its gradients over micro-batches. */
export const gradientSumOf = (parameter: BufferName): BufferName => `sum(${parameter})`;
/** Of a parameter: its velocity in SGD, its first moment in AdamW. */
export const momentumOf = (parameter: BufferName): BufferName => `momentum(${parameter})`;
/** Of a parameter: the second moment of its gradient in AdamW. */
export const secondMomentOf = (parameter: BufferName): BufferName => `secondMoment(${parameter})`;

/** Feature maps that the backward pass computes a second time. */
export const recomputedOf = (tensor: BufferName): BufferName => `again(${tensor})`;
/** A transition's features after its pool and before its convolution; `path` is the pool's. */
export const pooledAt = (path: string): BufferName => `${path}:pooled`;
