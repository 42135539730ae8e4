// What happens when a file of Keras means harm or is broken: one sentence with the file, the place and the reason, soon
// and in little memory.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { unzipSync, zipSync } from "fflate";
import { densenet } from "../cli/command.ts";
import { hdf5Faults } from "../formats/hdf5File.ts";
import { mutated, randomNumbers } from "../formats/mutate.ts";
import { unpackFixtures } from "../formats/oracle.ts";
import { survives, testMemory, testSentences } from "./weights.ts";

const { folder } = unpackFixtures("keras");
const root = mkdtempSync(join(tmpdir(), "keras-faults-"));
after(() => rmSync(root, { recursive: true, force: true }));

/** What h5py writes where it is asked for what weights never are, by the file's name. */
const strange: Readonly<Record<string, RegExp>> = {
  "soft-link.h5": /\/layers is a link to elsewhere/,
  "external-link.h5": /\/layers is a link to elsewhere/,
  "hard-link-loop.h5": /layers\/again is referred to twice/,
  "two-names.h5": /b is referred to twice/,
  "external-data.h5": /a keeps its numbers in other files/,
  "virtual.h5": /a is a virtual data set/,
  "never-written.h5": /without Keras's layers/,
  "petabyte.h5": /brings the data sets to 4503599627370496 bytes/,
  "gzip-bomb.h5": /brings the data sets to 67108864 bytes, expected at most/,
  "lzf.h5": /packed by filter 32000/,
  "scale-offset.h5": /packed by filter 6/,
  "deep.h5": /lies 41 groups deep/,
  "dense-attributes.h5": /attributes in a fractal heap/,
  "chunks-of-1-10.h5": /libver="latest"/,
  "committed-type.h5": /shares its description/,
  "repeated-names.h5": /names more text than the file has/,
  "empty.h5": /its root holds nothing/,
  "nothing-of-keras.h5": /its root holds data, expected layers/,
};
const found = readdirSync(join(folder, "strange"));

test("each strange file has its sentence", () => assert.deepEqual(found.sort(), Object.keys(strange).sort()));

/** `from` becomes `to` everywhere, which is as long, so that the file stays whole. */
function replaced(name: string, from: string, to: string): Uint8Array {
  assert.equal(from.length, to.length);
  const before = readFileSync(join(folder, name)).toString("latin1");
  assert.ok(before.includes(from), `${name} has no ${from}`);
  return Buffer.from(before.replaceAll(from, to), "latin1");
}

/** A `.keras` archive with other files in it. */
function archived(change: (files: Record<string, Uint8Array>) => void): Uint8Array {
  const files = unzipSync(readFileSync(join(folder, "model.keras")));
  change(files);
  return zipSync(files, { level: 0 });
}

const withConfig = (text: string): Uint8Array =>
  archived((files) => {
    files["config.json"] = new TextEncoder().encode(text);
  });

const damaged: readonly (readonly [what: string, bytes: Uint8Array, says: RegExp])[] = [
  ...hdf5Faults,
  ["latest.h5", readFileSync(join(folder, "latest.h5")), /in a fractal heap, as h5py does with libver="latest"/],
  [
    "a weight that is listed but not there",
    replaced("legacy.h5", "pool2_conv\0", "pool2_c0nv\0"),
    /lists pool2_c0nv\/pool2_conv\/kernel, which is missing/,
  ],
  [
    "a weight of another kind of layer",
    replaced("legacy.h5", "conv1_bn/gamma", "conv1_bn/gamna"),
    /lists .*gamna, which is missing/,
  ],
  [
    "layers of classes that no DenseNet has",
    replaced("new.weights.h5", "conv2d_1\0", "lstm_001\0"),
    /lstm_001 has weights/,
  ],
  [
    "an archive whose weights are no HDF5",
    archived((files) => {
      files["model.weights.h5"] = new Uint8Array(9);
    }),
    /model\.weights\.h5: byte 0: no HDF5 file begins here/,
  ],
  ["a config that is no JSON", withConfig("{"), /config cannot be read as JSON/],
  ["a config without layers", withConfig("{}"), /its config lists no layers/],
  ["a config of 3 million lists", withConfig(`[${"[],".repeat(3_000_000)}[]]`), /3000002 lists and objects/],
  ["a config 50,000 deep", withConfig(`${"[".repeat(50_000)}${"]".repeat(50_000)}`), /lists no layers|cannot be read/],
];

const files = [
  ...found.map((name): (typeof damaged)[number] => [
    name,
    readFileSync(join(folder, "strange", name)),
    strange[name] ?? /no sentence/,
  ]),
  ...damaged,
].map(([what, bytes, says]) => ({ what, bytes, says }));

testSentences(files);
testMemory(root, files, 100_000);

for (const name of ["own.weights.h5", "model.h5", "gzip.h5", "own.keras"]) {
  const bytes = readFileSync(join(folder, name));
  // The end of an archive is searched for, which takes a while.
  const step = name.endsWith(".keras") ? 251 : 1;
  test(`${name} · ${Math.ceil(bytes.length / step)} of its prefixes are refused`, () => {
    for (let length = 0; length < bytes.length; length += step) {
      assert.equal(survives(bytes.subarray(0, length)), "refused", `the first ${length} bytes`);
    }
  });

  test(`${name} · 200 mutations, seed 1, are refused with a sentence or do no harm`, () => {
    const random = randomNumbers(1);
    for (let i = 0; i < 200; i++) survives(mutated(bytes, random));
  });
}

test("the command ends with 3 and the sentence alone", async () => {
  const path = join(root, "loop.h5");
  writeFileSync(path, readFileSync(join(folder, "strange", "hard-link-loop.h5")));
  const { code, stderr } = await densenet(["inspect", path]);
  assert.equal(code, 3);
  assert.match(stderr, /^densenet: .*loop\.h5: byte \d+: layers\/again is referred to twice[^\n]*\n$/);
});
