// backends/webgpu: proof at start-up that products mean on this device what they should.
import { conv2d } from "../../ops/conv2d.ts";
import { applyOp, magnitude, sizeOf } from "../../ops/op.ts";
import { type ActivationDtype, dtypeBytes, type Plan, type PlanBuffer } from "../../plan/plan.ts";
import { findBuffer } from "../persistent.ts";
import type { WebgpuBackend } from "./webgpu.ts";

const [batch, side, inputs, outputs, kernel] = [2, 7, 5, 9, 3];

/** A buffer behind those that lie in its arena already. */
function place(
  name: string,
  shape: readonly number[],
  dtype: ActivationDtype,
  before: readonly PlanBuffer[],
): PlanBuffer {
  const offset = before.filter((other) => other.dtype === dtype).reduce((sum, { bytes }) => sum + bytes, 0);
  return { name, shape, dtype, role: "arena", bytes: sizeOf(shape) * dtypeBytes[dtype], offset, birth: -1, death: 1 };
}

/** One 3×3 convolution that fills no tile. */
function probe(activationDtype: ActivationDtype): Plan {
  const x = place("x", [batch, inputs, side, side], activationDtype, []);
  const weight = place("weight", [outputs, inputs, kernel, kernel], "f32", [x]);
  const y = place("y", [batch, outputs, side, side], activationDtype, [x, weight]);
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
    f16ArenaBytes: activationDtype === "f16" ? x.bytes + y.bytes : 0,
    persistentBytes: 0,
    peakBytes: arenaBytes,
  };
}

/**
 * What is wrong with a convolution that leaves 8·2⁻²⁴·Σ|terms| of its meaning, or undefined. Operands are multiples of
 * 2⁻¹⁰, which f16 holds exactly; the result may be stored in f16, as either of its neighbours (WGSL leaves the
 * direction open). Sums of subgroup matrices may be cut instead of rounded, and before the last bit: they get eight
 * times as much, still a hundredth of what sums in f16 would need.
 */
export async function findWrongProduct(backend: WebgpuBackend): Promise<string | undefined> {
  const { matrices } = backend.target;
  const { activationDtype } = backend.info;
  const storeError = activationDtype === "f16" ? 2 ** -10 : 0;
  const sumError = (matrices ? 64 : 8) * 2 ** -24;
  const plan = probe(activationDtype);
  const executable = await backend.compile({ probe: plan });
  let state = 1;
  const draw = (count: number): Float32Array =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 21) / 2 ** 10 - 1;
    });
  const operands = ["x", "weight"].map((name) => {
    const { shape } = findBuffer({ plan }, name, "plan");
    return { name, shape, data: draw(sizeOf(shape)) };
  });
  try {
    for (const { name, data } of operands) await executable.write(name, data, "probe");
    await executable.run("probe");
    const [found] = await executable.read(["y"], "probe");
    const attrs = { stride: 1, padding: 1 };
    const [expected] = applyOp(conv2d, operands, attrs, "f64");
    const [terms] = magnitude(conv2d, operands, attrs);
    const bound = (i: number): number => sumError * terms.data[i] + storeError * Math.abs(expected.data[i]);
    const right = found.every((value, i) => Math.abs(value - expected.data[i]) <= bound(i));
    return right ? undefined : "it computes a convolution wrongly";
  } finally {
    await executable.dispose();
  }
}
