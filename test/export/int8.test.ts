// Static int8: what is folded and reordered computes the same, integers stand for their numbers within half a step, and
// what is written agrees with the network as far as eight bits go.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { type Batch, bytesSplit, type Dataset } from "../../src/data/dataset.ts";
import { inOrder, makeBatches } from "../../src/data/epoch.ts";
import { checkInt8 } from "../../src/export/checkInt8.node.ts";
import { exportFiles } from "../../src/export/export.ts";
import { evaluateOnnx } from "../../src/export/onnx/evaluate.ts";
import {
  type QuantizableNetwork,
  quantizableNetwork,
  quantizeWeights,
  roundHalfEven,
  uint8Scale,
} from "../../src/export/onnx/quantize.ts";
import { activationRanges, CALIBRATION_BATCH, ValueHistogram } from "../../src/export/onnx/ranges.ts";
import { encodeOnnxModel, onnxModel } from "../../src/export/onnx/write.ts";
import { exportNetwork, writeExport } from "../../src/export/write.node.ts";
import { decodeOnnx } from "../../src/formats/onnx/schema.ts";
import { buildGraph } from "../../src/networks/registry.ts";
import { applyOp, sizeOf, type Tensor } from "../../src/ops/op.ts";
import { opOf } from "../../src/ops/table.ts";
import { densenet } from "../cli/command.ts";
import { logitsOf } from "../formats/oracle.ts";
import { smallNets, smallTrained } from "./trained.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-int8-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

type Trained = ReturnType<typeof smallTrained>;

/** Labelled by the network itself, so that f32 gets all of them right. */
async function madeUp(trained: Trained, count: number): Promise<Dataset> {
  const { height, width, mean, std } = trained.preprocessing;
  const channels = trained.model.spec.inChannels;
  const size = channels * height * width;
  const pixels = Uint8Array.from({ length: count * size }, (_, i) => (i * 7919 + 13 * Math.floor(i / size)) % 256);
  const name = "made up";
  const made = (labels: Uint16Array): Dataset => {
    const split = bytesSplit({ pixels, labels, channels, height, width });
    return { name, classes: trained.classes, channels, height, width, mean, std, train: split, val: split };
  };
  const labels = new Uint16Array(count);
  for await (const { images, indices } of makeBatches(made(labels), "train", inOrder(1))) {
    const logits = await logitsOf(
      trained.model,
      [1, channels, height, width],
      backend,
      images as Float32Array<ArrayBuffer>,
    );
    labels[indices[0]] = logits.indexOf(Math.max(...logits));
  }
  return made(labels);
}

async function rangesOf(
  trained: Trained,
  count = 5,
): Promise<{ dataset: Dataset; ranges: Awaited<ReturnType<typeof activationRanges>> }> {
  const dataset = await madeUp(trained, count);
  const batches = makeBatches(dataset, "train", inOrder(CALIBRATION_BATCH));
  return { dataset, ranges: await activationRanges(trained, batches, backend) };
}

/** Node by node, by the references; convolutions may have a bias. */
function logitsInF64({ graph, state }: Pick<QuantizableNetwork, "graph" | "state">, images: Float64Array): number[] {
  const { tensors } = graph;
  const values = new Map<number, Tensor>([[graph.images, { shape: tensors[graph.images].shape, data: images }]]);
  for (const { id, name, kind } of tensors) {
    if (kind === "parameter" || kind === "state") values.set(id, state.get(name) ?? assert.fail(name));
  }
  for (const { op, inputs, outputs, attrs } of graph.nodes) {
    const operands = inputs.map((id) => values.get(id) ?? assert.fail(tensors[id].name));
    const [x, weight, bias] = operands;
    const [{ shape, data }] = applyOp(opOf(op), op === "conv2d" ? [x, weight] : operands, attrs, "f64");
    const plane = sizeOf(shape.slice(2));
    const added = op === "conv2d" && bias !== undefined;
    const biased = added ? data.map((value, i) => value + bias.data[Math.floor(i / plane) % shape[1]]) : data;
    values.set(outputs[0], { shape, data: biased });
  }
  return Array.from(values.get(graph.logits)?.data ?? []);
}

