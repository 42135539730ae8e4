// analyze/report: how far the probabilities can be trusted: the reliability diagram, and the thresholds that the
// checkpoint carries.
import type { Calibration } from "../../checkpoint/calibration.ts";
import type { Reliability } from "../calibration.ts";
import { formatInteger, formatPercent } from "../format.ts";
import type { ReportEvaluation } from "./data.ts";
import { type Html, html } from "./html.ts";

const SIDE = 360;
const MARGIN = { left: 52, right: 26, top: 10, bottom: 44 };

export function trustSection({ caption, trust }: ReportEvaluation, classes: readonly string[]): Html {
  const { measured, fitted, missing } = trust;
  const shown = fitted?.measured ?? measured;
  const note =
    fitted === undefined
      ? html`The probabilities are the network’s own: ${missing}.`
      : html`All logits are divided by one fitted number, the temperature ${fitted.calibration.temperature.toFixed(3)}: before, the network was ${fitted.calibration.temperature > 1 ? "surer" : "less sure"} than it was right. The checkpoint carries it and the thresholds below, all fitted to the images that they are measured on here.`;
  return html`<section aria-labelledby="trust"><h2 id="trust">How far to trust its probabilities</h2>
<p class="quiet">${caption}. ${note}</p>
<div class="mistakes trust"><div>${diagram(shown, fitted && measured)}</div><div>${measures(measured, fitted?.measured)}${fitted && answers(fitted.calibration)}</div></div>
${fitted && operatingPoints(fitted.calibration, classes)}</section>`;
}

/** Bars: right answers of the images of a bin. On the diagonal a probability is what it says. */
function diagram(shown: Reliability, before: Reliability | undefined): Html {
  const size = SIDE - MARGIN.left - MARGIN.right;
  const height = size + MARGIN.top + MARGIN.bottom;
  const x = (share: number): string => (MARGIN.left + share * size).toFixed(1);
  const y = (share: number): string => (MARGIN.top + (1 - share) * size).toFixed(1);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const drawn = shown.bins.filter(({ count }) => count > 0);
  const most = Math.max(1, ...drawn.map(({ count }) => count));
  const line = before?.bins
    .filter(({ count }) => count > 0)
    .map(({ confidence, accuracy }, index) => `${index === 0 ? "M" : "L"}${x(confidence)} ${y(accuracy)}`)
    .join("");
  return html`<figure class="chart reliability"><figcaption><h3>Probability and truth</h3><ul class="legend"><li><span class="key rate"></span>${before === undefined ? "as it is" : "calibrated"}</li>${before && html`<li><span class="key train"></span>before</li>`}</ul></figcaption>
<svg viewBox="0 0 ${SIDE} ${height}" role="img" aria-label="Reliability diagram: the mean difference between probability and share of right answers is ${formatPercent(100 * shown.calibrationError)}.">
${ticks.map(
  (tick) => html`<line class="grid" x1="${x(0)}" x2="${x(1)}" y1="${y(tick)}" y2="${y(tick)}"/>
<text class="tick" x="${MARGIN.left - 9}" y="${y(tick)}" dy="0.35em" text-anchor="end">${100 * tick} %</text>
<text class="tick" x="${x(tick)}" y="${MARGIN.top + size + 18}" text-anchor="middle">${100 * tick} %</text>
`,
)}<text class="tick" x="${x(0.5)}" y="${height - 6}" text-anchor="middle">probability of the answer → how often it is right</text>
${drawn.map(
  ({ low, high, count, confidence, accuracy }) =>
    html`<rect class="bin" style="--weight:${(0.25 + 0.55 * Math.sqrt(count / most)).toFixed(2)}" x="${x(low + 0.003)}" y="${y(accuracy)}" width="${((high - low - 0.006) * size).toFixed(1)}" height="${(accuracy * size).toFixed(1)}"/>
<line class="confidence" x1="${x(low + 0.003)}" x2="${x(high - 0.003)}" y1="${y(confidence)}" y2="${y(confidence)}"/><rect class="area" x="${x(low)}" y="${y(1)}" width="${((high - low) * size).toFixed(1)}" height="${size}"><title>${`${formatInteger(count)} images of probability ${formatPercent(100 * confidence)} on average, ${formatPercent(100 * accuracy)} of them right`}</title></rect>
`,
)}<line class="reference" x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"/>
${line && html`<path class="line train" d="${line}"/>`}
</svg></figure>
`;
}

function measures(before: Reliability, after: Reliability | undefined): Html {
  const rows: readonly (readonly [string, string, (of: Reliability) => string])[] = [
    [
      "calibration error",
      "mean distance of probability and share of right answers (ECE)",
      ({ calibrationError }) => formatPercent(100 * calibrationError, 2),
    ],
    ["Brier score", "mean squared distance from the truth, 0 to 2", ({ brier }) => brier.toFixed(4)],
    ["loss", "cross-entropy, nats", ({ loss }) => loss.toFixed(4)],
  ];
  return html`<table class="pairs"><thead><tr><th scope="col">measure</th>${after && html`<th scope="col" class="number">before</th>`}<th scope="col" class="number">${after === undefined ? "" : "calibrated"}</th></tr></thead><tbody>
${rows.map(
  ([
    name,
    title,
    of,
  ]) => html`<tr><th scope="row" title="${title}">${name}</th><td class="number">${of(before)}</td>${after && html`<td class="number"><b>${of(after)}</b></td>`}</tr>
`,
)}</tbody></table>
`;
}

function answers({ answers }: Calibration): Html {
  return html`<h3>When to say “don’t know”</h3>
<table class="pairs"><thead><tr><th scope="col">right answers</th><th scope="col" class="number">from probability</th><th scope="col" class="number">images answered</th></tr></thead><tbody>
${answers.map(
  ({ targetPrecision, threshold, coverage }) =>
    html`<tr><th scope="row">${formatPercent(100 * targetPrecision, 0)}</th><td class="number">${threshold === null ? "none" : formatPercent(100 * threshold)}</td><td class="number">${formatPercent(100 * coverage)}</td></tr>
`,
)}</tbody></table>
<p class="quiet"><code>densenet predict … --min-confidence precision:0.95</code> answers only from there on.</p>
`;
}

function operatingPoints({ classes: points }: Calibration, names: readonly string[]): Html {
  return html`<details><summary>Operating point of every class</summary><p class="quiet">The probability of the class, against all others, with the greatest F1.</p><div class="scroll"><table class="layers classes"><thead><tr><th scope="col">class</th><th scope="col" class="number">from probability</th><th scope="col" class="number">precision</th><th scope="col" class="number">recall</th></tr></thead><tbody>
${points.map((point, index) => {
  const cells =
    point === null ? [Number.NaN, Number.NaN, Number.NaN] : [point.threshold, point.precision, point.recall];
  return html`<tr><th scope="row">${names[index]}</th>${cells.map((share) => html`<td class="number">${formatPercent(100 * share)}</td>`)}</tr>
`;
})}</tbody></table></div></details>
`;
}
