import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decodeSafetensors, encodeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { loadPretrained } from "../../src/formats/pretrained.ts";
import { exportStateDict } from "../../src/model/stateDict.ts";
import { densenet } from "./command.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-embed-"));
after(() => rm(root, { recursive: true, force: true }));

const images = ["ship-1", "ship-2", "frog-1"].map((name) => `assets/samples/${name}.png`);
const embed = (...args: string[]) => densenet(["embed", "bc-40-12.cifar10", ...args, "--threads", "1"]);

test("embed · npy, csv and safetensors hold the vectors that --json gives, with files and labels", async () => {
  const { stdout } = await embed(...images, "--json");
  const { dims, images: found } = JSON.parse(stdout);
  assert.equal(dims, 132);
  const expected = Float32Array.from(found.flatMap(({ vector }: { vector: number[] }) => vector));
  assert.equal(expected.length, 3 * 132);
  assert.ok(expected.every((value) => value >= 0) && expected.some((value) => value > 0.1));
  const labels = ["ship", "ship", "frog"];
  const bad = join(root, "bad.png");
  await writeFile(bad, "no image");
  for (const format of ["npy", "csv", "safetensors"]) {
    const file = join(root, `e.${format}`);
    const { code, stderr } = await embed(...images, bad, "--output", file);
    assert.equal(code, 3);
    assert.match(stderr, /bad\.png: .*expected a PNG[\s\S]*3 vectors of 132 features/);
  }
  const npy = await readFile(join(root, "e.npy"));
  assert.equal(npy.subarray(0, 8).toString("latin1"), "\x93NUMPY\x01\x00");
  const start = 10 + npy.readUInt16LE(8);
  assert.equal(start % 64, 0);
  assert.match(
    npy.subarray(10, start).toString("latin1"),
    /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(3, 132\), \} *\n$/,
  );
  const values = Array.from({ length: 3 * 132 }, (_, at) => npy.readFloatLE(start + 4 * at));
  assert.deepEqual(values, [...expected]);
  assert.equal(npy.length, start + 4 * values.length);
  assert.deepEqual(JSON.parse(await readFile(join(root, "e.json"), "utf8")), { files: images, labels });

  const [head, ...rows] = (await readFile(join(root, "e.csv"), "utf8")).trimEnd().split("\n");
  assert.match(head, /^file,label,e0,e1,.*,e131$/);
  assert.deepEqual(
    rows.flatMap((row) => row.split(",").slice(2).map(Number)),
    [...expected],
  );
  assert.deepEqual(
    rows.map((row) => row.split(",").slice(0, 2)),
    images.map((file, at) => [file, labels[at]]),
  );

  const { tensors, metadata } = decodeSafetensors(await readFile(join(root, "e.safetensors")), "e.safetensors");
  const tensor = tensors.get("embeddings");
  assert.deepEqual(tensor?.shape, [3, 132]);
  assert.deepEqual([...(tensor?.data ?? [])], [...expected]);
  assert.deepEqual(
    [metadata.files, metadata.labels].map((text) => JSON.parse(text)),
    [images, labels],
  );
  assert.deepEqual((await readdir(root)).sort(), ["bad.png", "e.csv", "e.json", "e.npy", "e.safetensors"]);
});

test("embed · --neighbours: the other ship is nearest to a ship", async () => {
  const { code, stdout } = await embed(...images, "--neighbours", "2", "--layer", "features.denseblock3", "--json");
  assert.equal(code, 0);
  const found = JSON.parse(stdout);
  assert.deepEqual(
    found.images.slice(0, 2).map(({ neighbours }: { neighbours: { file: string }[] }) => neighbours[0].file),
    [images[1], images[0]],
  );
});

test("embed · weights without a classifier have vectors and no labels", async () => {
  const { model } = await loadPretrained("bc-40-12.cifar10");
  const tensors = [...exportStateDict(model)].filter(([path]) => !path.startsWith("classifier."));
  const file = join(root, "features.safetensors");
  await writeFile(file, encodeSafetensors(new Map(tensors)));
  const args = ["--mean", "0.5", "--std", "0.25", "--input-size", "32", "--threads", "1", "--json"];
  const { code, stdout, stderr } = await densenet(["embed", file, ...images, ...args]);
  assert.equal(code, 0, stderr);
  const { dims, images: found } = JSON.parse(stdout);
  assert.equal(dims, 132);
  assert.deepEqual(
    found.map(({ label }: { label: string }) => label),
    ["", "", ""],
  );
});

test("embed · --map: a page with every image; the vectors need no file", async () => {
  const page = join(root, "map.html");
  const { code, stderr } = await embed("assets/samples", "--map", page);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /map\.html: a map of 12 images/);
  const text = await readFile(page, "utf8");
  assert.equal(text.match(/<image href="data:image\/jpeg;base64,/g)?.length, 12);
  assert.match(text, /assets\/samples\/ship-1\.png: ship/);
});

const refused: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["nothing to do", [...images], /expected --output, --neighbours, --map or --json/],
  [
    "a map that cannot be written",
    [...images, "--map", "nowhere/map.html"],
    /--map: the folder nowhere does not exist/,
  ],
  ["too few for a map", [...images, "--map", "map.html"], /at least 5 images, got 3/],
  ["another ending", [...images, "--output", "e.txt"], /expected a file that ends in \.npy, \.csv, \.safetensors/],
  ["a node that is not there", [...images, "--json", "--layer", "features.norm6"], /did you mean features\.norm5\?/],
];
for (const [what, args, message] of refused) {
  test(`embed · refused: ${what}`, async () => {
    const { code, stderr } = await embed(...args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  });
}
