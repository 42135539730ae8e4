// bench: what this GPU can do at most, measured: f32 multiply-adds in registers, and bytes through its memory.
// machine.ts is the same for the CPU.
import type { MachineLimits } from "./machine.ts";

/** Each of the two measurements takes this long. */
const spanMs = 400;
/** A submission shorter than this is mostly its own cost, so the next one holds twice as much. */
const leastMs = 20;
/** More than any card's cache. */
const copyBytes = 256 * 2 ** 20;

const [lanes, groups, rounds, chains] = [64, 8192, 128, 8];
const each = (line: (chain: number) => string): string => Array.from({ length: chains }, (_, i) => line(i)).join("\n");

/** Eight independent chains of vec4f in every lane; what they come to is stored, or they would be left out. */
const registers = `@group(0) @binding(0) var<storage, read_write> sink: array<f32>;
@compute @workgroup_size(${lanes}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let rate = vec4f(0.5 + 1e-6 * f32(id.x));
${each((i) => `var sum${i} = vec4f(${i}.0);`)}
  for (var round = 0u; round < ${rounds}u; round++) {
${each((i) => `sum${i} = fma(sum${i}, rate, vec4f(1.0));`)}
  }
  sink[id.x] = dot(${Array.from({ length: chains }, (_, i) => `sum${i}`).join(" + ")}, vec4f(1.0));
}`;

/** Billions a second, at the best of the submissions that fit the span; `amount` is what one `encode` does. */
async function bestRate(
  device: GPUDevice,
  amount: number,
  encode: (encoder: GPUCommandEncoder) => void,
): Promise<number> {
  let best = 0;
  let times = 1;
  const end = performance.now() + spanMs;
  do {
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < times; i++) encode(encoder);
    const commands = encoder.finish();
    const began = performance.now();
    device.queue.submit([commands]);
    await device.queue.onSubmittedWorkDone();
    const ms = performance.now() - began;
    best = Math.max(best, (amount * times) / ms / 1e6);
    if (ms < leastMs) times *= 2;
  } while (performance.now() < end);
  return best;
}

async function registerRate(device: GPUDevice): Promise<number> {
  const module = device.createShaderModule({ code: registers });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const sink = device.createBuffer({ size: lanes * groups * 4, usage: GPUBufferUsage.STORAGE });
  const entries = [{ binding: 0, resource: { buffer: sink } }];
  const bindings = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const flops = 2 * 4 * chains * rounds * lanes * groups;
  const rate = await bestRate(device, flops, (encoder) => {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindings);
    pass.dispatchWorkgroups(groups);
    pass.end();
  });
  sink.destroy();
  return rate;
}

async function copyRate(device: GPUDevice): Promise<number> {
  const size = Math.min(copyBytes, device.limits.maxBufferSize);
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = [device.createBuffer({ size, usage }), device.createBuffer({ size, usage })];
  const rate = await bestRate(device, 2 * size, (encoder) => encoder.copyBufferToBuffer(from, 0, to, 0, size));
  from.destroy();
  to.destroy();
  return rate;
}

/** Peak rates of the device, one measured after the other. */
export async function measureCard(device: GPUDevice): Promise<MachineLimits> {
  return { gflops: await registerRate(device), gigabytesPerSecond: await copyRate(device) };
}
