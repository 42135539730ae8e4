// Test support: the engines that the golden tests hold against PyTorch.
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { planInference, planTraining } from "../../src/plan/planners.ts";
import type { RecomputePolicy } from "../../src/plan/recompute.ts";
import type { Engine } from "./engine.ts";
import { interpreter } from "./interpreter.ts";
import { planEngine } from "./planEngine.ts";

const planners = (
  recompute: RecomputePolicy,
): Pick<Parameters<typeof planEngine>[0], "planInference" | "planStep"> => ({
  planInference,
  planStep: (graph, { momentum, weightDecay }) => [
    planTraining(graph, { recompute, optimizer: { momentum, weightDecay, nesterov: true } }),
  ],
});

/** Each has a backend of its own, of which it disposes. */
export async function engines(): Promise<readonly Engine[]> {
  return [
    interpreter("f64"),
    interpreter("f32"),
    planEngine({
      name: "plan on reference f64, recompute none",
      precision: "f64",
      big: false,
      backend: createReferenceBackend({ precision: "f64" }),
      ...planners("none"),
    }),
    planEngine({
      name: "plan on reference f64, recompute bottleneck",
      precision: "f64",
      big: false,
      backend: createReferenceBackend({ precision: "f64" }),
      ...planners("bottleneck"),
    }),
    planEngine({
      name: "plan on wasm, 2 threads, recompute none",
      precision: "f32",
      big: true,
      backend: await createWasmBackend({ threads: 2 }),
      ...planners("none"),
    }),
    planEngine({
      name: "plan on wasm, 2 threads, recompute bottleneck",
      precision: "f32",
      big: true,
      backend: await createWasmBackend({ threads: 2 }),
      ...planners("bottleneck"),
    }),
    planEngine({
      name: "plan on wasm, plain SIMD, 1 thread",
      precision: "f32",
      big: true,
      backend: await createWasmBackend({ threads: 1, relaxedSimd: false }),
      ...planners("none"),
    }),
  ];
}
