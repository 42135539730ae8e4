// What a GPU can refuse, each said in a sentence: played by Dawn's null device with another answer here and there.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWebgpuBackend, WebgpuBackend } from "../../src/backends/webgpu/webgpu.ts";
import { DeviceError, ResourceError } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { planInference } from "../../src/plan/lower.ts";
import { namedSpec } from "../../src/spec/variants.ts";
import { altered, dawnMissing, nullDevice } from "./gpu.ts";

const skip = dawnMissing() ?? false;
const plan = planInference(buildGraph(namedSpec("BC-40-12"), { batch: 8, height: 32, width: 32, mode: "inference" }));

async function compileOn(answers: (device: GPUDevice) => Readonly<Record<string, unknown>>): Promise<void> {
  const device = await nullDevice();
  const target = { tiled: false, bindingBytes: 2 ** 27, windows: 7, storage: "f32" } as const;
  const info = { name: "webgpu", threads: 1, features: {}, notes: [] } as const;
  const backend = new WebgpuBackend(altered(device, answers(device)), target, info);
  try {
    await backend.compile({ plan });
  } finally {
    await backend.dispose();
  }
}

const refused = (kind: new (message: string) => Error, says: RegExp) => (error: unknown) =>
  error instanceof kind && says.test(error.message);

test("an adapter that gives no large buffer · ResourceError with both sizes and what to change", { skip }, async () => {
  await assert.rejects(
    compileOn(({ limits }) => ({ limits: altered(limits, { maxBufferSize: 2 ** 20 }) })),
    refused(ResourceError, /need \d+ MiB in one piece, this GPU gives at most 1 MiB: lower the batch size/),
  );
});

test("a GPU without the memory · ResourceError with the size and what to change", { skip }, async () => {
  const popErrorScope = async () => ({ message: "out of memory" });
  await assert.rejects(
    compileOn((device) => ({
      pushErrorScope: () => {},
      popErrorScope,
      createBuffer: device.createBuffer.bind(device),
    })),
    refused(ResourceError, /the GPU has not the \d+ MiB that these plans need: lower the batch size/),
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
