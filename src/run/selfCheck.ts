// run: whether a device computes what the reference computes, on one training step of a small network. Portable: a page
// asks the same.
import type { Backend } from "../backends/backend.ts";
import { createReferenceBackend } from "../backends/reference/backend.ts";
import { differentiate } from "../graph/differentiate.ts";
import { createNetwork } from "../model/create.ts";
import { buildGraph, smallSpec } from "../networks/registry.ts";
import { hostBuffers } from "../plan/names.ts";
import { planTraining } from "../plan/planners.ts";

/**
 * f32 results of a net this small differ by rounding alone, some hundred times 2⁻²⁴; a wrong kernel is off by far more.
 */
export const SELF_CHECK_TOLERANCE = 1e-3;

/**
 * One training step of a small network from the same values on `backend` and on the f32 reference.
 * @returns the largest difference of a gradient or the loss, relative to the largest value of its tensor
 */
export async function compareWithReference(backend: Backend): Promise<number> {
  const spec = smallSpec(7);
  const size = { batch: 3, height: 10, width: 9 };
  const graph = differentiate(buildGraph(spec, { ...size, mode: "training" }));
  const plans = { step: planTraining(graph, { recompute: "none" }) };
  const { state } = createNetwork(spec, { seed: 1 });
  const images = Float32Array.from({ length: size.batch * spec.inChannels * size.height * size.width }, (_, index) =>
    Math.sin(index * 12.9898),
  );
  const gradients = [...plans.step.buffers.values()].filter((buffer) => buffer.role === "gradient");
  const results = [];
  for (const candidate of [backend, createReferenceBackend({ precision: "f32" })]) {
    const executable = await candidate.compile(plans);
    for (const [path, { data }] of state) await executable.write(path, data);
    await executable.write(hostBuffers.images, images, "step");
    await executable.write(hostBuffers.labels, Int32Array.of(4, 0, 6), "step");
    await executable.run("step", { seed: 1, step: 1 });
    results.push(await executable.read([hostBuffers.sampleLoss, ...gradients.map((buffer) => buffer.name)], "step"));
    await executable.dispose();
  }
  const [found = [], expected = []] = results;
  return Math.max(...expected.map((values, index) => relativeDifference(found[index] ?? [], values)));
}

function relativeDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0;
  let difference = 0;
  for (let index = 0; index < expected.length; index++) {
    largest = Math.max(largest, Math.abs(expected[index] ?? 0));
    const apart = Math.abs((found[index] ?? Number.NaN) - (expected[index] ?? 0));
    // NaN is the worst difference, not the least.
    difference = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : Math.max(difference, apart);
  }
  return difference / (largest || 1);
}
