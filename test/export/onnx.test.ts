// What is written as ONNX computes what the network computes, and is read back as the network that it was.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import type { TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { roundToHalves } from "../../src/checkpoint/floats.ts";
import { evaluateOnnx } from "../../src/export/onnx/evaluate.ts";
import { encodeOnnxModel, type OnnxOptions, onnxModel } from "../../src/export/onnx/write.ts";
import { openOnnx, parseOnnx, readOwnOnnx } from "../../src/formats/onnx/read.ts";
import { decodeOnnx, encodeOnnx } from "../../src/formats/onnx/schema.ts";
import { isOnnx } from "../../src/formats/read.ts";
import { softmax } from "../../src/infer/scores.ts";
import { logitsOf } from "../formats/oracle.ts";
import { smallNets, smallTrained } from "./trained.ts";

/** The images of logitsOf. */
const images = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 255) / 127.5 - 1);

const readOwn = (bytes: Uint8Array): TrainedModel | undefined => readOwnOnnx(openOnnx(bytes, "net.onnx"), "net.onnx");

function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(found.length, expected.length);
  const largest = Math.max(...Array.from(expected, Math.abs));
  return Math.max(...Array.from(expected, (value, i) => Math.abs(value - found[i]))) / largest;
}

for (const [name, fields] of Object.entries(smallNets)) {
  for (const [height, width] of [
    [33, 37],
    [40, 34],
  ]) {
    test(`ONNX of ${name} · 2×${height}×${width} · the graph's nodes give the network's logits`, async () => {
      const trained = smallTrained(fields);
      const shape = [2, trained.model.spec.inChannels, height, width] as const;
      await using backend = createReferenceBackend({ precision: "f32" });
      const expected = await logitsOf(trained.model, shape, backend);
      const data = images(shape.reduce((a, b) => a * b));
      const { data: found } = evaluateOnnx(encodeOnnxModel(trained), { shape, data });
      assert.ok(largestDifference(found, expected) < 1e-5);
      const halves = evaluateOnnx(encodeOnnxModel(trained, { dtype: "f16" }), { shape, data }).data;
      const apart = largestDifference(halves, expected);
      assert.ok(apart > 1e-6 && apart < 1e-2, `f16 differs by ${apart}`);
    });
  }

  test(`ONNX of ${name} · read back to the bit, and in f16 to the rounded bit`, () => {
    const trained = smallTrained(fields);
    assert.deepEqual(readOwn(encodeOnnxModel(trained)), trained);
    const halves = readOwn(encodeOnnxModel(trained, { dtype: "f16", pixels: true }));
    for (const [path, { data }] of trained.model.state) {
      assert.deepEqual(halves?.model.state.get(path)?.data, roundToHalves(data), path);
    }
  });
}

test("ONNX with preprocessing · bytes [N,H,W,C] in, the same logits out", () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const { mean, std } = trained.preprocessing;
  const [n, height, width] = [2, 20, 18];
  const pixels = Uint8Array.from({ length: n * height * width * 3 }, (_, i) => (i * 7919) % 256);
  const floats = new Float32Array(pixels.length);
  for (const [i, byte] of pixels.entries()) {
    const c = i % 3;
    const pixel = Math.floor(i / 3);
    const plane = height * width;
    const at = (Math.floor(pixel / plane) * 3 + c) * plane + (pixel % plane);
    floats[at] = (byte / 255 - mean[c]) / std[c];
  }
  const expected = evaluateOnnx(encodeOnnxModel(trained), { shape: [n, 3, height, width], data: floats });
  const found = evaluateOnnx(encodeOnnxModel(trained, { pixels: true }), {
    shape: [n, height, width, 3],
    data: Float32Array.from(pixels),
  });
  assert.ok(largestDifference(found.data, expected.data) < 1e-5);
});

