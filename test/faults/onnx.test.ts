// What happens when an ONNX file means harm, is broken or is another network: one sentence with the file, the place and
// the reason, soon and in little memory.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { InputError } from "../../src/errors.ts";
import { openWeights } from "../../src/formats/open.node.ts";
import { densenet } from "../cli/command.ts";
import { mutated, randomNumbers } from "../formats/mutate.ts";
import { changedOnnx, onnxFaults } from "../formats/onnxFaults.ts";
import { unpackFixtures } from "../formats/oracle.ts";
import { survives, testMemory, testSentences } from "./weights.ts";

const { folder } = unpackFixtures("onnx");
const root = mkdtempSync(join(tmpdir(), "onnx-faults-"));
after(() => rmSync(root, { recursive: true, force: true }));
const files = onnxFaults();

testSentences(files);
testMemory(root, files, 100_000);

test("the file that the faults change is read as it is", () =>
  assert.equal(survives(changedOnnx(() => {})), "accepted"));

for (const name of ["bc-torch-13.onnx", "caffe2-9.onnx", "constants-17.onnx"]) {
  const bytes = readFileSync(join(folder, name));
  test(`${name} · each of its ${bytes.length} prefixes is refused`, () => {
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(survives(bytes.subarray(0, length)), "refused", `the first ${length} bytes`);
    }
  });

  test(`${name} · 300 mutations, seed 1, are refused with a sentence or do no harm`, () => {
    const random = randomNumbers(1);
    for (let i = 0; i < 300; i++) survives(mutated(bytes, random));
  });
}

/** The fixture whose weights lie in another file, and whose name for that file is changed to one as long. */
const external = readFileSync(join(folder, "external/bc-dynamo-20.onnx"));
const NAME = "bc-dynamo-20.onnx.data";
const data = readFileSync(join(folder, "external", NAME));

const places: readonly (readonly [what: string, name: string, put: (path: string) => void])[] = [
  [
    "above its folder",
    "../dynamo-20.onnx.data".padEnd(NAME.length, "_").slice(0, NAME.length),
    (path) => writeFileSync(path, data),
  ],
  ["at an absolute path", `/${"tmp/a".padEnd(NAME.length - 1, "a")}`, () => {}],
  [
    "in a folder of its folder",
    "inner/amo-20.onnx.data",
    (path) => {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, data);
    },
  ],
  ["behind a link", "link-amo-20.onnx.data", (path) => symlinkSync(join(folder, "external", NAME), path)],
  ["in a file that is not there", "none-amo-20.onnx.data", () => {}],
];
for (const [what, written, put] of places) {
  test(`weights ${what} · refused with the name`, async () => {
    const name = written.padEnd(NAME.length, "x");
    assert.equal(name.length, NAME.length);
    const own = join(root, what.replaceAll(" ", "-"), "own");
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "net.onnx"), Buffer.from(external.toString("latin1").replaceAll(NAME, name), "latin1"));
    if (!name.startsWith("/")) put(join(own, name));
    await assert.rejects(openWeights(join(own, "net.onnx")), (error: unknown) => {
      assert.ok(error instanceof InputError, String(error));
      assert.match(
        error.message,
        /net\.onnx: keeps weights in "[^"]+", expected a file that lies beside it and is no link$/,
      );
      return error.message.includes(JSON.stringify(name));
    });
  });
}

test("weights in a file that is too short · refused with both sizes", async () => {
  const path = join(root, "short");
  mkdirSync(path);
  writeFileSync(join(path, "net.onnx"), external);
  writeFileSync(join(path, NAME), data.subarray(0, 50));
  await assert.rejects(
    openWeights(join(path, "net.onnx")),
    /is said to be \d+ from byte \d+ of bc-dynamo-20\.onnx\.data, which has 50/,
  );
});

test("the command ends with 3 and the sentence alone", async () => {
  const path = join(root, "circle.onnx");
  writeFileSync(path, files[0].bytes);
  for (const verb of [
    ["predict", path, "cat.png"],
    ["eval", path],
  ]) {
    const { code, stderr } = await densenet(verb);
    assert.equal(code, 3);
    assert.match(stderr, /^densenet: .*circle\.onnx: its node [^\n]* in a circle[^\n]*\n$/);
  }
});
