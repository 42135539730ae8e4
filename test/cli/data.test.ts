// `densenet data check`: every kind of finding in a folder that has it, and none in one that has not.
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { readEmbedded } from "../../src/data/embedded.node.ts";
import { densenet } from "./command.ts";

let root = "";
let clean = "";
let faulty = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "densenet-data-"));
  clean = join(root, "clean");
  faulty = join(root, "<faulty>");
  const { val, classes } = await readEmbedded();
  const plane = 32 * 32;
  // Twelve photographs of each of three classes to train on, three to validate.
  for (const label of [0, 1, 2]) {
    for (let n = 0; n < 15; n++) {
      const planar = new Uint8Array(3 * plane);
      val.pixels(100 * label + n, planar);
      const pixels = Uint8Array.from(planar, (_, at) => planar[(at % 3) * plane + Math.floor(at / 3)] ?? 0);
      const folder = join(clean, n < 12 ? "train" : "val", classes[label] ?? "");
      await mkdir(folder, { recursive: true });
      const image = sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } });
      await writeFile(join(folder, `${n}.png`), await image.png().toBuffer());
    }
  }
  await cp(clean, faulty, { recursive: true });
  const at = (...names: string[]): string => join(faulty, ...names);
  const bird0 = at("train", "bird", "0.png");
  await cp(at("train", "bird", "1.png"), at("val", "bird", "leak.png"));
  await cp(at("train", "airplane", "0.png"), at("train", "bird", "conflict.png"));
  await cp(bird0, at("train", "bird", "again.png"));
  const bytes = await readFile(at("train", "airplane", "3.png"));
  await writeFile(
    at("train", "airplane", "near.jpg"),
    await sharp(bytes).resize(64, 64).jpeg({ quality: 80 }).toBuffer(),
  );
  await writeFile(at("train", "airplane", "tiny.png"), await sharp(bytes).rotate(90).resize(7, 7).png().toBuffer());
  const nearLeak = await sharp(await readFile(at("train", "airplane", "5.png")))
    .resize(40, 40)
    .jpeg()
    .toBuffer();
  await writeFile(at("val", "airplane", "near.jpg"), nearLeak);
  const flat = sharp({ create: { width: 2500, height: 2000, channels: 3, background: "red" } });
  await writeFile(at("train", "airplane", "huge.png"), await flat.png().toBuffer());
  const strip = await sharp(await readFile(at("train", "airplane", "7.png")))
    .rotate(180)
    .resize(200, 40, { fit: "fill" })
    .png()
    .toBuffer();
  await writeFile(at("train", "airplane", "strip.jpg"), strip);
  await writeFile(at("train", "automobile", "cut.png"), bytes.subarray(0, 300));
  await writeFile(at("train", "automobile", "page.jpg"), "<html>404</html>");
  await writeFile(at("train", "automobile", "photo.heic"), "x");
  for (let n = 2; n < 12; n++) await rm(at("train", "automobile", `${n}.png`));
  await rm(at("val", "automobile"), { recursive: true });
});
after(() => rm(root, { recursive: true }));

interface Found {
  readonly kind: string;
  readonly grade: string;
  readonly title: string;
  readonly groups: readonly { readonly files: readonly string[] }[];
}

test("data check · a clean folder · exit 0, nothing found", async () => {
  const { code, stdout, stderr } = await densenet(["data", "check", clean]);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^class +train +val\nairplane +12 +3\n/);
  assert.match(stdout, /\n45 of 45 images decode, in 3 classes\n\nReady to train on\n$/);
});

