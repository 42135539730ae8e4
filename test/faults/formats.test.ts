// What happens when a file of weights means harm or is broken: one sentence with the file, the place and the reason,
// soon and in little memory.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { InputError } from "../../src/errors.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { densenet } from "../cli/command.ts";
import { brokenNets, hostileFiles } from "../formats/hostile.ts";
import { mutated, randomNumbers } from "../formats/mutate.ts";
import { unpackFixtures } from "../formats/oracle.ts";
import { survives, testMemory, testSentences } from "./weights.ts";

const { folder } = unpackFixtures();
const root = mkdtempSync(join(tmpdir(), "formats-faults-"));
after(() => rmSync(root, { recursive: true, force: true }));
const whole = decodeSafetensors(readFileSync(join(folder, "f64.safetensors")), "f64.safetensors").tensors;
const files = [...hostileFiles(), ...brokenNets(whole)];

test(`${files.length} hostile and broken files, at least 200 of them different`, () => {
  assert.ok(new Set(files.map(({ what }) => what)).size >= 200);
});

testSentences(files);

const folders: readonly (readonly [what: string, files: Readonly<Record<string, string>>, says: RegExp])[] = [
  ["an empty folder", {}, /has no file of weights/],
  ["two files of weights", { "a.pth": "", "b.pth": "" }, /has 2 files of weights/],
  ["an index that is no JSON", { "model.safetensors.index.json": "{" }, /cannot be read as JSON/],
  ["an index without a map", { "model.safetensors.index.json": "{}" }, /no object "weight_map"/],
  [
    "an index that leaves its folder",
    { "model.safetensors.index.json": '{"weight_map":{"w":"../../etc/passwd"}}' },
    /names the file "\.\.\/\.\.\/etc\/passwd"/,
  ],
  ["an index that names ..", { "model.safetensors.index.json": '{"weight_map":{"w":".."}}' }, /names the file "\.\."/],
  ["an index that names a number", { "model.safetensors.index.json": '{"weight_map":{"w":7}}' }, /names the file 7/],
  [
    "an index that names what is not there",
    { "model.safetensors.index.json": '{"weight_map":{"w":"a.safetensors"}}' },
    /a\.safetensors: cannot be read/,
  ],
  [
    "an index of tensors that its files lack",
    { "model.safetensors.index.json": '{"weight_map":{"w":"a.safetensors"}}', "a.safetensors": "\x02\0\0\0\0\0\0\0{}" },
    /lists w, which its files lack/,
  ],
];
for (const [what, contents, says] of folders) {
  test(`${what} · one sentence`, async () => {
    const path = join(root, what.replace(/\W+/g, "-"));
    mkdirSync(path);
    for (const [name, text] of Object.entries(contents)) writeFileSync(join(path, name), text, "latin1");
    await assert.rejects(
      openWeights(path),
      (error: unknown) => error instanceof InputError && says.test(error.message),
    );
  });
}

const configs: readonly (readonly [what: string, text: string, says: RegExp])[] = [
  ["no JSON", "{", /config\.json: cannot be read as JSON/],
  ["a list", "[]", /is no JSON object/],
  ["a deviation of 0", '{"std":[0,1,1]}', /std is 0, 1, 1/],
  ["a mean of texts", '{"pretrained_cfg":{"mean":["a"]}}', /mean is \["a"\]/],
  ["an input size of two numbers", '{"input_size":[224,224]}', /input_size is \[224,224\], expected 3 numbers/],
  ["an input size that no image has", '{"input_size":[3,0.5,-1]}', /input_size is 0\.5×-1/],
  ["a crop of nothing", '{"crop_pct":0}', /crop_pct is 0/],
];
for (const [what, text, says] of configs) {
  test(`a config.json that is ${what} · one sentence`, async () => {
    const path = join(root, `config-${what.replace(/\W+/g, "-")}`);
    mkdirSync(path);
    writeFileSync(join(path, "model.safetensors"), readFileSync(join(folder, "f16.safetensors")));
    writeFileSync(join(path, "config.json"), text);
    await assert.rejects(
      openWeights(path),
      (error: unknown) => error instanceof InputError && says.test(error.message),
    );
  });
}

const SMALL = ["zip.pth", "legacy.pth", "module.pt", "f16.safetensors", "pytorch-cifar.pth"];

for (const name of SMALL) {
  const bytes = readFileSync(join(folder, name));
  test(`${name} · 300 of its prefixes are refused`, () => {
    for (let i = 0; i < 300; i++) {
      const length = Math.floor((i * bytes.length) / 300);
      assert.equal(survives(bytes.subarray(0, length)), "refused", `the first ${length} bytes`);
    }
  });

  test(`${name} · 300 mutations, seed 1, are refused with a sentence or do no harm`, () => {
    const random = randomNumbers(1);
    for (let i = 0; i < 300; i++) survives(mutated(bytes, random));
  });
}

test("the command ends with 3 and the sentence alone", async () => {
  const path = join(root, "evil.pth");
  writeFileSync(path, files[0].bytes);
  for (const verb of [
    ["inspect", path],
    ["predict", path, "cat.png"],
    ["eval", path],
  ]) {
    const { code, stderr } = await densenet(verb);
    assert.equal(code, 3);
    assert.match(stderr, /^densenet: .*evil\.pth: .*it calls os\.system[^\n]*\n$/);
  }
});

testMemory(root, files, 30_000);

test("no reader evaluates anything: no eval, Function, import(), child process or network in their source", () => {
  const source = join(import.meta.dirname, "../../src/formats");
  const names = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  for (const name of ["pickle.ts", "zip.ts", "hdf5.ts", "onnx/read.ts"]) assert.ok(names.includes(name), name);
  for (const name of [...names.map((file) => join(source, file)), join(source, "../checkpoint/safetensors.ts")]) {
    const text = readFileSync(name, "utf8").replace(/^\s*(\/\/|\*|\/\*).*$/gm, "");
    const code = text.replace(/`[^`$]*`|"[^"\n]*"/g, '""');
    assert.doesNotMatch(
      code,
      /\beval\b|\bFunction\s*\(|\bimport\s*\(|\brequire\s*\(|\bfetch\s*\(|\.constructor\b|setTimeout/,
      name,
    );
    assert.doesNotMatch(text, /node:(child_process|vm|worker_threads|net|http|module)/, name);
  }
});
