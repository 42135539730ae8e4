// Every ONNX file that another tool wrote gives the logits that onnxruntime computes from it; and what is said of it.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { evaluateOnnx } from "../../src/export/onnx/evaluate.ts";
import { onnxModel } from "../../src/export/onnx/write.ts";
import { describeWeights } from "../../src/formats/describe.ts";
import { loadNetwork } from "../../src/formats/network.node.ts";
import { openOnnx, readOnnx } from "../../src/formats/onnx/read.ts";
import { attributeTypes, encodeOnnx } from "../../src/formats/onnx/schema.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { smallNets, smallTrained } from "../export/trained.ts";
import { changedOnnx } from "./onnxFaults.ts";
import { logitsOf, type OracleEntry, relativeDifference, unpackFixtures } from "./oracle.ts";

/** What the file says beside its weights. */
interface OnnxEntry extends OracleEntry {
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

const { folder, entries } = unpackFixtures("onnx");
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

const described = async (file: string) => describeWeights(await openWeights(join(folder, file)), file);

for (const { file, tool, input, logits, sigmoid = false, mean, std } of entries as readonly OnnxEntry[]) {
  test(`${file} by ${tool} · ${input.join("×")} · within 1e-5 of the largest logit`, async () => {
    const { trained } = await described(file);
    const difference = relativeDifference(await logitsOf(trained.model, input, backend), logits);
    assert.ok(difference < 1e-5, `differs by ${difference.toExponential(1)} of the largest logit`);
    assert.equal(trained.outputs === "sigmoid", sigmoid);
    const { mean: foundMean, std: foundStd } = trained.preprocessing;
    for (const [said, found] of [
      [mean, foundMean],
      [std, foundStd],
    ]) {
      if (said !== undefined)
        assert.deepEqual(
          found?.map((value) => Number(value.toPrecision(6))),
          said,
        );
    }
  });
}

const says: readonly (readonly [file: string, ...lines: RegExp[]])[] = [
  ["bc-torch-17.onnx", /^4 batch norms were folded into their convolutions; they begin as the identity$/],
  [
    "plain-torch-9.onnx",
    /^its last pool averages 16×16: the answers are the same for images that leave maps of that size$/,
  ],
  [
    "bc-torch-18-training.onnx",
    /^the graph is in training mode: its batch norms are taken with their running statistics$/,
  ],
  ["caffe2-9.onnx", /^networks of Caffe2 want --channel-order bgr --mean 0\.4076,0\.458,0\.485 --std 0\.2307$/],
  [
    "keras-18.onnx",
    /^4 batch norms were folded into their convolutions; they begin as the identity$/,
    /^5 batch norms are factors and shifts; they begin with a mean of 0 and a variance of 1$/,
  ],
  ["no-relu-torch-13.onnx", /^1 transitions have no ReLU there: /],
  ["bc-dynamo-18-unoptimized.onnx", /^biases of 8 convolutions taken into the batch norms behind them$/],
];
for (const [file, ...lines] of says) {
  test(`${file} · what is said of it`, async () => {
    const { notes } = await described(file);
    for (const line of lines)
      assert.ok(
        notes.some((note) => line.test(note)),
        `${line} is not in\n${notes.join("\n")}`,
      );
  });
}

test("unfolded batch norms · every tensor is the exporter's to the bit", async () => {
  const { trained: unfolded } = await described("bc-torch-13-unfolded.onnx");
  const { trained: older } = await described("bc-torch-7.onnx");
  const { trained: constants } = await described("bc-dynamo-18-unoptimized.onnx");
  assert.deepEqual(unfolded.model.state, older.model.state);
  assert.deepEqual(unfolded.model.state, constants.model.state);
  assert.ok(!(await described("bc-torch-13-unfolded.onnx")).notes.some((note) => note.includes("folded")));
});

test("the input's size is the file's, and open where the graph leaves it open", async () => {
  const { height, width } = (await described("bc-torch-13-unfolded.onnx")).trained.preprocessing;
  assert.deepEqual([height, width], [64, 48]);
  const open = (await described("bc-torch-13.onnx")).trained.preprocessing;
  assert.deepEqual([open.height, open.width], [224, 224]);
});

test("ours without its metadata · read by its graph to the bit, f16 and pixels in the graph, too", async () => {
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  for (const options of [{}, { probabilities: true }, { pixels: true }]) {
    const { metadataProps: _, ...model } = onnxModel(trained, options);
    const path = join(folder, "ours.onnx");
    writeFileSync(path, encodeOnnx(model));
    const { trained: found, own } = await loadNetwork(path);
    assert.ok(!own);
    assert.deepEqual(found.model.state, trained.model.state);
    if (!("pixels" in options)) continue;
    const rounded = (values: readonly number[]) => values.map((value) => Number(value.toPrecision(6)));
    assert.deepEqual(rounded(found.preprocessing.mean), rounded(trained.preprocessing.mean));
    assert.deepEqual(rounded(found.preprocessing.std), rounded(trained.preprocessing.std));
  }
});

test("another epsilon · in every norm, the logits of the graph's own nodes", async () => {
  const bytes = changedOnnx(({ nodes }) => {
    for (const [i, node] of nodes.entries()) {
      if (node.opType !== "BatchNormalization") continue;
      nodes[i] = { ...node, attribute: [{ name: "epsilon", f: 0.25, type: attributeTypes.float }] };
    }
  });
  const { trained } = describeWeights(readOnnx(openOnnx(bytes, "net.onnx"), "net.onnx"), "net.onnx");
  const shape = [1, 3, 21, 18] as const;
  const data = Float32Array.from({ length: 3 * 21 * 18 }, (_, i) => ((i * 7919) % 255) / 127.5 - 1);
  const expected = evaluateOnnx(bytes, { shape, data }).data;
  const difference = relativeDifference(await logitsOf(trained.model, shape, backend), [...expected]);
  assert.ok(difference < 1e-5, `differs by ${difference.toExponential(1)} of the largest logit`);
});
