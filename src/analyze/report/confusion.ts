// analyze/report: which classes are taken for which. Blue is right, vermilion is wrong, everywhere in the report.
import { classErrors, worstFirst } from "../classErrors.ts";
import { formatInteger, formatPercent } from "../format.ts";
import { type Html, html } from "./html.ts";

export interface ConfusedPair {
  readonly label: number;
  readonly prediction: number;
  readonly count: number;
  /** Of the images with this label. */
  readonly share: number;
}

/** The off-diagonal entries with the most images, most first; equal counts in the order of the labels. */
export function mostConfused(confusion: readonly (readonly number[])[], limit: number): ConfusedPair[] {
  return confusion
    .flatMap((row, label) => {
      const total = sum(row);
      return row.map((count, prediction) => ({ label, prediction, count, share: total > 0 ? count / total : 0 }));
    })
    .filter((pair) => pair.label !== pair.prediction && pair.count > 0)
    .sort((a, b) => b.count - a.count || a.label - b.label || a.prediction - b.prediction)
    .slice(0, limit);
}

/** A table with counts up to 20 classes, a drawing of the matrix up to 200, and the pairs alone above that. */
export function confusionMatrix(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  if (classes.length <= 20) return matrixTable(confusion, classes);
  return classes.length <= 200 ? matrixImage(confusion, classes) : html``;
}

export function confusedPairs(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  const pairs = mostConfused(confusion, 10);
  if (pairs.length === 0) return html`<p class="quiet">No image was taken for another class.</p>`;
  const most = pairs[0]?.count ?? 1;
  return html`<table class="pairs"><thead><tr><th scope="col">is</th><th scope="col">taken for</th><th scope="col" class="number">images</th><th scope="col" class="number">of its class</th></tr></thead><tbody>
${pairs.map(
  (pair) => html`<tr><th scope="row">${classes[pair.label]}</th><td>${classes[pair.prediction]}</td>
<td class="number bar"><span style="width:calc((100% - 44px) * ${(pair.count / most).toFixed(2)})"></span>${formatInteger(pair.count)}</td><td class="number">${formatPercent(100 * pair.share)}</td></tr>
`,
)}</tbody></table>
`;
}

/** The classes with the largest errors, beside how many images they have. */
export function hardestClasses(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  const worst = worstFirst(classErrors(confusion)).slice(0, 10);
  return html`<table class="pairs"><thead><tr><th scope="col">class</th><th scope="col" class="number">error</th><th scope="col" class="number">images</th></tr></thead><tbody>
${worst.map(
  ({
    label,
    error,
    count,
  }) => html`<tr><th scope="row">${classes[label]}</th><td class="number bar"><span style="width:calc((100% - 44px) * ${(error / 100).toFixed(2)})"></span>${formatPercent(error)}</td><td class="number">${formatInteger(count)}</td></tr>
`,
)}</tbody></table>
`;
}

function matrixTable(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  return html`<div class="scroll"><table class="confusion"><caption>Rows: what the image shows. Columns: what the network says.</caption>
<thead><tr><td></td>${classes.map((name) => html`<th scope="col"><span>${name}</span></th>`)}<th scope="col" class="rate"><span>error</span></th></tr></thead><tbody>
${confusion.map((row, label) => {
  const total = sum(row);
  return html`<tr><th scope="row">${classes[label]}</th>${row.map((count, prediction) => {
    const share = total > 0 ? count / total : 0;
    const kind = label === prediction ? "right" : "wrong";
    return html`<td class="${kind}${strong(share, kind) ? " strong" : ""}" style="--share:${shade(share, kind)}" title="${classes[label]} taken for ${classes[prediction]}: ${formatInteger(count)} of ${formatInteger(total)}">${count === 0 ? html`<i>0</i>` : formatInteger(count)}</td>`;
  })}<td class="rate">${total > 0 ? formatPercent(100 * (1 - (row[label] ?? 0) / total), 0) : "–"}</td></tr>
`;
})}</tbody></table></div>
`;
}

function matrixImage(confusion: readonly (readonly number[])[], classes: readonly string[]): Html {
  const cell = 8;
  const size = classes.length * cell;
  return html`<svg class="matrix" viewBox="0 0 ${size} ${size}" role="img" aria-label="Confusion matrix of ${classes.length} classes; rows are labels, columns predictions. The list of most confused pairs has its largest entries.">
<rect class="ground" width="${size}" height="${size}"/>
${confusion.map((row, label) => {
  const total = sum(row);
  return row.map((count, prediction) => {
    if (count === 0) return undefined;
    const kind = label === prediction ? "right" : "wrong";
    return html`<rect class="${kind}" x="${prediction * cell}" y="${label * cell}" width="${cell}" height="${cell}" style="--share:${shade(count / total, kind)}"><title>${classes[label]} taken for ${classes[prediction]}: ${formatInteger(count)} of ${formatInteger(total)}</title></rect>
`;
  });
})}</svg>
`;
}

/** Share of a class → how much ink. Mistakes spread over many cells, so their scale rises faster: the square root. */
function shade(share: number, kind: "right" | "wrong"): string {
  if (share === 0) return "0%";
  return `${Math.round(100 * Math.min(1, kind === "right" ? 0.12 + 0.88 * share : 0.04 + 1.1 * Math.sqrt(share)))}%`;
}

/** Where the ground is so dark that the figure on it must be light. */
function strong(share: number, kind: "right" | "wrong"): boolean {
  return kind === "right" ? share > 0.5 : share > 0.26;
}

function sum(row: readonly number[]): number {
  return row.reduce((total, count) => total + count, 0);
}
