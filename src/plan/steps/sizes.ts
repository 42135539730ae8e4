// plan/steps: geometry of the kernels, from the shapes of a node's tensors.
import type { GraphNode, TensorId } from "../../graph/graph.ts";
import type { Lowering } from "../lowering.ts";
import type { PoolSize, WindowSize } from "../plan.ts";
import { featureMapSides, inputOf, numberAttribute, outputOf, sidesOf } from "../reading.ts";

export const featureMaps = (lowering: Lowering, id: TensorId) => sidesOf(lowering.tensor(id), featureMapSides);

/** Of a convolution's weight [O, C, k, k]. */
export const weightSides = (lowering: Lowering, conv: GraphNode) =>
  sidesOf(lowering.tensor(inputOf(conv, 1)), ["outputs", "channels", "kernel", "kernelWidth"]);

/** Images and pixels of feature maps, for kernels that take a channel's plane as one run. */
export function planeSize(lowering: Lowering, id: TensorId): { readonly batch: number; readonly plane: number } {
  const { batch, height, width } = featureMaps(lowering, id);
  return { batch, plane: height * width };
}

export function windowSize(lowering: Lowering, node: GraphNode, kernel: number): WindowSize {
  const { batch, height, width } = featureMaps(lowering, inputOf(node, 0));
  const { height: outHeight, width: outWidth } = featureMaps(lowering, outputOf(node, 0));
  const [stride, padding] = [numberAttribute(node, "stride"), numberAttribute(node, "padding")];
  return { batch, height, width, outHeight, outWidth, kernel, stride, padding };
}

export function convSize(lowering: Lowering, conv: GraphNode): { readonly size: WindowSize; readonly macs: number } {
  const { outputs, channels, kernel } = weightSides(lowering, conv);
  const size = windowSize(lowering, conv, kernel);
  return { size, macs: size.batch * size.outHeight * size.outWidth * outputs * channels * kernel * kernel };
}

/** Of an average pool that reads `input`, which for a pool before its convolution is not the node's own. */
export function poolSize(lowering: Lowering, pool: GraphNode, input: TensorId): PoolSize {
  const { batch, height, width } = featureMaps(lowering, input);
  if (pool.op === "globalAvgPool") {
    return { batch, height, width, outHeight: 1, outWidth: 1, windowHeight: height, windowWidth: width };
  }
  const { height: outHeight, width: outWidth } = featureMaps(lowering, outputOf(pool, 0));
  const { window } = pool.attrs;
  const [windowHeight, windowWidth] = Array.isArray(window) ? window : [];
  if (windowHeight === undefined || windowWidth === undefined) {
    throw new RangeError(`${pool.path}: ${pool.op} needs a window [height, width], it has ${String(window)}`);
  }
  return { batch, height, width, outHeight, outWidth, windowHeight, windowWidth };
}
