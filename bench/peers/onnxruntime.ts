// bench: what a user would run instead for inference: ONNX Runtime, natively (onnxruntime-node) or as WebAssembly
// (onnxruntime-web). Prints one JSON line. The network and weights are ours (onnx.ts); after the timing its answer must
// equal our backend's. Example: node bench/peers/onnxruntime.ts --package onnxruntime-node --net 121 --batch 1 --size
// 224 --threads 2 --steps 20
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { initializeParameters } from "../../src/model/initialize.ts";
import { buildGraph, namedSpec } from "../../src/networks/registry.ts";
import { planInference } from "../../src/plan/planners.ts";
import { median } from "../statistics.ts";
import { onnxModel } from "./onnx.ts";

interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, { readonly data: Float32Array }>>;
}
interface OnnxRuntime {
  readonly env: { readonly wasm: { numThreads: number } };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => unknown;
}

const { values } = parseArgs({
  options: {
    package: { type: "string", default: "onnxruntime-node" },
    net: { type: "string", default: "121" },
    batch: { type: "string", default: "1" },
    size: { type: "string", default: "224" },
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "10" },
  },
});
const [batch, size, threads, steps] = [values.batch, values.size, values.threads, values.steps].map(Number) as [
  number,
  number,
  number,
  number,
];

const runtime = (await import(values.package)) as OnnxRuntime & { readonly default?: OnnxRuntime };
const ort = runtime.default ?? runtime;
if (values.package === "onnxruntime-web") ort.env.wasm.numThreads = threads;

const graph = buildGraph(namedSpec(values.net), { batch, height: size, width: size, mode: "inference" });
const parameters = initializeParameters(graph, { seed: 1, fan: "out" });
const session = await ort.InferenceSession.create(onnxModel(graph, parameters), {
  executionProviders: [values.package === "onnxruntime-web" ? "wasm" : "cpu"],
  graphOptimizationLevel: "all",
  executionMode: "sequential",
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
});
const images = Float32Array.from({ length: batch * 3 * size * size }, (_, i) => Math.sqrt(2) * Math.sin(i * 12.9898));
const feeds = { images: new ort.Tensor("float32", images, [batch, 3, size, size]) };
const name = graph.tensors[graph.logits]?.name ?? "";
const stepMs: number[] = [];
let logits: ArrayLike<number> = [];
const warmUntil = performance.now() + 2000;
for (let step = 0; step < 3 || performance.now() < warmUntil; step++) await session.run(feeds);
while (stepMs.length < steps) {
  const began = performance.now();
  logits = (await session.run(feeds))[name]?.data ?? [];
  stepMs.push(performance.now() - began);
}
const rss = process.resourceUsage().maxRSS * 1024;

const backend = await createWasmBackend({ threads });
const plan = planInference(graph);
const executable = await backend.compile({ infer: plan });
for (const [path, { data }] of parameters) if (plan.buffers.has(path)) await executable.write(path, data);
await executable.write("images", images, "infer");
await executable.run("infer");
const [found] = await executable.read(["logits"], "infer");
const ours = Array.from(found);
await backend.dispose();
const largest = ours.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const difference = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - (logits[i] ?? Number.NaN))), 0);
if (!(difference <= 1e-3 * largest)) {
  process.stderr.write(
    `${values.package} answers otherwise: largest difference ${difference}, largest logit ${largest}\n`,
  );
  process.exit(7);
}
const about = await readFile(join(import.meta.dirname, "node_modules", values.package, "package.json"), "utf8");
const { version } = JSON.parse(about) as { version: string };
process.stdout.write(
  `${JSON.stringify({ peer: values.package, version, stepMs, medianMs: median(stepMs), peakRssBytes: rss, difference: difference / largest })}\n`,
);
process.exit(0);
