// What a GPU can refuse, each said in a sentence: by Dawn's null device with some answers replaced.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReferenceBackend } from "../../../src/backends/reference/backend.ts";
import { createWasmBackend } from "../../../src/backends/wasm/wasm.ts";
import { compileProgram, memorySpaces } from "../../../src/backends/webgpu/compile.ts";
import { createWebgpuBackend, WebgpuBackend } from "../../../src/backends/webgpu/webgpu.ts";
import { type DenseNetError, DeviceError, ResourceError, UsageError } from "../../../src/errors.ts";
import { differentiate } from "../../../src/graph/differentiate.ts";
import { buildGraph, namedSpec } from "../../../src/networks/registry.ts";
import { type ActivationDtype, activationDtypes } from "../../../src/plan/plan.ts";
import { planInference, planTraining } from "../../../src/plan/planners.ts";
import { printPlan } from "../../../src/plan/print.ts";
import { altered, dawnMissing, nullDevice } from "./gpu.ts";

const skip = dawnMissing() ?? false;
const graph = buildGraph(namedSpec("BC-40-12"), { batch: 8, height: 32, width: 32, mode: "inference" });
const plan = planInference(graph);
const optimizer = { momentum: 0.9, nesterov: true, weightDecay: 1e-4 };

const target = { tiled: false, bindingBytes: 2 ** 27, windows: 7 } as const;

/** Compiles on the null device and returns how much memory that is reported to take. */
async function compileOn(
  answers: (device: GPUDevice) => Readonly<Record<string, unknown>>,
  given = plan,
  activationDtype: ActivationDtype = "f32",
): Promise<number> {
  const device = await nullDevice();
  const info = { name: "webgpu", threads: 1, activationDtype, features: {}, notes: [] } as const;
  const backend = new WebgpuBackend(altered(device, answers(device)), target, info);
  try {
    return (await backend.compile({ plan: given })).peakBytes;
  } finally {
    await backend.dispose();
  }
}

const refused =
  (kind: new (message: string) => DenseNetError, says: RegExp, bytes?: () => number) => (error: unknown) =>
    error instanceof kind && says.test(error.message) && error.details.bytes === bytes?.();

/** Answers of a device that notes what buffers it is asked for. */
const noting = (sizes: Map<string, number>) => (device: GPUDevice) => ({
  createBuffer: (wanted: GPUBufferDescriptor) => {
    sizes.set(wanted.label ?? "", wanted.size);
    return device.createBuffer(wanted);
  },
});
const sumOf = (sizes: Iterable<number>): number => [...sizes].reduce((sum, size) => sum + size, 0);

test("the memory that is reported is what the spaces' buffers take; an empty space still has one of 64 words", {
  skip,
}, async () => {
  const sizes = new Map<string, number>();
  const reported = await compileOn(noting(sizes));
  const spaces = sumOf(memorySpaces.map((space) => sizes.get(space) ?? 0));
  assert.ok(
    spaces - reported >= 0 && spaces - reported <= 64 * 4 * memorySpaces.length,
    `reported ${reported}, taken ${spaces}`,
  );
});

for (const activationDtype of activationDtypes) {
  test(`what a plan's print says it takes is what the device is asked for, rounded up to windows · ${activationDtype}`, {
    skip,
  }, async () => {
    const graph = differentiate(
      buildGraph(namedSpec("BC-40-12"), { batch: 8, height: 32, width: 32, mode: "training" }),
    );
    const step = planTraining(graph, { recompute: "none", optimizer, activationDtype });
    const [, printed] = /= peakBytes (\d+)$/m.exec(printPlan(step)) ?? [];
    const sizes = new Map<string, number>();
    await compileOn(noting(sizes), step, activationDtype);
    const { arena = 0, maps = 0, persistent = 0 } = Object.fromEntries(sizes);
    const taken = arena + persistent + (activationDtype === "f16" ? maps : 0);
    // The arena, the f16 arena and each of parameters, gradients, momenta and statistics end at a full window.
    const over = taken - Number(printed);
    assert.ok(over >= 0 && over < 6 * 512, `printed ${printed}, taken ${taken}`);
    const ownOver = maps - step.f16ArenaBytes;
    assert.ok(activationDtype === "f32" ? maps === 64 * 2 : ownOver >= 0 && ownOver < 256, `${maps} bytes of maps`);
  });
}

test("a plan with feature maps in f16 is refused by every backend that was not opened for them, in a sentence", {
  skip,
}, async () => {
  const half = planInference(graph, { activationDtype: "f16" });
  const says = (why: RegExp) => (error: unknown) => error instanceof UsageError && why.test(error.message);
  const wasm = await createWasmBackend({ threads: 1 });
  await assert.rejects(
    wasm.compile({ half }),
    says(/^plan half stores feature maps in f16, this wasm backend has f32 only: plan with activationDtype "f32"$/),
  );
  await wasm.dispose();
  const reference = createReferenceBackend({ precision: "f64" });
  await assert.rejects(reference.compile({ plan, half }), says(/^plan half stores .* this reference backend has f32/));
  await assert.rejects(
    compileOn(() => ({}), half),
    says(/^plan plan stores .* webgpu backend was opened for f32: create the backend with activationDtype "f16"/),
  );
});

test("an adapter whose largest buffer is a byte too small · ResourceError with both sizes and what to change", {
  skip,
}, async () => {
  const { words } = compileProgram({ plan }, target);
  const largest = Math.max(...memorySpaces.map((space) => words[space] * 4));
  const limited =
    (maxBufferSize: number) =>
    ({ limits }: GPUDevice) => ({ limits: altered(limits, { maxBufferSize }) });
  await compileOn(limited(largest));
  const mebibytes = (largest / 2 ** 20).toFixed(0);
  const says = new RegExp(`need a buffer of ${mebibytes} MiB, this GPU allows at most \\d+ MiB: lower the batch size`);
  await assert.rejects(
    compileOn(limited(largest - 1)),
    refused(ResourceError, says, () => largest),
  );
});

test("a GPU without the memory · ResourceError with the size and what to change", { skip }, async () => {
  const sizes = new Map<string, number>();
  const popErrorScope = async () => ({ message: "out of memory" });
  await assert.rejects(
    compileOn((device) => ({ ...noting(sizes)(device), pushErrorScope: () => {}, popErrorScope })),
    refused(ResourceError, /the GPU does not have the \d+ MiB that these plans need: lower the batch size/, () =>
      sumOf(sizes.values()),
    ),
  );
});

test("a shader that the driver rejects · DeviceError with the shader's name and the driver's words", {
  skip,
}, async () => {
  const createComputePipelineAsync = async () => {
    throw new Error("internal compiler error\nmore");
  };
  await assert.rejects(
    compileOn(() => ({ createComputePipelineAsync })),
    refused(DeviceError, /driver rejected the shader of .+: internal compiler error$/),
  );
});

test("an adapter that gives no device, and a system without adapters · DeviceError", { skip }, async () => {
  const requestDevice = async () => {
    throw new Error("too many devices");
  };
  const adapter = { info: { description: "A GPU", vendor: "" }, features: new Set(), limits: {}, requestDevice };
  const gpu = (found: unknown) => ({ requestAdapter: async () => found }) as unknown as GPU;
  await assert.rejects(
    createWebgpuBackend({ gpu: gpu(adapter) }),
    refused(DeviceError, /^A GPU gave no device: too many devices$/),
  );
  await assert.rejects(createWebgpuBackend({ gpu: gpu(null) }), refused(DeviceError, /no adapter/));
});
