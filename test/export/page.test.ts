// The page of `export --format html`, opened from file:// in Chromium with the network off: it classifies as Node does.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { chromiumPath, openChromium } from "../../scripts/chromium.ts";
import { createWasmBackend } from "../../src/backends/wasm/wasm.ts";
import { encodeModel } from "../../src/checkpoint/checkpoint.ts";
import { classifierPage } from "../../src/export/html.ts";
import { predictFiles } from "../../src/infer/files.node.ts";
import { createPredictor } from "../../src/infer/predictor.ts";
import { requireBuilt } from "../built.ts";
import { smallNets, smallTrained } from "./trained.ts";

const folder = mkdtempSync(join(tmpdir(), "densenet-page-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("html · a page from file:// classifies images that are chosen, and names a file that is none", {
  skip: chromiumPath() === undefined ? "no Chromium is installed" : false,
  timeout: 120_000,
}, async () => {
  requireBuilt();
  const trained = smallTrained(smallNets["densenet, 3×3 stem"]);
  const file = join(folder, "net.html");
  writeFileSync(file, classifierPage(trained, encodeModel(trained), readFileSync("dist/browser/page.js", "utf8")));
  const images = ["assets/samples/cat-1.png", "assets/samples/ship-2.png"];
  const noImage = join(folder, "text.png");
  writeFileSync(noImage, "no image");

  await using backend = await createWasmBackend({ threads: 1 });
  const predictor = await createPredictor(trained, backend);
  const expected = await predictFiles(predictor, images, { topK: 5 });

  assert.ok(existsSync(file));
  const browser = await openChromium();
  try {
    const page = await browser.newPage();
    await page.context().setOffline(true);
    const requests: string[] = [];
    const problems: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => problems.push(message.text()));
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector("body[data-ready]", { timeout: 60_000 });
    await page.setInputFiles("#files", [...images, noImage]);
    await page.waitForSelector(".problem");
    const cards = await page.$$eval("#images > li", (items) =>
      items.map((item) => ({
        name: item.querySelector("h2")?.textContent,
        problem: item.querySelector(".problem")?.textContent,
        rows: Array.from(item.querySelectorAll("ol li"), (row) => ({
          label: row.querySelector("span")?.textContent ?? "",
          score: Number((row as HTMLElement).dataset.score),
        })),
      })),
    );
    // The newest stands first.
    const [none, ...shown] = cards;
    assert.equal(none?.name, "text.png");
    assert.equal(none.problem, "this browser cannot read it as an image");
    for (const [i, { rows }] of shown.reverse().entries()) {
      assert.deepEqual(
        rows.map(({ label }) => label),
        expected[i].map(({ label }) => label),
      );
      for (const [k, { score }] of rows.entries()) assert.ok(Math.abs(score - expected[i][k].score) < 1e-4);
    }
    assert.deepEqual(problems, []);
    const strangers = requests.filter((url) => !/^(file:.*\/net\.html|blob:null\/.*|data:,)$/.test(url));
    assert.deepEqual(strangers, []);
  } finally {
    await browser.close();
  }
});