for (const [name, fields] of Object.entries(smallNets)) {
  test(`int8 · ${name} · norms folded and pools moved, the graph computes the same in f64`, () => {
    const { model } = smallTrained(fields);
    const channels = model.spec.inChannels;
    const graph = buildGraph(model.spec, { batch: 2, height: 36, width: 40, mode: "inference" });
    const images = Float64Array.from({ length: 2 * channels * 36 * 40 }, (_, i) => ((i * 7919) % 255) / 127.5 - 1);
    const network = quantizableNetwork(graph, model.state);
    const expected = logitsInF64({ graph, state: model.state }, images);
    const found = logitsInF64(network, images);
    const largest = Math.max(...expected.map(Math.abs));
    const apart = Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / largest;
    assert.ok(apart < 1e-6, `differs by ${apart}`);
    assert.ok(network.quantized.has(graph.images));
  });

  test(`int8 · ${name} · the file's integers give the network's answers within a twentieth`, async () => {
    const trained = smallTrained(fields);
    const { dataset, ranges } = await rangesOf(trained);
    const bytes = encodeOnnxModel(trained, { dtype: "int8", ranges });
    const { height, width } = trained.preprocessing;
    const shape = [5, trained.model.spec.inChannels, height, width] as const;
    const batches = makeBatches(dataset, "train", inOrder(5));
    for await (const { images } of batches as AsyncIterable<Batch>) {
      const data = images as Float32Array<ArrayBuffer>;
      const expected = await logitsOf(trained.model, shape, backend, data);
      const found = evaluateOnnx(bytes, { shape, data }).data;
      const largest = Math.max(...Array.from(expected, Math.abs));
      const apart = Math.max(...Array.from(expected, (value, i) => Math.abs(value - found[i]))) / largest;
      assert.ok(apart > 1e-5 && apart < 0.05, `differs by ${apart}`);
    }
  });
}

test("int8 · weights and biases are within half a step of their integers, a channel's scale its own", () => {
  const shape = [3, 2, 3, 3];
  const data = Float32Array.from({ length: 54 }, (_, i) => Math.sin(i) * 10 ** -Math.floor(i / 18));
  const bias = Float32Array.of(0.3, -4, 5e4);
  const inputScale = 0.02;
  const found = quantizeWeights({ shape, data }, bias, inputScale);
  for (const [i, value] of data.entries()) {
    const scale = found.scale[Math.floor(i / 18)];
    assert.ok(Math.abs(found.weight[i] * scale - value) <= 0.5001 * scale, `weight ${i}`);
  }
  for (const [c, value] of bias.entries()) {
    assert.ok(
      Math.abs((found.bias?.[c] ?? 0) * found.biasScale[c] - value) <= 0.5001 * found.biasScale[c],
      `bias ${c}`,
    );
  }
  for (const c of [0, 1]) assert.equal(Math.max(...found.weight.subarray(18 * c, 18 * c + 18).map(Math.abs)), 127);
  const tiny = quantizeWeights({ shape: [2, 1, 1, 1], data: Float32Array.of(1e-12, 0) }, Float32Array.of(3, 0), 1e-3);
  assert.ok(Math.abs((tiny.bias?.[0] ?? 0) * tiny.biasScale[0] - 3) < 1e-6, "a bias of 3 over weights of nothing");
  assert.deepEqual([tiny.weight[1], tiny.bias?.[1], tiny.scale[1]], [0, 0, 1]);
});

const rangesCases: readonly [min: number, max: number, scale: number, zero: number][] = [
  [0, 2.55, 0.01, 0],
  [1, 2.55, 0.01, 0],
  [-2.55, -1, 0.01, 255],
  [-1, 1.55, 0.01, 100],
  [0, 0, 1, 0],
];
for (const [min, max, scale, zero] of rangesCases) {
  test(`int8 · ${min}…${max} is uint8 with zero point ${zero}`, () => {
    const found = uint8Scale({ min, max });
    assert.ok(Math.abs(found.scale - scale) < 1e-6);
    assert.equal(found.zero, zero);
  });
}

