import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import sharp from "sharp";
import { densenet } from "./command.ts";

const root = await mkdtemp(join(tmpdir(), "densenet-explain-"));
after(() => rm(root, { recursive: true, force: true }));

const MODEL = "bc-40-12.cifar10";
const ship = "assets/samples/ship-1.png";
const wide = join(root, "wide.jpg");
await writeFile(wide, await sharp(ship).resize(700, 400, { fit: "fill" }).jpeg().toBuffer());
const explain = (...args: string[]) => densenet(["explain", MODEL, ...args, "--threads", "1"]);

test("explain · one image: a class with its probability, where the evidence lies, and a PNG of the image's size", async () => {
  const output = join(root, "cam.png");
  const { code, stdout, stderr } = await explain(wide, "--output", output, "--json");
  assert.equal(code, 0, stderr);
  const [{ target, logit, map, box, peak }] = JSON.parse(stdout);
  assert.equal(target.label, "ship");
  assert.ok(Math.abs(map.values.reduce((sum: number, value: number) => sum + value, 0) - logit) < 1e-3);
  assert.deepEqual(box, { left: 150, top: 0, width: 400, height: 400 });
  assert.ok(peak.left >= 150 && peak.left + peak.width <= 550 && peak.top >= 0 && peak.top + peak.height <= 400);
  const { width, height, channels } = await sharp(output).metadata();
  assert.deepEqual({ width, height, channels }, { width: 700, height: 400, channels: 3 });
});

test("explain · several images: a folder with the tree of the images; a bad one keeps no other from its map", async () => {
  const output = join(root, "maps");
  const bad = join(root, "bad.png");
  await writeFile(bad, "no image");
  const { code, stdout, stderr } = await explain(ship, "assets/samples/cat-1.png", bad, "--output", output);
  assert.equal(code, 3);
  assert.match(stderr, /bad\.png: .*expected a PNG/);
  assert.match(stdout, /ship-1\.png +ship +\d+\.\d % +\d+×\d+ at \d+,\d+/);
  const found = await readdir(output, { recursive: true });
  assert.deepEqual(
    found
      .filter((name) => name.endsWith(".png"))
      .map((name) => name.split("/").at(-1))
      .sort(),
    ["cat-1.png", "ship-1.png"],
  );
});

const refused: readonly (readonly [string, readonly string[], number, RegExp])[] = [
  ["a layer that is not there", [ship, "--layer", "features.denseblok2"], 2, /did you mean features\.denseblock2\?/],
  ["a layer without positions", [ship, "--layer", "features.pool5"], 2, /has 132 values for an image/],
  ["a class that is not there", [ship, "--class", "shipp"], 2, /no class "shipp".*did you mean ship\?/],
  ["no images", [root.concat("/nothing")], 3, /nothing/],
  ["one file for two images", [ship, wide, "--output", join(root, "two.png")], 2, /2 images, expected a folder/],
  ["a folder that is a file", [ship, "--output", "package.json"], 2, /package\.json is no folder/],
  ["a patch without occlusion", [ship, "--patch", "4"], 2, /are for --method occlusion/],
];
for (const [what, args, expected, message] of refused) {
  test(`explain · refused with ${expected}: ${what}`, async () => {
    const { code, stderr } = await explain(...args);
    assert.equal(code, expected, stderr);
    assert.match(stderr, message);
  });
}