test("data check --json · each fault by its kind, with the files that it is about · exit 3", async () => {
  const { code, stdout } = await densenet(["data", "check", faulty, "--json"]);
  assert.equal(code, 3);
  const { findings, images, broken, classes, verdict } = JSON.parse(stdout);
  assert.deepEqual([images, broken, verdict], [40, 2, "Not ready to train on"]);
  assert.deepEqual(classes[1], { name: "automobile", counts: { train: 2, val: 0 } });
  const filesOf = (kind: string): string[][] =>
    findings
      .filter((found: Found) => found.kind === kind)
      .flatMap(({ groups }: Found) => groups.map(({ files }) => [...files]));
  assert.deepEqual(filesOf("exact-leak"), [["train/bird/1.png", "val/bird/leak.png"]]);
  assert.deepEqual(filesOf("exact-conflict"), [["train/airplane/0.png", "train/bird/conflict.png"]]);
  assert.deepEqual(filesOf("exact-duplicate"), [["train/bird/0.png", "train/bird/again.png"]]);
  assert.deepEqual(filesOf("near-leak"), [["train/airplane/5.png", "val/airplane/near.jpg"]]);
  assert.deepEqual(filesOf("near-duplicate"), [["train/airplane/3.png", "train/airplane/near.jpg"]]);
  assert.deepEqual(filesOf("broken"), [["train/automobile/cut.png"], ["train/automobile/page.jpg"]]);
  assert.deepEqual(filesOf("tiny"), [["train/airplane/tiny.png"]]);
  assert.deepEqual(filesOf("huge"), [["train/airplane/huge.png"]]);
  assert.deepEqual(filesOf("blank"), [["train/airplane/huge.png"]]);
  assert.deepEqual(filesOf("narrow"), [["train/airplane/strip.jpg"]]);
  assert.deepEqual(filesOf("renamed"), [["train/airplane/strip.jpg"]]);
  const titles = findings.map(({ kind, grade, title }: Found) => `${grade} ${kind}: ${title}`).join("\n");
  assert.match(titles, /^error classes: val has no folder for "automobile"$/m);
  assert.match(titles, /^warning few: "automobile" has 2 images in train$/m);
  assert.match(titles, /^note uneven: "airplane" has 8\.0 times as many images as "automobile" \(16 and 2\)$/m);
  assert.match(titles, /^warning left-out: 1 file passed over: 1 \.heic$/m);
  const grades = findings.map(({ grade }: Found) => grade);
  assert.deepEqual(
    grades,
    [...grades].sort((a, b) => "error warning note".indexOf(a) - "error warning note".indexOf(b)),
  );
});

test("data check --output · a page that needs nothing else, with the images that it is about, names escaped", async () => {
  const output = join(root, "check.html");
  const { code, stdout, stderr } = await densenet(["data", "check", faulty, "--output", output]);
  assert.equal(code, 3);
  assert.equal(stderr, `page  ${output}\n`);
  assert.match(stdout, /^error: 1 image has identical copies in different splits$/m);
  assert.match(stdout, /^ {4}train\/automobile\/page\.jpg: is a web page/m);
  const html = await readFile(output, "utf8");
  assert.ok(!/<script|<link|https?:|<faulty>/.test(html) && html.includes("&lt;faulty&gt;"));
  const shown = [...html.matchAll(/<img src="(data:image\/jpeg;base64,[^"]{40,})" alt="([^"]+)"/g)].map(
    ([, , file]) => file,
  );
  for (const file of ["train/bird/1.png", "val/bird/leak.png", "train/airplane/tiny.png", "train/airplane/near.jpg"]) {
    assert.ok(shown.includes(file), file);
  }
  assert.ok(!html.includes('src="data:,"'));
});

for (const [name, args, code, says] of [
  ["a folder that is missing", ["ROOT/nowhere"], 3, /nowhere: does not exist, expected a folder of images/],
  ["a file", ["ROOT/clean/train/bird/0.png"], 3, /0\.png: is a file, expected a folder of images/],
  ["a class's own folder", ["ROOT/clean/train/bird"], 3, /holds no image in a folder of its class/],
  ["a page that cannot be", ["ROOT/clean", "--output", "ROOT/no/page.html"], 2, /--output: the folder/],
] as const) {
  test(`data check · ${name} · exit ${code}`, async () => {
    const outcome = await densenet(["data", "check", ...args.map((word) => word.replace("ROOT", root))]);
    assert.deepEqual([outcome.code, outcome.stdout], [code, ""]);
    assert.match(outcome.stderr, says);
  });
}