test("int8 · rounding goes to the even neighbour, as QuantizeLinear defines", () => {
  assert.deepEqual([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6].map(roundHalfEven), [0, 2, 2, -0, -2, 2, -3]);
});

test("int8 · ranges hold all values where these fill them, leave a lone outlier out, and refuse what is not finite", () => {
  const even = new ValueHistogram();
  even.add(Float32Array.from({ length: 10_000 }, (_, i) => i / 5000 - 0.5));
  assert.deepEqual(even.range(), { min: -0.5, max: Math.fround(9999 / 5000 - 0.5) });
  const lone = new ValueHistogram();
  lone.add(Float32Array.from({ length: 1_000_000 }, (_, i) => (i % 1000) / 1000));
  lone.add(Float32Array.of(3));
  const { min, max } = lone.range();
  assert.equal(min, 0);
  assert.ok(max > 1 && max < 2, String(max));
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => new ValueHistogram().add(Float32Array.of(1, value)), {
      name: "InputError",
      message: /not finite/,
    });
  }
});

test("int8 · the ranges of calibration name every tensor that is quantised, and hold its values", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const { dataset, ranges } = await rangesOf(trained, CALIBRATION_BATCH + 1);
  const { mean, std, height, width } = trained.preprocessing;
  const input = ranges.get("images");
  const brightest = Math.max(...mean.map((value, c) => (1 - value) / std[c]));
  assert.ok(input !== undefined && input.max <= brightest + 1e-6 && input.max > 1);
  const graph = buildGraph(trained.model.spec, { batch: 1, height, width, mode: "inference" });
  const { quantized } = quantizableNetwork(graph, trained.model.state);
  assert.equal(ranges.size, quantized.size);
  for (const [name, { min, max }] of ranges) assert.ok(max > min, name);
  assert.equal(ranges.get("features.denseblock1.denselayer1.relu1:y")?.min, 0);
  const empty = makeBatches(dataset, "train", { ...inOrder(CALIBRATION_BATCH), indices: [] });
  await assert.rejects(activationRanges(trained, empty, backend), {
    name: "InputError",
    message: /no calibration image/,
  });
});

test("int8 · QDQ as runtimes fuse it: what every convolution reads and leaves, and its weights and bias", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const { ranges } = await rangesOf(trained);
  const { graph, opsetImport } = decodeOnnx(encodeOnnxModel(trained, { dtype: "int8", ranges }));
  const nodes = graph?.node ?? [];
  const made = new Map(nodes.map((node) => [node.output?.[0] ?? "", node]));
  const dtypes = new Map((graph?.initializer ?? []).map(({ name = "", dataType }) => [name, dataType]));
  for (const { opType, input = [], output = [] } of nodes) {
    if (opType !== "Conv" && opType !== "Gemm") continue;
    for (const name of input) assert.equal(made.get(name)?.opType, "DequantizeLinear", name);
    assert.equal(dtypes.get(made.get(input[1])?.input?.[0] ?? ""), 3, "weights are int8");
    if (input[2]) assert.equal(dtypes.get(made.get(input[2])?.input?.[0] ?? ""), 6, "biases are int32");
    if (opType === "Gemm") continue;
    const readers = nodes.filter((node) => node.input?.includes(output[0]));
    const last =
      readers[0]?.opType === "Relu"
        ? nodes.find((node) => node.input?.includes(readers[0].output?.[0] ?? ""))
        : readers[0];
    assert.deepEqual([readers.length, last?.opType], [1, "QuantizeLinear"], output[0]);
  }
  assert.equal(opsetImport?.[0]?.version, 17n);
  assert.throws(() => onnxModel(trained, { dtype: "int8" }), {
    name: "UsageError",
    message: /needs the range of images/,
  });
});

