// Every format: what is written, what the files say, and that a check which must fail does.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createReferenceBackend } from "../../src/backends/reference/backend.ts";
import { encodeModel, type TrainedModel } from "../../src/checkpoint/checkpoint.ts";
import { checkExport } from "../../src/export/check.node.ts";
import { type ExportFormatName, exportFiles } from "../../src/export/export.ts";
import { classifierPage, safetensorsInPage } from "../../src/export/html.ts";
import { timmConfig } from "../../src/export/timm.ts";
import { transformersConfig, transformersProcessor } from "../../src/export/transformersJs.ts";
import { exportNetwork } from "../../src/export/write.node.ts";
import { loadNetwork } from "../../src/formats/network.node.ts";
import { createNetwork } from "../../src/model/create.ts";
import { namedSpec, type SpecFields } from "../../src/networks/registry.ts";
import { smallNets, smallTrained } from "./trained.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-export-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const backend = createReferenceBackend({ precision: "f32" });
after(() => backend.dispose());

const imagenet = smallNets["densenet, 7×7 stem"];
const written: readonly [ExportFormatName, string, readonly string[]][] = [
  ["onnx", "net.onnx", ["net.onnx"]],
  ["onnx", "onnx", ["README.md", "model.onnx"]],
  ["safetensors", "net.safetensors", ["net.safetensors"]],
  ["safetensors", "weights", ["README.md", "model.safetensors"]],
  ["timm", "timm", ["README.md", "config.json", "model.safetensors"]],
  ["transformers.js", "js", ["README.md", "config.json", "onnx", "preprocessor_config.json"]],
];
for (const [format, output, files] of written) {
  test(`export ${format} to ${output} · ${files.join(", ")} · checked, and read back to the bit`, async () => {
    const trained = smallTrained(imagenet);
    const path = join(folder, output);
    const { check } = await exportNetwork(trained, path, backend, { format });
    assert.ok(check.difference <= 1e-5, String(check.difference));
    const found = path.includes(".") ? [output] : readdirSync(path).sort();
    assert.deepEqual(found, files);
    const again = await loadNetwork(path);
    assert.deepEqual(again.trained.model.state, trained.model.state);
    assert.deepEqual(again.trained.classes, trained.classes);
    const { mean, std, height, width } = again.trained.preprocessing;
    assert.deepEqual({ height, width, mean, std }, trained.preprocessing);
    const card = path.includes(".") ? undefined : readFileSync(join(path, "README.md"), "utf8");
    if (card === undefined) return;
    assert.match(card, /^---\nlibrary_name: \S+\npipeline_tag: image-classification\n/);
    assert.match(card, /\| trained on \| made up {3}for {2}tests {2}\|/);
  });
}

test("a folder with weights and an ONNX file · the weights are read, of a run's folder its checkpoints", async () => {
  const trained = smallTrained(imagenet);
  const path = join(folder, "both");
  await exportNetwork(trained, path, backend, { format: "safetensors" });
  await exportNetwork(nudged(trained), join(path, "model.onnx"), backend);
  const { model } = (await loadNetwork(path)).trained;
  assert.deepEqual(model.state, trained.model.state);
  const run = join(folder, "run");
  mkdirSync(join(run, "checkpoints"), { recursive: true });
  await exportNetwork(trained, join(run, "model.onnx"), backend);
  await assert.rejects(loadNetwork(run), { name: "InputError", message: /run: holds no checkpoint/ });
});

/** As an export that went wrong: another network's weights lie at the path. */
const formats: readonly [ExportFormatName, string][] = [
  ["onnx", "other.onnx"],
  ["safetensors", "other.safetensors"],
];
for (const [format, name] of formats) {
  test(`export ${format} · a file that computes something else fails its check`, async () => {
    const trained = smallTrained(imagenet);
    const { files, main } = exportFiles(nudged(trained), format);
    const path = join(folder, name);
    writeFileSync(path, files.get(main) ?? "");
    await assert.rejects(checkExport(trained, format, path, path, {}, backend), {
      name: "VerificationError",
      message: /answers otherwise than this network: the largest difference is .* expected at most 0\.0001/,
    });
  });
}

