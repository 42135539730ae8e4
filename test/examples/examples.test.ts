// Every program in examples/ runs as its first lines say, against the built package. The page runs in
// scripts/checkBrowser.ts.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { requireBuilt } from "../built.ts";

const root = mkdtempSync(join(tmpdir(), "densenet-examples-"));
const images = join(root, "images");
const run = join(root, "run");

/** 24 images of each of two classes: dark ones and bright ones. */
before(async () => {
  requireBuilt();
  for (const [name, level] of [
    ["dark", 40],
    ["bright", 180],
  ] as const) {
    mkdirSync(join(images, name), { recursive: true });
    for (let n = 0; n < 24; n++) {
      const data = Uint8Array.from({ length: 3 * 24 * 20 }, (_, i) => level + (Math.imul(i + n, 0x9e3779b1) >>> 26));
      const raw = { width: 24, height: 20, channels: 3 } as const;
      await sharp(data, { raw })
        .png()
        .toFile(join(images, name, `${n}.png`));
    }
  }
});
after(() => rmSync(root, { recursive: true, force: true }));

const programs: readonly { readonly args: readonly string[]; readonly prints: RegExp }[] = [
  {
    args: ["trainFolder.ts", images, run],
    prints: /^epoch 1: loss [\s\S]*epoch 3: [\s\S]*36 images of bright, dark; 12 held out\n[\s\S]*report\.html\n$/,
  },
  {
    args: ["classify.ts", run, join(images, "dark", "0.png"), join(images, "bright", "5.png")],
    prints: /dark\/0\.png: (dark|bright) \d+\.\d %, .*\n.*bright\/5\.png: (dark|bright) \d+\.\d %/,
  },
  {
    args: ["inspectPlan.ts", "BC-100-12"],
    prints:
      /BC-100-12: 769162 parameters, 28\d\.\d M[\s\S]*recompute none: (\d+) kernel calls[\s\S]*recompute bottleneck: /,
  },
  {
    args: ["resume.ts", images, join(root, "stopped")],
    prints:
      /^stopped after update \d+, saved in .*\ngoes on after update \d+ of 20\n[\s\S]*epoch 4: [\s\S]*done: .*report\.html\n$/,
  },
  {
    args: ["compareBackends.ts"],
    prints:
      /^reference on 1 thread\(s\): .* within 0\.0e\+0 .*\nwasm on \d+ thread\(s\): .* within \d\.\de-\d+ .*\nwebgpu/,
  },
];

for (const { args, prints } of programs) {
  test(`examples/${args[0]} runs`, () => {
    const [program = "", ...rest] = args;
    const { status, stdout, stderr } = spawnSync(process.execPath, [join("examples", program), ...rest], {
      encoding: "utf8",
      timeout: 120_000,
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, prints);
  });
}

test("every program in examples/ is run", () => {
  const found = readdirSync("examples").filter((name) => name.endsWith(".ts"));
  assert.deepEqual(found.sort(), programs.map(({ args: [program] }) => program).sort());
});
