// `densenet paper`: the page is made from results/ alone, and what is committed is what results/ gives.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { paperFiles } from "../../../scripts/writePaper.ts";
import { paperDocument } from "../../../src/analyze/paper/document.ts";
import { denseBlockDrawing, networkFlow } from "../../../src/analyze/paper/drawings.ts";
import { figure1Spec, renderPaper } from "../../../src/analyze/paper/page.ts";
import { readResults, resultsFolder } from "../../../src/analyze/paper/results.node.ts";
import { table2, table3 } from "../../../src/analyze/paper/tables.ts";
import { paperText } from "../../../src/analyze/paper/terminal.ts";
import { architecture, connectionsIn, namedSpec } from "../../../src/networks/registry.ts";
import { resolveConfig } from "../../../src/train/resolveConfig.ts";
import { densenet } from "../../cli/command.ts";

const results = await readResults();
const document = paperDocument(results);
const files = await paperFiles();
const folder = mkdtempSync(join(tmpdir(), "densenet-paper-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/**
 * The words and figures of a page or a drawing, every point's hover included: all that depends on results/. Not how it
 * is drawn, which is plot.ts's, heatMap.ts's and the style's and may change without them.
 */
const said = (markup: string): string =>
  markup
    .replace(/<style>[\s\S]*?<\/style>|<text [\s\S]*?<\/text>/g, "")
    .replace(/<[^>]*>/g, "\n")
    .replace(/\n\s+/g, "\n");

describe("densenet paper", () => {
  for (const [path, text] of files) {
    it(`${path} says what results/ gives (node scripts/writePaper.ts writes it)`, () => {
      assert.equal(said(readFileSync(path, "utf8")), said(text));
    });
  }

  it("another result makes another page", async () => {
    cpSync(resultsFolder, folder, { recursive: true });
    const [first, ...others] = await readResults(folder);
    const changed = { ...first, final: { ...first.final, valTop1Error: 12.34 } };
    const page = renderPaper(paperDocument([changed, ...others]));
    assert.notEqual(page, renderPaper(document));
    assert.ok(page.includes("12.34"));
  });

  it("every figure of Tables 2 and 3 is on the page and in the text", () => {
    const page = renderPaper(document);
    const text = paperText(document);
    const errors = [
      ...table2.flatMap((row) => Object.values(row.errors)),
      ...table3.flatMap(({ top1, top5 }) => [...Object.values(top1), ...Object.values(top5)]),
    ];
    assert.equal(errors.length, 75 + 16);
    for (const error of errors) {
      assert.ok(page.includes(error.toFixed(2)), String(error));
      assert.ok(text.includes(`${error.toFixed(2)} /`), String(error));
    }
  });

  it("ours stands where something was run, with the run that made it, and nowhere else", () => {
    const measured = document.table2.rows.flatMap(({ errors }) =>
      Object.entries(errors).flatMap(([column, { ours, how }]) => (ours === undefined ? [] : [{ column, ours, how }])),
    );
    for (const { column, ours, how } of measured) {
      const result = results.find(({ name }) => name === how);
      assert.equal(result?.final.valTop1Error, ours);
      assert.equal(result?.column, column);
    }
    const columns = new Set(results.flatMap(({ column, variant }) => (column ? [`${variant} ${column}`] : [])));
    assert.equal(measured.length, columns.size);
    assert.ok(
      document.table3.rows.every(({ errors: { top1, top5 } }) =>
        [top1, top5].every(({ singleCrop, tenCrop }) => singleCrop.ours === undefined && tenCrop.ours === undefined),
      ),
    );
    const none = paperDocument([]);
    assert.ok(none.table2.rows.every(({ errors }) => Object.values(errors).every(({ ours }) => ours === undefined)));
    assert.match(renderPaper(none), /Nothing was run yet[\s\S]*No run has it yet/);
  });

  it("of several runs of a network the longest stands in the table, not the best", () => {
    const [run] = results.filter(({ column }) => column === "C10+");
    const longer = {
      ...run,
      name: "longer",
      config: { ...run.config, epochs: run.config.epochs + 1 },
      final: { ...run.final, valTop1Error: 99 },
    };
    const { rows } = paperDocument([longer, run]).table2;
    assert.deepEqual(
      rows.flatMap(({ errors }) => errors["C10+"].how ?? []),
      ["longer"],
    );
  });

  it("a run says where its recipe is not the paper's", () => {
    const [run] = results.filter(({ column }) => column === "C10+");
    const recipe = resolveConfig({ preset: "paper-cifar10-plus" }).config;
    const differences = (changes: Partial<typeof recipe>) =>
      paperDocument([{ ...run, config: { ...recipe, ...changes } }]).runs[0].differences;
    assert.deepEqual(differences({}), []);
    // Where and how fast it ran is no difference of the recipe.
    assert.deepEqual(differences({ threads: 7, seed: 3, keepCheckpoints: 1 }), []);
    assert.deepEqual(differences({ epochs: 3, schedule: "cosine", weightDecay: 2e-4 }), [
      { setting: "epochs", paper: 300, ours: 3 },
      { setting: "schedule", paper: "multistep", ours: "cosine" },
      { setting: "weightDecay", paper: 1e-4, ours: 2e-4 },
    ]);
  });

  it("Table 1: what we compute is what is printed, cell by cell", () => {
    for (const { outputs, repeats = [] } of document.table1.rows) {
      assert.deepEqual(outputs.ours, outputs.paper);
      for (const { paper, ours } of repeats) assert.equal(ours, paper);
    }
    assert.deepEqual(
      document.table1.sizes.map(({ depth }) => depth.ours),
      [121, 169, 201, 265],
    );
  });

  it("figures 1 and 2 have an arc for each connection", () => {
    const wires = (markup: string): number => markup.match(/class="wire/g)?.length ?? 0;
    const [block] = architecture(figure1Spec, { height: 32, width: 32 }).blocks;
    // The transition behind the block reads the block's input and its five layers.
    assert.equal(wires(denseBlockDrawing(figure1Spec).markup), connectionsIn(block) + 6);
    const flow = networkFlow(namedSpec("40-12"), 32).markup;
    const arcs = [...flow.matchAll(/class="wire[^>]* d="([^"]+)"/g)].map(([, path]) => path.split("M").length - 1);
    assert.deepEqual(arcs, [78, 78, 78]);
  });

  it("the page needs nothing else: no script, no address that is loaded, all links within it", () => {
    const page = renderPaper(document);
    assert.doesNotMatch(page, /<script|<link|src="http|url\(/);
    const ids = new Set([...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
    const links = [...page.matchAll(/href="([^"]+)"/g)].map(([, href]) => href);
    assert.ok(links.length > 9);
    for (const link of links) assert.ok(link.startsWith("#") && ids.has(link.slice(1)), link);
  });

  it("the command prints the text, writes the page and gives the data", async () => {
    const text = await densenet(["paper"]);
    assert.equal(text.code, 0, text.stderr);
    assert.equal(text.stdout.trimEnd(), paperText(document));
    const json = await densenet(["paper", "--json"]);
    assert.deepEqual(JSON.parse(json.stdout), JSON.parse(JSON.stringify(document)));
    const page = join(folder, "page.html");
    const written = await densenet(["paper", "--output", page]);
    assert.equal(written.stdout, "");
    assert.equal(readFileSync(page, "utf8"), readFileSync("docs/paper.html", "utf8"));
    const refused = await densenet(["paper", "--output", join(folder, "nowhere", "page.html")]);
    assert.ok(refused.code !== 0 && refused.code !== 1, refused.stderr);
  });
});
