// inspect FILE says what a file is from its header alone: garbage among the numbers changes nothing.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { classifierPage } from "../../src/export/html.ts";
import { inspectFile } from "../../src/export/inspectFile.node.ts";
import { encodeOnnxModel, onnxModel } from "../../src/export/onnx/write.ts";
import { encodeOnnx } from "../../src/formats/onnx/schema.ts";
import { parameterCount } from "../../src/networks/registry.ts";
import { densenet } from "../cli/command.ts";
import { smallNets, smallTrained } from "./trained.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-inspect-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const trained = smallTrained(smallNets["densenet, 7×7 stem"]);
const write = (name: string, content: Uint8Array | string): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

/** The last 4 kB, all of them weights or after them, are overwritten. */
function withGarbage(bytes: Uint8Array): Uint8Array {
  const garbled = bytes.slice();
  garbled.fill(0xff, garbled.length - 4096);
  return garbled;
}

const model = encodeModel(trained);
const files: readonly [string, Uint8Array | string, RegExp][] = [
  ["net.safetensors", withGarbage(model), /^a safetensors file, /],
  ["net.onnx", encodeOnnxModel(trained), /^an ONNX file, .* IR 8, opset 17, written by densenet$/],
  ["net.html", classifierPage(trained, withGarbage(model), ""), /^a page that classifies images, /],
];
for (const [name, content, what] of files) {
  test(`inspect ${name} · what it is, and the network that its header names`, async () => {
    const found = await inspectFile(write(name, content));
    assert.match(Object.fromEntries(found?.facts ?? []).file, what);
    const { height, width } = trained.preprocessing;
    assert.deepEqual(found?.network, { spec: trained.model.spec, height, width, dataset: trained.dataset });
  });
}

test("inspect of an ONNX file of another tool · its signature and nodes, exit 0", async () => {
  const { metadataProps: _, ...foreign } = onnxModel(trained, { dtype: "f16" });
  const path = write("foreign.onnx", encodeOnnx({ ...foreign, producerName: "pytorch" }));
  const { code, stdout } = await densenet(["inspect", path, "--json"]);
  assert.equal(code, 0);
  const { file, params } = JSON.parse(stdout);
  assert.equal(params, parameterCount(trained.model.spec));
  assert.match(file.file, /an ONNX file, .*, IR 8, opset 17, written by pytorch/);
  assert.equal(file.takes, "images: F32 [batch, 3, height, width]");
  assert.equal(file.gives, "logits: F32 [batch, 7]");
  assert.match(file.tensors, /of [\d,]+ F16$/);
});

test("inspect of an ONNX file that is no DenseNet · its nodes, and the node that no DenseNet has, exit 0", async () => {
  const { metadataProps: _, ...resNet } = onnxModel(smallTrained(smallNets["pre-activation resnet"]));
  const { code, stdout } = await densenet(["inspect", write("resnet.onnx", encodeOnnx(resNet))]);
  assert.equal(code, 0);
  assert.match(stdout, /\n {2}nodes +\d+: .*Conv/);
  assert.match(stdout, /\n {2}network +.*resnet\.onnx: its node ".*" \(Add\) joins two feature maps/);
});

test("inspect of our ONNX file through the command · file and network", async () => {
  const { code, stdout } = await densenet(["inspect", write("own.onnx", encodeOnnxModel(trained))]);
  assert.equal(code, 0);
  assert.match(stdout, /\n {2}file +an ONNX file, /);
  assert.match(stdout, /\n {2}parameters +\d/);
});

test("inspect · a damaged header is refused in a sentence, a folder and other files are left to others", async () => {
  const cut = model.slice(0, 200);
  await assert.rejects(inspectFile(write("cut.safetensors", cut)), {
    name: "InputError",
    message: /header .* not JSON/,
  });
  await assert.rejects(inspectFile(write("short.safetensors", model.slice(0, -1))), {
    name: "InputError",
    message: /the file is truncated: the header describes \d+ bytes of data, the file has \d+$/,
  });
  const long = model.slice();
  long[4] = 1;
  await assert.rejects(inspectFile(write("long.safetensors", long)), /its header has 4294\d+ bytes, expected at most/);
  for (const path of [folder, write("page.html", "<!doctype html><p>another"), write("text.pth", "text")]) {
    assert.equal(await inspectFile(path), undefined);
  }
});