test("export int8 · measured on the calibration images, of pixels and of probabilities too", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const dataset = await madeUp(trained, 9);
  const calibrationData = { dataset, split: "train", loadBatches: makeBatches, images: 7 } as const;
  const checked = async (name: string, options: object) => {
    const written = await exportNetwork(trained, join(folder, name), backend, {
      dtype: "int8",
      calibrationData,
      ...options,
    });
    assert.ok("top1Accuracy" in written.check);
    const { images, calibratedOn, top1Accuracy, sameTop1, difference } = written.check;
    assert.deepEqual([images, calibratedOn, top1Accuracy.f32], [7, 7, 100]);
    assert.ok(sameTop1 > 70 && top1Accuracy.int8 === sameTop1 && difference > 0 && difference < 0.1);
    return difference;
  };
  const plain = await checked("plain.onnx", {});
  const pixels = await checked("pixels.onnx", { pixels: true });
  assert.ok(Math.abs(pixels - plain) < 0.1 * plain, `${pixels} of pixels, ${plain} of floats`);
  await checked("probabilities.onnx", { probabilities: true });
});

test("export int8 · a file that is wrong fails its check, in a sentence", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const { dataset, ranges } = await rangesOf(trained, 12);
  const { labels } = dataset.train;
  const strange = trained.classes.findIndex((_, k) => !labels.includes(k));
  const state = new Map(trained.model.state);
  const bias = state.get("classifier.bias") ?? assert.fail();
  state.set("classifier.bias", { ...bias, data: bias.data.map((value, k) => value + (k === strange ? 100 : 0)) });
  const path = join(folder, "wrong.onnx");
  await writeExport({ ...trained, model: { ...trained.model, state } }, path, "onnx", { dtype: "int8", ranges });
  const data = { dataset, split: "train", loadBatches: makeBatches, images: 12 } as const;
  await assert.rejects(checkInt8(trained, "onnx", path, {}, backend, data), {
    name: "VerificationError",
    message: /in int8 the network gets \d+ of 12 calibration images right, in f32 12; expected at most 2 fewer/,
  });
});

test("export int8 · refused where it means nothing, or without images of the network's size", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const dataset = await madeUp(trained, 2);
  const write = (name: string, options: object) => exportNetwork(trained, join(folder, name), backend, options);
  await assert.rejects(write("a.onnx", { dtype: "int8" }), {
    name: "UsageError",
    message: /expected --calibration-data/,
  });
  const calibrationData = { dataset, split: "train", loadBatches: makeBatches, images: 2 };
  for (const name of ["a.safetensors", "a.html"]) {
    await assert.rejects(write(name, { dtype: "int8", calibrationData }), {
      name: "UsageError",
      message: /eight-bit form/,
    });
  }
  const other = { ...calibrationData, dataset: { ...dataset, width: 5 } };
  await assert.rejects(write("a.onnx", { dtype: "int8", calibrationData: other }), {
    name: "InputError",
    message: /made up: has images of \d+×5 in 5 classes, calibration needs/,
  });
  const { files } = exportFiles(trained, "transformers.js", {
    dtype: "int8",
    ranges: (await rangesOf(trained)).ranges,
  });
  assert.deepEqual([...files.keys()].sort(), [
    "README.md",
    "config.json",
    "onnx/model_int8.onnx",
    "preprocessor_config.json",
  ]);
});

test("densenet export --dtype int8 of a packaged model · its own data, accuracies, exit 0", async () => {
  const path = join(folder, "packaged.onnx");
  const { code, stdout, stderr } = await densenet(
    ["export", "bc-40-12.cifar10", "--dtype", "int8", "--calibration-images", "6", "-o", path],
    { cwd: folder },
  );
  assert.equal(code, 0, stderr);
  assert.match(
    stdout,
    /calibrated on 6 images of CIFAR-10 subset; checked by .* on these: accuracy \d+\.\d % in f32, /,
  );
  assert.ok(readFileSync(path).length < 330_000);
});
