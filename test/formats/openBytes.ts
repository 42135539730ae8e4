// Test support: bytes of a file of weights, opened as the command opens them.
import { describeWeights, type OpenedWeights } from "../../src/formats/describe.ts";
import { isOnnx, readWeights } from "../../src/formats/read.ts";

// The reader of ONNX files is loaded for these only: its library takes memory, which is measured for others without it.
const loadOnnx = () => import("../../src/formats/onnx/read.ts");
let onnx: Awaited<ReturnType<typeof loadOnnx>> | undefined;

/** Before ONNX files are opened. */
export async function withOnnx(): Promise<void> {
  onnx = await loadOnnx();
}

export function openBytes(bytes: Uint8Array, source: string): OpenedWeights {
  const weights =
    onnx && isOnnx(bytes) ? onnx.readOnnx(onnx.openOnnx(bytes, source), source) : readWeights(bytes, source);
  return describeWeights(weights, source);
}
