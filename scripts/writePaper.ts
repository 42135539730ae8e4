// Writes what is made from results/: docs/paper.html, the README's two figures, and the table in results/README.md.
//   node scripts/writePaper.ts
import { readFileSync, writeFileSync } from "node:fs";
import { formatDuration, formatInteger, formatPercent } from "../src/analyze/format.ts";
import { type PaperDocument, paperDocument } from "../src/analyze/paper/document.ts";
import { denseBlockDrawing } from "../src/analyze/paper/drawings.ts";
import { figure1Spec, renderPaper } from "../src/analyze/paper/page.ts";
import { figure4Left } from "../src/analyze/paper/plots.ts";
import { readResults } from "../src/analyze/paper/results.node.ts";
import { svgFile } from "../src/analyze/paper/svgFile.ts";

const TABLE = /(<!-- runs: node scripts\/writePaper\.ts -->\n)[\s\S]*?(<!-- end of runs -->)/;

/** Path and content of every file that is made from results/. */
export async function paperFiles(): Promise<ReadonlyMap<string, string>> {
  const document = paperDocument(await readResults());
  const { svg, series } = figure4Left(document);
  const readme = readFileSync("results/README.md", "utf8");
  if (!TABLE.test(readme)) throw new Error("results/README.md: has no place for the table of runs");
  return new Map([
    ["docs/paper.html", renderPaper(document)],
    ["docs/figure1.svg", svgFile(denseBlockDrawing(figure1Spec))],
    ["docs/figure4.svg", svgFile(svg, series)],
    [
      "results/README.md",
      readme.replace(TABLE, (_, begin: string, end: string) => `${begin}${runsTable(document)}${end}`),
    ],
  ]);
}

function runsTable({ runs }: PaperDocument): string {
  const rows = runs.map(
    ({ name, title, dataset, column, epochs, testError, testImages, seconds, machine, date }) =>
      `| \`${name}\` | ${title} | ${dataset}${column === undefined ? "" : ` (${column})`} | ${epochs} | ` +
      `${formatPercent(testError, 2)} of ${formatInteger(testImages)} | ${formatDuration(seconds)}, ${machine} | ${date} |\n`,
  );
  return `| run | network | data | epochs | test error | time and machine | date |\n|---|---|---|--:|--:|---|---|\n${rows.join("")}`;
}

if (import.meta.main) {
  for (const [path, text] of await paperFiles()) {
    writeFileSync(path, text);
    process.stdout.write(`${path}: ${formatInteger(text.length)} characters\n`);
  }
}