/** One running mean of one channel is off by a hundredth, or `by` so much. */
function nudged(trained: TrainedModel, by = 0.01): TrainedModel {
  const state = new Map(trained.model.state);
  const path = "features.norm5.running_mean";
  const tensor = state.get(path);
  if (tensor === undefined) throw new RangeError(path);
  state.set(path, { ...tensor, data: tensor.data.map((value, i) => (i === 0 ? value + by : value)) });
  return { ...trained, model: { ...trained.model, state } };
}

test("export · what cannot be is refused, naming what was given", async () => {
  const trained = smallTrained(imagenet);
  const write = (output: string, options = {}): Promise<unknown> =>
    exportNetwork(trained, join(folder, output), backend, options);
  await assert.rejects(write("net"), /--format: none given and ".*net" does not say it, expected one of onnx, /);
  await write("full.onnx");
  await assert.rejects(write(".", { format: "timm" }), /has \d+ files, expected a new or an empty folder/);
  await assert.rejects(
    write("full.onnx", { format: "timm" }),
    /full\.onnx: is no folder, expected a new or an empty one/,
  );
  await assert.rejects(write("x.safetensors", { pixels: true }), /safetensors: takes neither preprocessing nor/);
  await assert.rejects(exportNetwork(nudged(trained, 1e5), join(folder, "over.onnx"), backend, { dtype: "f16" }), {
    name: "UsageError",
    message: /^--dtype f16: features\.norm5\.running_mean holds \d+.*, more than the 65504 that f16 goes to/,
  });
});

const unfit: readonly [SpecFields, RegExp][] = [
  [smallNets["densenet, 3×3 stem"], /^timm: makes no network with the 3×3 stem for CIFAR; write safetensors or ONNX/],
  [smallNets["plain chain"], /the layers of the family plain/],
  [{ ...imagenet, compression: 1 }, /a compression of 1/],
  [{ ...imagenet, numInitFeatures: 9 }, /a stem of 9 maps for a growth rate of 4/],
  [{ ...imagenet, bottleneck: false }, /dense layers without a bottleneck/],
];
for (const [fields, message] of unfit) {
  test(`timm · refused: ${message.source}`, () => {
    assert.throws(() => timmConfig(smallTrained(fields)), { name: "UsageError", message });
  });
}

test("timm · config.json names its own architectures, and arguments for other layers", () => {
  const of = (fields: SpecFields, name?: string) => {
    const spec = name === undefined ? undefined : namedSpec(name, fields);
    const trained = smallTrained(spec ?? fields);
    return timmConfig(spec === undefined ? trained : { ...trained, model: createNetwork(spec) });
  };
  const named = of({ numClasses: 4 }, "169");
  assert.equal(named.architecture, "densenet169");
  assert.equal(named.model_args, undefined);
  assert.equal(named.num_classes, 4);
  assert.equal(named.num_features, 1664);
  const grey = of(smallNets["densenet, 7×7 stem, one channel"]);
  assert.equal(grey.architecture, "densenet121");
  assert.deepEqual(grey.model_args, { growth_rate: 4, block_config: [1, 2], bn_size: 4, in_chans: 1 });
});

test("transformers.js · config and processor", () => {
  const trained = smallTrained(imagenet, { outputs: "sigmoid" });
  const { model_type, id2label, problem_type } = transformersConfig(trained);
  assert.equal(model_type, "resnet");
  assert.deepEqual(Object.values(id2label as object), trained.classes);
  assert.equal(problem_type, "multi_label_classification");
  const square = { ...trained, preprocessing: { ...trained.preprocessing, height: 224, width: 224 } };
  assert.deepEqual(transformersProcessor(square).size, { shortest_edge: 256 });
  assert.equal(transformersProcessor(trained).do_center_crop, false);
  assert.throws(() => transformersConfig(smallTrained(smallNets["densenet, 7×7 stem, one channel"])), /takes 1; write/);
});

test("html · holds the network, names nothing on the net, escapes what is not its own", () => {
  const trained = smallTrained(imagenet);
  const bytes = encodeModel(trained);
  const page = classifierPage(trained, bytes, "/* the script */");
  assert.deepEqual(safetensorsInPage(page), bytes);
  assert.doesNotMatch(page, /https?:\/\//);
  assert.match(page, /trained on made up \| for &lt;tests&gt;/);
  assert.match(page, /default-src &#39;none&#39;/);
});
