// Test support: a whole small net as one training plan on a backend, for questions about sequences of kernels instead
// of single ones.
import type { Executable, RunScalars } from "../../src/backends/backend.ts";
import type { ReferenceExecutable } from "../../src/backends/reference/backend.ts";
import { differentiate } from "../../src/graph/differentiate.ts";
import { initializeParameters } from "../../src/model/initialize.ts";
import { buildGraph, type NetworkSpec } from "../../src/networks/registry.ts";
import { sizeOf } from "../../src/ops/op.ts";
import type { BufferName, BufferRole, Plan } from "../../src/plan/plan.ts";
import { type OptimizerSettings, planTraining } from "../../src/plan/planners.ts";
import type { RecomputePolicy } from "../../src/plan/recompute.ts";
import { labels, makeImages } from "../golden/formula.ts";
import type { Contents } from "./case.ts";

export interface NetworkCase {
  readonly spec: NetworkSpec;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly recompute: RecomputePolicy;
  readonly optimizer?: OptimizerSettings;
}

/** A net's training plan and the values its persistent buffers begin with. */
export interface Network {
  readonly plan: Plan;
  readonly initial: Contents;
}

export const seed = 20170721;
export const scalarsOf = (step: number): RunScalars => ({ learningRate: 0.05, seed, step });

/** Parameters drawn as for a real run; β is lifted from 0, so that it counts. */
export function networkOf({ spec, batch, height, width, recompute, optimizer }: NetworkCase): Network {
  const graph = differentiate(buildGraph(spec, { batch, height, width, mode: "training" }));
  const plan = planTraining(graph, optimizer ? { recompute, optimizer } : { recompute });
  const initial = new Map<BufferName, Float32Array>();
  for (const [name, { role, data }] of initializeParameters(graph, { seed, fan: "out" })) {
    initial.set(name, role === "shift" ? data.map((value, i) => value + 0.1 * ((i % 5) - 2)) : data);
  }
  for (const { name, role, shape } of plan.buffers.values()) {
    if (role === "momentum") initial.set(name, new Float32Array(sizeOf(shape)));
  }
  return { plan, initial };
}

/** The images and labels that belong to a step. */
export const imagesOf = ({ spec, batch, height, width }: NetworkCase, step: number): Contents =>
  new Map<BufferName, Float32Array | Int32Array>([
    ["images", makeImages(`images ${step}`, [batch, spec.inChannels, height, width])],
    ["labels", labels(`images ${step}`, batch, spec.numClasses)],
  ]);

export async function writeAll(executable: Executable, contents: Contents, plan: string): Promise<void> {
  for (const [name, data] of contents) await executable.write(name, data, plan);
}

/** `sampleLoss`, `logits` and all buffers of these roles by name, with all digits where the backend gives them. */
export async function valuesOf(
  executable: Executable,
  planName: string,
  { plan }: Network,
  roles: readonly BufferRole[],
): Promise<ReadonlyMap<BufferName, Float32Array | Float64Array>> {
  const { memory } = executable as Partial<ReferenceExecutable>;
  const found = new Map<BufferName, Float32Array | Float64Array>();
  for (const { name, role } of plan.buffers.values()) {
    if (!roles.includes(role) && name !== "sampleLoss" && name !== "logits") continue;
    const data = memory ? memory(planName).tensor(name).data.slice() : (await executable.read([name], planName))[0];
    if (!(data instanceof Int32Array)) found.set(name, data);
  }
  return found;
}