const calibration = { count: 10, temperature: 1.7, answers: [], classes: [null, null, null, null, null] };
const heads: readonly [string, Partial<TrainedModel>][] = [
  ["softmax", {}],
  ["calibrated softmax", { calibration }],
  ["sigmoid", { outputs: "sigmoid" }],
];
for (const [name, head] of heads) {
  test(`ONNX with probabilities · ${name}`, () => {
    const trained = smallTrained(smallNets["plain chain"], head);
    const temperature = trained.calibration?.temperature ?? 1;
    const shape = [2, 3, 18, 21];
    const data = images(2 * 3 * 18 * 21);
    const logits = evaluateOnnx(encodeOnnxModel(trained), { shape, data }).data;
    const { data: found } = evaluateOnnx(encodeOnnxModel(trained, { probabilities: true }), { shape, data });
    const expected =
      head.outputs === "sigmoid"
        ? Array.from(logits, (z) => 1 / (1 + Math.exp(-z)))
        : [...softmax(logits.subarray(0, 5), temperature), ...softmax(logits.subarray(5), temperature)];
    assert.ok(largestDifference(found, expected) < 1e-6);
  });
}

const open: readonly [OnnxOptions, string, string][] = [
  [{}, "images: float [batch,3,height,width]", "logits: float [batch,5]"],
  [{ dtype: "f16" }, "images: float [batch,3,height,width]", "logits: float [batch,5]"],
  [{ pixels: true, probabilities: true }, "images: uint8 [batch,height,width,3]", "probabilities: float [batch,5]"],
  [{ inputName: "pixel_values" }, "pixel_values: float [batch,3,height,width]", "logits: float [batch,5]"],
];
for (const [options, input, output] of open) {
  test(`ONNX signature · ${JSON.stringify(options)}`, () => {
    const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
    const { graph, irVersion, opsetImport } = decodeOnnx(encodeOnnx(onnxModel(trained, options)));
    const shown = [...(graph?.input ?? []), ...(graph?.output ?? [])].map(({ name, type }) => {
      const dims = type?.tensorType?.shape?.dim?.map(({ dimParam, dimValue }) => dimParam || String(dimValue));
      return `${name}: ${type?.tensorType?.elemType === 2 ? "uint8" : "float"} [${dims}]`;
    });
    assert.deepEqual(shown, [input, output]);
    assert.equal(irVersion, 8n);
    assert.equal(opsetImport?.[0]?.version, 17n);
    const names = (graph?.node ?? []).map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  });
}

test("ONNX metadata · labels, preprocessing", () => {
  const trained = smallTrained(smallNets["plain chain"]);
  const { metadataProps = [] } = onnxModel(trained);
  const { labels, preprocessing, activation } = Object.fromEntries(
    metadataProps.map(({ key = "", value = "" }) => [key, JSON.parse(value)]),
  );
  assert.deepEqual(labels, trained.classes);
  assert.deepEqual(preprocessing, { ...trained.preprocessing, inGraph: false });
  assert.equal(activation, "softmax");
});

test("ONNX files that are none or damaged are refused in a sentence", () => {
  const bytes = encodeOnnxModel(smallTrained(smallNets["plain chain"]));
  assert.ok(isOnnx(bytes));
  for (let length = 0; length < bytes.length; length += 97) {
    assert.throws(() => readOwn(bytes.slice(0, length)), { name: "InputError", message: /^net\.onnx: / });
  }
  assert.throws(() => parseOnnx(Uint8Array.of(8, 8), "net.onnx"), /net\.onnx: is an ONNX file without a graph/);
  const model = onnxModel(smallTrained(smallNets["plain chain"]));
  const initializer = (model.graph?.initializer ?? []).map((tensor, i) =>
    i === 0 ? { ...tensor, dims: [3n] } : tensor,
  );
  const damaged = encodeOnnx({ ...model, graph: { ...model.graph, initializer } });
  assert.throws(() => readOwn(damaged), /"features\.conv0\.weight" of shape \[3\] and type F32 has/);
});
