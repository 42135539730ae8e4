// backends/webgpu: proof at start-up that products mean on this device what they should.
import { conv2d } from "../../ops/conv2d.ts";
import { applyOp, magnitude } from "../../ops/op.ts";
import type { Plan, PlanBuffer } from "../../plan/plan.ts";
import type { Backend } from "../backend.ts";

const [batch, side, inputs, outputs, kernel] = [2, 7, 5, 9, 3];

function buffer(name: string, shape: readonly number[], offset: number): PlanBuffer {
  const bytes = shape.reduce((product, extent) => product * extent, 4);
  return { name, shape, dtype: "f32", role: "arena", bytes, offset, birth: -1, death: 1 };
}

/** One 3×3 convolution that fills no tile. */
function probe(): Plan {
  const x = buffer("x", [batch, inputs, side, side], 0);
  const weight = buffer("weight", [outputs, inputs, kernel, kernel], x.bytes);
  const y = buffer("y", [batch, outputs, side, side], x.bytes + weight.bytes);
  const size = { batch, height: side, width: side, outHeight: side, outWidth: side, kernel, stride: 1, padding: 1 };
  const view = (name: string, channels: number) => ({ buffer: name, offset: 0, channels });
  const arenaBytes = x.bytes + weight.bytes + y.bytes;
  return {
    buffers: new Map([x, weight, y].map((one) => [one.name, one])),
    calls: [
      {
        kernel: "conv",
        args: { x: view("x", inputs), weight: "weight", y: view("y", outputs), size },
        path: "self-check",
        computes: [],
        recompute: false,
        macs: 0,
        trafficBytes: 0,
      },
    ],
    addressed: [],
    arenaBytes,
    persistentBytes: 0,
    peakBytes: arenaBytes,
  };
}

/** What leaves 8·2⁻²⁴·Σ|terms| of its meaning, or undefined. */
export async function findWrongProduct(backend: Backend): Promise<string | undefined> {
  const plan = probe();
  const executable = await backend.compile({ probe: plan });
  let state = 1;
  const draw = (count: number): Float32Array =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    });
  const operands = ["x", "weight"].map((name) => {
    const { shape = [], bytes = 0 } = plan.buffers.get(name) ?? {};
    return { name, shape, data: draw(bytes / 4) };
  });
  try {
    for (const { name, data } of operands) await executable.write(name, data, "probe");
    await executable.run("probe");
    const found = await executable.read("y", "probe");
    const attrs = { stride: 1, padding: 1 };
    const [expected] = applyOp(conv2d, operands, attrs, "f64");
    const [terms] = magnitude(conv2d, operands, attrs);
    const right = found.every((value, i) => Math.abs(value - expected.data[i]) <= 8 * 2 ** -24 * terms.data[i]);
    return right ? undefined : "convolution";
  } finally {
    await executable.dispose();
  }
}
